// What is open, for all three tabs; those who show it are told when it changes.

export const state = {
  info: null,      // of the model
  image: null,     // { id, name, truth, pixels, findings: [said], maps: [Float32Array], masks: {} }
  finding: null,   // index of the chosen one
};

const listeners = [];
export const onChange = (listener) => listeners.push(listener);
export const changed = (what) => listeners.forEach((listener) => listener(what));

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
export const $ = (id) => document.getElementById(id);
export const say = (text) => { $("status").textContent = text; };

export function complain(error) {
  const close = make("button", { textContent: "Close", className: "quiet" });
  close.onclick = () => $("error").replaceChildren();
  $("error").replaceChildren(make("span", { textContent: error.message }), close);
  if (!error.status) console.error(error);
}

// contributions in logits a pixel, of a finding whose map is there; null where the model has none
export function contributions(finding) {
  const { info, image } = state, map = image.maps[finding];
  if (!map || info.map === "contributions") return map ?? null;
  const cache = (image.contributions ??= []);
  if (cache[finding]) return cache[finding];
  const size = info.image_size, pool = info.pool, grid = size / pool, weights = info.weights[finding];
  const out = new Float32Array(map.length);
  for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
    out[y * size + x] = (map[y * size + x] * weights[Math.floor(y / pool) * grid + Math.floor(x / pool)]) / pool ** 2;
  }
  return (cache[finding] = out);
}

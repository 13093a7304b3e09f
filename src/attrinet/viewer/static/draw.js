// Pictures on canvases. Everything is drawn here, without asking the server again.
import { diverging, strength } from "./color.js";
import { power, short } from "./words.js";

const LESION = "#39ff88", CELL = "#ffffff";

// pixels(k) → [r, g, b] of pixel k, drawn on a canvas without smoothing: what is seen is what the model sees
function paint(canvas, size, pixels) {
  const scale = Math.max(1, Math.round(960 / size)), side = size * scale;
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const small = new OffscreenCanvas(size, size), inner = small.getContext("2d"), data = inner.createImageData(size, size);
  for (let k = 0; k < size * size; k++) {
    const [r, g, b] = pixels(k);
    data.data.set([r, g, b, 255], 4 * k);
  }
  inner.putImageData(data, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, side, side);
  return { context, scale };
}

const grey = (value) => Math.min(255, Math.max(0, (value + 1) * 127.5));

// values over the image: half: value of full colour; opacity in [0, 1]; sign: both, for, against; cells: numbered
// squares of the classifier's grid; lit: the one that is pointed at
export function evidence(canvas, { image, values, size, half, opacity = 0.85, sign = "both", mask, cells = [], grid, lit }) {
  const { context, scale } = paint(canvas, size, (k) => {
    const base = grey(image[k]), v = values[k] / half;
    if ((sign === "for" && v < 0) || (sign === "against" && v > 0)) return [base, base, base];
    const color = diverging(v < 0 ? Math.min(v, -0.35) : Math.max(v, 0.35)), a = strength(v) * opacity;
    return color.map((c) => base * (1 - a) + c * a);
  });
  if (mask) outline(context, mask, size, scale);
  number_cells(context, cells, canvas.width / grid, lit);
}

export function greyscale(canvas, { values, size, mask }) {
  const { context, scale } = paint(canvas, size, (k) => { const g = grey(values[k]); return [g, g, g]; });
  if (mask) outline(context, mask, size, scale);
}

export function signed(canvas, { values, size, half }) {
  paint(canvas, size, (k) => diverging(values[k] / half));
}

function outline(context, mask, size, scale) {
  const inside = (x, y) => x >= 0 && y >= 0 && x < size && y < size && mask[y * size + x];
  context.beginPath();
  for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
    if (!inside(x, y)) continue;
    const [l, t, r, b] = [x * scale, y * scale, (x + 1) * scale, (y + 1) * scale];
    if (!inside(x - 1, y)) { context.moveTo(l, t); context.lineTo(l, b); }
    if (!inside(x + 1, y)) { context.moveTo(r, t); context.lineTo(r, b); }
    if (!inside(x, y - 1)) { context.moveTo(l, t); context.lineTo(r, t); }
    if (!inside(x, y + 1)) { context.moveTo(l, b); context.lineTo(r, b); }
  }
  for (const [color, width] of [["#00000099", 6], [LESION, 3]]) {
    context.strokeStyle = color; context.lineWidth = width; context.stroke();
  }
}

function number_cells(context, cells, side, lit) {
  const letters = Math.max(18, Math.min(30, side * 0.5));
  context.font = `600 ${letters}px system-ui, sans-serif`;
  context.textAlign = "center"; context.textBaseline = "middle";
  cells.forEach((cell, k) => {
    const x = cell.column * side, y = cell.row * side, chosen = k === lit;
    for (const [color, width] of [["#000000aa", chosen ? 9 : 4], [CELL, chosen ? 5 : 1.5]]) {
      context.strokeStyle = color; context.lineWidth = width;
      context.strokeRect(x + 2, y + 2, side - 4, side - 4);
    }
    context.lineWidth = 4; context.strokeStyle = "#000000cc"; context.fillStyle = CELL;
    context.strokeText(k + 1, x + side / 2, y + side / 2);
    context.fillText(k + 1, x + side / 2, y + side / 2);
  });
}

// a colour bar with values and unit; sides: whether to name what the two signs say
export function bar(element, half, unit, { sides = true, positive = false } = {}) {
  element.replaceChildren();
  const strip = document.createElement("canvas");
  strip.width = 256; strip.height = 1; strip.setAttribute("aria-hidden", "true");
  const context = strip.getContext("2d");
  for (let k = 0; k < 256; k++) {
    const [r, g, b] = diverging(positive ? k / 255 : k / 127.5 - 1);
    context.fillStyle = `rgb(${r}, ${g}, ${b})`;
    context.fillRect(k, 0, 1, 1);
  }
  const [factor, times] = power(half);
  const row = (name, ...texts) => {
    const line = document.createElement("div");
    line.className = name;
    for (const [text, kind] of texts) {
      const part = document.createElement("span");
      part.textContent = text;
      if (kind) part.className = kind;
      line.append(part);
    }
    return line;
  };
  const end = short(half * factor);
  const ticks = positive ? [["0"], [`+${end}`]] : [[`−${end}`], ["0"], [`+${end}`]];
  element.append(strip, row("ticks", ...ticks));
  if (sides) element.append(row("sides", ...(positive ? [[""]] : [["against", "against"]]), ["for the finding", "for"]));
  element.append(row("unit", [unit + times]));
}

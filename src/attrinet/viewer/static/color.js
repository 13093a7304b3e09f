// The diverging colours: blue against, orange for, told apart with every common colour blindness, equally light on
// both sides, and bright enough to be seen over a dark radiograph.

const STOPS = [[0, 87, 168], [86, 168, 233], [247, 247, 247], [242, 154, 48], [190, 75, 0]];

// value in [-1, 1] → [r, g, b], 0 to 255; 0 is white
export function diverging(value) {
  const at = (Math.min(1, Math.max(-1, value)) + 1) * 2;
  const k = Math.min(3, Math.floor(at)), f = at - k;
  return STOPS[k].map((v, i) => v + (STOPS[k + 1][i] - v) * f);
}

// strength of the colour over the image at a scaled value: 0 leaves the image as it is
export const strength = (value) => Math.min(1, Math.abs(value)) ** 0.7;

// half-width of a symmetric range: a high percentile of |values|, so that one pixel does not set it
export function limit(arrays, share = 0.998) {
  const all = Float32Array.from(arrays.flatMap((a) => Array.from(a, Math.abs))).sort();
  return Math.max(all[Math.floor(share * (all.length - 1))] ?? 0, 1e-9);
}

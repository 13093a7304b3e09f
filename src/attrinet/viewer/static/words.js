// Numbers and places in words: what a screen reader says is what everybody reads.

export const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
export const signed = (value, digits = 2) => (value >= 0 ? "+" : "") + number(value, digits);
// three digits that count
export const short = (value) => number(value, value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2);
export const percent = (share) => `${number(100 * share, share < 0.0995 && share > 0 ? 1 : 0)}\u00a0%`;

// [factor, " × 10⁻³"] that bring a value to between 1 and 1000
export function power(value) {
  const exponent = value >= 0.1 && value < 1000 ? 0 : Math.floor(Math.log10(value) / 3) * 3;
  if (!exponent) return [1, ""];
  const raised = String(exponent).replace(/[-\d]/g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]));
  return [10 ** -exponent, ` × 10${raised}`];
}

const ROWS = ["upper", "middle", "lower"], COLUMNS = ["left", "centre", "right"];

// the ninth of the image in which the values of one sign sum to most: { place, total, share }
export function strongest(values, size, sign) {
  const sums = new Float64Array(9);
  for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) {
    const v = values[y * size + x] * sign;
    if (v > 0) sums[Math.floor((3 * y) / size) * 3 + Math.floor((3 * x) / size)] += v;
  }
  const all = sums.reduce((a, b) => a + b, 0), k = sums.indexOf(Math.max(...sums));
  const [row, column] = [ROWS[Math.floor(k / 3)], COLUMNS[k % 3]];
  const place = row === "middle" && column === "centre" ? "centre" : `${row} ${column}`;
  return { place, total: sums[k] * sign, share: all ? sums[k] / all : 0, all: all * sign };
}

// contributions in logits → a sentence about each sign
export function whereLogits(values, size) {
  const say = (name, sign) => {
    const found = strongest(values, size, sign);
    if (Math.abs(found.all) < 5e-3) return `No evidence ${name} to speak of.`;
    return `Strongest evidence ${name}: ${found.place} of the image, ${signed(found.total)} of ${signed(found.all)} logits.`;
  };
  return `${say("for", 1)} ${say("against", -1)}`;
}

// maps of any unit
export function wherePositive(values, size) {
  const found = strongest(values, size, 1);
  if (!found.share) return "No positive evidence anywhere.";
  return `Most positive evidence: ${found.place} of the image, ${percent(found.share)} of it all.`;
}

export function inside(values, mask) {
  let all = 0, within = 0, area = 0;
  for (let k = 0; k < values.length; k++) {
    const v = Math.max(0, values[k]);
    all += v; if (mask[k]) { within += v; area += 1; }
  }
  if (!all) return "";
  return `${percent(within / all)} of the positive evidence lies in the annotated lesion, which covers ${percent(area / values.length)} of the image.`;
}

export function duration(seconds) {
  if (seconds < 1.5) return "about a second";
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${Math.round(seconds / 3600)} h`;
}

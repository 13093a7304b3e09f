// Validation AUC over steps as a small SVG.
import { number } from "./words.js";

const NAMESPACE = "http://www.w3.org/2000/svg", WIDTH = 760, HEIGHT = 260, LEFT = 44, RIGHT = 190, TOP = 12, BOTTOM = 34;
const COLORS = ["#3b6fb6", "#b3541e", "#2f7d4f", "#8e5aa8", "#8a6a10", "#2f7f8a", "#a5536b", "#52606d"];

function shape(tag, attributes, text = "") {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

export function curve(training, findings) {
  const lines = [...findings.map((name, k) => [name, COLORS[k % COLORS.length], 1.4, training.map((r) => r.auc[name])]),
    ["mean", "#16212c", 2.8, training.map((r) => r.mean)]];
  const known = lines.flatMap((line) => line[3]).filter((v) => v != null);
  const low = Math.floor(Math.min(0.5, ...known) * 10) / 10, last = training.at(-1).step;
  const x = (step) => LEFT + ((WIDTH - LEFT - RIGHT) * step) / last, y = (v) => TOP + ((HEIGHT - TOP - BOTTOM) * (1 - v)) / (1 - low);
  const mean = training.at(-1).mean;
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curve", role: "img",
    "aria-label": `Validation AUC over ${last} steps; the mean ends at ${mean == null ? "unknown" : number(mean, 3)}` });
  for (let v = low; v <= 1.0001; v += 0.1) {
    svg.append(shape("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(v), y2: y(v), stroke: "#e2e6ea" }),
      shape("text", { x: LEFT - 8, y: y(v) + 4, "text-anchor": "end", "font-size": 12, fill: "#52606d" }, number(v, 1)));
  }
  for (const [anchor, step] of [["start", 0], ["end", last]]) {
    svg.append(shape("text", { x: x(step), y: HEIGHT - 14, "text-anchor": anchor, "font-size": 12, fill: "#52606d" }, `${step}${step ? " steps" : ""}`));
  }
  lines.forEach(([name, color, width, values], k) => {
    const points = training.map((r, i) => (values[i] == null ? null : `${x(r.step)},${y(values[i])}`)).filter(Boolean);
    const at = TOP + 14 + 19 * k, side = WIDTH - RIGHT + 14;
    svg.append(shape("polyline", { points: points.join(" "), fill: "none", stroke: color, "stroke-width": width }),
      shape("line", { x1: side, x2: side + 18, y1: at - 4, y2: at - 4, stroke: color, "stroke-width": width + 0.6 }),
      shape("text", { x: side + 24, y: at, "font-size": 12, fill: "#16212c" }, name));
  });
  return svg;
}

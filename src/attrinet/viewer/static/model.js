// The second tab: metrics of the run, class centres and weights. Loaded when it is first looked at.
import { floats, json } from "./api.js";
import { limit } from "./color.js";
import { curve } from "./curve.js";
import * as draw from "./draw.js";
import { $, complain, make, onChange, state } from "./state.js";
import { number } from "./words.js";

export function startModel() {
  let loaded = false;
  onChange(async (what) => {
    if (what !== "tab" || $("panel-model").hidden || loaded) return;
    loaded = true;
    try {
      await Promise.all([metrics(), centers()]);
    } catch (error) { loaded = false; complain(error); }
  });
}

const interval = (v, digits = 3) => (v?.value == null ? "–" : v.low == null ? number(v.value, digits)
  : `${number(v.value, digits)} [${number(v.low, digits)}, ${number(v.high, digits)}]`);

async function metrics() {
  const { evaluation, stale, training } = await json("/api/model/metrics");
  const parts = [];
  if (evaluation) parts.push(...summary(evaluation));
  else if (stale) parts.push(make("p", { className: "muted", textContent: "The evaluation of this run is of other weights than it has now: run attrinet evaluate again." }));
  else parts.push(make("p", { className: "muted", textContent: "This run has not been evaluated: attrinet evaluate writes AUC, thresholds and sensitivities, and this page shows them." }));
  if (training.length > 1) parts.push(make("h3", { textContent: "Validation AUC while it trained" }), make("div", { className: "wide" }, curve(training, state.info.findings)));
  $("metrics").replaceChildren(...parts);
}

function summary(evaluation) {
  const disease = evaluation.disease_sensitivity?.true_positives ?? {}, sensitivity = evaluation.class_sensitivity ?? {};
  const share = (v) => (v == null ? "–" : number(v));
  const tile = (value, label, note) => make("div", { className: "tile" }, make("b", { textContent: value }), label, make("br"), make("span", { className: "muted small", textContent: note }));
  const tiles = [tile(interval({ value: evaluation.auc.mean.value }), "mean AUC", evaluation.auc.mean.low == null ? "no interval (too few patients, or all draws agree)" : `95 % interval ${number(evaluation.auc.mean.low, 3)} to ${number(evaluation.auc.mean.high, 3)}`)];
  if (sensitivity.mean != null) tiles.push(tile(share(sensitivity.mean), "class sensitivity", "chance 0.25, best 1"));
  if (disease.mean) tiles.push(tile(`${interval({ value: disease.mean.enrichment?.value }, 1)} ×`, "evidence in the lesion", "denser than by chance, true positives"));
  const head = ["finding", "AUC [95 % interval]", "threshold", "sensitivity", "specificity", "class sensitivity", "evidence in the lesion"];
  const rows = state.info.findings.map((name) => {
    const calls = evaluation.calls?.[name] ?? {};
    return [name, interval(evaluation.auc[name]), calls.threshold == null ? "–" : number(calls.threshold), interval(calls.sensitivity, 2), interval(calls.specificity, 2), share(sensitivity[name]?.mean), interval(disease[name]?.inside, 2)];
  });
  return [
    make("p", { className: "muted", textContent: `Judged on ${evaluation.images} ${evaluation.split ?? ""} images of ${evaluation.patients} patients${evaluation.where?.length ? `, only those with ${evaluation.where.join(" and ")}` : ""}; intervals by bootstrap over patients.` }),
    make("div", { className: "tiles" }, ...tiles), table("Metrics of every finding", head, rows),
  ];
}

function table(caption, head, rows) {
  const body = rows.map(([first, ...rest]) => make("tr", {}, make("th", { scope: "row", textContent: first }), ...rest.map((v) => make("td", { textContent: v }))));
  const wide = make("div", { className: "wide", tabIndex: 0 }, make("table", {}, make("caption", { textContent: caption }),
    make("thead", {}, make("tr", {}, ...head.map((v) => make("th", { scope: "col", textContent: v })))), make("tbody", {}, ...body)));
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", caption);
  return wide;
}

async function centers() {
  const found = await json("/api/model/global");
  if (!found.centers) {
    $("global").replaceChildren(make("p", { className: "muted", textContent: `A ${state.info.kind} has no global explanation: class centres are Attri-Net's.` }));
    return;
  }
  const all = await floats("/api/model/centers"), size = state.info.image_size, area = size * size, count = found.findings.length;
  const center = (sign, c) => all.subarray((sign * count + c) * area, (sign * count + c + 1) * area);
  const half = limit([all]), heaviest = limit(state.info.weights, 1);
  const parts = [make("p", { className: "muted", textContent: "The centres are the typical attribution maps of images with and without a finding; the weights say how much a change in each cell counts. The colours are the same for all findings." })];
  found.findings.forEach((finding, c) => {
    const title = make("h3", { textContent: `${finding.name} (bias ${number(finding.bias, 3)})` });
    parts.push(make("div", {}, title, make("div", { className: "triple" },
      picture(`Positive centre of ${finding.name}`, "positive centre", center(0, c), size, half, "change of grey level"),
      picture(`Negative centre of ${finding.name}`, "negative centre", center(1, c), size, half, "change of grey level"),
      picture(`Weights of ${finding.name}`, "weights", state.info.weights[c], found.grid, heaviest, "logits per mean change in a cell"))));
  });
  $("global").replaceChildren(...parts);
}

function picture(label, title, values, size, half, unit) {
  const canvas = make("canvas"), bar = make("div", { className: "bar" });
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${label}: from ${number(low, 3)} to ${number(high, 3)} ${unit}`);
  draw.signed(canvas, { values, size, half });
  draw.bar(bar, half, unit, { sides: false });
  return make("figure", {}, make("p", { className: "small", textContent: title }), canvas, bar);
}

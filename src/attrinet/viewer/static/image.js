// The first tab: findings, evidence, counterfactual, and the sum that is the decision.
import { limit } from "./color.js";
import * as draw from "./draw.js";
import { $, changed, contributions, make, onChange, state } from "./state.js";
import { number, power, signed, whereLogits } from "./words.js";

let lit = null;        // which of the strongest cells is pointed at
let followed = true;   // the finding on top is shown until one is chosen

export function startImage() {
  onChange((what) => {
    if (what === "image") opened();
    if (what === "findings") arrived();
    if (what === "finding") chosen();
  });
  $("opacity").addEventListener("input", drawEvidence);
  for (const id of ["sign", "range", "cells", "outline"]) $(id).addEventListener("change", drawEvidence);
  $("outline").addEventListener("change", drawMix);
  $("mix").addEventListener("input", drawMix);
}

function opened() {
  followed = true;
  $("welcome").hidden = true;
  $("result").hidden = false;
  $("findings-card").hidden = false;
  $("image-name").textContent = state.image.name;
  const truth = state.image.truth;
  $("image-truth").textContent = truth ? `${truth.split} image of the store · ${labelled(truth)}` : "opened from a file; what it truly shows is not known here";
  $("findings").replaceChildren();
  $("decision").textContent = "";
  $("evidence-words").textContent = $("counterfactual-words").textContent = "";
  $("evidence-bar").replaceChildren();
  $("sum").replaceChildren();
  $("sum-words").textContent = "";
  const size = state.info.image_size;
  draw.greyscale($("evidence"), { values: state.image.pixels, size });
  draw.greyscale($("counterfactual"), { values: state.image.pixels, size });
  progress();
}

function labelled(truth) {
  const named = (label) => state.info.findings.filter((_, c) => truth.labels[c] === label);
  const [present, unknown] = [named(1), named(null)];
  return `labelled: ${present.join(", ") || "none of the findings"}` + (unknown.length ? `; unknown: ${unknown.join(", ")}` : "");
}

function progress() {
  const missing = state.info.findings.length - state.image.findings.length;
  $("findings-progress").textContent = missing ? `computing ${missing} more…` : "";
}

function arrived() {
  progress();
  const sorted = [...state.image.findings].sort((a, b) => b.margin - a.margin);
  const focused = document.activeElement?.name === "finding";
  $("findings").replaceChildren(...sorted.map(choice));
  if (followed) choose(sorted[0].finding);
  else mark();
  if (focused) $("findings").querySelector("input:checked")?.focus();
}

function choice(said) {
  const input = make("input", { type: "radio", name: "finding", value: said.finding });
  input.addEventListener("change", () => { followed = false; choose(said.finding); });
  const truth = state.image.truth?.labels[said.finding];
  const fill = make("span", { className: "fill" }), tick = make("span", { className: "tick" });
  fill.style.width = `${100 * said.probability}%`;
  tick.style.left = `calc(${100 * said.threshold}% - 1px)`;
  const meter = make("span", { className: "meter" }, fill, tick);
  meter.setAttribute("aria-hidden", "true");
  const detail = `${said.called ? "called" : "not called"}: ${signed(said.margin)} logits from the threshold ${number(said.threshold)}`
    + (truth === undefined ? "" : ` · labelled ${truth === null ? "unknown" : truth ? "present" : "absent"}`);
  return make("label", { className: said.called ? "finding called" : "finding" }, input,
    make("span", { className: "name", textContent: said.name }),
    make("span", { className: "p", textContent: number(said.probability) }), meter,
    make("span", { className: "detail", textContent: detail }));
}

function choose(finding) {
  state.finding = finding;
  changed("finding");
}

function mark() {
  for (const input of $("findings").querySelectorAll("input")) input.checked = Number(input.value) === state.finding;
}

const current = () => state.image.findings.find((said) => said.finding === state.finding);

function chosen() {
  lit = null;
  mark();
  const said = current();
  $("decision").textContent = `${said.name}: probability ${number(said.probability, 3)}, threshold ${number(said.threshold, 3)}: `
    + (said.called ? "called." : "not called.");
  $("outline-wrap").hidden = !(state.finding in state.image.masks);
  $("range").parentElement.hidden = $("sign").parentElement.hidden = $("opacity").parentElement.hidden = !state.info.map;
  $("cells").parentElement.hidden = !said.cells;
  $("counterfactual-card").hidden = state.info.map !== "attribution";
  drawEvidence();
  drawMix();
  writeSum(said);
}

function drawEvidence() {
  if (state.finding === null) return;
  const said = current(), size = state.info.image_size, values = contributions(state.finding);
  const mask = $("outline").checked ? state.image.masks[state.finding] : null;
  if (!values) {
    $("evidence-title").textContent = "Image";
    draw.greyscale($("evidence"), { values: state.image.pixels, size, mask });
    $("evidence-words").textContent = `A ${state.info.kind} has no explanation of its own; the tab “Compare” has post-hoc ones.`;
    return;
  }
  const same = $("range").value === "same";
  const half = limit(same ? state.image.findings.map((s) => contributions(s.finding)) : [values]);
  const cells = $("cells").checked ? said.cells : lit === null ? [] : said.cells;
  draw.evidence($("evidence"), {
    image: state.image.pixels, values, size, half, opacity: $("opacity").value / 100, sign: $("sign").value, mask,
    cells, grid: said.grid, lit,
  });
  draw.bar($("evidence-bar"), half, "logits per pixel");
  $("evidence-words").textContent = whereLogits(values, size) + (mask ? " Outlined: the annotated lesion." : "");
}

function drawMix() {
  const map = state.info.map === "attribution" && state.image.maps[state.finding];
  if (!map) return;
  const share = $("mix").value / 100, values = state.image.pixels.map((v, k) => v + share * map[k]);
  const mask = $("outline").checked ? state.image.masks[state.finding] : null;
  draw.greyscale($("counterfactual"), { values, size: state.info.image_size, mask });
  const change = map.reduce((sum, v) => sum + Math.abs(v), 0) / map.length / 2;
  const words = share === 1 ? `What the model would take for this image without ${current().name}`
    : share ? `${$("mix").value} % of the way to the image without ${current().name}` : "The image as the model sees it";
  $("mix").setAttribute("aria-valuetext", words);
  $("counterfactual-words").textContent = `${words}. All the way changes grey by ${number(100 * change, 1)} % of the range on average.`;
}

function writeSum(said) {
  const table = $("sum"), own = said.cells?.[0] && "weight" in said.cells[0];
  const width = own ? 4 : 2;
  const largest = Math.max(...(said.cells ?? []).map((cell) => Math.abs(cell.logits)), 1e-6);
  const digits = said.cells ? Math.max(3, Math.min(6, 2 - Math.floor(Math.log10(largest)))) : 3;
  const logits = (value) => signed(value, digits);
  const row = (className, head, ...values) => {
    const line = make("tr", { className }, make("th", { scope: "row" }, head));
    while (values.length < width - 1) values.unshift("");
    line.append(...values.map((v) => make("td", {}, v)));
    return line;
  };
  const body = make("tbody");
  if (said.cells) {
    const [factor, times] = power(Math.max(...said.cells.map((c) => Math.abs(c.change ?? 1))));
    const head = own ? ["term", `mean change in the cell${times}`, "weight", "logits"] : ["term", "logits"];
    const line = make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text })));
    body.append(row("", "bias", logits(said.bias)));
    said.cells.forEach((cell, k) => {
      const cells = own ? [signed(cell.change * factor, 2), `× ${signed(cell.weight, 3)}`] : [];
      const item = row("cell", pointer(cell, k), ...cells, `${own ? "= " : ""}${logits(cell.logits)}`);
      item.addEventListener("mouseenter", () => point(k));
      item.addEventListener("mouseleave", () => point(null));
      body.append(item);
    });
    body.append(row("", `the other ${said.others} cells together`, logits(said.others_logits)));
    table.replaceChildren(make("thead", {}, line), body);
  } else {
    table.replaceChildren(body);
  }
  body.append(row("total", said.cells ? "sum = logit" : "logit", logits(said.logit)));
  body.append(row("", "probability = 1 / (1 + exp(−logit))", number(said.probability, 4)));
  body.append(row("", "threshold", number(said.threshold, 4)));
  body.append(row("result", "decision", said.called ? `${said.name} is called` : `${said.name} is not called`));
  $("sum-words").textContent = !said.cells ? `A ${state.info.kind} does not say what its logit is made of.`
    : `The ten strongest of ${said.grid} × ${said.grid} cells, each ${own ? "its mean change of grey level times the weight learned for it" : "the sum of its contributions"}. With the bias and the rest they are the logit; nothing is left out.`;
}

function pointer(cell, k) {
  const button = make("button", { type: "button", className: "link", textContent: `${k + 1}. row ${cell.row + 1}, column ${cell.column + 1}` });
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("focus", () => point(k));
  button.addEventListener("blur", () => point(null));
  button.addEventListener("click", () => point(k));
  return button;
}

function point(k) {
  if (lit === k) return;
  lit = k;
  [...$("sum").querySelectorAll("tr.cell")].forEach((line, at) => {
    line.classList.toggle("lit", at === k);
    line.querySelector("button").setAttribute("aria-pressed", at === k);
  });
  drawEvidence();
}

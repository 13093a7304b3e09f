// The third tab: several explainers of one finding on the same image. Slow ones are computed beside, with progress.
import { ask, floats, json } from "./api.js";
import { limit } from "./color.js";
import * as draw from "./draw.js";
import { $, complain, make, onChange, say, state } from "./state.js";
import { duration, inside, wherePositive } from "./words.js";

const POLL = 700;  // milliseconds
let cards = [];    // of the image and finding shown

export function startCompare() {
  for (const explainer of state.info.explainers) {
    const box = make("input", { type: "checkbox", value: explainer.key, checked: explainer.key === "own" || explainer.key === "gradcam" });
    const cost = make("small");
    cost.dataset.explainer = explainer.key;
    $("explainers").append(make("label", {}, box, make("b", { textContent: explainer.label }), cost));
  }
  state.info.findings.forEach((name, c) => $("compare-finding").append(make("option", { textContent: name, value: c })));
  $("compare-finding").addEventListener("change", () => clear());
  $("compare-form").addEventListener("submit", (event) => { event.preventDefault(); start().catch(complain); });
  onChange((what) => {
    if (what === "image") { clear(); refresh(); }
    if (what === "findings") refresh();
    if (what === "tab" && !$("panel-compare").hidden && state.finding !== null && !cards.length) {
      $("compare-finding").value = state.finding;
      refresh();
    }
  });
}

function refresh() {
  $("compare-empty").hidden = Boolean(state.image);
  $("compare-form").hidden = !state.image;
  if (!state.image) return;
  $("compare-image").textContent = `Image: ${state.image.name}`;
  const times = state.image.findings.map((said) => said.seconds).sort((a, b) => a - b);
  const pass = times[times.length >> 1];
  for (const explainer of state.info.explainers) {
    const cost = explainer.slow && pass ? `; ${explainer.passes.toLocaleString("en")} passes, ${duration(explainer.passes * pass)} here` : "";
    document.querySelector(`[data-explainer="${explainer.key}"]`).textContent = explainer.what + cost;
  }
}

// what is not finished is stopped, unless it is about to be asked for again
function clear(keep = []) {
  for (const card of cards) {
    card.dropped = true;
    if (!card.finished && !keep.includes(card.path)) ask(card.path, { method: "DELETE" }).catch(() => {});
  }
  cards = [];
  $("compare-results").replaceChildren();
}

const pathOf = (image, finding, key) => `${image.path}/findings/${finding}/explainers/${key}`;

async function start() {
  const finding = Number($("compare-finding").value), image = state.image;
  const keys = [...$("explainers").querySelectorAll("input:checked")].map((box) => box.value);
  if (!keys.length) return complain(new Error("choose at least one explainer"));
  clear(keys.map((key) => pathOf(image, finding, key)));
  say(`Explaining ${state.info.findings[finding]} by ${keys.length} methods`);
  cards = keys.map((key) => card(state.info.explainers.find((e) => e.key === key), image, finding));
  $("compare-results").replaceChildren(...cards.map((c) => c.element));
  await Promise.all(cards.map(follow));
}

function card(explainer, image, finding) {
  const canvas = make("canvas", { hidden: true }), bar = make("div", { className: "bar" }), words = make("figcaption");
  const text = make("span", { textContent: "waiting…" }), progress = make("progress", { max: 1 });
  const stop = make("button", { type: "button", textContent: "Stop" });
  const blank = make("div", { className: "blank" }, text, progress, stop);
  progress.setAttribute("aria-label", `Progress of ${explainer.label}`);
  stop.setAttribute("aria-label", `Stop ${explainer.label}`);
  const element = make("figure", { className: "card" }, make("h3", { textContent: explainer.label }), blank, canvas, bar, words);
  const path = pathOf(image, finding, explainer.key);
  const made = { element, explainer, image, finding, path, canvas, bar, words, text, progress, stop, blank, dropped: false, finished: false };
  stop.addEventListener("click", () => ask(path, { method: "DELETE" }).catch(complain));
  return made;
}

async function follow(card) {
  let report;
  try {
    report = await json(card.path, { method: "POST" });
    while (!card.dropped && ["waiting", "running"].includes(report.state)) {
      card.text.textContent = report.state === "waiting" ? "waiting for its turn…"
        : `computing… ${report.seconds_left ? `${duration(report.seconds_left)} left` : ""}`;
      if (report.share > 0) card.progress.value = report.share;
      await new Promise((done) => setTimeout(done, POLL));
      report = await json(card.path);
    }
    if (card.dropped) return;
    card.finished = true;
    if (report.state === "done") return show(card, await floats(`${card.path}/map`));
    card.text.textContent = report.state === "cancelled" ? "stopped" : report.message;
  } catch (error) {
    card.text.textContent = error.message;
  }
  card.progress.remove();
  card.stop.remove();
}

function show(card, values) {
  const size = state.info.image_size, half = limit([values]), positive = values.every((v) => v >= 0);
  const mask = card.image.masks[card.finding];
  card.blank.remove();
  card.canvas.hidden = false;
  draw.evidence(card.canvas, { image: card.image.pixels, values, size, half, mask });
  draw.bar(card.bar, half, card.explainer.unit, { positive, sides: !card.explainer.what.startsWith("a floor") });
  card.words.textContent = `${wherePositive(values, size)} ${mask ? inside(values, mask) : ""}`;
  card.canvas.setAttribute("role", "img");
  card.canvas.setAttribute("aria-label", `${card.explainer.label}: ${card.words.textContent}`);
  say(`${card.explainer.label} is there`);
}

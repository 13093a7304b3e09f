import { json } from "./api.js";
import { startCompare } from "./compare.js";
import { startImage } from "./image.js";
import { startModel } from "./model.js";
import { startOpening } from "./open.js";
import { startStore } from "./store.js";
import { $, complain, state } from "./state.js";
import { tabs } from "./tabs.js";

try {
  state.info = await json("/api/model");
  document.title = `${state.info.run} · attrinet viewer`;
  $("run-name").textContent = state.info.run;
  $("run-kind").textContent = `${state.info.kind}, ${state.info.image_size} × ${state.info.image_size} pixels`;
  $("phantom-note").hidden = state.info.store?.adapter !== "phantom";
  $("upload-limit").textContent = state.info.limits.upload_bytes >> 20;
  startImage();
  startModel();
  startCompare();
  startStore();
  tabs(document.querySelector("[role=tablist]"));
  await startOpening();
  document.body.dataset.ready = "yes";
} catch (error) {
  complain(error);
}

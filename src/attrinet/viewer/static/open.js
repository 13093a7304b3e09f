// Opening images: files, the session's earlier ones, and forgetting them all.
import { ask, bytes, floats, json, upload } from "./api.js";
import { $, changed, complain, make, say, state } from "./state.js";

let turn = 0;  // of the image that is being shown; what belongs to an earlier one is dropped

export async function startOpening() {
  $("file").addEventListener("change", (event) => {
    openFiles([...event.target.files]);
    event.target.value = "";
  });
  const drop = $("drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") openFiles([...event.dataTransfer.files]);
    });
  }
  $("opened").addEventListener("change", (event) => {
    show(JSON.parse(event.target.selectedOptions[0].dataset.image)).catch(complain);
  });
  $("end-session").addEventListener("click", async () => {
    try {
      await ask("/api/session", { method: "DELETE" });
      location.reload();
    } catch (error) { complain(error); }
  });
  const earlier = await json("/api/images");
  earlier.forEach(list);
  if (earlier.length) await show(earlier.at(-1));
}

async function openFiles(files) {
  const file = files[0];
  if (!file) return;
  const limit = state.info.limits.upload_bytes;
  if (file.size > limit) return complain(new Error(`${file.name}: larger than the limit of ${limit >> 20} MB`));
  await open(file.name, () => upload(file));
}

export async function open(name, request) {
  $("error").replaceChildren();
  say(`Reading ${name}`);
  document.body.dataset.busy = "yes";
  try {
    const image = await request();
    list(image);
    await show(image);
  } catch (error) {
    complain(error);
  } finally {
    delete document.body.dataset.busy;
  }
}

function list(image) {
  const options = $("opened").options;
  const option = make("option", { textContent: image.name, value: image.id });
  option.dataset.image = JSON.stringify(image);
  $("opened").append(option);
  while (options.length > state.info.limits.images) options[0].remove();
  $("opened-wrap").hidden = false;
}

// the findings come one by one; the first is shown while the others are computed
async function show(described) {
  const mine = ++turn, path = `/api/images/${described.id}`;
  const pixels = await floats(`${path}/pixels`);
  if (mine !== turn) return;
  state.image = { ...described, path, pixels, findings: [], maps: [], masks: {} };
  state.finding = null;
  $("opened").value = described.id;
  changed("image");
  for (const c of described.truth?.annotated ?? []) {
    const mask = await bytes(`${path}/findings/${c}/mask`);
    if (mine !== turn) return;
    state.image.masks[c] = mask;
  }
  for (let c = 0; c < state.info.findings.length; c++) {
    const said = await json(`${path}/findings/${c}`);
    const map = state.info.map ? await floats(`${path}/findings/${c}/map`) : null;
    if (mine !== turn) return;
    state.image.maps[c] = map;
    state.image.findings.push(said);
    changed("findings");
  }
  const first = [...state.image.findings].sort((a, b) => b.margin - a.margin)[0];
  say(`${described.name}: all findings are there. ${first.name} is ${first.called ? "called" : "the nearest, not called"}.`);
}

// Picking an image from the store, in a dialog.
import { json } from "./api.js";
import { open } from "./open.js";
import { $, complain, make, state } from "./state.js";

let page = 0, turn = 0;  // turn: of the latest request; an earlier one may be answered later

export function startStore() {
  const store = state.info.store;
  $("open-store").hidden = !store;
  if (!store) return;
  for (const split of store.splits) $("store-split").append(make("option", { textContent: split }));
  $("store-split").value = store.splits.includes("test") ? "test" : "";
  for (const name of state.info.findings) $("store-finding").append(make("option", { textContent: name }));
  $("open-store").addEventListener("click", () => { $("store-dialog").showModal(); refresh(); });
  $("store-close").addEventListener("click", () => $("store-dialog").close());
  $("store-filter").addEventListener("submit", (event) => event.preventDefault());
  let waiting;
  const later = (milliseconds) => {
    clearTimeout(waiting);
    busy(true);
    waiting = setTimeout(() => { page = 0; refresh(); }, milliseconds);
  };
  $("store-filter").addEventListener("change", () => later(0));
  $("store-search").addEventListener("input", () => later(250));
  $("store-back").addEventListener("click", () => { page -= 1; refresh(); });
  $("store-next").addEventListener("click", () => { page += 1; refresh(); });
}

const busy = (is) => $("store-images").setAttribute("aria-busy", is);

async function refresh() {
  busy(true);
  $("store-state").disabled = !$("store-finding").value;
  const query = new URLSearchParams({
    split: $("store-split").value, finding: $("store-finding").value, state: $("store-state").value,
    search: $("store-search").value, page,
  });
  try {
    const mine = ++turn, found = await json(`/api/store?${query}`);
    if (mine !== turn) return;
    page = found.page;
    $("store-count").textContent = found.count === 1 ? "1 image" : `${found.count} images`;
    $("store-page").textContent = `page ${found.page + 1} of ${found.pages}`;
    $("store-back").disabled = !found.page;
    $("store-next").disabled = found.page + 1 >= found.pages;
    $("store-images").replaceChildren(...found.images.map(entry));
    busy(false);
  } catch (error) {
    $("store-dialog").close();
    complain(error);
  }
}

function entry(image) {
  const picture = make("img", { src: `/api/store/${image.row}/thumbnail`, alt: "", loading: "lazy" });
  const button = make("button", { type: "button" }, picture, make("b", { textContent: image.id }),
    make("span", { className: "muted", textContent: image.present.join(", ") || "no finding" }));
  button.addEventListener("click", () => {
    $("store-dialog").close();
    open(image.id, () => json(`/api/store/${image.row}`, { method: "POST" }));
  });
  return make("li", {}, button);
}

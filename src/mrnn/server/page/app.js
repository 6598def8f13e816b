// The page: three tabs, by the part of the address after #.
import * as backend from "./backend.js";
import { CaptionTab } from "./caption_tab.js";
import { byId, el } from "./dom.js";
import { ModelTab } from "./model_tab.js";
import { SearchTab } from "./search_tab.js";

const TABS = ["caption", "search", "model"];

function show() {
  const [asked, query] = location.hash.slice(1).split("?");
  const tab = TABS.includes(asked) ? asked : "caption";
  for (const each of TABS) byId(`tab-${each}`).hidden = each !== tab;
  for (const link of document.querySelectorAll("[data-tab]")) {
    if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${tab === "caption" ? "Captions" : tab === "search" ? "Search" : "Model"} · mrnn`;
  tabs[tab]?.shown?.(new URLSearchParams(query || ""));
}

const tabs = {};
byId("viewer-close").addEventListener("click", () => byId("viewer").close());
byId("viewer").addEventListener("click", (event) => {
  if (event.target === byId("viewer")) byId("viewer").close(); // beside the photo
});
try {
  const model = await backend.model();
  tabs.caption = new CaptionTab(model);
  tabs.search = new SearchTab(model);
  tabs.model = new ModelTab(model);
  await tabs.caption.restore();
} catch (error) {
  byId("main").prepend(el("p", { className: "notice bad", role: "alert" }, error.message));
}
addEventListener("hashchange", show);
show();
document.documentElement.dataset.ready = "yes";

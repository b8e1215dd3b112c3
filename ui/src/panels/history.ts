import { h, say, set, show } from "../dom";
import { count, seconds } from "../format";
import { disclosure, type Panel } from "../parts/field";
import { paint } from "../parts/paint";
import type { Entry } from "../protocol";

export const history: Panel = (session) => {
  const empty = h("p", { class: "kdb-note" }, "Maps that were made are kept here, to go back to.");
  const list = h("ul", { class: "kdb-cards" });
  const { element, aside } = disclosure("History", "history", h("div", { class: "kdb-panel-body" }, empty, list));

  function card(entry: Entry, buffers: ArrayBuffer[]): HTMLElement {
    const picture = h("canvas", { class: "kdb-thumbnail", "aria-hidden": "true" });
    paint(picture, entry.thumbnail, buffers);
    const quality = entry.exact ? (entry.complete ? "exact" : "stopped") : "approximate";
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: "kdb-card",
          title: entry.text,
          "data-map": entry.map,
          on: { click: () => session.recall(entry.map, entry.text) },
        },
        picture,
        h("span", { class: "kdb-card-label" }, entry.label),
        h("span", { class: "kdb-note" }, `${seconds(entry.seconds)}, ${quality}`),
      ),
    );
  }

  session.store.watch(["history"], ({ history: { content, buffers } }) => {
    list.replaceChildren(...content.map((entry) => card(entry, buffers)));
    show(empty, content.length === 0);
    say(aside, content.length === 0 ? "" : count(content.length));
    set(element, "data-entries", content.length);
  });
  session.store.watch(["a", "history"], ({ a }) => {
    for (const each of list.querySelectorAll("button")) {
      set(each, "aria-current", each.dataset.map === String(a?.content.map) && !a?.former ? "true" : null);
    }
  });
  return element;
};

import { fill, h, options, say, set, show } from "../dom";
import { count, number } from "../format";
import { button, field, type Panel } from "../parts/field";
import { paint } from "../parts/paint";
import type { Gallery } from "../protocol";

const ALL = "";

function card(session: Parameters<Panel>[0], folder: string, given: Gallery["cards"][number], buffers: ArrayBuffer[]): HTMLElement {
  const picture = h("canvas", { class: "kdb-thumbnail", "aria-hidden": "true" });
  if (given.thumbnail !== null) paint(picture, given.thumbnail, buffers);
  const said = given.error !== "" ? given.error : given.baseline === null ? given.status : `${given.label} ${number(given.baseline)}`;
  return h(
    "li",
    {},
    h(
      "button",
      {
        type: "button",
        class: "kdb-card",
        title: said,
        disabled: given.thumbnail === null && given.status !== "done",
        "data-status": given.status,
        on: { click: () => session.openCard(folder, given.image) },
      },
      picture,
      h("span", { class: "kdb-card-label" }, given.image),
      h("span", { class: given.error === "" ? "kdb-note" : "kdb-refusal" }, said),
    ),
  );
}

/** The maps of a run over many images. */
export const gallery: Panel = (session) => {
  const { store } = session;
  const title = h("h3", { class: "kdb-heading" });
  const close = button("Close the run", () => session.closeRun(), { testid: "gallery-close", symbol: "close", quiet: true, only: true });
  const query = h("code", { class: "kdb-lines" });
  const use = button("Use this query", () => session.replace(query.textContent ?? ""), { testid: "gallery-query", quiet: true });
  const stands = h("p", { class: "kdb-note", role: "status" });
  const label = h("select", { class: "kdb-input", "data-testid": "gallery-label" });
  const chosen = (): string | null => (label.value === ALL ? null : label.value);
  const list = h("ul", { class: "kdb-cards" });
  const more = button("More", () => session.moreOfRun(chosen()), { testid: "gallery-more" });
  const filter = field("Label", label);
  filter.classList.add("kdb-beside");
  const element = h(
    "section",
    { class: "kdb-panel kdb-gallery", "aria-label": "Run", "data-testid": "gallery" },
    h("div", { class: "kdb-row kdb-summary" }, title, h("span", { class: "kdb-gap" }), close),
    h("div", { class: "kdb-panel-body kdb-stack" }, h("div", { class: "kdb-row" }, query, use), h("div", { class: "kdb-row" }, stands, filter), list, more),
  );
  label.addEventListener("change", () => {
    const folder = store.state.gallery[0]?.content.folder;
    if (folder !== undefined) session.openRun(folder, chosen());
  });
  let folder: string | null = null;
  let pages = 0;
  store.watch(["gallery", "galleryWaits"], ({ gallery: shown, galleryWaits }) => {
    const last = shown.at(-1)?.content;
    show(element, last !== undefined || galleryWaits);
    set(element, "data-waits", String(galleryWaits));
    if (last === undefined) {
      if (!galleryWaits) folder = null;
      say(stands, "Reading the run…");
      if (folder === null) list.replaceChildren();
      pages = 0;
      return;
    }
    if (folder !== last.folder) {
      folder = last.folder;
      element.scrollIntoView({ block: "nearest" });
    }
    say(title, `Run ${last.folder}`);
    say(query, last.query);
    say(stands, `${count(last.done)} of ${count(last.total)} images done${last.failed > 0 ? `, ${count(last.failed)} failed` : ""}`);
    const kept = label.value;
    options(label, [{ value: ALL, text: "All labels" }, ...last.labels.map((value) => ({ value, text: value }))]);
    fill(label, kept);
    show(filter, last.labels.length > 0);
    if (pages === 0) list.replaceChildren();
    for (const { content, buffers } of shown.slice(pages)) {
      list.append(...content.cards.map((each) => card(session, content.folder, each, buffers)));
    }
    pages = shown.length;
    set(element, "data-cards", list.childElementCount);
    show(more, last.more);
    more.disabled = galleryWaits;
  });
  return element;
};

import { h, icon, say } from "../dom";
import { button, type Panel } from "../parts/field";

const SYMBOLS = { folder: "folder", image: "image", run: "runs" } as const;

/** Chooses an image or a run from the folders under the root. */
export const browse: Panel = (session) => {
  const title = h("h3", { class: "kdb-heading" });
  const list = h("ul", { class: "kdb-entries" });
  const close = button("Close", () => session.endBrowsing(), { testid: "browse-close", symbol: "close", quiet: true, only: true });
  const dialog = h(
    "dialog",
    { class: "kdb-dialog", "aria-label": "Images and runs", "data-testid": "browser" },
    h("div", { class: "kdb-row" }, title, h("span", { class: "kdb-gap" }), close),
    list,
  );
  dialog.addEventListener("close", () => session.endBrowsing());
  // A click beside the dialog is one on its backdrop, which is the dialog itself.
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());

  const entry = (text: string, symbol: "folder" | "image" | "runs" | "up", click: () => void, hint = ""): HTMLElement =>
    h(
      "li",
      {},
      h("button", { type: "button", class: "kdb-entry", on: { click } }, icon(symbol), h("span", {}, text), h("span", { class: "kdb-hint" }, hint)),
    );
  session.store.watch(["browsing"], ({ browsing }) => {
    if (browsing && !dialog.open && dialog.isConnected) dialog.showModal();
    else if (!browsing && dialog.open) dialog.close();
  });
  session.store.watch(["folder", "welcome"], ({ folder, welcome }) => {
    if (folder === null) {
      say(title, "Reading…");
      return;
    }
    say(title, folder.folder === "" ? (welcome?.root ?? "") : folder.folder);
    const join = (name: string): string => (folder.folder === "" ? name : `${folder.folder}/${name}`);
    list.replaceChildren(
      ...(folder.parent === null ? [] : [entry("The folder above", "up", () => session.browse(folder.parent!))]),
      ...folder.entries.map(({ name, kind, source }) =>
        entry(
          name,
          SYMBOLS[kind],
          () => {
            if (kind === "folder") return session.browse(join(name));
            if (kind === "run") return session.openRun(source);
            session.endBrowsing();
            session.change({ control: "source", value: source });
          },
          kind === "run" ? "run" : "",
        ),
      ),
      ...(folder.entries.length === 0 ? [h("li", { class: "kdb-note" }, "There are no images, volumes or runs here.")] : []),
    );
  });
  return dialog;
};

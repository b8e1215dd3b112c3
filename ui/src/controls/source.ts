import { fill, h, set, show } from "../dom";
import { button, field, type Panel } from "../parts/field";

/** The way a query writes it: a path in quotes, and what is no path as it is. */
export function written(source: string): string {
  const text = source.trim();
  const isPath = /[./\\* ]/.test(text) && !/^(['$?]|manifest\b)/i.test(text);
  return isPath ? `'${text.replaceAll("'", "''")}'` : text;
}

export const source: Panel = (session) => {
  const input = h("input", { type: "text", class: "kdb-input", spellcheck: "false", autocomplete: "off", "data-testid": "source" });
  input.addEventListener("change", () => session.change({ control: "source", value: written(input.value) }));
  input.addEventListener("keydown", (event) => {
    const source = session.store.state.form?.source ?? "";
    if (event.key !== "Escape" || input.value === source) return;
    event.preventDefault();
    fill(input, source);
  });

  const file = h("input", { type: "file", class: "kdb-unseen", tabindex: -1, "aria-hidden": "true", "data-testid": "file" });
  file.addEventListener("change", () => {
    if (file.files?.[0]) void session.upload(file.files[0]);
    file.value = "";
  });
  const browse = button("Browse…", () => session.browse(session.store.state.folder?.folder ?? ""), {
    testid: "browse",
    symbol: "folder",
  });
  const open = button("Open a file…", () => file.click(), { testid: "open", symbol: "image" });
  const samples = h("div", { class: "kdb-chips", role: "group", "aria-label": "Images at hand", "data-testid": "samples" });

  session.store.watch(["form"], ({ form }) => fill(input, form?.source ?? ""));
  session.store.watch(["welcome", "dropped"], ({ welcome, dropped }) => {
    show(browse, welcome !== null && welcome.root !== null);
    show(open, welcome !== null && welcome.root !== null);
    samples.replaceChildren(
      ...[...(welcome?.samples ?? []), ...dropped.map(({ name, file }) => ({ name, title: file }))].map(({ name, title }) =>
        h(
          "button",
          {
            type: "button",
            class: "kdb-chip",
            title,
            "data-sample": name,
            on: { click: () => session.change({ control: "source", value: name }) },
          },
          name,
        ),
      ),
    );
    show(samples, samples.childElementCount > 0);
  });
  session.store.watch(["form", "welcome", "dropped"], ({ form }) => {
    for (const chip of samples.children) chip.setAttribute("aria-pressed", String(chip.textContent === form?.source));
  });
  const image = field("Image", input);
  session.store.watch(["understood"], ({ understood }) => {
    for (const each of [image, samples]) set(each, "inert", !understood);
    open.disabled = !understood;
  });
  return h("div", { class: "kdb-stack" }, image, samples, h("div", { class: "kdb-row" }, browse, open, file));
};

import { fill, h, options, say, set, show } from "../dom";
import { count, counted, number } from "../format";
import { button, field, scrolled, table, type Panel } from "../parts/field";
import type { HeatMap, Slot } from "../protocol";
import { unmodified } from "../scores";
import type { Shown } from "../state";
import { ofEarlier } from "./behind";

/** What became of comparing the map with the model itself. */
export function checkedInWords({ checked }: Pick<HeatMap, "checked">): string | null {
  if (checked === null) return null;
  const { positions, worst } = checked;
  if (!(worst <= 1)) return "The check failed: the model itself evaluated the whole map, so that its values are right.";
  const where = positions === 0 ? "on the unmodified image" : `at ${counted(positions, "position")}`;
  return `Compared with the model itself ${where}: the largest difference is ${number(100 * worst, 2)} % of what Exact allows.`;
}

export function qualityInWords({ exact, complete, ssim, done, total }: HeatMap): string {
  const evaluated = done < total ? `${count(done)} of ${counted(total, "position")} evaluated` : `${total === 1 ? "the" : "all"} ${counted(total, "position")} evaluated`;
  if (exact && complete) return `Exact, ${evaluated}`;
  const quality = complete || ssim !== null ? "Approximate" : "Incomplete";
  return `${quality}, ${evaluated}${ssim === null ? "" : `, expected SSIM ${ssim.toFixed(2)}`}`;
}

function slotPanel(session: Parameters<Panel>[0], slot: Slot): HTMLElement {
  const title = h("strong", {});
  const caption = h("span", { class: "kdb-note kdb-caption" });
  const which = h("select", { class: "kdb-input", "data-testid": `shown-${slot}` });
  const several = field("Class shown", which);
  several.classList.add("kdb-beside");
  const quality = h("span", { "data-testid": `quality-${slot}` });
  const check = h("span", { class: "kdb-note", "data-testid": `map-check-${slot}` });
  const notes = h("ul", { class: "kdb-notes", "data-testid": `map-notes-${slot}` });
  const formats = h("div", { class: "kdb-row kdb-formats", role: "group", "aria-label": "Export the map" });
  const files = h(
    "div",
    { class: "kdb-row", "data-testid": slot === "a" ? "export" : "export-b" },
    h("span", { class: "kdb-label" }, "Export"),
    formats,
  );
  const element = h(
    "div",
    { class: "kdb-result", "data-slot": slot, "data-testid": `result-${slot}` },
    h("div", { class: "kdb-row kdb-result-head" }, h("p", {}, title, " ", caption), several, files),
    h("p", {}, quality, ". ", check),
    notes,
    // Beneath, so that beside another map both begin at one height.
    ofEarlier(session, slot),
  );
  which.addEventListener("change", () => session.showClass(slot, Number(which.value)));
  let formatsShown = "";
  session.store.watch(["a", "b", "comparing", "run", "names"], (state) => {
    const shown: Shown | null = state[slot];
    show(element, shown !== null);
    if (shown === null) return;
    const map = shown.content;
    const grows = state.run.state === "running" && map.id === state.run.id && slot === state.run.slot && !map.last;
    const current = map.classes[shown.shown];
    const letter = state.b === null ? "" : slot === "a" ? "A: " : "B: ";
    say(title, `${letter}${current?.label ?? ""}`);
    const name = state.b === null ? null : state.names?.[slot];
    say(caption, [...(name ? [name] : []), unmodified(map.score, current?.baseline ?? NaN), ...(name === map.model ? [] : [map.model])].join(", "));
    show(several, map.classes.length > 1);
    options(which, map.classes.map(({ label, baseline }, at) => ({ value: String(at), text: `${label} (${number(baseline ?? NaN)})` })));
    fill(which, String(shown.shown));
    which.disabled = shown.former;
    say(quality, qualityInWords(map));
    set(quality, "data-exact", String(map.exact));
    const words = checkedInWords(map);
    say(check, words ?? "");
    show(check, words !== null);
    notes.replaceChildren(...map.notes.map((note) => h("li", {}, note)));
    show(notes, map.notes.length > 0);
    if (formatsShown !== map.formats.join()) {
      formatsShown = map.formats.join();
      formats.replaceChildren(
        // Two names of one kind of file.
        ...map.formats.filter((format) => format !== "jpeg").map((format) => button(format, () => session.export(slot, format), { testid: slot === "a" ? `export-${format}` : `export-b-${format}` })),
      );
    }
    show(files, map.formats.length > 0 && !grows);
    for (const each of formats.children) (each as HTMLButtonElement).disabled = shown.former;
  });
  return element;
}

export const result: Panel = (session) =>
  h("section", { class: "kdb-results", "aria-label": "Result" }, rows(session), slotPanel(session, "a"), slotPanel(session, "b"), notes(session));

/** A cell of a table; numbers with as many digits as are read. */
export function cellInWords(cell: string | number | boolean | null): string {
  if (cell === null) return "";
  return typeof cell === "number" && !Number.isInteger(cell) ? number(cell, 4) : String(cell);
}

/** What other statements give. */
const rows: Panel = (session) => {
  const element = h("div", { class: "kdb-rows", "data-testid": "table" });
  session.store.watch(["table"], ({ table: given }) => {
    element.replaceChildren();
    show(element, given !== null);
    if (given === null) return;
    const numeric = new Set(given.columns.keys());
    for (const row of given.rows) row.forEach((cell, at) => typeof cell !== "number" && cell !== null && numeric.delete(at));
    const cells = given.rows.map((row) => row.map((cell) => cellInWords(cell)));
    if (given.columns.length > 0) element.append(scrolled("Table", table(given.columns, cells, numeric)));
    if (given.lines.length > 0) element.append(h("pre", { class: "kdb-lines" }, given.lines.join("\n")));
  });
  return element;
};

/** What Python notes about the text, and no map beside it says already. */
const notes: Panel = (session) => {
  const element = h("ul", { class: "kdb-notes", "data-testid": "notes" });
  session.store.watch(["notes", "a", "b"], ({ notes, a, b }) => {
    const said = new Set([a, b].flatMap((shown) => shown?.content.notes ?? []));
    const left = notes.filter((note) => !said.has(note));
    element.replaceChildren(...left.map((note) => h("li", {}, note)));
    show(element, left.length > 0);
  });
  return element;
};

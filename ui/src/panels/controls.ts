import { classes, score } from "../controls/classes";
import { effort } from "../controls/effort";
import { fill } from "../controls/fill";
import { model } from "../controls/model";
import { others, over, region } from "../controls/region";
import { patch, stride } from "../controls/sizes";
import { source } from "../controls/source";
import { h, say, set, show } from "../dom";
import { button, type Panel } from "../parts/field";

/** One control a clause, in the order in which they are shown. */
const CONTROLS: Panel[] = [source, model, classes, score, over, patch, stride, fill, region, effort, others];

export const controls: Panel = (session) => {
  const heading = h("h3", { class: "kdb-heading" }, "Query");
  const why = h("span", {});
  const use = button("Use that query", () => session.replace(session.store.state.understoodText), { testid: "controls-use", quiet: true });
  const behind = h("div", { class: "kdb-note kdb-behind", role: "status", "data-testid": "controls-behind" }, why, " ", use);
  const waits = h("p", { class: "kdb-note" }, "Connecting…");
  // The first, the source, has a way to runs besides, which is there in any case.
  const parts = CONTROLS.map((control) => control(session));
  const all = h("div", { class: "kdb-controls-all" }, ...parts);
  const inner = h("div", { class: "kdb-controls-inner", tabindex: -1 }, heading, behind, waits, all);
  const element = h("section", { class: "kdb-controls", "aria-label": "Controls", "data-testid": "controls" }, inner);
  session.store.watch(["error", "understood", "understoodText", "settled", "welcome"], (state) => {
    const { error, understood, understoodText, settled, welcome } = state;
    // What a control would change is not in the text.
    parts.slice(1).forEach((each) => set(each, "inert", !understood));
    show(behind, !understood && welcome !== null);
    say(why, error !== null ? "The text has an error: this is how it was last understood." : "The text is no OCCLUDE query: this is the last that was.");
    show(use, understoodText !== "");
    show(all, welcome !== null);
    show(waits, welcome === null);
    set(element, "data-settled", String(settled));
  });
  return element;
};

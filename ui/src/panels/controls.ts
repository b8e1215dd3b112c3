import { classes, score } from "../controls/classes";
import { effort } from "../controls/effort";
import { fill } from "../controls/fill";
import { model } from "../controls/model";
import { others, over, region } from "../controls/region";
import { patch, stride } from "../controls/sizes";
import { source } from "../controls/source";
import { h, set, show } from "../dom";
import type { Panel } from "../parts/field";

/** One control a clause, in the order in which they are shown. */
const CONTROLS: Panel[] = [source, model, classes, score, over, patch, stride, fill, region, effort, others];

export const controls: Panel = (session) => {
  const heading = h("h3", { class: "kdb-heading" }, "Query");
  const behind = h("p", { class: "kdb-note kdb-behind" }, "The text has an error: this is how it was last understood.");
  const waits = h("p", { class: "kdb-note" }, "Connecting…");
  const all = h("div", { class: "kdb-controls-all" }, ...CONTROLS.map((control) => control(session)));
  const inner = h("div", { class: "kdb-controls-inner", tabindex: -1 }, heading, behind, waits, all);
  const element = h("section", { class: "kdb-controls", "aria-label": "Controls", "data-testid": "controls" }, inner);
  session.store.watch(["error", "understood", "settled", "welcome"], ({ error, understood, settled, welcome }) => {
    show(behind, error !== null && !understood);
    show(all, welcome !== null);
    show(waits, welcome === null);
    set(element, "data-settled", String(settled));
  });
  return element;
};

import { h, say, set, show } from "../dom";
import { coordinates, milliseconds, number } from "../format";
import { button, disclosure, type Panel } from "../parts/field";
import { paint } from "../parts/paint";
import type { Checked } from "../protocol";
import { changeOf } from "../scores";

export function checkInWords({ kdb, model, difference, ratio }: Pick<Checked, "kdb" | "model" | "difference" | "ratio">): string {
  const both = `kdb says ${number(kdb, 6)}, the model itself ${number(model, 6)}; they differ by ${number(Math.abs(difference), 2)}.`;
  if (ratio === null) return both;
  const share = `${number(100 * ratio, 2)} % of what Exact allows`;
  return ratio <= 1 ? `${both} That is ${share}: kdb is right here.` : `${both} That is ${share}: more than it may be.`;
}

export const probe: Panel = (session) => {
  const empty = h("p", { class: "kdb-note" }, "Click a place of the image to see the image with the patch laid on it, and what the model makes of that.");
  const canvas = h("canvas", { class: "kdb-probe-image", role: "img" });
  const row = (name: string): { element: HTMLElement; name: HTMLElement; text: HTMLElement } => {
    const [term, text] = [h("dt", {}, name), h("dd", {})];
    return { element: h("div", {}, term, text), name: term, text };
  };
  const parts = { at: row("Position"), score: row("With the patch"), baseline: row("Unmodified"), change: row("Change"), took: row("Took") };
  const values = h("dl", { class: "kdb-values kdb-column" }, ...Object.values(parts).map(({ element }) => element));
  const check = button("Check this position", () => session.check(), { testid: "check" });
  const verdict = h("p", { role: "status", "data-testid": "checked" });
  const content = h(
    "div",
    { class: "kdb-probe" },
    canvas,
    h("div", { class: "kdb-stack" }, values, check, h("p", { class: "kdb-note" }, "Runs the model itself on this image, by full inference."), verdict),
  );
  const { element, aside } = disclosure("Probe", "probe", h("div", { class: "kdb-panel-body" }, empty, content));

  session.store.watch(["probe", "probeWaits"], ({ probe, probeWaits }) => {
    set(element, "data-waits", String(probeWaits));
    say(aside, probeWaits ? "probing…" : "");
    show(empty, probe === null);
    show(content, probe !== null);
    if (probeWaits) element.open = true;
    if (probe === null) return;
    const { content: found, buffers } = probe;
    const middle = found.position.map((first, axis) => first + Math.floor((found.patch[axis] ?? 0) / 2));
    paint(canvas, found.occluded, buffers, middle);
    const at = coordinates(found.position, found.axes);
    set(canvas, "aria-label", `The image with the patch at ${at}`);
    say(parts.at.text, at);
    const { name, patched, change } = changeOf(found.unit, found.score, found.baseline);
    say(parts.score.text, number(patched, 5));
    say(parts.baseline.text, number(found.baseline, 5));
    say(parts.change.name, name);
    say(parts.change.text, change);
    say(parts.took.text, milliseconds(found.milliseconds));
    set(element, "data-score", found.score);
  });
  session.store.watch(["checked", "checkWaits", "probe", "a", "b"], ({ checked, checkWaits, probeSlot, a, b }) => {
    check.disabled = checkWaits || (probeSlot === "a" ? a : b)?.former === true;
    say(verdict, checkWaits ? "The model runs…" : checked === null ? "" : `${checkInWords(checked)} It took ${milliseconds(checked.milliseconds)}.`);
    set(verdict, "data-right", checked?.ratio == null ? null : String(checked.ratio <= 1));
  });
  return element;
};

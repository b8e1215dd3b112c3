import { h, say, show } from "../dom";
import { coordinates, milliseconds, number, signed } from "../format";
import { changeOf, probedInWords } from "../scores";
import { isDrop, unitOf } from "../stage/palette";
import { button, type Panel } from "../parts/field";

/** What is under the cursor; the stage itself tells it to screen readers. */
export const reading: Panel = (session) => {
  const value = (name: string): { element: HTMLElement; name: HTMLElement; text: HTMLElement } => {
    const [term, text] = [h("dt", {}, name), h("dd", {})];
    return { element: h("div", {}, term, text), name: term, text };
  };
  const parts = { score: value("Score"), other: value("Score"), change: value("Change"), difference: value("Difference, A − B"), error: value("Error"), how: value("Value"), at: value("At") };
  const hint = h("p", { class: "kdb-note" });
  const list = h("dl", { class: "kdb-values" }, ...Object.values(parts).map(({ element }) => element));
  session.store.watch(["reading", "a", "b"], ({ reading, a, b }) => {
    list.hidden = reading === null;
    hint.hidden = reading !== null;
    if (reading === null) {
      say(hint, a === null ? "" : "Point at the map to read it; click to try the patch there.");
      return;
    }
    const shown = reading.slot === "a" ? a : b;
    const map = shown?.content;
    const score = map?.score ?? "";
    const name = isDrop(score) ? "Drop" : "Score";
    const both = reading.other === null ? [reading.score] : [reading.score, reading.other];
    if (reading.slot === "b") both.reverse();
    say(parts.score.name, both.length > 1 ? `${name} in A` : name);
    say(parts.score.text, number(both[0]!, 4));
    parts.other.element.hidden = both.length === 1;
    say(parts.other.name, `${name} in B`);
    say(parts.other.text, both.length > 1 ? number(both[1]!, 4) : "");
    // Of a drop the change is the number itself: what is left is shown beside it.
    const baseline = map?.classes[shown?.shown ?? 0]?.baseline ?? NaN;
    const change = isDrop(score) ? changeOf(score, reading.score, baseline).ends.join(" → ") : signed(reading.change);
    say(parts.change.name, isDrop(score) ? `${unitOf(score)[0]!.toUpperCase()}${unitOf(score).slice(1)}` : "Change");
    say(parts.change.text, Number.isNaN(reading.score) ? "unknown" : change);
    parts.difference.element.hidden = reading.difference == null;
    say(parts.difference.text, reading.difference == null ? "" : signed(reading.difference));
    say(parts.error.text, Number.isNaN(reading.score) ? "unknown" : reading.error === null || reading.measured ? "none" : `± ${number(reading.error, 2)}`);
    say(parts.how.text, Number.isNaN(reading.score) ? "not computed" : reading.measured ? "measured" : "estimated");
    say(parts.at.text, coordinates(reading.position, map?.axes ?? null));
  });
  return h("div", { class: "kdb-reading", "data-testid": "reading" }, list, hint, probed(session));
};

/** What the last click found: the rest of it is further down the page. */
const probed: Panel = (session) => {
  const text = h("span", {});
  const more = button("Details", () => {
    const panel = session.store.state.probe === null ? null : element.closest(".kdb")?.querySelector("[data-testid=probe]");
    panel?.scrollIntoView({ block: "center" });
    panel?.querySelector("summary")?.focus({ preventScroll: true });
  }, { testid: "probed-details", quiet: true });
  const element = h("p", { class: "kdb-row", "data-testid": "probed" }, text, more);
  session.store.watch(["probe", "probeWaits"], ({ probe, probeWaits }) => {
    show(element, probe !== null || probeWaits);
    show(more, probe !== null && !probeWaits);
    if (probe === null || probeWaits) return say(text, "Probing…");
    const { position, score, baseline, unit, axes, milliseconds: took } = probe.content;
    const at = coordinates(position, axes);
    say(text, `Patch at ${at}: ${probedInWords(unit, score, baseline)}, in ${milliseconds(took)}`);
  });
  return element;
};

import { h, say, show } from "../dom";
import { coordinates, milliseconds, number, signed } from "../format";
import { button, type Panel } from "../parts/field";

/** What is under the cursor; the stage itself tells it to screen readers. */
export const reading: Panel = (session) => {
  const value = (name: string): { element: HTMLElement; text: HTMLElement } => {
    const text = h("dd", {});
    return { element: h("div", {}, h("dt", {}, name), text), text };
  };
  const parts = { score: value("Score"), change: value("Change"), difference: value("Difference, A − B"), error: value("Error"), how: value("Value"), at: value("At") };
  const hint = h("p", { class: "kdb-note" });
  const list = h("dl", { class: "kdb-values" }, ...Object.values(parts).map(({ element }) => element));
  session.store.watch(["reading", "a", "b"], ({ reading, a, b }) => {
    list.hidden = reading === null;
    hint.hidden = reading !== null;
    if (reading === null) {
      say(hint, a === null ? "" : "Point at the map to read it; click to try the patch there.");
      return;
    }
    const map = (reading.slot === "a" ? a : b)?.content;
    say(parts.score.text, number(reading.score, 4));
    say(parts.change.text, Number.isNaN(reading.change) ? "unknown" : signed(reading.change));
    parts.difference.element.hidden = reading.difference == null;
    say(parts.difference.text, reading.difference == null ? "" : signed(reading.difference));
    say(parts.error.text, reading.error === null || reading.measured ? "none" : `± ${number(reading.error, 2)}`);
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
  session.store.watch(["probe", "probeWaits", "a", "b", "probeSlot"], ({ probe, probeWaits, probeSlot, a, b }) => {
    show(element, probe !== null || probeWaits);
    show(more, probe !== null && !probeWaits);
    if (probe === null || probeWaits) return say(text, "Probing…");
    const { position, score, baseline, milliseconds: took } = probe.content;
    const at = coordinates(position, (probeSlot === "a" ? a : b)?.content.axes ?? null);
    say(text, `Patch at ${at}: ${number(score, 4)}, ${signed(score - baseline)} from the unmodified image, in ${milliseconds(took)}`);
  });
  return element;
};

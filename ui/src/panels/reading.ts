import { h, say } from "../dom";
import { coordinates, number, signed } from "../format";
import type { Panel } from "../parts/field";

/** What is under the cursor; the stage itself tells it to screen readers. */
export const reading: Panel = (session) => {
  const value = (name: string): { element: HTMLElement; text: HTMLElement } => {
    const text = h("dd", {});
    return { element: h("div", {}, h("dt", {}, name), text), text };
  };
  const parts = { score: value("Score"), change: value("Change"), error: value("Error"), how: value("Value"), at: value("At") };
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
    say(parts.error.text, reading.error === null || reading.measured ? "none" : `± ${number(reading.error, 2)}`);
    say(parts.how.text, Number.isNaN(reading.score) ? "not computed" : reading.measured ? "measured" : "estimated");
    say(parts.at.text, coordinates(reading.position, map?.axes ?? null));
  });
  return h("div", { class: "kdb-reading", "data-testid": "reading" }, list, hint);
};

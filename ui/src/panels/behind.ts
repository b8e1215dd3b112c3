import { h, say, show } from "../dom";
import { button, type Panel } from "../parts/field";
import type { Slot } from "../protocol";
import { earlier, type State } from "../state";

/** Which of the maps on the stage are not what the texts would give, in words; null where all are. */
export function behindInWords(state: Pick<State, "a" | "b" | "text" | "variant" | "comparing">): string | null {
  const a = earlier(state, "a") !== null;
  const b = state.comparing !== "off" && earlier(state, "b") !== null;
  if (a && b) return "A and B: the maps of earlier queries";
  if (b) return "B: the map of an earlier query";
  if (!a) return null;
  return state.b !== null && state.comparing !== "off" ? "A: the map of an earlier query" : "The map of an earlier query";
}

/** Under the image: what is drawn there is not what the text would give. */
export const behind: Panel = (session) => {
  const element = h("p", { class: "kdb-of-earlier", "data-testid": "behind" });
  session.store.watch(["a", "b", "text", "variant", "comparing"], (state) => {
    const words = behindInWords(state);
    say(element, words ?? "");
    show(element, words !== null);
  });
  return element;
};

/** With a result: which query it is of, where that is another one, and what cannot be done with it any more. */
export function ofEarlier(session: Parameters<Panel>[0], slot: Slot): HTMLElement {
  const text = h("code", { class: "kdb-lines" });
  const use = button("Use this query", () => slot === "a" ? session.replace(text.textContent ?? "") : session.setVariant(text.textContent ?? ""), { testid: `earlier-use-${slot}` });
  const query = h("div", { class: "kdb-row" }, "Of an earlier query: ", text, use);
  const former = h("p", {}, "From before the connection was lost: it can be probed, compared and exported once its query is run again.");
  const element = h("div", { class: "kdb-note kdb-behind", "data-testid": `earlier-${slot}` }, query, former);
  session.store.watch(["a", "b", "text", "variant"], (state) => {
    const shown = slot === "a" ? state.a : state.b;
    const other = earlier(state, slot);
    show(query, other !== null);
    say(text, other?.asked ?? "");
    show(former, shown?.former === true);
    show(element, other !== null || shown?.former === true);
  });
  return element;
}

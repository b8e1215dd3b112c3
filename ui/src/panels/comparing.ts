import { h, show, unique } from "../dom";
import { choice, type Panel } from "../parts/field";
import type { Comparing } from "../stage/contract";

/** How two maps are shown, right above them. */
export const comparing: Panel = (session) => {
  const name = unique("comparing");
  const ways = (["side", "difference", "off"] as const).map((way: Comparing) => {
    const input = h("input", { type: "radio", name, value: way, "data-testid": `comparing-${way}` });
    input.addEventListener("change", () => session.compareBy(way));
    return { way, input, element: choice({ side: "Side by side", difference: "Difference, A − B", off: "A alone" }[way], input) };
  });
  const element = h("div", { class: "kdb-row kdb-comparing", role: "radiogroup", "aria-label": "How to compare" }, ...ways.map(({ element }) => element));
  session.store.watch(["comparing", "b"], ({ comparing, b }) => {
    ways.forEach(({ way, input }) => (input.checked = way === comparing));
    show(element, b !== null || comparing !== "off");
  });
  return element;
};

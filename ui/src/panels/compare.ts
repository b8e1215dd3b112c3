import { fill, h, options, say, set, show } from "../dom";
import { labelled, unknownClass } from "../controls/classes";
import { combobox, type Choice } from "../parts/combobox";
import { button, disclosure, field, type Panel } from "../parts/field";
import type { Change } from "../protocol";
import { changedClauses } from "../query";
import type { State } from "../state";
import { typedBy, undoes } from "../undo";

/** How B hangs together with A. */
export function bondInWords({ text, variant, variantFollows }: Pick<State, "text" | "variant" | "variantFollows">): string {
  if (variant.trim() === "") return "Takes the query as A and makes B of it by one change; both run one after another.";
  if (variantFollows) return "B is A with this one change, and follows what becomes of A.";
  const clauses = changedClauses(text, variant).map((head) => (head === "occlude" ? "the image" : head.toUpperCase()));
  if (clauses.length === 0) return "B says the same as A.";
  const all = clauses.length === 1 ? clauses[0]! : `${clauses.slice(0, -1).join(", ")} and ${clauses.at(-1)}`;
  return `B is a text of its own, and does not follow A: they differ in ${all}${clauses.length > 1 ? ", more than one thing" : ""}.`;
}

export const compare: Panel = (session) => {
  const { store } = session;
  const by = h("select", { class: "kdb-input", "data-testid": "compare-by" });
  options(by, [
    { value: "model", text: "Another model" },
    { value: "class", text: "Another class" },
    { value: "fill", text: "Another fill" },
  ]);
  const choices = (): Choice[] => {
    const { welcome, labels } = store.state;
    if (by.value === "model") return (welcome?.models ?? []).map(({ name, from }) => ({ value: name, text: name, hint: from }));
    if (by.value === "class") return labelled(labels);
    return (welcome?.fills ?? []).map((value) => ({ value, text: value }));
  };
  const changed = (value: string): Change => {
    if (by.value === "model") return { control: "model", value };
    if (by.value === "fill") return { control: "fill", value };
    return { control: "classes", value: { kind: "class", value: /^\d+$/.test(value) ? Number(value) : value } };
  };
  const other = combobox({
    label: "What to compare with",
    testid: "compare-with",
    free: true,
    choices,
    refused: (text) => (by.value === "class" ? unknownClass(store.state.labels, text) : undefined),
    chosen: (value) => session.vary(changed(value)),
  });
  set(other.input, "aria-label", "What to compare with");
  by.addEventListener("change", () => {
    other.set("");
    other.input.value = "";
    // It is one change of A, and not one more of B.
    session.setVariant("");
    other.input.focus();
  });

  const text = (testid: string): HTMLTextAreaElement =>
    h("textarea", { class: "kdb-input kdb-code", rows: 3, spellcheck: "false", "data-testid": testid });
  const first = text("compare-a");
  const second = text("compare-b");
  first.addEventListener("input", (event) => session.type(first.value, typedBy(event)));
  second.addEventListener("input", (event) => session.setVariant(second.value, typedBy(event)));
  undoes(first, (way) => session.undo(way));
  undoes(second, (way) => session.undoVariant(way));
  const bond = h("p", { class: "kdb-note", "data-testid": "compare-bond" });
  store.watch(["text", "variant", "variantFollows"], (state) => say(bond, bondInWords(state)));
  const error = h("p", { class: "kdb-refusal", role: "alert" });
  const begin = (): void => {
    session.compare();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    body.closest(".kdb")?.querySelector(".kdb-main")?.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  };
  const run = button("Compare", begin, { testid: "compare-run", symbol: "run" });

  store.watch(["text"], (state) => fill(first, state.text));
  store.watch(["variant", "variantError"], ({ variant, variantError }) => {
    fill(second, variant);
    run.disabled = variant.trim() === "";
    say(error, variantError?.message ?? "");
    show(error, variantError !== null);
  });

  const body = h(
    "div",
    { class: "kdb-panel-body kdb-stack" },
    bond,
    h("div", { class: "kdb-row" }, field("Compare with", by), h("div", { class: "kdb-grow kdb-bottom" }, other.element)),
    h("div", { class: "kdb-pair" }, field("A, the query", first), field("B", second)),
    error,
    h("div", { class: "kdb-row" }, run),
  );
  return disclosure("Compare", "compare", body).element;
};

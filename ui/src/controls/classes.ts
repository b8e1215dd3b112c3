import { fill, h, options, say, set, show } from "../dom";
import { combobox, type Choice } from "../parts/combobox";
import { field, group, type Panel } from "../parts/field";
import { notWhole, numberField } from "../parts/number";
import type { Classes } from "../protocol";

const KINDS: { value: Classes["kind"]; text: string }[] = [
  { value: "predicted", text: "The predicted class" },
  { value: "class", text: "One class" },
  { value: "top", text: "The top classes" },
  { value: "all", text: "All classes" },
  { value: "detection", text: "A detection" },
];

/** Offered only where the text has them: they are written there. */
const SEVERAL = { value: "several", text: "Several classes" } as const;

/** What a list of labels offers: a label where it is the only one by that name, else the class's number. */
export function labelled(labels: readonly string[]): Choice[] {
  const seen = new Map<string, number>();
  for (const label of labels) seen.set(label, (seen.get(label) ?? 0) + 1);
  return labels.map((label, index) => ({
    value: seen.get(label) === 1 && label !== "" ? label : String(index),
    text: label === "" ? String(index) : label,
    hint: String(index),
  }));
}

/** Why there is no such class, by number, label or one of a label's names; null where there is, or may be. */
export function unknownClass(labels: readonly string[], text: string): string | null {
  if (labels.length === 0 || text.startsWith("$")) return null;
  if (/^\d+$/.test(text)) return Number(text) < labels.length ? null : `Classes are numbered from 0 to ${labels.length - 1}.`;
  const sought = text.trim().toLowerCase();
  const has = labels.some((label) => label.split(",").some((name) => name.trim().toLowerCase() === sought));
  return has ? null : `There is no class '${text}'.`;
}

export const classes: Panel = (session) => {
  const kind = h("select", { class: "kdb-input", "aria-label": "Which classes", "data-testid": "class" });
  options(kind, KINDS);
  const count = numberField({ min: 1, step: 1, "data-testid": "class-number" }, (value) => notWhole(value, 1), (value) =>
    change({ kind: kind.value as "top" | "detection", value }),
  );
  const counts = h("div", {}, count.input, count.why);
  const several = h("p", { class: "kdb-note", "data-testid": "class-several" });
  let choices: Choice[] = [];
  const box = combobox({
    label: "Labels",
    testid: "class-label",
    free: true,
    placeholder: "A label or a number",
    choices: () => choices,
    // A number that was typed is that of a class, in the text too.
    refused: (text) => unknownClass(session.store.state.labels, text),
    chosen: (value) =>
      session.change({ control: "classes", value: { kind: "class", value: /^\d+$/.test(value) ? Number(value) : value } }),
  });
  set(box.input, "aria-label", "Label or number of the class");

  const change = (value: Classes): void => session.change({ control: "classes", value });
  const parts: Partial<Record<Classes["kind"], HTMLElement>> = {
    class: box.element,
    top: counts,
    detection: counts,
    several,
  };
  const reveal = (): void => {
    const part = parts[kind.value as Classes["kind"]];
    for (const each of new Set(Object.values(parts))) show(each, each === part);
    set(count.input, "aria-label", kind.value === "top" ? "How many classes" : "Which detection, from 1");
  };
  kind.addEventListener("change", () => {
    count.reset();
    unentered = null;
    reveal();
    const chosen = kind.value as Classes["kind"];
    const { a } = session.store.state;
    const known = a?.content.classes ?? [];
    if (chosen === "predicted" || chosen === "all") change({ kind: chosen, value: null });
    else if (chosen === "top") change({ kind: "top", value: 5 });
    else if (chosen === "detection") change({ kind: "detection", value: 1 });
    // It begins with what the last map shows; without one it waits for what is entered.
    else if (chosen === "class" && known.length > 0) change({ kind: "class", value: known[0]!.index });
    else if (chosen === "class") {
      unentered = written;
      box.input.focus();
    }
  });

  /** The classes of the text; and those that it had when one class was chosen of which nothing is entered yet. */
  let written = "";
  let unentered: string | null = null;
  session.store.watch(["form"], ({ form }) => {
    if (form === null) return;
    const { kind: shown, value } = form.classes;
    written = JSON.stringify(form.classes);
    if (unentered === written) return;
    unentered = null;
    options(kind, shown === "several" ? [...KINDS, SEVERAL] : KINDS);
    fill(kind, shown);
    if (shown === "top" || shown === "detection") count.set(String(value ?? 1));
    say(several, shown === "several" ? String(value ?? "") : "");
    reveal();
  });
  session.store.watch(["form", "labels"], ({ form, labels }) => {
    choices = labelled(labels);
    if (form?.classes.kind !== "class") return;
    const { value } = form.classes;
    box.set(typeof value === "number" ? (labels[value] ?? String(value)) : (value ?? ""));
  });
  reveal();
  return group("Class", "classes", kind, box.element, counts, several);
};

export const score: Panel = (session) => {
  const select = h("select", { class: "kdb-input", "data-testid": "score" });
  select.addEventListener("change", () => session.change({ control: "score", value: select.value }));
  session.store.watch(["form", "welcome"], ({ form, welcome }) => {
    const known = welcome?.scores ?? [];
    const all = form === null || known.includes(form.score) ? known : [...known, form.score];
    options(select, all.map((value) => ({ value, text: value.replaceAll("_", " ") })));
    if (form !== null) fill(select, form.score);
  });
  return field("Score", select);
};

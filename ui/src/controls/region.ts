import { fill, h, options, say, show } from "../dom";
import { cells, coordinates } from "../format";
import { button, field, group, type Panel } from "../parts/field";
import type { Form } from "../protocol";

function described({ region, axes }: Form): string {
  switch (region.kind) {
    case "none":
      return "The whole image. Draw a box or paint on it to explain a part.";
    case "at":
      return "The positions that the text lists.";
    case "mask":
      return "A mask.";
    case "box": {
      if (region.box === null) return "A box.";
      const half = region.box.length / 2;
      return `A box from ${coordinates(region.box.slice(0, half), axes)}, ${region.box.slice(half).join(" × ")} ${cells(half)}.`;
    }
  }
}

export const region: Panel = (session) => {
  const text = h("p", { class: "kdb-note", "data-testid": "region" });
  const whole = button("Whole image", () => {
    const kind = session.store.state.form?.region.kind;
    session.change(kind === "mask" ? { control: "mask", value: null } : { control: "box", value: null });
  }, { testid: "region-clear" });
  session.store.watch(["form"], ({ form }) => {
    say(text, form === null ? "" : described(form));
    show(whole, form !== null && (form.region.kind === "box" || form.region.kind === "mask"));
  });
  return group("Region", "region-group", text, whole);
};

/** Where a dense output is scored: a control that only segmentations have. */
export const over: Panel = (session) => {
  const select = h("select", { class: "kdb-input", "data-testid": "over" });
  select.addEventListener("change", () => {
    const value = select.value;
    if (value === "predicted" || value === "all") session.change({ control: "over", value });
  });
  const element = field("Scored over", select);
  session.store.watch(["form"], ({ form }) => {
    show(element, form?.dense === true);
    if (form === null) return;
    const shown = form.over ?? "predicted";
    const known = shown === "predicted" || shown === "all";
    options(select, [
      { value: "predicted", text: "Where the class wins" },
      { value: "all", text: "All of the output" },
      ...(known ? [] : [{ value: shown, text: shown }]),
    ]);
    fill(select, shown);
  });
  return element;
};

export const others: Panel = (session) => {
  const list = h("ul", { class: "kdb-clauses" });
  const element = group("Also in the text", "others", list);
  session.store.watch(["form"], ({ form }) => {
    show(element, (form?.others.length ?? 0) > 0);
    list.replaceChildren(...(form?.others ?? []).map((clause) => h("li", {}, h("code", {}, clause))));
  });
  return element;
};

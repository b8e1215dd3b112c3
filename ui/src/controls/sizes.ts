import { fill, h, set, show } from "../dom";
import { notWhole, numberField, type NumberField } from "../parts/number";
import { button, group, type Panel } from "../parts/field";
import type { Form } from "../protocol";
import type { Session } from "../session";

interface Row {
  element: HTMLElement;
  slider: HTMLInputElement;
  number: NumberField;
}

interface Sizes {
  control: "patch" | "stride";
  legend: string;
  /** What a single number is called. */
  noun: string;
  values(form: Form): number[] | null;
  /** How one number for all axes is written. */
  alike(value: number, axes: number): number[];
  /** The largest that there may be along an axis, and the one up to which a slider goes. */
  most(form: Form, axis: number): number;
  reach(form: Form, axis: number): number;
  /** Why there is nothing to set, if there is not. */
  absent(form: Form): string | null;
}

/** Numbers for each axis; one stands for all of them as long as they are linked. */
function sizes(session: Session, of: Sizes): HTMLElement {
  let linked = true;
  let rows: Row[] = [];
  const holder = h("div", { class: "kdb-sizes" });
  const absent = h("p", { class: "kdb-note" });
  const link = button("Same along every axis", () => {
    linked = !linked;
    const { form } = session.store.state;
    const values = form === null ? null : spread(of.values(form), form);
    // Linking makes them equal; otherwise they would come apart again with the next form.
    if (linked && values !== null && values.some((each) => each !== values[0])) send(0, values[0]!, false);
    lay();
  }, { testid: `${of.control}-link`, symbol: "chain", quiet: true, only: true });

  function send(axis: number, value: number, held: boolean): void {
    const { form } = session.store.state;
    if (form === null) return;
    const axes = spread(of.values(form), form)?.length ?? 2;
    const shown = rows.length === axes ? rows.map(({ slider }) => Number(slider.value)) : [];
    const apart = Array.from({ length: axes }, (_, each) => (each === axis ? value : (shown[each] ?? value)));
    const values = linked ? of.alike(value, axes) : apart;
    session.change({ control: of.control, value: values }, { held });
  }

  function row(axis: number, name: string): Row {
    const suffix = name === "" ? "" : `-${name}`;
    const slider = h("input", { type: "range", class: "kdb-range", min: 1, step: 1, "data-testid": of.control + suffix });
    const number = numberField(
      { class: "kdb-input kdb-small", min: 1, step: 1, "data-testid": `${of.control}-number${suffix}` },
      (value) => notWhole(value, 1, least(of.most, axis)),
      (value) => {
        if (value > Number(slider.max)) slider.max = String(value);
        slider.value = String(value);
        send(axis, value, false);
      },
    );
    const said = name === "" ? of.noun : `${of.noun} along ${name}`;
    set(slider, "aria-label", said);
    set(number.input, "aria-label", `${said}, as a number`);
    const made: Row = {
      element: h(
        "div",
        {},
        h("div", { class: "kdb-size" }, h("span", { class: "kdb-axis", "aria-hidden": "true" }, name), slider, number.input),
        number.why,
      ),
      slider,
      number,
    };
    slider.addEventListener("input", () => {
      number.set(slider.value);
      number.reset();
      send(axis, Number(slider.value), true);
    });
    slider.addEventListener("change", () => send(axis, Number(slider.value), false));
    return made;
  }

  /** Of the axes that a row is for. */
  function least(limit: (form: Form, axis: number) => number, axis: number): number {
    const { form } = session.store.state;
    if (form === null) return Infinity;
    const axes = spread(of.values(form), form)?.length ?? 1;
    return linked ? Math.min(...Array.from({ length: axes }, (_, at) => limit(form, at))) : limit(form, axis);
  }

  function lay(): void {
    const { form } = session.store.state;
    const values = form === null ? null : spread(of.values(form), form);
    const why = form === null ? "" : of.absent(form);
    absent.textContent = why ?? "";
    show(absent, why !== null && why !== "");
    show(holder, values !== null && why === null);
    const axes = values?.length ?? 0;
    show(link, axes > 1 && why === null);
    if (form === null || values === null) return;
    if (values.some((each) => each !== values[0]) && session.store.state.settled) linked = false;
    set(link, "aria-pressed", String(linked));
    const wanted = linked ? 1 : axes;
    // One row for all axes stays while their letters become known: somebody may be typing in it.
    const letters = linked ? "" : (form.axes ?? holder.dataset.axes ?? "");
    // While a slider moves, it is ahead of the form.
    const anew = rows.length !== wanted || holder.dataset.axes !== letters;
    if (anew) {
      rows = Array.from({ length: wanted }, (_, axis) => row(axis, linked ? "" : (letters[axis] ?? String(axis + 1))));
      holder.dataset.axes = letters;
      holder.replaceChildren(...rows.map(({ element }) => element));
    }
    rows.forEach((each, axis) => {
      const value = values[axis]!;
      const most = least(of.most, axis);
      set(each.number.input, "max", most < Infinity ? most : null);
      set(each.slider, "max", Math.max(least(of.reach, axis), value));
      if (!anew && !session.store.state.settled) return;
      fill(each.slider, String(value));
      each.number.set(String(value));
    });
  }

  session.store.watch(["form", "settled"], lay);
  const legend = group(of.legend, of.control + "-group", holder, absent);
  legend.firstElementChild!.append(link);
  return legend;
}

/** A single number is along every axis. */
const spread = (values: number[] | null, { axes }: Form): number[] | null =>
  values?.length === 1 && axes !== null ? Array.from(axes, () => values[0]!) : values;

/** Half of the input is as much as anybody slides to; more can be typed. */
const extent = (form: Form, axis: number): number => form.size?.[axis] ?? 224;

export const patch: Panel = (session) =>
  sizes(session, {
    control: "patch",
    legend: "Patch",
    noun: "Size of the patch",
    values: (form) => form.patch,
    alike: (value, axes) => Array.from({ length: axes }, () => value),
    most: extent,
    reach: (form, axis) => Math.ceil(extent(form, axis) / 2),
    absent: (form) => (form.patch === null ? "Segments, as the text has them, are hidden in place of a patch." : null),
  });

export const stride: Panel = (session) =>
  sizes(session, {
    control: "stride",
    legend: "Stride",
    noun: "Stride",
    values: (form) => (form.stride.length === 0 ? null : form.stride),
    alike: (value) => [value],
    most: extent,
    reach: (form, axis) => Math.max(8, Math.ceil(extent(form, axis) / 7)),
    absent: (form) =>
      form.region.kind === "at" ? "The text lists the positions." : form.patch === null ? "Segments have none." : null,
  });

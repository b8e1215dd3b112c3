import { fill as write, h, options, show } from "../dom";
import { group, type Panel } from "../parts/field";
import { numberField } from "../parts/number";

export type Fill =
  | { kind: "name"; name: string }
  | { kind: "blur"; sigma: number }
  | { kind: "number"; value: number }
  | { kind: "colour"; colour: string } // #rrggbb
  | { kind: "other"; text: string };

/** A fill as it is written in a query, taken apart. */
export function parseFill(text: string): Fill {
  const written = text.trim().toLowerCase();
  const blur = /^blur\(\s*([\d.]+)\s*\)$/.exec(written);
  if (blur) return { kind: "blur", sigma: Number(blur[1]) };
  const rgb = /^rgb\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)$/.exec(written);
  if (rgb && rgb.slice(1).every((part) => Number(part) <= 255)) {
    return { kind: "colour", colour: "#" + rgb.slice(1).map((part) => Number(part).toString(16).padStart(2, "0")).join("") };
  }
  if (written !== "" && Number.isFinite(Number(written))) return { kind: "number", value: Number(written) };
  return /^[a-z]+$/.test(written) ? { kind: "name", name: written } : { kind: "other", text };
}

export function writeFill(fill: Fill): string {
  switch (fill.kind) {
    case "name":
      return fill.name;
    case "blur":
      return `blur(${fill.sigma})`;
    case "number":
      return String(fill.value);
    case "colour":
      return `rgb(${[1, 3, 5].map((at) => parseInt(fill.colour.slice(at, at + 2), 16)).join(", ")})`;
    case "other":
      return fill.text;
  }
}

const BEGIN: Record<string, Fill> = {
  blur: { kind: "blur", sigma: 8 },
  number: { kind: "number", value: 128 },
  colour: { kind: "colour", colour: "#7c7468" },
};

export const fill: Panel = (session) => {
  const kind = h("select", { class: "kdb-input", "aria-label": "Fill of the patch", "data-testid": "fill" });
  const sigma = numberField(
    { min: 0, "aria-label": "Sigma of the blur, in pixels", "data-testid": "fill-sigma" },
    (value) => (value > 0 ? null : "More than 0 pixels."),
    (value) => change({ kind: "blur", sigma: value }),
  );
  const value = numberField({ "aria-label": "Value of the fill", "data-testid": "fill-number" }, () => null, (value) =>
    change({ kind: "number", value }),
  );
  const colour = h("input", { type: "color", class: "kdb-colour", "aria-label": "Colour of the fill", "data-testid": "fill-colour" });

  const change = (fill: Fill): void => session.change({ control: "fill", value: writeFill(fill) });
  const reveal = (): void => {
    show(sigma.input, kind.value === "blur");
    show(value.input, kind.value === "number");
    show(colour, kind.value === "colour");
  };
  kind.addEventListener("change", () => {
    sigma.reset();
    value.reset();
    reveal();
    if (kind.value !== "other") change(BEGIN[kind.value] ?? { kind: "name", name: kind.value });
  });
  colour.addEventListener("change", () => change({ kind: "colour", colour: colour.value }));

  session.store.watch(["form", "welcome"], ({ form, welcome }) => {
    const shown = form === null ? null : parseFill(form.fill);
    const names = (welcome?.fills ?? []).filter((each) => parseFill(each).kind === "name" && !(each in BEGIN));
    if (shown?.kind === "name" && !names.includes(shown.name)) names.push(shown.name);
    options(kind, [
      ...names.map((name) => ({ value: name, text: name[0]!.toUpperCase() + name.slice(1) })),
      { value: "blur", text: "Blurred image" },
      { value: "number", text: "A value" },
      { value: "colour", text: "A colour" },
      ...(shown?.kind === "other" ? [{ value: "other", text: shown.text }] : []),
    ]);
    if (shown === null) return;
    write(kind, shown.kind === "name" ? shown.name : shown.kind);
    if (shown.kind === "blur") sigma.set(String(shown.sigma));
    if (shown.kind === "number") value.set(String(shown.value));
    if (shown.kind === "colour") write(colour, shown.colour);
    reveal();
  });
  reveal();
  return group("Fill", "fill-group", h("div", { class: "kdb-row" }, kind, sigma.input, value.input, colour), sigma.why, value.why);
};

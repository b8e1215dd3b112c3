import { h, say, unique } from "../dom";
import type { Panel } from "../parts/field";
import type { Palette } from "../stage/contract";

const PALETTES: { palette: Palette; name: string }[] = [
  { palette: "safe", name: "Safe colours" },
  { palette: "effect", name: "Red and blue" },
  { palette: "krypton", name: "The paper's" },
];

/** How heat is drawn: beside the legend that it is about, or above the image. */
export const colours: Panel = (session) => {
  const { store } = session;
  const palette = h(
    "select",
    { class: "kdb-input", "aria-label": "Colours", "data-testid": "palette" },
    ...PALETTES.map((each) => h("option", { value: each.palette }, each.name)),
  );
  palette.addEventListener("change", () => session.setLook({ palette: palette.value as Palette }));
  const share = (key: "opacity" | "threshold", text: string, help: string): HTMLElement => {
    const id = unique(key);
    const input = h("input", { type: "range", class: "kdb-range", min: 0, max: 1, step: 0.01, id, "data-testid": key });
    const shown = h("output", { class: "kdb-output kdb-percent", for: id });
    input.addEventListener("input", () => session.setLook({ [key]: Number(input.value) }));
    store.watch(["look"], ({ look }) => {
      if (Number(input.value) !== look[key]) input.value = String(look[key]);
      say(shown, `${Math.round(look[key] * 100)} %`);
    });
    return h("div", { class: "kdb-share", title: help }, h("label", { for: id }, text), input, shown);
  };

  store.watch(["look"], ({ look }) => (palette.value = look.palette));
  return h(
    "div",
    { class: "kdb-colours", role: "group", "aria-label": "Colours of the heat" },
    palette,
    share("opacity", "Opacity", "Of the heat"),
    share("threshold", "Hide below", "Share of the scale below which heat is not drawn"),
  );
};

import { h, icon, set, unique, type Icon } from "../dom";
import { button, type Panel } from "../parts/field";
import type { Look, Tool } from "../stage/contract";

const TOOLS: { tool: Tool; name: string; symbol: Icon; help: string }[] = [
  { tool: "probe", name: "Probe", symbol: "probe", help: "Click a place to see the score with the patch there" },
  { tool: "box", name: "Box", symbol: "box", help: "Draw a box: only the positions within it are explained" },
  { tool: "paint", name: "Paint", symbol: "paint", help: "Paint the part that is to be explained" },
  { tool: "pan", name: "Move", symbol: "pan", help: "Drag the picture" },
];

type Toggle = { [Key in keyof Look]: Look[Key] extends boolean ? Key : never }[keyof Look];

const TOGGLES: { key: Toggle; name: string; help: string }[] = [
  { key: "heat", name: "Heat", help: "The heat map over the image" },
  { key: "region", name: "Region", help: "The box or mask of the query, or what is scored" },
  { key: "patch", name: "Patch", help: "The patch at its true size under the cursor" },
  { key: "estimates", name: "Estimates", help: "Marks what was estimated and not evaluated" },
  { key: "grid", name: "Pixels", help: "The image as the model sees it, pixel by pixel" },
];

export const toolbar: Panel = (session) => {
  const { store } = session;
  const name = unique("tool");
  const tools = TOOLS.map(({ tool, name: text, symbol, help }) => {
    const input = h("input", { type: "radio", name, value: tool, class: "kdb-unseen", "data-testid": `tool-${tool}` });
    input.addEventListener("change", () => session.setTool(tool));
    return { tool, input, element: h("label", { class: "kdb-tool", title: help }, input, icon(symbol), h("span", {}, text)) };
  });
  const toggles = TOGGLES.map(({ key, name: text, help }) => {
    const element = button(text, () => session.setLook({ [key]: !store.state.look[key] }), { testid: `look-${key}`, quiet: true });
    element.classList.add("kdb-toggle");
    element.title = help;
    return { key, element };
  });
  store.watch(["tool"], ({ tool }) => tools.forEach((each) => (each.input.checked = each.tool === tool)));
  store.watch(["look"], ({ look }) => {
    toggles.forEach(({ key, element }) => set(element, "aria-pressed", String(look[key])));
  });

  const zoom = (text: string, symbol: Icon, factor: number | "fit", testid: string): HTMLElement =>
    button(text, () => session.zoom(factor), { testid, symbol, quiet: true, only: true });
  return h(
    "div",
    { class: "kdb-bar" },
    h("div", { class: "kdb-segmented", role: "radiogroup", "aria-label": "Tool" }, ...tools.map(({ element }) => element)),
    h(
      "div",
      { class: "kdb-row kdb-tight", role: "group", "aria-label": "Zoom" },
      zoom("Zoom out", "minus", 1 / 1.5, "zoom-out"),
      zoom("Zoom in", "plus", 1.5, "zoom-in"),
      zoom("Fit", "fit", "fit", "zoom-fit"),
    ),
    h("span", { class: "kdb-gap" }),
    h("div", { class: "kdb-row kdb-tight", role: "group", "aria-label": "What is shown" }, ...toggles.map(({ element }) => element)),
  );
};

/** Elements made by calls: no text ever becomes markup, whatever labels and paths of files contain. */

type Attribute = string | number | boolean | null | undefined;
type Child = Node | string | null | undefined | false;

type Handlers = { [Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => void };

interface Properties {
  [attribute: string]: Attribute | Handlers;
  on?: Handlers;
}

/** `h("button", { class: "kdb-run", on: { click } }, "Run")`; true is an empty attribute, null and false are none. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  const { on, ...attributes } = properties;
  for (const [attribute, value] of Object.entries(attributes)) set(element, attribute, value as Attribute);
  for (const [event, handler] of Object.entries(on ?? {})) element.addEventListener(event, handler as EventListener);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets an attribute, or takes it away; the DOM is left alone where nothing changes. */
export function set(element: Element, attribute: string, value: Attribute): void {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(attribute)) element.removeAttribute(attribute);
    return;
  }
  const written = value === true ? "" : String(value);
  if (element.getAttribute(attribute) !== written) element.setAttribute(attribute, written);
}

export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element: HTMLElement, shown: boolean): void {
  if (element.hidden === shown) element.hidden = !shown;
}

/** Sets a field's value, but not while it says the same: that would move the cursor. */
export function fill(field: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement, value: string): void {
  if (field.value !== value) field.value = value;
}

/** A notebook loads this module anew for each widget: what they count from has to differ. */
const own = crypto.getRandomValues(new Uint32Array(1))[0]!.toString(36);
let counted = 0;

/** An id, or the name of a group, that nothing else in the document has, however many widgets it holds. */
export const unique = (name: string): string => `kdb-${name}-${own}-${++counted}`;

/** Options of a select, made anew only where they are others. */
export function options(select: HTMLSelectElement, wanted: readonly { value: string; text: string }[]): void {
  const now = [...select.options];
  if (now.length === wanted.length && wanted.every(({ value, text }, at) => now[at]!.value === value && now[at]!.text === text)) {
    return;
  }
  const value = select.value;
  select.replaceChildren(...wanted.map((each) => h("option", { value: each.value }, each.text)));
  if (wanted.some((each) => each.value === value)) select.value = value;
}

const SVG = "http://www.w3.org/2000/svg";

const PATHS = {
  run: "M4 2.5v11l9-5.5z",
  stop: "M3.5 3.5h9v9h-9z",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  link: "M7 9a2.8 2.8 0 0 0 4 0l2-2a2.8 2.8 0 0 0-4-4l-1 1M9 7a2.8 2.8 0 0 0-4 0l-2 2a2.8 2.8 0 0 0 4 4l1-1",
  box: "M2.5 3.5h11v9h-11z",
  paint: "M10.5 2.5l3 3-6 6-3.5.5.5-3.5zM2.5 14h5",
  probe: "M8 1.5v4M8 10.5v4M1.5 8h4M10.5 8h4M8 8h.01",
  pan: "M8 1.5v13M1.5 8h13M6 3.5l2-2 2 2M6 12.5l2 2 2-2M3.5 6l-2 2 2 2M12.5 6l2 2-2 2",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  fit: "M2.5 6v-3.5h3.5M10 2.5h3.5v3.5M13.5 10v3.5h-3.5M6 13.5h-3.5v-3.5",
  close: "M4 4l8 8M12 4l-8 8",
  folder: "M1.5 4v8.5h13v-7h-7l-1.5-1.5z",
  image: "M2.5 3h11v10h-11zM2.5 11l3.5-3.5 3 3 2-2 2.5 2.5M10.5 6h.01",
  runs: "M2.5 2.5h4.5v4.5h-4.5zM9 2.5h4.5v4.5h-4.5zM2.5 9h4.5v4.5h-4.5zM9 9h4.5v4.5h-4.5z",
  down: "M4 6l4 4 4-4",
  up: "M8 13v-10M4 7l4-4 4 4",
  chain: "M6 4.5h-1.5a3.5 3.5 0 0 0 0 7h1.5M10 4.5h1.5a3.5 3.5 0 0 1 0 7h-1.5M5.5 8h5",
  light: "M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6M8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7",
  dark: "M13 9.5a5.5 5.5 0 1 1-6.5-6.5a4.5 4.5 0 0 0 6.5 6.5z",
  auto: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 1 1 0 11",
} as const;

export type Icon = keyof typeof PATHS;

export function icon(name: Icon): SVGSVGElement {
  const drawing = document.createElementNS(SVG, "svg");
  for (const [attribute, value] of [["viewBox", "0 0 16 16"], ["class", "kdb-icon"], ["aria-hidden", "true"]] as const) {
    drawing.setAttribute(attribute, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  if (name === "run" || name === "stop") path.setAttribute("class", "kdb-icon-full");
  drawing.append(path);
  return drawing;
}

/** The colour bar under the image: what the colours mean, in numbers and words. */

import { levelOf, LEVELS } from "./palette";
import type { LegendData } from "./scales";
import { number, signed } from "./wording";

export class Legends {
  readonly element = made("div", "kdb-stage-legends");
  private readonly bars = [new Bar()];
  private shown: LegendData[] = [];

  constructor() {
    this.element.append(this.bars[0]!.element);
    this.element.toggleAttribute("data-empty", true);
  }

  show(legends: LegendData[]): void {
    if (legends === this.shown) return;
    this.shown = legends;
    this.element.toggleAttribute("data-empty", legends.length === 0);
    while (this.bars.length > Math.max(1, legends.length)) this.bars.pop()!.element.remove();
    for (const [i, legend] of legends.entries()) {
      if (this.bars[i] === undefined) {
        this.bars[i] = new Bar();
        this.element.append(this.bars[i].element);
      }
      this.bars[i].show(legend);
    }
  }

  /** A mark at what is under the cursor: a value for each legend. */
  point(values: (number | null)[]): void {
    for (const [i, bar] of this.bars.entries()) bar.point(values[i] ?? null);
  }
}

class Bar {
  readonly element = made("div", "kdb-stage-legend");
  private readonly title = made("div", "kdb-stage-legend-title");
  private readonly canvas = document.createElement("canvas");
  private readonly neutralLine = made("span", "kdb-stage-legend-line");
  private readonly pointer = made("span", "kdb-stage-legend-pointer");
  private readonly lowest = made("span", "kdb-stage-legend-end");
  private readonly neutral = made("span", "kdb-stage-legend-neutral");
  private readonly highest = made("span", "kdb-stage-legend-end");
  private readonly low = made("span", "kdb-stage-legend-word");
  private readonly high = made("span", "kdb-stage-legend-word");
  private legend: LegendData | null = null;

  constructor() {
    this.element.setAttribute("role", "img");
    this.canvas.className = "kdb-stage-legend-colours";
    this.canvas.width = LEVELS;
    this.canvas.height = 1;
    this.pointer.hidden = true;
    const bar = made("div", "kdb-stage-legend-bar");
    bar.append(this.canvas, this.neutralLine, this.pointer);
    const numbers = made("div", "kdb-stage-legend-numbers");
    numbers.append(this.lowest, this.neutral, this.highest);
    const words = made("div", "kdb-stage-legend-words");
    words.append(this.low, this.high);
    this.element.append(this.title, bar, numbers, words);
  }

  show(legend: LegendData): void {
    this.legend = legend;
    const pen = this.canvas.getContext("2d")!;
    const image = pen.createImageData(LEVELS, 1);
    new Uint32Array(image.data.buffer).set(legend.colours);
    pen.putImageData(image, 0, 0);
    const { lowest, highest, neutral } = legend;
    const write = legend.changes ? signed : number;
    const step = (highest - lowest) / 20;
    const low = (legend.below ? "\u2264 " : "") + write(lowest, step);
    const high = (legend.above ? "\u2265 " : "") + write(highest, step);
    const middle = neutral === 0 ? "0" : write(neutral, step);
    const at = (neutral - lowest) / (highest - lowest);
    const notes = notesOf(legend);
    this.title.textContent = [legend.title, ...notes].join(" \u00b7 ");
    this.lowest.textContent = low;
    this.highest.textContent = high;
    this.neutral.textContent = `${middle} ${legend.neutralName}`;
    this.neutralLine.style.left = percent(at);
    // Its text stays clear of the numbers at the ends, which it would touch where the neutral value is close to one.
    this.neutral.style.left = percent(Math.max(0.3, Math.min(0.7, at)));
    this.lowest.hidden = at < 0.02;
    this.highest.hidden = at > 0.98;
    this.low.textContent = at < 0.02 ? "" : legend.low;
    this.high.textContent = at > 0.98 ? "" : legend.high;
    Object.assign(this.element.dataset, { low: String(lowest), high: String(highest), neutral: String(neutral) });
    this.element.setAttribute(
      "aria-label",
      `Colours: ${legend.title}, from ${low} (${legend.low}) to ${high} (${legend.high}); ` +
        `${middle} is ${legend.neutralName}` +
        notes.map((note) => `; ${note}`).join("") +
        ".",
    );
  }

  point(value: number | null): void {
    const { legend } = this;
    const hidden = legend === null || value === null || Number.isNaN(value);
    if (hidden !== this.pointer.hidden) this.pointer.hidden = hidden;
    if (!hidden) this.pointer.style.left = percent(levelOf(value, legend.lowest, legend.highest) / (LEVELS - 1));
  }
}

/** What there is to know of a scale besides its ends. */
export function notesOf({ floor, estimates, gaps, weak = [] }: Pick<LegendData, "floor" | "estimates" | "gaps" | "weak">): string[] {
  const notes: string[] = [...weak];
  if (floor !== null) notes.push(`scale floored at \u00b1${floor}`);
  if (estimates) notes.push("dotted: estimated");
  if (gaps) notes.push("hatched: not computed");
  return notes;
}

function made(tag: "div" | "span", name: string): HTMLElement {
  const element = document.createElement(tag);
  element.className = name;
  return element;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)}%`;
}

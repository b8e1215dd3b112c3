/** What is seen of the stage: its elements, and canvases that are drawn at most once a frame, and only if need be. */

import type { Reading } from "./contract";
import { Front, type Pointed } from "./front";
import { Ground } from "./ground";
import { Legends } from "./legend";
import { CAPTION } from "./scene";
import type { PictureData } from "./pictures";
import type { State } from "./state";
import { Sliders } from "./sliders";
import { themeOf } from "./theme";
import type { Tool } from "./tools/tool";
import type { Pane } from "./types";
import { viewOf } from "./views/table";
import { described, seenAs } from "./wording";

export interface Drawn {
  readonly state: State;
  readonly reading: Reading | null;
  /** The tool that is at work. */
  readonly tool: Tool;
  pointedIn(pane: Pane): Pointed;
  /** Other images or maps have come under the cursor. */
  read(): void;
  /** The slider of an axis was moved. */
  slice(axis: number, cell: number): void;
}

export class Screen {
  readonly element = document.createElement("div");
  /** Where images are, and pointers act. */
  readonly field = document.createElement("div");
  panes: Pane[] = [];
  private readonly ground = new Ground(canvas("kdb-stage-ground"));
  private readonly front = new Front(canvas("kdb-stage-front"));
  private readonly captions: HTMLElement[] = [];
  private readonly seen = document.createElement("div");
  private readonly legends = new Legends();
  private readonly sliders: Sliders;
  private readonly resized = new ResizeObserver(() => this.changed());
  private frame = 0;
  /** Whether more than the cursor has changed. */
  private stale = true;

  /** `keys` is a hidden text on the keyboard's keys. */
  constructor(
    private readonly drawn: Drawn,
    keys: HTMLElement,
  ) {
    this.sliders = new Sliders((axis, cell) => drawn.slice(axis, cell));
    this.element.className = "kdb-stage";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "application");
    this.element.setAttribute("aria-roledescription", "image with heat map");
    this.element.setAttribute("aria-describedby", keys.id);
    this.field.className = "kdb-stage-field";
    for (const { canvas } of [this.ground, this.front]) {
      canvas.setAttribute("aria-hidden", "true");
      this.field.append(canvas);
    }
    this.seen.className = "kdb-stage-seen";
    const side = document.createElement("div");
    side.className = "kdb-stage-side";
    side.append(this.seen, this.sliders.element, this.legends.element);
    this.element.append(this.field, side, keys);
    // stage.css gives the field's colour a transition, whose end tells that the page has turned dark or light.
    this.field.addEventListener("transitionend", () => this.changed());
    this.resized.observe(this.field);
  }

  /** The cursor has changed, or what a tool shows. */
  redraw(): void {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.draw());
  }

  /** Something else has. */
  changed(): void {
    this.stale = true;
    this.redraw();
  }

  /** Places the panes at once, for what is asked of them before the next frame. */
  lay(): void {
    const { clientWidth: width, clientHeight: height } = this.field;
    this.panes = this.drawn.state.panes({ x: 0, y: 0, width, height });
  }

  /** The legends' mark of the value under the cursor. */
  point(): void {
    const { reading, state } = this.drawn;
    const { legends } = state.heats;
    if (reading === null) return this.legends.point([]);
    const own = legends.length > 1 && reading.slot === "b" ? 1 : 0;
    const value = legends[own]?.changes ? (reading.difference ?? reading.change) : reading.score;
    this.legends.point(legends.map((_, i) => (i === own ? value : null)));
  }

  destroy(): void {
    this.resized.disconnect();
    cancelAnimationFrame(this.frame);
    this.element.remove();
  }

  private draw(): void {
    this.frame = 0;
    const { state, tool } = this.drawn;
    const ratio = devicePixelRatio || 1;
    const theme = themeOf(this.element);
    if (this.stale) {
      this.stale = false;
      this.describe();
      this.lay();
      this.drawn.read();
      this.fit(ratio);
      this.caption();
      this.tellSizes();
      this.ground.draw(this.panes, state, theme, ratio);
    }
    const pointed = (pane: Pane) => this.drawn.pointedIn(pane);
    this.front.draw(this.panes, theme, tool, pointed, (pane) => state.markIn(pane), ratio);
  }

  private fit(ratio: number): void {
    const width = Math.round(this.field.clientWidth * ratio);
    const height = Math.round(this.field.clientHeight * ratio);
    for (const { canvas } of [this.ground, this.front]) {
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
    }
  }

  /** What is shown in words, and what the page around and tests are to know of it. */
  private describe(): void {
    const { state } = this.drawn;
    const { picture, map, heats, box, comparing } = state;
    const three = picture !== null && picture.size.length === 3;
    this.legends.show(heats.legends);
    this.sliders.show(three ? picture.axes : "", three ? picture.size : [], state.crossed);
    const { dataset } = this.element;
    dataset.comparing = comparing;
    dataset.hasMap = String(heats.a !== null || heats.b !== null);
    // A square image leaves room at its side, where the legend takes nothing of its height.
    this.element.toggleAttribute("data-beside", state.maps.b === null && comparing === "off" && !isWide(picture));
    dataset.zoom = state.camera.zoom.toFixed(2);
    if (picture) dataset.view = viewOf(picture.size).kind;
    else delete dataset.view;
    if (box) dataset.box = JSON.stringify(box);
    else delete dataset.box;
    this.element.setAttribute("aria-label", described(picture, map, comparing));
    this.point();
  }

  /** How the models see the images, once where all see them alike. */
  private tellSizes(): void {
    const told = this.panes.map(({ slot, picture }) => ({ slot, text: seenAs(picture) })).filter(({ text }) => text);
    const isOne = new Set(told.map(({ text }) => text)).size === 1 && told.length === this.panes.length;
    const texts = isOne ? [told[0]!.text] : told.map(({ slot, text }) => `${slot.toUpperCase()}: ${text}`);
    this.seen.textContent = texts.join(" \u00b7 ");
  }

  private caption(): void {
    const titled = this.panes.filter((pane) => pane.title);
    while (this.captions.length > titled.length) this.captions.pop()!.remove();
    for (const [i, { title, area, planes }] of titled.entries()) {
      const top = Math.min(...planes.map(({ frame, rows }) => Math.max(frame.y, rows.start)));
      const caption = (this.captions[i] ??= this.field.appendChild(document.createElement("div")));
      caption.className = "kdb-stage-caption";
      caption.textContent = title;
      caption.style.left = `${area.x}px`;
      caption.style.top = `${Math.max(area.y, top - CAPTION)}px`;
      caption.style.width = `${area.width}px`;
    }
  }
}

/** Whether an image is so much wider than high, or a trace, that it wants all of the width. */
function isWide(picture: PictureData | null): boolean {
  if (picture === null) return false;
  const { size, box } = picture;
  if (size.length !== 2) return size.length === 1;
  return Math.max(size[1]! / size[0]!, box[3]! / box[2]!) > 1.3;
}

function canvas(name: string): HTMLCanvasElement {
  const element = document.createElement("canvas");
  element.className = name;
  return element;
}

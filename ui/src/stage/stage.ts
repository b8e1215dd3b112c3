/** The stage: an image with the heat of its map, the query's region over it, and the tools that change that. */

import type { Form, HeatMap, Layer, Picture, Slot } from "../protocol";
import { clamp, sameNumbers } from "./arrays";
import type { Comparing, CreateStage, Look, Reading, StageApi, StageEvents, Tool as ToolName } from "./contract";
import type { Pointed } from "./front";
import { keysInWords, listenToKeys, type Direction, type KeyListener } from "./keyboard";
import type { PictureData } from "./pictures";
import { listen, type PointerListener, type Press } from "./pointer";
import { spoken } from "./reading";
import { Speaker } from "./say";
import { Screen, type Drawn } from "./screen";
import { convert } from "./source";
import { isWithin, State } from "./state";
import { toolsAt } from "./tools/table";
import type { Bench, Tool } from "./tools/tool";
import type { Pane, Plane, Spot } from "./types";
import { centreAfterPan, centreAfterZoom, toCell, toPixel, ZOOMS } from "./viewport";
import { across } from "./views/slices";
import { placeOf } from "./wording";

export const createStage: CreateStage = (events, look) => new Stage(events, look);

/** Where the cursor is: which plane of which slot, and where in cells of its grid. */
interface Cursor {
  slot: Slot;
  plane: number;
  cell: number[];
}

class Stage implements StageApi, Bench, Drawn, PointerListener, KeyListener {
  readonly element: HTMLElement;
  readonly state: State;
  reading: Reading | null = null;
  private readonly screen: Screen;
  private readonly speaker: Speaker;
  private readonly ended = new AbortController();
  private readonly tools: Readonly<Record<ToolName, Tool>>;
  private chosen: Tool;
  /** The tool of a press that has not ended. */
  private active: Tool | null = null;
  /** Whether the space bar is held, which makes a hand of every tool. */
  private holding = false;
  private pointed: Cursor | null = null;
  /** Where the cursor was last, from where keys take it on. */
  private left: Cursor | null = null;
  /** The slot that was probed last. */
  private probed: Slot = "a";

  constructor(
    readonly events: StageEvents,
    look: Look,
  ) {
    this.state = new State(look);
    this.speaker = new Speaker((text) => events.onSay(text));
    this.tools = toolsAt(this);
    this.chosen = this.tools.probe;
    this.screen = new Screen(this, keysInWords());
    this.element = this.screen.element;
    this.element.dataset.tool = "probe";
    listen(this.screen.field, this, this.ended.signal);
    listenToKeys(this.element, this, this.ended.signal);
    this.screen.changed();
  }

  // ---- what the page says

  showPicture(picture: Picture, buffers: ArrayBuffer[]): void {
    this.state.addPicture(picture, buffers);
    this.screen.changed();
  }

  showMap(map: HeatMap, buffers: ArrayBuffer[]): void {
    this.state.addMap(map, buffers);
    this.screen.changed();
  }

  showLayer(layer: Layer, buffers: ArrayBuffer[]): void {
    this.state.addLayer(layer, buffers);
    this.screen.changed();
  }

  clear(slot: Slot): void {
    this.state.clear(slot);
    this.screen.changed();
  }

  showForm(form: Form): void {
    this.state.setForm(form);
    this.screen.changed();
  }

  setTool(tool: ToolName): void {
    this.cancel();
    this.chosen = this.tools[tool];
    this.element.dataset.tool = tool;
    this.screen.changed();
  }

  setLook(look: Look): void {
    this.state.look = look;
    this.state.recolour();
    this.screen.changed();
  }

  setComparing(comparing: Comparing): void {
    this.state.comparing = comparing;
    this.state.recolour();
    this.screen.changed();
  }

  setNames(names: Readonly<Record<Slot, string>> | null): void {
    this.state.names = names;
    this.screen.changed();
  }

  mark(position: number[] | null): void {
    this.state.mark = position && { slot: this.probed, position: [...position] };
    this.screen.redraw();
  }

  zoom(factor: number | "fit"): void {
    this.screen.lay();
    const pane = this.screen.panes[0];
    const plane = pane?.planes[0];
    if (factor === "fit") {
      this.state.seeAll();
      this.screen.changed();
    } else if (pane && plane) {
      const { x, y, width, height } = plane.frame;
      this.zoomAt(spotOn(pane, plane, x + width / 2, y + height / 2), factor);
    }
  }

  destroy(): void {
    this.ended.abort();
    this.speaker.stop();
    this.screen.destroy();
  }

  // ---- what tools see and do

  get tool(): Tool {
    return this.active ?? (this.holding ? this.tools.pan : this.chosen);
  }

  get picture(): PictureData | null {
    return this.state.picture;
  }

  get patch(): number[] {
    return this.state.patch;
  }

  get box(): number[] | null {
    return this.state.box;
  }

  get mask(): Uint8Array | null {
    return this.state.mask?.cells ?? null;
  }

  get cursor(): Spot | null {
    return this.spotOf(this.pointed);
  }

  draft(box: number[] | null): void {
    if (sameNumbers(box, this.state.draft)) return;
    this.state.draft = box;
    this.screen.changed();
  }

  paint(cells: Uint8Array | null): void {
    this.state.mask = cells && { cells, version: (this.state.mask?.version ?? 0) + 1 };
    this.screen.changed();
  }

  own({ pane, cell }: Spot): number[] {
    return this.state.own(pane, cell);
  }

  cellOn(pane: Pane, cell: readonly number[]): number[] {
    return this.state.cellOn(pane, cell);
  }

  boxOn(pane: Pane, box: readonly number[]): number[] {
    return this.state.boxOn(pane, box);
  }

  probe({ pane, cell }: Spot): void {
    const patch = this.state.patchAt(pane, cell);
    if (patch === null) return;
    this.probed = pane.slot;
    this.events.onProbe(pane.slot, patch.slice(0, patch.length / 2));
  }

  cross({ pane, cell }: Spot): void {
    if (!this.state.related(pane)) return;
    this.state.cross(this.state.own(pane, cell));
    this.screen.changed();
  }

  pan({ pane, plane }: Spot, byX: number, byY: number): void {
    const { down, right, rows, columns, frame } = this.current(pane, plane);
    const centre = this.state.centreOf(pane);
    centre[right] = centreAfterPan(columns, frame.x, frame.width, byX);
    if (down !== null) centre[down] = centreAfterPan(rows, frame.y, frame.height, byY);
    this.look(pane, centre, this.state.camera.zoom);
  }

  say(text: string): void {
    this.speaker.speak(text);
  }

  redraw(): void {
    this.screen.redraw();
  }

  // ---- what the pointer does

  spotAt(x: number, y: number): Spot | null {
    for (const pane of this.screen.panes)
      for (const plane of pane.planes) {
        const { frame } = plane;
        const within = x >= frame.x && y >= frame.y && x < frame.x + frame.width && y < frame.y + frame.height;
        if (within) return spotOn(pane, plane, x, y);
      }
    return null;
  }

  spotOn({ pane, plane }: Spot, x: number, y: number): Spot {
    return spotOn(this.paneOf(pane.slot) ?? pane, this.current(pane, plane), x, y);
  }

  hover(spot: Spot | null): void {
    this.left = this.pointed ?? this.left;
    this.pointed = spot && { slot: spot.pane.slot, plane: spot.pane.planes.indexOf(spot.plane), cell: spot.cell };
    this.screen.field.style.cursor = this.tool.cursor(spot);
    this.read();
    this.screen.redraw();
  }

  press(spot: Spot, press: Press): void {
    this.active = press.pans ? this.tools.pan : this.tool;
    this.active.press(spot, press);
    this.screen.field.style.cursor = this.active.cursor(spot);
    this.screen.redraw();
  }

  drag(spot: Spot): void {
    this.active?.drag(spot);
  }

  release(spot: Spot): void {
    this.active?.release(spot);
    this.active = null;
    this.screen.redraw();
  }

  cancel(): boolean {
    const was = (this.active ?? this.chosen).cancel();
    this.active = null;
    this.screen.redraw();
    return was;
  }

  zoomAt({ pane, plane, x, y }: Spot, factor: number): void {
    const { down, right, rows, columns, frame } = this.current(pane, plane);
    const { zoom: before } = this.state.camera;
    const zoom = clamp(before * factor, ZOOMS.least, ZOOMS.most);
    const centre = this.state.centreOf(pane);
    centre[right] = centreAfterZoom(columns, frame.x, frame.width, x, zoom / before);
    if (down !== null) centre[down] = centreAfterZoom(rows, frame.y, frame.height, y, zoom / before);
    this.look(pane, centre, zoom);
  }

  scroll({ pane, plane }: Spot, by: number): boolean {
    if (pane.picture.size.length !== 3 || !this.state.related(pane)) return false;
    const axis = across(plane);
    this.slice(axis, Math.floor(this.state.crossed[axis]!) + by);
    return true;
  }

  // ---- what keys do

  move(direction: Direction, by: number): void {
    const spot = this.cursor ?? this.spotOf(this.left) ?? this.startingSpot();
    const places = spot && this.state.placesIn(spot.pane);
    if (!spot || !places) return;
    const { pane, plane } = spot;
    const third = pane.picture.size.length === 3 ? across(plane) : null;
    const axis = { right: plane.right, down: plane.down, through: third }[direction];
    if (axis === null) return;
    const index = Math.max(0, places.nearest(spot.cell));
    // The first key only shows where the cursor is.
    const next = this.pointed === null ? index : places.step(index, axis, by);
    const cell = places.centre(next);
    this.pointed = { slot: pane.slot, plane: pane.planes.indexOf(plane), cell };
    if (third !== null) this.cross({ ...spot, cell });
    this.read();
    this.say(this.spokenAt(pane, cell, places.start(next)));
    this.tool.followed(this.own({ ...spot, cell }));
    this.screen.redraw();
  }

  key(event: KeyboardEvent): boolean {
    // A tool is used where the cursor is, which a first key shows.
    if (event.key === "Enter" && this.cursor === null) this.move("right", 0);
    return this.chosen.key(event);
  }

  space(held: boolean): void {
    if (this.holding === held) return;
    this.holding = held;
    this.screen.field.style.cursor = this.tool.cursor(this.cursor);
  }

  // ---- what is drawn of the cursor

  slice(axis: number, cell: number): void {
    const at = this.state.crossed.map((each) => Math.floor(each) + 0.5);
    at[axis] = cell + 0.5;
    this.state.cross(at);
    const spot = this.cursor;
    if (this.pointed && spot && spot.pane.planes.length > 1 && across(spot.plane) === axis) {
      // The cursor stays where it is on its plane, which now shows another slice.
      const inside = [...spot.cell];
      inside[axis] = this.state.cellOn(spot.pane, this.state.crossed)[axis]!;
      this.pointed = { ...this.pointed, cell: inside };
    }
    this.read();
    this.screen.changed();
  }

  pointedIn(pane: Pane): Pointed {
    const spot = this.cursor;
    if (spot === null || pane.picture.size.length !== spot.cell.length) return { patch: null, cross: null };
    const cell = convert(spot.cell, spot.pane.picture, pane.picture);
    const seen = this.state.look.patch && this.chosen !== this.tools.paint && isWithin(pane, cell);
    return {
      patch: seen ? this.state.patchAt(pane, cell) : null,
      cross: pane.slot === spot.pane.slot ? null : cell,
    };
  }

  /** Tells what the cursor is on, if that is another thing than before. */
  read(): void {
    const spot = this.cursor;
    const reading = spot && this.state.readingIn(spot.pane, spot.cell);
    const text = JSON.stringify(reading);
    if (text === JSON.stringify(this.reading)) return;
    this.reading = reading;
    if (reading) this.element.dataset.reading = text;
    else delete this.element.dataset.reading;
    this.screen.point();
    this.events.onHover(reading);
  }

  private spokenAt(pane: Pane, cell: number[], position: number[]): string {
    const said = this.screen.panes.flatMap((each) => {
      if (each.slot !== pane.slot && !this.state.related(each)) return [];
      const there = this.state.readingIn(each, convert(cell, pane.picture, each.picture));
      if (there === null || each.map === null) return [];
      const text = spoken(there, each.map);
      return [each.slot === pane.slot ? text : `${each.slot.toUpperCase()}: ${text}`];
    });
    return said.length > 0 ? said.join("; ") : placeOf(pane.picture.axes, position);
  }

  // ---- places

  private paneOf(slot: Slot): Pane | null {
    return this.screen.panes.find((pane) => pane.slot === slot) ?? null;
  }

  /** A plane as it is laid out by now. */
  private current(pane: Pane, plane: Plane): Plane {
    const planes = this.paneOf(pane.slot)?.planes;
    return planes?.find((each) => each.down === plane.down && each.right === plane.right) ?? plane;
  }

  private look(pane: Pane, centre: readonly number[], zoom: number): void {
    this.state.lookAt(pane, centre, zoom);
    this.screen.changed();
    this.screen.lay();
  }

  private spotOf(cursor: Cursor | null): Spot | null {
    const pane = cursor && this.paneOf(cursor.slot);
    const plane = pane?.planes[cursor!.plane];
    if (!cursor || !pane || !plane || cursor.cell.length !== pane.picture.size.length) return null;
    const { frame, down, right, rows, columns } = plane;
    const x = toPixel(columns, cursor.cell[right]!);
    const y = down === null ? frame.y + frame.height / 2 : toPixel(rows, cursor.cell[down]!);
    return { pane, plane, cell: cursor.cell, x, y };
  }

  /** Where the first key finds the cursor: in the middle, or where the slices meet. */
  private startingSpot(): Spot | null {
    const pane = this.screen.panes[0];
    if (pane === undefined) return null;
    // Not the pane's own slices, which are those of the last frame: a slider may have moved since.
    const { size } = pane.picture;
    const cell = pane.planes.length > 1 ? this.state.cellOn(pane, this.state.crossed) : size.map((length) => length / 2);
    return this.spotOf({ slot: pane.slot, plane: 0, cell });
  }
}

/** The spot of a plane at a pixel; along the axis that the plane is a slice across, that of the slice. */
function spotOn(pane: Pane, plane: Plane, x: number, y: number): Spot {
  const cell = pane.at.map((at) => Math.floor(at) + 0.5);
  cell[plane.right] = toCell(plane.columns, x);
  if (plane.down !== null) cell[plane.down] = toCell(plane.rows, y);
  return { pane, plane, cell, x, y };
}

/** The stage: an image with the heat of its map, the query's region over it, and the tools that change that. */

import type { Form, HeatMap, Layer, Picture, Slot } from "../protocol";
import { clamp, sameNumbers } from "./arrays";
import type { Comparing, CreateStage, Look, Reading, StageApi, StageEvents, Tool as ToolName } from "./contract";
import { Front, type Pointed } from "./front";
import { Ground, type Regions } from "./ground";
import { KEYS, listenToKeys, type KeyListener } from "./keyboard";
import { Legends } from "./legend";
import { mapData, strongest, withLayer, type MapData } from "./maps";
import { isDrop } from "./palette";
import { pictureData, type PictureData } from "./pictures";
import { latticeOf, type Places } from "./places";
import { listen, type PointerListener } from "./pointer";
import { readingAt, spoken } from "./reading";
import { Speaker } from "./say";
import type { Coloured } from "./scales";
import { colouredOf, panesOf, shownIn, type Content } from "./scene";
import { Sliders } from "./sliders";
import { convert, convertBox, fromSource, toSource } from "./source";
import { themeOf } from "./theme";
import { pan } from "./tools/pan";
import { TOOLS } from "./tools/table";
import type { Bench, Tool } from "./tools/tool";
import type { Camera, Pane, Plane, Rect, Spot } from "./types";
import { centreAfterPan, centreAfterZoom, toCell, toPixel, ZOOMS } from "./viewport";
import { across } from "./views/slices";
import { viewOf } from "./views/table";
import { placeOf, sizeOf, titleOf } from "./wording";

export const createStage: CreateStage = (events, look) => new Stage(events, look);

/** Where the cursor is: which plane of which slot, and where in cells of its grid. */
interface Cursor {
  slot: Slot;
  plane: number;
  cell: number[];
}

let stages = 0;

class Stage implements StageApi, Bench, PointerListener, KeyListener {
  readonly element = document.createElement("div");
  private readonly field = document.createElement("div");
  private readonly captions: HTMLElement[] = [];
  private readonly ground = new Ground(canvas("kdb-stage-ground"));
  private readonly front = new Front(canvas("kdb-stage-front"));
  private readonly legends = new Legends();
  private readonly sliders = new Sliders((axis, cell) => this.slice(axis, cell));
  private readonly speaker: Speaker;
  private readonly ended = new AbortController();
  private readonly resized = new ResizeObserver(() => this.changed());

  private readonly content: Content & { pictures: Map<string, PictureData>; maps: Record<Slot, MapData | null> };
  private form: Form | null = null;
  private drafted: number[] | null = null;
  private painted: Uint8Array | null = null;
  private paintings = 0;
  private marked: { slot: Slot; position: number[] } | null = null;
  private probed: Slot = "a";
  private camera: Camera = { zoom: 1, centre: null };
  /** The cell that slices go through; null until something chooses one. */
  private at: number[] | null = null;
  private pointed: Cursor | null = null;
  /** Where the cursor was last, from where keys take it on. */
  private left: Cursor | null = null;
  private reading: Reading | null = null;

  private readonly hand: Tool;
  private readonly tools: Record<ToolName, Tool>;
  private tool: ToolName = "probe";
  private active: Tool | null = null;
  private holding = false;

  private panes: Pane[] = [];
  private heats: Coloured | null = null;
  private frame = 0;
  private dirty = { ground: false, front: false };

  constructor(
    readonly events: StageEvents,
    look: Look,
  ) {
    this.content = { pictures: new Map(), chosen: null, maps: { a: null, b: null }, comparing: "off", look };
    this.speaker = new Speaker((text) => events.onSay(text));
    this.hand = pan(this);
    this.tools = Object.fromEntries(Object.entries(TOOLS).map(([name, make]) => [name, make(this)])) as Record<
      ToolName,
      Tool
    >;
    this.build();
    const { signal } = this.ended;
    listen(this.field, this, signal);
    listenToKeys(this.element, this, signal);
    this.element.addEventListener("focus", () => this.redraw(), { signal });
    // stage.css gives the field's colour a transition, which tells when the page turns dark or light.
    this.field.addEventListener("transitionend", () => this.changed(), { signal });
    this.resized.observe(this.field);
    this.changed();
  }

  // ---- what the page says

  showPicture(picture: Picture, buffers: ArrayBuffer[]): void {
    this.content.pictures.set(picture.key, pictureData(picture, buffers));
    if (this.content.chosen === null) this.choose(picture.key);
    this.recoloured();
  }

  showMap(message: HeatMap, buffers: ArrayBuffer[]): void {
    const before = this.content.maps[message.slot];
    const map = mapData(message, buffers);
    this.content.maps[message.slot] = map;
    if (message.slot === "a") this.choose(map.picture);
    if (before?.map !== map.map && this.marked?.slot === message.slot) this.marked = null;
    const best = this.at === null && map.size.length === 3 && message.slot === "a" ? strongest(map) : -1;
    if (best >= 0) this.at = map.places.centre(best);
    this.recoloured();
  }

  showLayer(layer: Layer, buffers: ArrayBuffer[]): void {
    for (const slot of ["a", "b"] as const) {
      const map = this.content.maps[slot];
      if (map?.map === layer.map) this.content.maps[slot] = withLayer(map, layer, buffers);
    }
    this.recoloured();
  }

  clear(slot: Slot): void {
    this.content.maps[slot] = null;
    if (this.marked?.slot === slot) this.marked = null;
    this.recoloured();
  }

  showForm(form: Form): void {
    const before = this.form;
    this.form = form;
    if (form.picture !== null && form.picture !== before?.picture) this.choose(form.picture);
    this.drafted = null;
    // A form of before the mask was painted can still come; one of after it, of another region, takes the mask away.
    if (before?.region.kind === "mask" && form.region.kind !== "mask") this.painted = null;
    this.recoloured();
  }

  setTool(tool: ToolName): void {
    this.cancel();
    this.tool = tool;
    this.element.dataset.tool = tool;
    this.changed();
  }

  setLook(look: Look): void {
    this.content.look = look;
    this.recoloured();
  }

  setComparing(comparing: Comparing): void {
    this.content.comparing = comparing;
    this.recoloured();
  }

  mark(position: number[] | null): void {
    this.marked = position && { slot: this.probed, position: [...position] };
    this.redraw();
  }

  zoom(factor: number | "fit"): void {
    if (factor === "fit") {
      this.camera = { zoom: 1, centre: null };
      this.changed();
      return;
    }
    const pane = this.panes[0];
    const plane = pane?.planes[0];
    if (!pane || !plane) return;
    const { x, y, width, height } = plane.frame;
    this.zoomAt(spotOn(pane, plane, x + width / 2, y + height / 2), factor);
  }

  destroy(): void {
    this.ended.abort();
    this.resized.disconnect();
    this.speaker.stop();
    cancelAnimationFrame(this.frame);
    this.element.remove();
  }

  // ---- what tools see and do

  get picture(): PictureData | null {
    return shownIn(this.content, "a").picture;
  }

  get patch(): number[] {
    const patch = this.formOfPicture()?.patch ?? this.content.maps.a?.patch;
    return patch?.length === this.picture?.size.length ? patch! : (this.picture?.size.map(() => 1) ?? []);
  }

  get box(): number[] | null {
    if (this.drafted !== null) return this.drafted;
    const region = this.formOfPicture()?.region;
    return region?.kind === "box" ? region.box : null;
  }

  draft(box: number[] | null): void {
    if (sameNumbers(box, this.drafted)) return;
    this.drafted = box;
    this.changed();
  }

  get mask(): Uint8Array | null {
    return this.painted;
  }

  paint(mask: Uint8Array | null): void {
    this.painted = mask;
    this.paintings++;
    this.changed();
  }

  get cursor(): Spot | null {
    return this.spotOf(this.pointed);
  }

  private spotOf(cursor: Cursor | null): Spot | null {
    if (cursor === null) return null;
    const { slot, plane: number, cell } = cursor;
    const pane = this.paneOf(slot);
    const plane = pane?.planes[number];
    if (!pane || !plane || cell.length !== pane.picture.size.length) return null;
    const x = toPixel(plane.columns, cell[plane.right]!);
    const y = plane.down === null ? plane.frame.y + plane.frame.height / 2 : toPixel(plane.rows, cell[plane.down]!);
    return { pane, plane, cell, x, y };
  }

  own(spot: Spot): number[] {
    return this.picture ? convert(spot.cell, spot.pane.picture, this.picture) : spot.cell;
  }

  cellOn(pane: Pane, cell: readonly number[]): number[] {
    return this.picture ? convert(cell, this.picture, pane.picture) : [...cell];
  }

  boxOn(pane: Pane, box: readonly number[]): number[] {
    return this.picture ? convertBox(box, this.picture, pane.picture) : [...box];
  }

  probe(spot: Spot): void {
    const { pane } = spot;
    const places = this.placesIn(pane);
    const index = places?.nearest(spot.cell) ?? -1;
    if (places === null || index < 0) return;
    this.probed = pane.slot;
    this.events.onProbe(pane.slot, places.start(index));
  }

  cross(spot: Spot): void {
    if (spot.pane.picture.size.length !== 3 || this.picture?.size.length !== 3) return;
    const cell = this.own(spot);
    this.at = cell.map((at, k) => clamp(at, 0, this.picture!.size[k]! - 1));
    this.changed();
  }

  pan({ pane, plane }: Spot, byX: number, byY: number): void {
    const shown = this.currentPlane(pane, plane);
    const centre = this.centreOf(pane);
    centre[shown.right] = centreAfterPan(shown.columns, shown.frame.x, shown.frame.width, byX);
    if (shown.down !== null)
      centre[shown.down] = centreAfterPan(shown.rows, shown.frame.y, shown.frame.height, byY);
    this.camera = { ...this.camera, centre: toSource(pane.picture, centre) };
    this.changed();
    this.lay();
  }

  say(text: string): void {
    this.speaker.speak(text);
  }

  redraw(): void {
    this.dirty.front = true;
    this.schedule();
  }

  // ---- what the pointer does

  spotAt(x: number, y: number): Spot | null {
    for (const pane of this.panes)
      for (const plane of pane.planes) {
        const { frame } = plane;
        if (x < frame.x || y < frame.y || x >= frame.x + frame.width || y >= frame.y + frame.height) continue;
        return spotOn(pane, plane, x, y);
      }
    return null;
  }

  spotOn(other: Spot, x: number, y: number): Spot {
    const pane = this.paneOf(other.pane.slot) ?? other.pane;
    return spotOn(pane, this.currentPlane(pane, other.plane), x, y);
  }

  hover(spot: Spot | null): void {
    this.left = this.pointed ?? this.left;
    this.pointed = spot && { slot: spot.pane.slot, plane: spot.pane.planes.indexOf(spot.plane), cell: spot.cell };
    this.field.style.cursor = (this.active ?? this.currentTool()).cursor(spot);
    this.read();
    this.redraw();
  }

  press(spot: Spot, press: { pans: boolean; wipes: boolean; anew: boolean }): void {
    this.active = press.pans ? this.hand : this.currentTool();
    this.active.press(spot, press);
    this.field.style.cursor = this.active.cursor(spot);
    this.redraw();
  }

  drag(spot: Spot): void {
    this.active?.drag(spot);
  }

  release(spot: Spot): void {
    this.active?.release(spot);
    this.active = null;
    this.redraw();
  }

  cancel(): boolean {
    const was = (this.active ?? this.tools[this.tool]).cancel();
    this.active = null;
    this.redraw();
    return was;
  }

  zoomAt({ pane, plane, x, y }: Spot, factor: number): void {
    const shown = this.currentPlane(pane, plane);
    const zoom = clamp(this.camera.zoom * factor, ZOOMS.least, ZOOMS.most);
    const by = zoom / this.camera.zoom;
    const centre = this.centreOf(pane);
    const { frame } = shown;
    centre[shown.right] = centreAfterZoom(shown.columns, frame.x, frame.width, x, by);
    if (shown.down !== null) centre[shown.down] = centreAfterZoom(shown.rows, frame.y, frame.height, y, by);
    this.camera = zoom === 1 ? { zoom, centre: null } : { zoom, centre: toSource(pane.picture, centre) };
    this.changed();
    this.lay();
  }

  scroll({ pane, plane }: Spot, by: number): boolean {
    if (pane.picture.size.length !== 3 || this.picture?.size.length !== 3) return false;
    const axis = across(plane);
    this.slice(axis, Math.floor(this.crossed()[axis]!) + by);
    return true;
  }

  // ---- what keys do

  move(direction: "right" | "down" | "through", by: number): void {
    const spot = this.cursor ?? this.spotOf(this.left) ?? this.startingSpot();
    const places = spot && this.placesIn(spot.pane);
    if (!spot || !places) return;
    const { pane, plane } = spot;
    const three = pane.picture.size.length === 3;
    const axis = direction === "right" ? plane.right : direction === "down" ? plane.down : three ? across(plane) : null;
    if (axis === null) return;
    const index = places.nearest(spot.cell);
    // The first key only shows where the cursor is.
    const next = index < 0 ? 0 : this.pointed === null ? index : places.step(index, axis, by);
    const cell = places.centre(next);
    this.pointed = { slot: pane.slot, plane: pane.planes.indexOf(plane), cell };
    if (three) this.cross({ ...spot, cell });
    this.read();
    this.speaker.speak(this.spokenAt(pane, places.start(next)));
    this.currentTool().followed(this.own({ ...spot, cell }));
    this.redraw();
  }

  /** The tool's own keys; all else is the page's. */
  key(event: KeyboardEvent): boolean {
    return this.tools[this.tool].key(event);
  }

  space(held: boolean): void {
    if (this.holding === held) return;
    this.holding = held;
    this.field.style.cursor = this.currentTool().cursor(this.cursor);
  }

  // ---- within

  private build(): void {
    const keys = document.createElement("p");
    keys.id = `kdb-stage-keys-${++stages}`;
    keys.className = "kdb-stage-hidden";
    keys.textContent = KEYS;
    this.element.className = "kdb-stage";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "application");
    this.element.setAttribute("aria-roledescription", "image with heat map");
    this.element.setAttribute("aria-describedby", keys.id);
    this.field.className = "kdb-stage-field";
    this.field.append(this.ground.canvas, this.front.canvas);
    for (const each of [this.ground.canvas, this.front.canvas]) each.setAttribute("aria-hidden", "true");
    this.element.append(this.field, this.sliders.element, this.legends.element, keys);
    this.element.dataset.tool = this.tool;
  }

  private choose(key: string): void {
    const before = this.picture;
    this.content.chosen = key;
    const picture = this.content.pictures.get(key);
    if (picture !== undefined && !sameNumbers(picture.size, before?.size ?? null)) {
      this.painted = null;
      this.drafted = null;
      this.at = null;
      this.pointed = this.left = null;
      this.camera = { zoom: 1, centre: null };
    }
  }

  private formOfPicture(): Form | null {
    const { form, picture } = this;
    return form && picture && (form.size === null || sameNumbers(form.size, picture.size)) ? form : null;
  }

  private currentTool(): Tool {
    return this.holding ? this.hand : this.tools[this.tool];
  }

  private paneOf(slot: Slot): Pane | null {
    return this.panes.find((pane) => pane.slot === slot) ?? null;
  }

  /** A plane as it is laid out by now. */
  private currentPlane(pane: Pane, plane: Plane): Plane {
    const current = this.paneOf(pane.slot)?.planes;
    return current?.find((each) => each.down === plane.down && each.right === plane.right) ?? plane;
  }

  private centreOf({ picture }: Pane): number[] {
    return this.camera.centre ? fromSource(picture, this.camera.centre) : picture.size.map((length) => length / 2);
  }

  private crossed(): number[] {
    return this.at ?? this.picture?.size.map((length) => Math.floor(length / 2)) ?? [];
  }

  private slice(axis: number, cell: number): void {
    const picture = this.picture;
    if (picture === null) return;
    const at = this.crossed().map((each) => Math.floor(each) + 0.5);
    at[axis] = clamp(cell, 0, picture.size[axis]! - 1) + 0.5;
    this.at = at;
    if (this.pointed) this.pointed = { ...this.pointed, cell: this.pointedAfterSlice(axis) };
    this.read();
    this.changed();
  }

  /** The cursor stays where it is on its plane, which now shows another slice. */
  private pointedAfterSlice(axis: number): number[] {
    const cell = [...this.pointed!.cell];
    const pane = this.paneOf(this.pointed!.slot);
    if (pane && pane.planes[this.pointed!.plane] && across(pane.planes[this.pointed!.plane]!) === axis)
      cell[axis] = this.cellOn(pane, this.crossed())[axis]!;
    return cell;
  }

  /** The positions of a pane: its map's, else those that the query would have; null where nothing is known. */
  private placesIn(pane: Pane): Places | null {
    if (pane.map !== null) return pane.map.places;
    const form = this.formOfPicture();
    if (form === null || form.patch === null || pane.picture !== this.picture) return null;
    const { size } = pane.picture;
    return form.patch.length === size.length && form.stride.length === size.length
      ? latticeOf(size, form.patch, form.stride)
      : null;
  }

  private startingSpot(): Spot | null {
    const pane = this.panes[0];
    const plane = pane?.planes[0];
    if (!pane || !plane) return null;
    const three = pane.picture.size.length === 3;
    return { pane, plane, cell: three ? pane.at : pane.picture.size.map((length) => length / 2), x: 0, y: 0 };
  }

  private patchAt(pane: Pane, cell: readonly number[]): number[] | null {
    const places = this.placesIn(pane);
    const index = places?.nearest(cell) ?? -1;
    if (places === null || index < 0) return null;
    return [...places.start(index), ...(pane.map?.patch ?? this.patch)];
  }

  /** What the cursor is on, if that is another thing than before. */
  private read(): void {
    const spot = this.cursor;
    const reading = spot?.pane.map ? this.readingIn(spot.pane, spot.pane.map, spot.cell) : null;
    if (JSON.stringify(reading) === JSON.stringify(this.reading)) return;
    this.reading = reading;
    if (reading) this.element.dataset.reading = JSON.stringify(reading);
    else delete this.element.dataset.reading;
    this.point();
    this.events.onHover(reading);
  }

  private readingIn(pane: Pane, map: MapData, cell: readonly number[]): Reading | null {
    const inside = cell.every((at, k) => at >= 0 && at < map.size[k]!);
    const reading = inside ? readingAt(pane.slot, map, cell) : null;
    const other = shownIn(this.content, "b");
    if (reading === null || this.content.comparing !== "difference" || !pane.heat || !other.map || !other.picture)
      return reading;
    const centre = reading.position.map((at, k) => at + map.patch[k]! / 2);
    const there = readingAt("b", other.map, convert(centre, pane.picture, other.picture));
    return { ...reading, difference: there && reading.score - there.score };
  }

  private spokenAt(pane: Pane, position: number[]): string {
    if (!this.reading || !pane.map) return placeOf(pane.picture.axes, position);
    const text = spoken(this.reading, pane.map);
    const other = this.panes.find((each) => each.slot !== pane.slot);
    const cell = other && this.pointed && convert(this.pointed.cell, pane.picture, other.picture);
    const there = other?.map && cell && this.readingIn(other, other.map, cell);
    return there && other.map ? `${text}; ${other.slot}: ${spoken(there, other.map)}` : text;
  }

  /** The legends' mark of the value under the cursor. */
  private point(): void {
    const { reading, heats } = this;
    const legends = heats?.legends ?? [];
    const map = reading && this.content.maps[reading.slot];
    if (!reading || !map) return this.legends.point([]);
    const own = legends.length > 1 && reading.slot === "b" ? 1 : 0;
    const value = legends[own]?.changes ? (reading.difference ?? reading.change) : reading.score;
    this.legends.point(legends.map((_, i) => (i === own ? value : null)));
  }

  // ---- drawing

  /** Something that is drawn has changed, but no colour. */
  private changed(): void {
    this.dirty.ground = true;
    this.redraw();
  }

  private recoloured(): void {
    this.heats = null;
    this.changed();
  }

  private schedule(): void {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.draw());
  }

  private lay(): void {
    this.heats ??= colouredOf(this.content);
    const bounds: Rect = { x: 0, y: 0, width: this.field.clientWidth, height: this.field.clientHeight };
    const drawable = bounds.width > 0 && bounds.height > 0;
    this.panes = drawable ? panesOf(this.content, this.heats, bounds, this.camera, this.crossed()) : [];
  }

  private draw(): void {
    this.frame = 0;
    const { ground, front } = this.dirty;
    this.dirty = { ground: false, front: false };
    const ratio = devicePixelRatio || 1;
    const theme = themeOf(this.element);
    if (ground) {
      this.describe();
      this.lay();
      for (const { canvas } of [this.ground, this.front]) {
        const width = Math.round(this.field.clientWidth * ratio);
        const height = Math.round(this.field.clientHeight * ratio);
        if (canvas.width !== width) canvas.width = width;
        if (canvas.height !== height) canvas.height = height;
      }
      this.caption();
      this.ground.draw(this.panes, this.content.look, theme, this.regions(), ratio);
    }
    if (ground || front)
      this.front.draw(this.panes, theme, this.active ?? this.currentTool(), (pane) => this.pointedIn(pane), (pane) => this.markIn(pane), ratio);
  }

  private regions(): Regions {
    const related = (pane: Pane) => pane.picture.size.length === this.picture?.size.length;
    const { box, painted } = this;
    return {
      box: (pane) => (box && related(pane) ? this.boxOn(pane, box) : null),
      mask: (pane) => (painted && pane.picture === this.picture ? { cells: painted, version: this.paintings } : null),
    };
  }

  private pointedIn(pane: Pane): Pointed {
    const spot = this.cursor;
    const related = spot && pane.picture.size.length === spot.cell.length;
    if (!spot || !related) return { patch: null, cross: null };
    const cell = convert(spot.cell, spot.pane.picture, pane.picture);
    const inside = cell.every((at, k) => at >= 0 && at < pane.picture.size[k]!);
    const seen = this.content.look.patch && this.tool !== "paint" && inside;
    return { patch: seen ? this.patchAt(pane, cell) : null, cross: pane === spot.pane ? null : cell };
  }

  /** The probed position with the patch on it, in both panes. */
  private markIn(pane: Pane): number[] | null {
    if (this.marked === null) return null;
    const { slot, position } = this.marked;
    const own = this.paneOf(slot) ?? pane;
    if (position.length !== own.picture.size.length || pane.picture.size.length !== position.length) return null;
    return convertBox([...position, ...(own.map?.patch ?? this.patch)], own.picture, pane.picture);
  }

  /** What the page around, and tests, are to know of what is shown; and what it is in words. */
  private describe(): void {
    this.heats ??= colouredOf(this.content);
    this.legends.show(this.heats.legends);
    const { picture, map } = shownIn(this.content, "a");
    const three = picture !== null && picture.size.length === 3;
    this.sliders.show(three ? picture.axes : "", three ? picture.size : [], this.crossed());
    const { dataset } = this.element;
    dataset.comparing = this.content.comparing;
    dataset.hasMap = String(this.heats.a !== null || this.heats.b !== null);
    dataset.zoom = this.camera.zoom.toFixed(2);
    if (picture) dataset.view = viewOf(picture.size).kind;
    else delete dataset.view;
    if (this.box) dataset.box = JSON.stringify(this.box);
    else delete dataset.box;
    this.element.setAttribute("aria-label", described(picture, map, this.content.comparing));
    this.point();
  }

  private caption(): void {
    const titled = this.panes.filter((pane) => pane.title);
    while (this.captions.length > titled.length) this.captions.pop()!.remove();
    for (const [i, { title, area }] of titled.entries()) {
      const caption = (this.captions[i] ??= this.field.appendChild(document.createElement("div")));
      caption.className = "kdb-stage-caption";
      caption.textContent = title;
      caption.title = title;
      caption.style.left = `${area.x}px`;
      caption.style.top = `${area.y}px`;
      caption.style.width = `${area.width}px`;
    }
  }
}

function canvas(name: string): HTMLCanvasElement {
  const element = document.createElement("canvas");
  element.className = name;
  return element;
}

/** The spot of a plane at a pixel; along the axis that the plane is a slice across, that of the slice. */
function spotOn(pane: Pane, plane: Plane, x: number, y: number): Spot {
  const cell = pane.at.map((at) => Math.floor(at) + 0.5);
  cell[plane.right] = toCell(plane.columns, x);
  if (plane.down !== null) cell[plane.down] = toCell(plane.rows, y);
  return { pane, plane, cell, x, y };
}

function described(picture: PictureData | null, map: MapData | null, comparing: Comparing): string {
  if (picture === null) return "No image yet";
  const parts = [`Image of ${sizeOf(picture.size)}`];
  if (map !== null) parts.push(`heat map of ${map.label || "the output"} by ${map.model}: ${titleOf(map.score)}`);
  if (map !== null && !isDrop(map.score)) parts.push(`${map.baseline.toPrecision(3)} for the unmodified image`);
  if (comparing !== "off") parts.push(comparing === "side" ? "beside another map" : "the difference from another map");
  return parts.join(", ");
}

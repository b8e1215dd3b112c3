/** What the stage shows and what the query says of it, without a line of how it is drawn. */

import type { Form, HeatMap, Layer, Picture, Slot } from "../protocol";
import { clamp, sameNumbers } from "./arrays";
import type { Comparing, Look, Reading } from "./contract";
import { mapData, strongest, withLayer, type MapData } from "./maps";
import { pictureData, type PictureData } from "./pictures";
import { latticeOf, type Places } from "./places";
import { readingAt } from "./reading";
import type { Coloured } from "./scales";
import { colouredOf, panesOf, shownIn, type Content } from "./scene";
import { convert, convertBox, fromSource, toSource } from "./source";
import type { Camera, Pane, Rect } from "./types";
import { ZOOMS } from "./viewport";

const ALL: Camera = { zoom: ZOOMS.least, centre: null };

export class State implements Content {
  readonly pictures = new Map<string, PictureData>();
  readonly maps: Record<Slot, MapData | null> = { a: null, b: null };
  chosen: string | null = null;
  comparing: Comparing = "off";
  names: Readonly<Record<Slot, string>> | null = null;
  look: Look;

  camera = ALL;
  /** A box that is being drawn, in place of the query's. */
  draft: number[] | null = null;
  /** The mask that is painted, and how often it was. */
  mask: { cells: Uint8Array; version: number } | null = null;
  /** The position that was probed last. */
  mark: { slot: Slot; position: number[] } | null = null;
  private form: Form | null = null;
  /** The cell that slices go through; null until something chooses one. */
  private at: number[] | null = null;
  /** The image that mask, draft, camera and slices are of. */
  private seen: PictureData | null = null;
  private heatsNow: Coloured | null = null;

  constructor(look: Look) {
    this.look = look;
  }

  // ---- what comes

  addPicture(message: Picture, buffers: ArrayBuffer[]): void {
    const picture = pictureData(message, buffers);
    this.pictures.set(picture.key, picture);
    if (this.chosen === null || this.chosen === picture.key) this.choose(picture.key);
    this.recolour();
  }

  addMap(message: HeatMap, buffers: ArrayBuffer[]): void {
    const { slot } = message;
    const before = this.maps[slot];
    const map = mapData(message, buffers);
    this.maps[slot] = map;
    if (slot === "a") this.choose(map.picture);
    if (before?.map !== map.map && this.mark?.slot === slot) this.mark = null;
    const best = slot === "a" && this.at === null && map.size.length === 3 ? strongest(map) : -1;
    if (best >= 0) this.at = map.places.centre(best);
    this.recolour();
  }

  addLayer(layer: Layer, buffers: ArrayBuffer[]): void {
    for (const slot of ["a", "b"] as const) {
      const map = this.maps[slot];
      if (map?.map === layer.map) this.maps[slot] = withLayer(map, layer, buffers);
    }
    this.recolour();
  }

  clear(slot: Slot): void {
    this.maps[slot] = null;
    if (this.mark?.slot === slot) this.mark = null;
    this.recolour();
  }

  setForm(form: Form): void {
    const before = this.form;
    this.form = form;
    if (form.picture !== null && form.picture !== before?.picture) this.choose(form.picture);
    this.draft = null;
    // A form of before the mask was painted can still come; one of after it, of another region, takes the mask away.
    if (before?.region.kind === "mask" && form.region.kind !== "mask") this.mask = null;
    this.recolour();
  }

  /** Colours are to be made anew: of other maps, or by another look. */
  recolour(): void {
    this.heatsNow = null;
  }

  /** Slot a shows an image, once it is there.  What was drawn on a grid of another size is nothing on this one. */
  private choose(key: string): void {
    this.chosen = key;
    const picture = this.pictures.get(key);
    if (picture === undefined) return;
    if (picture.key !== this.seen?.key) this.at = null;
    if (!sameNumbers(picture.size, this.seen?.size ?? null)) {
      this.mask = this.draft = null;
      this.camera = ALL;
    }
    this.seen = picture;
  }

  // ---- what is shown

  /** The image that the query is about. */
  get picture(): PictureData | null {
    return shownIn(this, "a").picture;
  }

  get map(): MapData | null {
    return shownIn(this, "a").map;
  }

  get heats(): Coloured {
    return (this.heatsNow ??= colouredOf(this));
  }

  panes(area: Rect): Pane[] {
    return area.width > 0 && area.height > 0 ? panesOf(this, this.heats, area, this.camera, this.crossed) : [];
  }

  get patch(): number[] {
    const { picture } = this;
    const patch = this.formOfPicture?.patch ?? this.maps.a?.patch;
    if (picture === null) return [];
    return patch?.length === picture.size.length ? patch : picture.size.map(() => 1);
  }

  /** The box as it is seen: as it is drawn, else the query's. */
  get box(): number[] | null {
    const region = this.formOfPicture?.region;
    return this.draft ?? (region?.kind === "box" ? region.box : null);
  }

  /** The cell that slices go through. */
  get crossed(): number[] {
    return this.at ?? this.picture?.size.map((length) => Math.floor(length / 2)) ?? [];
  }

  cross(cell: readonly number[]): void {
    const { picture } = this;
    if (picture?.size.length === 3) this.at = cell.map((at, k) => clamp(at, 0, picture.size[k]! - 1));
  }

  /** Null where the form is of a grid of another size than is shown. */
  private get formOfPicture(): Form | null {
    const { form, picture } = this;
    return form && picture && (form.size === null || sameNumbers(form.size, picture.size)) ? form : null;
  }

  // ---- a pane's cells, and the query's

  /** Whether a pane shows as many axes as the query's image, so that places on one are places on the other. */
  related(pane: Pane): boolean {
    return pane.picture.size.length === this.picture?.size.length;
  }

  own(pane: Pane, cell: readonly number[]): number[] {
    return this.picture ? convert(cell, pane.picture, this.picture) : [...cell];
  }

  cellOn(pane: Pane, cell: readonly number[]): number[] {
    return this.picture ? convert(cell, this.picture, pane.picture) : [...cell];
  }

  boxOn(pane: Pane, box: readonly number[]): number[] {
    return this.picture ? convertBox(box, this.picture, pane.picture) : [...box];
  }

  /** The cell in the middle of a pane. */
  centreOf({ picture }: Pane): number[] {
    return this.camera.centre ? fromSource(picture, this.camera.centre) : picture.size.map((length) => length / 2);
  }

  lookAt({ picture }: Pane, centre: readonly number[], zoom: number): void {
    this.camera = { zoom, centre: zoom === ZOOMS.least ? null : toSource(picture, centre) };
  }

  seeAll(): void {
    this.camera = ALL;
  }

  // ---- positions

  /** The positions of a pane: its map's, else those that the query would have; null where nothing is known. */
  placesIn(pane: Pane): Places | null {
    if (pane.map !== null) return pane.map.places;
    const form = this.formOfPicture;
    if (form === null || form.patch === null || pane.picture !== this.picture) return null;
    const axes = pane.picture.size.length;
    // One number is along every axis.
    const spread = (values: number[]) => (values.length === 1 ? pane.picture.size.map(() => values[0]!) : values);
    const [patch, stride] = [spread(form.patch), spread(form.stride.length === 0 ? [1] : form.stride)];
    const fits = patch.length === axes && stride.length === axes;
    return fits ? latticeOf(pane.picture.size, patch, stride) : null;
  }

  /** The patch that is centred nearest to a cell, start.. and extent... */
  patchAt(pane: Pane, cell: readonly number[]): number[] | null {
    const places = this.placesIn(pane);
    const index = places?.nearest(cell) ?? -1;
    if (places === null || index < 0) return null;
    return [...places.start(index), ...(pane.map?.patch ?? this.patch)];
  }

  /** What the map of a pane says of a cell; null where there is no map, or outside of it. */
  readingIn(pane: Pane, cell: readonly number[]): Reading | null {
    const { map } = pane;
    if (map === null || !isWithin(pane, cell)) return null;
    const reading = readingAt(pane.slot, map, cell);
    if (reading === null || this.comparing === "off" || pane.heat === null) return reading;
    const slot = pane.slot === "a" ? "b" : "a";
    const other = shownIn(this, slot);
    if (other.map === null || other.picture?.size.length !== pane.picture.size.length) return reading;
    const centre = reading.position.map((at, k) => at + map.patch[k]! / 2);
    const there = readingAt(slot, other.map, convert(centre, pane.picture, other.picture));
    if (this.comparing === "side") return { ...reading, other: there && there.score };
    return { ...reading, difference: there && reading.score - there.score };
  }

  /** The probed position with the patch on it, start.. and extent.., as a pane shows it. */
  markIn(pane: Pane): number[] | null {
    if (this.mark === null) return null;
    const { slot, position } = this.mark;
    const { picture, map } = shownIn(this, slot);
    if (picture === null || position.length !== picture.size.length || !this.related(pane)) return null;
    return convertBox([...position, ...(map?.patch ?? this.patch)], picture, pane.picture);
  }
}

export function isWithin({ picture }: Pane, cell: readonly number[]): boolean {
  return cell.every((at, k) => at >= 0 && at < picture.size[k]!);
}

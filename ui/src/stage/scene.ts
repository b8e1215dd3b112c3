/** Which images and maps the stage shows, and where: what has come, put into panes. */

import { clamp } from "./arrays";
import type { Comparing, Look } from "./contract";
import type { MapData } from "./maps";
import type { PictureData } from "./pictures";
import { coloured, type Coloured, type Shown } from "./scales";
import { convert } from "./source";
import type { Camera, Pane, Rect, Slot } from "./types";
import { viewOf } from "./views/table";

const GAP = 16;
export const CAPTION = 26;

export interface Content {
  pictures: ReadonlyMap<string, PictureData>;
  /** The key of the image that slot a shows, and the query is about. */
  chosen: string | null;
  maps: Readonly<Record<Slot, MapData | null>>;
  comparing: Comparing;
  names: Readonly<Record<Slot, string>> | null;
  look: Look;
}

/** Of a slot: its image, with its map if that is of the image. */
export function shownIn(content: Content, slot: Slot): { picture: PictureData | null; map: MapData | null } {
  const { pictures, chosen, maps } = content;
  const map = maps[slot];
  const key = slot === "b" && map !== null ? map.picture : chosen;
  return {
    picture: key === null ? null : (pictures.get(key) ?? null),
    map: map !== null && map.picture === key && pictures.has(key) ? map : null,
  };
}

export function colouredOf(content: Content): Coloured {
  const of = (slot: Slot): Shown | null => {
    const { picture, map } = shownIn(content, slot);
    return picture && map && { picture, map };
  };
  return coloured(of("a"), of("b"), content.comparing, content.look);
}

/** The panes within an area; `at` is the cell that slices go through, on the grid of the chosen image. */
export function panesOf(content: Content, heats: Coloured, area: Rect, camera: Camera, at: number[]): Pane[] {
  const { comparing, look } = content;
  const slots: Slot[] = comparing === "side" ? ["a", "b"] : ["a"];
  const own = shownIn(content, "a");
  const areas = halves(area, slots.length, own.picture);
  return slots.flatMap((slot, i) => {
    const { picture, map } = shownIn(content, slot);
    if (picture === null) return [];
    const related = own.picture !== null && own.picture.size.length === picture.size.length;
    const here = related ? convert(at, own.picture!, picture) : picture.size.map((length) => length / 2);
    const inner = comparing === "off" ? areas[i]! : below(areas[i]!);
    const linked: Camera = related ? camera : { zoom: 1, centre: null };
    return [
      {
        slot,
        area: areas[i]!,
        picture,
        map,
        heat: heats[slot],
        at: here.map((cell, k) => clamp(cell, 0, picture.size[k]! - 1)),
        planes: viewOf(picture.size).lay(picture, inner, linked, look.grid),
        title: titleOf(content, slot, map, heats),
      },
    ];
  });
}

function titleOf(content: Content, slot: Slot, map: MapData | null, heats: Coloured): string {
  const { names } = content;
  const name = (each: MapData, of: Slot) => {
    if (names !== null) return each.label ? `${names[of]} (${each.label})` : names[of];
    return each.label ? `${each.label}, ${each.model}` : each.model;
  };
  if (content.comparing === "side") return `${slot.toUpperCase()}: ${map ? name(map, slot) : "no map yet"}`;
  if (content.comparing === "off") return "";
  const { a, b } = content.maps;
  return heats.refused ?? (a && b ? `${name(a, "a")} \u2212 ${name(b, "b")}` : "A difference needs two maps.");
}

function below(area: Rect): Rect {
  return { ...area, y: area.y + CAPTION, height: Math.max(1, area.height - CAPTION) };
}

/** Beside one another, or below where images are larger so. */
function halves(area: Rect, count: number, picture: PictureData | null): Rect[] {
  if (count === 1) return [area];
  const width = (area.width - GAP) / 2;
  const height = (area.height - GAP) / 2;
  const isSignal = picture?.size.length === 1;
  const beside = Math.min(width, area.height - CAPTION);
  const stacked = Math.min(area.width, height - CAPTION);
  if (isSignal || stacked > beside)
    return [0, 1].map((i) => ({ ...area, y: area.y + i * (height + GAP), height: Math.max(1, height) }));
  return [0, 1].map((i) => ({ ...area, x: area.x + i * (width + GAP), width: Math.max(1, width) }));
}

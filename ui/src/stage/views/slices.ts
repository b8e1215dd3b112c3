/** Three axes: a slice across each, through one cell that all of them show. */

import { sliceOf } from "../arrays";
import { drawCells, haloed, label, rectOf, snapped } from "../drawing";
import { fillImage } from "../layers";
import type { PictureData } from "../pictures";
import { fromSource } from "../source";
import type { Camera, Plane, Rect } from "../types";
import { placed, toPixel } from "../viewport";
import type { View } from "./view";

const GAP = 6;

/** An axis that is much shorter than the longest, as a video's time, is drawn this long, as a share of that one. */
const LEAST_SHARE = 0.3;

/** A slice's axes, and its place as a row and a column of a table. */
type Cell = readonly [down: number, right: number, row: number, column: number];

/** Around a corner, where rows and columns of neighbours agree; beside one another; below one another. */
const TABLES: readonly (readonly Cell[])[] = [
  [[1, 2, 0, 0], [1, 0, 0, 1], [0, 2, 1, 0]],
  [[1, 2, 0, 0], [1, 0, 0, 1], [0, 2, 0, 2]],
  [[1, 2, 0, 0], [1, 0, 1, 0], [0, 2, 2, 0]],
];

export function lengthsOf(size: readonly number[]): number[] {
  const least = Math.max(...size) * LEAST_SHARE;
  return size.map((cells) => Math.max(cells, least));
}

export const slices: View = {
  kind: "slices",

  lay(picture, area, camera) {
    const lengths = lengthsOf(picture.size);
    const scales = TABLES.map((table) => scaleOf(table, lengths, area));
    // Around the corner unless another table is clearly larger: it shows best how the slices belong together.
    const best = Math.max(...scales);
    const chosen = scales[0]! * 1.2 >= best ? 0 : scales.indexOf(best);
    return planesOf(TABLES[chosen]!, lengths, scales[chosen]!, picture, area, camera);
  },

  ground({ pen, rasters, under, grid }, pane, plane) {
    const { key, size, image, channels } = pane.picture;
    const slice = sliceOf(size, plane.down, plane.right, pane.at);
    const through = across(plane);
    const canvas = rasters.canvas(
      `slice ${pane.slot} ${through}`,
      `${key} ${Math.floor(pane.at[through]!)} ${under}`,
      slice.rows,
      slice.columns,
      (pixels) => fillImage(pixels, image, channels, slice, under),
    );
    drawCells(pen, canvas, pane, plane, !grid);
  },

  notes({ pen, theme }, pane, plane) {
    const { frame } = plane;
    const axes = pane.picture.axes;
    const through = across(plane);
    const x = snapped(toPixel(plane.columns, Math.floor(pane.at[plane.right]!) + 0.5));
    const y = snapped(toPixel(plane.rows, Math.floor(pane.at[plane.down!]!) + 0.5));
    pen.save();
    pen.beginPath();
    pen.rect(frame.x, frame.y, frame.width, frame.height);
    pen.clip();
    pen.beginPath();
    pen.moveTo(x, frame.y);
    pen.lineTo(x, frame.y + frame.height);
    pen.moveTo(frame.x, y);
    pen.lineTo(frame.x + frame.width, y);
    pen.globalAlpha = 0.8;
    haloed(pen, theme.accent, theme.bg, 1, 0.3);
    pen.restore();
    label(pen, theme, `${axes[through]} ${Math.floor(pane.at[through]!)}`, frame.x + 6, frame.y + 6);
  },
};

/** The axis that a plane is a slice across. */
export function across(plane: Plane): number {
  return [0, 1, 2].find((axis) => axis !== plane.down && axis !== plane.right)!;
}

function extents(table: readonly Cell[], lengths: readonly number[]): { heights: number[]; widths: number[] } {
  const heights: number[] = [];
  const widths: number[] = [];
  for (const [down, right, row, column] of table) {
    heights[row] = Math.max(heights[row] ?? 0, lengths[down]!);
    widths[column] = Math.max(widths[column] ?? 0, lengths[right]!);
  }
  return { heights, widths };
}

function scaleOf(table: readonly Cell[], lengths: readonly number[], area: Rect): number {
  const { heights, widths } = extents(table, lengths);
  const fit = (room: number, parts: number[]) =>
    Math.max(1, room - GAP * (parts.length - 1)) / parts.reduce((sum, each) => sum + each, 0);
  return Math.min(fit(area.height, heights), fit(area.width, widths));
}

function planesOf(
  table: readonly Cell[],
  lengths: readonly number[],
  scale: number,
  picture: PictureData,
  area: Rect,
  camera: Camera,
): Plane[] {
  const { heights, widths } = extents(table, lengths);
  const total = (parts: number[]) => parts.reduce((sum, each) => sum + each * scale, GAP * (parts.length - 1));
  const begin = (parts: number[], index: number) =>
    parts.slice(0, index).reduce((sum, each) => sum + each * scale + GAP, 0);
  const left = area.x + (area.width - total(widths)) / 2;
  const top = area.y + (area.height - total(heights)) / 2;
  const centre = camera.centre ? fromSource(picture, camera.centre) : picture.size.map((cells) => cells / 2);
  return table.map(([down, right, row, column]) => {
    const frame = rectOf(
      left + begin(widths, column),
      top + begin(heights, row),
      lengths[right]! * scale,
      lengths[down]! * scale,
    );
    const span = (axis: number, from: number, length: number) =>
      placed(from, length, picture.size[axis]!, (length / picture.size[axis]!) * camera.zoom, centre[axis]!);
    return {
      frame,
      down,
      right,
      rows: span(down, frame.y, frame.height),
      columns: span(right, frame.x, frame.width),
    };
  });
}

/** Boxes of cells: start.. then extent.., whole numbers, never outside the grid and never smaller than the patch. */

import { clamp } from "./arrays";

/** Which sides of a box are pulled along each axis: -1 the first, 1 the last, 0 neither. */
export type Handle = readonly number[];

export function wholeBox(size: readonly number[]): number[] {
  return [...size.map(() => 0), ...size];
}

/**
 * The box that a drag from one place to another spans along `axes`.
 *
 * It has all cells that are touched.  Where that is less than the patch it grows the way of the drag.  Along other axes
 * it keeps what `before` has.
 */
export function boxBetween(
  from: readonly number[],
  to: readonly number[],
  axes: readonly number[],
  before: readonly number[] | null,
  size: readonly number[],
  patch: readonly number[],
): number[] {
  const box = [...(before ?? wholeBox(size))];
  for (const k of axes) {
    const first = clamp(Math.floor(Math.min(from[k]!, to[k]!)), 0, size[k]! - 1);
    const end = clamp(Math.ceil(Math.max(from[k]!, to[k]!)), first + 1, size[k]!);
    const extent = Math.min(Math.max(end - first, patch[k]!), size[k]!);
    const start = to[k]! < from[k]! ? end - extent : first;
    box[k] = clamp(start, 0, size[k]! - extent);
    box[size.length + k] = extent;
  }
  return box;
}

export function movedBox(box: readonly number[], by: readonly number[], size: readonly number[]): number[] {
  const axes = size.length;
  return box.map((each, i) => (i < axes ? clamp(Math.round(each + by[i]!), 0, size[i]! - box[axes + i]!) : each));
}

export function resizedBox(
  box: readonly number[],
  handle: Handle,
  by: readonly number[],
  size: readonly number[],
  patch: readonly number[],
): number[] {
  const axes = size.length;
  const result = [...box];
  for (let k = 0; k < axes; k++) {
    const least = Math.min(patch[k]!, size[k]!);
    const start = box[k]!;
    const end = start + box[axes + k]!;
    if (handle[k]! < 0) result[k] = clamp(Math.round(start + by[k]!), 0, end - least);
    const last = handle[k]! > 0 ? clamp(Math.round(end + by[k]!), start + least, size[k]!) : end;
    result[axes + k] = last - result[k]!;
  }
  return result;
}

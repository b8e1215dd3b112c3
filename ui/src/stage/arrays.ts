/** The cells of one plane within an array. */

import { product } from "../arrays";

/** The cells of a plane: that at row r and column c is number `first + r * down + c * right` of the array. */
export interface Slice {
  first: number;
  down: number;
  right: number;
  rows: number;
  columns: number;
}

/** The slice of two axes of an array in C order, through the cell `at`; `down` null gives a single row. */
export function sliceOf(size: readonly number[], down: number | null, right: number, at: readonly number[]): Slice {
  const strides = size.map((_, axis) => product(size.slice(axis + 1)));
  let first = 0;
  for (const [axis, stride] of strides.entries())
    if (axis !== down && axis !== right) first += stride * clamp(Math.floor(at[axis]!), 0, size[axis]! - 1);
  return {
    first,
    down: down === null ? 0 : strides[down]!,
    right: strides[right]!,
    rows: down === null ? 1 : size[down]!,
    columns: size[right]!,
  };
}

export function clamp(value: number, lowest: number, highest: number): number {
  return Math.max(lowest, Math.min(highest, value));
}

export function sameNumbers(one: readonly number[] | null, two: readonly number[] | null): boolean {
  if (one === null || two === null) return one === two;
  return one.length === two.length && one.every((each, i) => each === two[i]);
}

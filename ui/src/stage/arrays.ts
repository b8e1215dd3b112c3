/** Arrays out of messages, and the cells of one plane within an array. */

import type { Packed } from "../protocol";

const TYPES = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array } as const;

interface Arrays {
  uint8: Uint8Array<ArrayBuffer>;
  int32: Int32Array<ArrayBuffer>;
  float32: Float32Array<ArrayBuffer>;
}

export function product(numbers: readonly number[]): number {
  return numbers.reduce((sum, each) => sum * each, 1);
}

/** The array of a message, without a copy.  Throws where it is of another type or longer than its buffer. */
export function unpack<T extends keyof Arrays>(dtype: T, packed: Packed, buffers: ArrayBuffer[]): Arrays[T] {
  const buffer = buffers[packed.buffer];
  if (packed.dtype !== dtype) throw new TypeError(`an array of ${packed.dtype}, not of ${dtype}`);
  if (buffer === undefined) throw new RangeError(`there is no buffer ${packed.buffer}`);
  return new TYPES[dtype](buffer, 0, product(packed.shape)) as Arrays[T];
}

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

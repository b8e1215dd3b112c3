/** Arrays out of messages. */

import type { Packed } from "./protocol";

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

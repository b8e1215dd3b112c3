import type { Packed } from "./protocol";

export type Values = Uint8Array | Int32Array | Float32Array;

/** The array that a message describes, in place in its buffer. */
export function unpack(packed: Packed, buffers: ArrayBuffer[]): Values {
  const buffer = buffers[packed.buffer];
  if (buffer === undefined) throw new RangeError(`a message has no buffer ${packed.buffer}`);
  const length = packed.shape.reduce((product, extent) => product * extent, 1);
  switch (packed.dtype) {
    case "uint8":
      return new Uint8Array(buffer, 0, length);
    case "int32":
      return new Int32Array(buffer, 0, length);
    case "float32":
      return new Float32Array(buffer, 0, length);
  }
}

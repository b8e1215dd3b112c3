/** Layers of one pixel a cell, as numbers: images, heat, masks. */

import type { Slice } from "./arrays";
import { levelOf } from "./palette";
import type { Heat } from "./types";

const OPAQUE = 0xff000000;

/** An image's pixels: grey under heat, whose colours would mix with its own. */
export function fillImage(
  pixels: Uint32Array,
  image: Uint8Array | Float32Array,
  channels: number,
  slice: Slice,
  grey: boolean,
): void {
  const { first, down, right, rows, columns } = slice;
  let to = 0;
  for (let r = 0; r < rows; r++) {
    let from = (first + r * down) * channels;
    for (let c = 0; c < columns; c++, from += right * channels) {
      if (channels < 3) {
        pixels[to++] = (OPAQUE | (image[from]! * 0x10101)) >>> 0;
      } else if (grey) {
        const light = (image[from]! * 77 + image[from + 1]! * 150 + image[from + 2]! * 29) >> 8;
        pixels[to++] = (OPAQUE | (light * 0x10101)) >>> 0;
      } else {
        pixels[to++] = (OPAQUE | (image[from + 2]! << 16) | (image[from + 1]! << 8) | image[from]!) >>> 0;
      }
    }
  }
}

export function fillHeat(pixels: Uint32Array, heat: Heat, slice: Slice): void {
  const { first, down, right, rows, columns } = slice;
  const { values, lowest, highest, colours } = heat;
  let to = 0;
  for (let r = 0; r < rows; r++) {
    let from = first + r * down;
    for (let c = 0; c < columns; c++, from += right) {
      const value = values[from]!;
      pixels[to++] = value === value ? colours[levelOf(value, lowest, highest)]! : 0;
    }
  }
}

/** Opaque where `inside`, to be filled with a colour or a texture. */
export function fillMask(pixels: Uint32Array, inside: (index: number) => boolean, slice: Slice): void {
  const { first, down, right, rows, columns } = slice;
  let to = 0;
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) pixels[to++] = inside(first + r * down + c * right) ? OPAQUE : 0;
}

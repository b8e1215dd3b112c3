/** The edge of a mask. */

import type { Slice } from "./arrays";

/**
 * The lines between cells that are in a mask and cells that are not, or the mask's end: four numbers each, from (y, x)
 * to (y, x) in cells.  Edges that continue one another are one line.
 */
export function outline(inside: (index: number) => boolean, slice: Slice): number[] {
  const { first, down, right, rows, columns } = slice;
  const at = (r: number, c: number) =>
    r >= 0 && c >= 0 && r < rows && c < columns && inside(first + r * down + c * right);
  const lines: number[] = [];
  for (let r = 0; r <= rows; r++) {
    let begun = -1;
    for (let c = 0; c <= columns; c++) {
      const edge = c < columns && at(r - 1, c) !== at(r, c);
      if (edge && begun < 0) begun = c;
      if (!edge && begun >= 0) {
        lines.push(r, begun, r, c);
        begun = -1;
      }
    }
  }
  for (let c = 0; c <= columns; c++) {
    let begun = -1;
    for (let r = 0; r <= rows; r++) {
      const edge = r < rows && at(r, c - 1) !== at(r, c);
      if (edge && begun < 0) begun = r;
      if (!edge && begun >= 0) {
        lines.push(begun, c, r, c);
        begun = -1;
      }
    }
  }
  return lines;
}

/** One map minus another, which may be on another grid. */

import { product } from "./arrays";
import { fromSource, sameGrid, toSource, type Grid } from "./source";

/** For each cell of `to` along an axis the cell of `from` that its centre lies in; -1 where that is outside. */
export function cellsUnder(to: Grid, from: Grid, axis: number): Int32Array {
  const cells = new Int32Array(to.size[axis]!);
  const place = to.size.map(() => 0);
  const length = from.size[axis]!;
  for (let i = 0; i < cells.length; i++) {
    place[axis] = i + 0.5;
    const cell = Math.floor(fromSource(from, toSource(to, place))[axis]!);
    cells[i] = cell >= 0 && cell < length ? cell : -1;
  }
  return cells;
}

/** float32 on the grid of `first`: its values minus those of `second` at the same place of the source, or NaN. */
export function difference(
  first: Float32Array,
  grid: Grid,
  second: Float32Array,
  other: Grid,
): Float32Array<ArrayBuffer> {
  const result = new Float32Array(product(grid.size));
  if (sameGrid(grid, other)) {
    for (let i = 0; i < result.length; i++) result[i] = first[i]! - second[i]!;
    return result;
  }
  // Every grid is gone through as if it had three axes; those that it lacks are one cell long.
  const missing = 3 - grid.size.length;
  const lengths = [1, 1, 1].map((one, k) => (k < missing ? one : other.size[k - missing]!));
  const tables = [0, 1, 2].map((k) => (k < missing ? new Int32Array(1) : cellsUnder(grid, other, k - missing)));
  const [planes, rows, columns] = tables as [Int32Array, Int32Array, Int32Array];
  let i = 0;
  for (const plane of planes)
    for (const row of rows) {
      const from = (plane * lengths[1]! + row) * lengths[2]!;
      const inside = plane >= 0 && row >= 0;
      for (let c = 0; c < columns.length; c++, i++)
        result[i] = inside && columns[c]! >= 0 ? first[i]! - second[from + columns[c]!]! : NaN;
    }
  return result;
}

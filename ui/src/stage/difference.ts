/** One map minus another, which may be on another grid. */

import { product } from "../arrays";
import { fromSource, sameGrid, toSource, type Grid } from "./source";

/**
 * Where the centre of each cell of a grid lies among the centres of another's, along one axis: between the cells `low`
 * and `high`, `share` of the way to the latter.  `low` is -1 where it lies outside of the other grid.
 */
export interface Between {
  low: Int32Array;
  high: Int32Array;
  share: Float64Array;
}

export function centresAmong(grid: Grid, other: Grid, axis: number): Between {
  const count = grid.size[axis]!;
  const last = other.size[axis]! - 1;
  const [low, high, share] = [new Int32Array(count), new Int32Array(count), new Float64Array(count)];
  const cell = grid.size.map(() => 0);
  for (let i = 0; i < count; i++) {
    cell[axis] = i + 0.5;
    const at = fromSource(other, toSource(grid, cell))[axis]!;
    const among = Math.max(0, Math.min(last, at - 0.5));
    low[i] = at >= 0 && at <= last + 1 ? Math.floor(among) : -1;
    high[i] = Math.ceil(among);
    share[i] = among - Math.floor(among);
  }
  return { low, high, share };
}

/**
 * float32 on `grid`: its values minus those of the other map at the same places of the source, NaN where either is.
 *
 * The other map is interpolated between the centres of its cells; the same grid gives its values themselves.
 */
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
  const single = { low: new Int32Array(1), high: new Int32Array(1), share: new Float64Array(1) };
  const [planes, rows, columns] = [0, 1, 2].map((k) =>
    k < missing ? single : centresAmong(grid, other, k - missing),
  ) as [Between, Between, Between];

  const mixed = (one: number, two: number, share: number) => (share === 0 ? one : one + (two - one) * share);
  const along = (from: number, c: number) =>
    mixed(second[from + columns.low[c]!]!, second[from + columns.high[c]!]!, columns.share[c]!);

  let i = 0;
  for (let p = 0; p < planes.low.length; p++)
    for (let r = 0; r < rows.low.length; r++) {
      const start = (plane: number, row: number) => (plane * lengths[1]! + row) * lengths[2]!;
      const nearLow = start(planes.low[p]!, rows.low[r]!);
      const nearHigh = start(planes.low[p]!, rows.high[r]!);
      const farLow = start(planes.high[p]!, rows.low[r]!);
      const farHigh = start(planes.high[p]!, rows.high[r]!);
      const inside = planes.low[p]! >= 0 && rows.low[r]! >= 0;
      for (let c = 0; c < columns.low.length; c++, i++) {
        if (!inside || columns.low[c]! < 0) {
          result[i] = NaN;
          continue;
        }
        const near = mixed(along(nearLow, c), along(nearHigh, c), rows.share[r]!);
        const value =
          planes.share[p] === 0
            ? near
            : mixed(near, mixed(along(farLow, c), along(farHigh, c), rows.share[r]!), planes.share[p]!);
        result[i] = first[i]! - value;
      }
    }
  return result;
}

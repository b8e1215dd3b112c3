/** Between the grids of models and the image that they all show, so that they agree on what is at a place of it. */

/** Which part of a source image a grid shows: the first cells, then the extents, in the source's cells. */
export interface Grid {
  size: readonly number[];
  box: readonly number[];
}

export function toSource(grid: Grid, cell: readonly number[]): number[] {
  const axes = grid.size.length;
  return cell.map((at, k) => grid.box[k]! + (at * grid.box[axes + k]!) / grid.size[k]!);
}

export function fromSource(grid: Grid, place: readonly number[]): number[] {
  const axes = grid.size.length;
  return place.map((at, k) => ((at - grid.box[k]!) * grid.size[k]!) / grid.box[axes + k]!);
}

export function sameGrid(one: Grid, two: Grid): boolean {
  return (
    one.size.length === two.size.length &&
    one.size.every((each, k) => each === two.size[k]) &&
    one.box.every((each, k) => each === two.box[k])
  );
}

/** The same place on another grid; unchanged on the same one, so that no cell is lost to rounding. */
export function convert(cell: readonly number[], from: Grid, to: Grid): number[] {
  return sameGrid(from, to) ? [...cell] : fromSource(to, toSource(from, cell));
}

/** A box, start.. and extent.., on another grid. */
export function convertBox(box: readonly number[], from: Grid, to: Grid): number[] {
  const axes = from.size.length;
  const start = box.slice(0, axes);
  const first = convert(start, from, to);
  const end = convert(start.map((at, k) => at + box[axes + k]!), from, to);
  return [...first, ...end.map((at, k) => at - first[k]!)];
}

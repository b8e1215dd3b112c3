/** Where the patch has been: which position is nearest to a place, and which is next to another. */

import { product } from "../arrays";

export interface Places {
  readonly count: number;
  /** The number of the position whose patch is centred nearest to `cell`; -1 where there is none. */
  nearest(cell: readonly number[]): number;
  /** The patch's first cells at a position. */
  start(index: number): number[];
  /** The middle of the patch at a position. */
  centre(index: number): number[];
  /** The position `by` steps further along an axis, or the last one that there is in that direction. */
  step(index: number, axis: number, by: number): number;
}

/** Positions that are all combinations of some starts along each axis, in C order. */
export class Lattice implements Places {
  readonly count: number;

  constructor(
    readonly starts: readonly (readonly number[])[],
    readonly patch: readonly number[],
  ) {
    this.count = product(starts.map((each) => each.length));
  }

  nearest(cell: readonly number[]): number {
    return this.index(this.starts.map((starts, k) => nearestOf(starts, cell[k]! - this.patch[k]! / 2)));
  }

  start(index: number): number[] {
    return this.places(index).map((place, k) => this.starts[k]![place]!);
  }

  centre(index: number): number[] {
    return this.start(index).map((at, k) => at + this.patch[k]! / 2);
  }

  step(index: number, axis: number, by: number): number {
    const places = this.places(index);
    places[axis] = Math.max(0, Math.min(this.starts[axis]!.length - 1, places[axis]! + by));
    return this.index(places);
  }

  private places(index: number): number[] {
    const places: number[] = [];
    for (const starts of [...this.starts].reverse()) {
      places.unshift(index % starts.length);
      index = Math.floor(index / starts.length);
    }
    return places;
  }

  private index(places: readonly number[]): number {
    return places.reduce((index, place, k) => index * this.starts[k]!.length + place, 0);
  }
}

/** Positions anywhere, as those of AT. */
export class Scattered implements Places {
  readonly count: number;
  private readonly axes: number;

  constructor(
    readonly positions: Int32Array,
    readonly patch: readonly number[],
  ) {
    this.axes = patch.length;
    this.count = positions.length / this.axes;
  }

  nearest(cell: readonly number[]): number {
    return this.least((index) => {
      let distance = 0;
      for (let k = 0; k < this.axes; k++) distance += this.away(index, k, cell[k]!) ** 2;
      return distance;
    });
  }

  start(index: number): number[] {
    return Array.from(this.positions.subarray(index * this.axes, (index + 1) * this.axes));
  }

  centre(index: number): number[] {
    return this.start(index).map((at, k) => at + this.patch[k]! / 2);
  }

  /** What lies ahead counts by its distance, and twice as much by how far it is to the side. */
  step(index: number, axis: number, by: number): number {
    for (let left = Math.abs(by); left > 0; left--) {
      const from = this.centre(index);
      const next = this.least((other) => {
        const ahead = this.away(other, axis, from[axis]!) * Math.sign(by);
        if (ahead <= 0) return Infinity;
        let distance = ahead;
        for (let k = 0; k < this.axes; k++) if (k !== axis) distance += 2 * Math.abs(this.away(other, k, from[k]!));
        return distance;
      });
      if (next < 0) break;
      index = next;
    }
    return index;
  }

  private away(index: number, axis: number, from: number): number {
    return this.positions[index * this.axes + axis]! + this.patch[axis]! / 2 - from;
  }

  private least(distance: (index: number) => number): number {
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < this.count; i++) {
      const here = distance(i);
      if (here < least) [best, least] = [i, here];
    }
    return best;
  }
}

/** Segments: a position is a cell of each, and the nearest one is that of the cell's own segment. */
export class Segments extends Scattered {
  private readonly indexOf = new Map<number, number>();

  constructor(
    positions: Int32Array,
    private readonly labels: Int32Array,
    private readonly size: readonly number[],
  ) {
    super(positions, size.map(() => 1));
    for (let i = 0; i < this.count; i++) this.indexOf.set(this.label(this.start(i)), i);
  }

  override nearest(cell: readonly number[]): number {
    return this.indexOf.get(this.label(cell)) ?? -1;
  }

  private label(cell: readonly number[]): number {
    const inside = cell.every((at, k) => at >= 0 && at < this.size[k]!);
    return inside ? this.labels[cell.reduce((index, at, k) => index * this.size[k]! + Math.floor(at), 0)]! : 0;
  }
}

/** The positions of a map: a lattice where they are one, so that the nearest is computed instead of searched for. */
export function placesOf(
  positions: Int32Array,
  patch: readonly number[],
  size: readonly number[],
  labels: Int32Array | null,
): Places {
  if (labels !== null) return new Segments(positions, labels, size);
  const axes = patch.length;
  const starts = patch.map((_, k) => {
    const found = new Set<number>();
    for (let i = k; i < positions.length; i += axes) found.add(positions[i]!);
    return [...found].sort((a, b) => a - b);
  });
  const lattice = new Lattice(starts, patch);
  return lattice.count * axes === positions.length && isInOrder(positions, starts)
    ? lattice
    : new Scattered(positions, patch);
}

/** The positions that a query of this patch and stride has. */
export function latticeOf(size: readonly number[], patch: readonly number[], stride: readonly number[]): Lattice {
  return new Lattice(
    size.map((length, k) =>
      Array.from({ length: Math.max(1, Math.floor((length - patch[k]!) / stride[k]!) + 1) }, (_, i) => i * stride[k]!),
    ),
    patch,
  );
}

function isInOrder(positions: Int32Array, starts: readonly (readonly number[])[]): boolean {
  const axes = starts.length;
  const lengths = starts.map((each) => each.length);
  let stride = positions.length / axes;
  for (let k = 0; k < axes; k++) {
    stride /= lengths[k]!;
    for (let i = 0; i < positions.length / axes; i++)
      if (positions[i * axes + k] !== starts[k]![Math.floor(i / stride) % lengths[k]!]) return false;
  }
  return true;
}

/** The number of the entry of an ascending list that is nearest to `value`, the first of two. */
export function nearestOf(ascending: readonly number[], value: number): number {
  let low = 0;
  let high = ascending.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value - ascending[low - 1]! <= ascending[low]! - value ? low - 1 : low;
}

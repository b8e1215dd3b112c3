/** Masks that are painted: 1 where they are. */

import { clamp } from "./arrays";

/** Sets the cells whose centres are at most `radius` cells from `centre`: a disc, or a ball in three axes. */
export function stamp(
  mask: Uint8Array,
  size: readonly number[],
  centre: readonly number[],
  radius: number,
  value: 0 | 1,
): void {
  // As if there were three axes; those that are missing are one cell long.
  const missing = 3 - size.length;
  const lengths = [1, 1, 1].map((one, k) => (k < missing ? one : size[k - missing]!));
  const middle = [0.5, 0.5, 0.5].map((half, k) => (k < missing ? half : centre[k - missing]!));
  const first = lengths.map((length, k) => clamp(Math.floor(middle[k]! - radius), 0, length));
  const end = lengths.map((length, k) => clamp(Math.ceil(middle[k]! + radius), 0, length));
  const reach = Math.max(radius, 0.5) ** 2;
  for (let i = first[0]!; i < end[0]!; i++)
    for (let j = first[1]!; j < end[1]!; j++) {
      const left = reach - (i + 0.5 - middle[0]!) ** 2 - (j + 0.5 - middle[1]!) ** 2;
      const row = (i * lengths[1]! + j) * lengths[2]!;
      for (let k = first[2]!; k < end[2]!; k++) if ((k + 0.5 - middle[2]!) ** 2 <= left) mask[row + k] = value;
    }
}

/** Stamps along a line, close enough to leave no gaps. */
export function stroke(
  mask: Uint8Array,
  size: readonly number[],
  from: readonly number[],
  to: readonly number[],
  radius: number,
  value: 0 | 1,
): void {
  const length = Math.hypot(...to.map((at, k) => at - from[k]!));
  const steps = Math.max(1, Math.ceil(length / Math.max(radius / 2, 0.5)));
  for (let i = 0; i <= steps; i++)
    stamp(mask, size, from.map((at, k) => at + ((to[k]! - at) * i) / steps), radius, value);
}

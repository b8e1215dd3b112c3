/** What a map says of a place. */

import type { Slot } from "../protocol";
import type { Reading } from "./contract";
import type { MapData } from "./maps";
import { isDrop } from "./palette";
import { number, placeOf, signed } from "./wording";

/** Of the position whose patch is centred nearest to `cell`; null where there is none. */
export function readingAt(slot: Slot, map: MapData, cell: readonly number[]): Reading | null {
  const index = map.places.nearest(cell);
  if (index < 0) return null;
  const score = map.values[index]!;
  const error = map.error?.[index] ?? null;
  return {
    slot,
    position: map.places.start(index),
    score,
    change: isDrop(map.score) ? score : score - map.baseline,
    error: error !== null && Number.isFinite(error) ? error : null,
    measured: map.evaluated[index] === 1,
    other: null,
    difference: null,
  };
}

/** A reading as a screen reader says it. */
export function spoken(reading: Reading, map: MapData): string {
  const step = map.scale.half / 100;
  const place = placeOf(map.axes, reading.position);
  if (Number.isNaN(reading.score)) return `${place}: not known`;
  const name = map.score.replace("_", " ");
  const parts = [`${place}: ${name} ${number(reading.score, step)}`];
  if (!isDrop(map.score)) parts.push(`change ${signed(reading.change, step)}`);
  if (reading.difference !== null) parts.push(`difference ${signed(reading.difference, step)}`);
  if (!reading.measured) parts.push("estimate");
  return parts.join(", ");
}

/** What scores mean, in words.  A drop is the baseline less the score with the patch: nothing changes where it is 0. */

import { number, signed } from "./format";
import { isDrop, unitOf } from "./stage/palette";

export interface Change {
  /** What the number is called: Score, Drop. */
  name: string;
  /** The score with the patch, also where the map has the drop. */
  patched: number;
  /** From the baseline, as it is shown. */
  change: string;
  /** Of a drop the scores without and with the patch, to as many digits as tell them apart. */
  ends: [string, string];
}

export function changeOf(score: string, value: number, baseline: number): Change {
  const isOfDrop = isDrop(score);
  const patched = isOfDrop ? baseline - value : value;
  const digits = Math.floor(Math.log10(Math.abs(baseline))) - Math.floor(Math.log10(Math.abs(baseline - patched))) + 2;
  const told = Number.isFinite(digits) ? Math.min(Math.max(digits, 3), 7) : 3;
  const ends: [string, string] = [number(baseline, told), number(patched, told)];
  if (isOfDrop) return { name: "Drop", patched, change: number(value), ends };
  return { name: "Change", patched, change: signed(value - baseline), ends };
}

/** "drop 0.0348, from 0.951 to 0.916", or the score and how far it is from that of the unmodified image. */
export function probedInWords(score: string, value: number, baseline: number): string {
  const { change, ends } = changeOf(score, value, baseline);
  if (!isDrop(score)) return `${number(value, 4)}, ${change} from the unmodified image`;
  return `${spaced(score)} ${change}, from ${ends[0]} to ${ends[1]}`;
}

/** Of the image without a patch: a drop has no such number, the score that drops has. */
export const unmodified = (score: string, baseline: number): string => `${unitOf(score)} ${number(baseline, 4)} unmodified`;

export const spaced = (score: string): string => score.replaceAll("_", " ");

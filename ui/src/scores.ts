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
}

export function changeOf(score: string, value: number, baseline: number): Change {
  if (isDrop(score)) return { name: "Drop", patched: baseline - value, change: number(value) };
  return { name: "Change", patched: value, change: signed(value - baseline) };
}

/** "drop 0.0348, from 0.951 to 0.916", or the score and how far it is from that of the unmodified image. */
export function probedInWords(score: string, value: number, baseline: number): string {
  const { patched, change } = changeOf(score, value, baseline);
  if (!isDrop(score)) return `${number(value, 4)}, ${change} from the unmodified image`;
  return `${spaced(score)} ${change}, from ${number(baseline)} to ${number(patched)}`;
}

/** Of the image without a patch: a drop has no such number, the score that drops has. */
export const unmodified = (score: string, baseline: number): string => `${unitOf(score)} ${number(baseline, 4)} unmodified`;

export const spaced = (score: string): string => score.replaceAll("_", " ");

/** Numbers and names, as the stage writes and says them. */

import type { Comparing } from "./contract";
import type { MapData } from "./maps";
import { isDrop, unitOf } from "./palette";
import type { PictureData } from "./pictures";

const TITLES: Record<string, string> = {
  probability: "probability",
  drop: "drop of the probability",
  logit: "logit (nats)",
  logit_drop: "drop of the logit (nats)",
  cosine: "cosine similarity",
  cosine_drop: "drop of the cosine similarity",
};

export function titleOf(score: string): string {
  return TITLES[score] ?? score;
}

/** What a change of a score is a change of: of probability and its drop the probability. */
export function quantityOf(score: string): string {
  return titleOf(unitOf(score));
}

/** A number to the decimal of `step`, a difference that matters. */
export function number(value: number, step: number): string {
  if (!Number.isFinite(value)) return "unknown";
  const decimals = Math.max(0, Math.min(8, -Math.floor(Math.log10(step || 1))));
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "\u2212");
}

export function signed(value: number, step: number): string {
  const text = number(value, step);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

/** "y 12, x 40": a place by its axes. */
export function placeOf(axes: string, position: readonly number[]): string {
  return position.map((at, k) => `${axes[k] ?? `axis ${k + 1}`} ${at}`).join(", ");
}

export function sizeOf(size: readonly number[]): string {
  return size.join(" \u00d7 ");
}

/** What red and its like on the legend say. */
export function meaningOf(score: string): { low: string; high: string } {
  const [lowers, raises] = ["hiding it lowers the score", "hiding it raises the score"];
  return isDrop(score) ? { low: raises, high: lowers } : { low: lowers, high: raises };
}

/** All of the stage in a sentence, for those who do not see it. */
export function described(picture: PictureData | null, map: MapData | null, comparing: Comparing): string {
  if (picture === null) return "No image yet";
  const parts = [`Image of ${sizeOf(picture.size)}`];
  if (map !== null) parts.push(`heat map of ${map.label || "the output"} by ${map.model}: ${titleOf(map.score)}`);
  if (map !== null && !isDrop(map.score)) parts.push(`${map.baseline.toPrecision(3)} for the unmodified image`);
  if (map?.scored) parts.push(`scored over ${map.cellsScored} of ${map.scored.length} cells`);
  if (comparing !== "off") parts.push(comparing === "side" ? "beside another map" : "the difference from another map");
  return parts.join(", ");
}

/** How a model sees an image, where it sees less of it, or in clearly more or fewer cells; else nothing. */
export function seenAs({ size, box, source }: Pick<PictureData, "size" | "box" | "source">): string {
  const axes = size.length;
  const extents = box.slice(axes);
  const [own, whole] = [sizeOf(size), sizeOf(source)];
  const isCropped = extents.some((extent, k) => extent < 0.99 * source[k]!);
  if (isCropped) {
    const isCentred = extents.every((extent, k) => Math.abs(2 * box[k]! + extent - source[k]!) <= 2);
    return `${own} of ${whole}, ${isCentred ? "centre " : ""}cropped`;
  }
  const scales = size.map((length, k) => length / source[k]!);
  const [least, most] = [Math.min(...scales), Math.max(...scales)];
  if (least > 0.9 && most < 1.1) return "";
  return `${own}, ${most > 1.05 * least ? "squeezed" : "scaled"} from ${whole}`;
}

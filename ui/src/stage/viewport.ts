/** Cells to pixels and back, along one axis of a plane: zoom, pan, fit. */

import { clamp } from "./arrays";

/** Cell c begins at the pixel `start + c * scale`. */
export interface Span {
  start: number;
  scale: number;
}

export const ZOOMS = { least: 1, most: 48 } as const;

export function toPixel(span: Span, cell: number): number {
  return span.start + cell * span.scale;
}

export function toCell(span: Span, pixel: number): number {
  return (pixel - span.start) / span.scale;
}

/**
 * Cells of `scale` pixels within a frame from `from` on, `length` pixels long.
 *
 * They are in its middle where they are shorter than it; where they are longer the cell `centre` is as close to its
 * middle as it can be without a gap at either end.
 */
export function placed(from: number, length: number, cells: number, scale: number, centre: number): Span {
  const spare = length - cells * scale;
  const start = spare >= 0 ? spare / 2 : clamp(length / 2 - centre * scale, spare, 0);
  return { start: from + start, scale };
}

/** The cell in the middle of the frame after a zoom by `factor` that leaves the cell under `pixel` where it is. */
export function centreAfterZoom(span: Span, from: number, length: number, pixel: number, factor: number): number {
  const cell = toCell(span, pixel);
  return cell - (pixel - (from + length / 2)) / (span.scale * factor);
}

/** The cell in the middle of the frame after the content was pulled by `pixels`. */
export function centreAfterPan(span: Span, from: number, length: number, pixels: number): number {
  return toCell(span, from + length / 2 - pixels);
}

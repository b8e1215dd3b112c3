/** Lines, letters and textures on a canvas. */

import type { Theme } from "./theme";
import type { Pane, Plane, Rect } from "./types";
import { toPixel } from "./viewport";

export function rectOf(x: number, y: number, width: number, height: number): Rect {
  return { x, y, width, height };
}

/** The middle of a pixel, where a line one pixel wide is sharp. */
export function snapped(at: number): number {
  return Math.round(at - 0.5) + 0.5;
}

/** A box of cells, start.. and extent.., on a plane. */
export function onPlane(plane: Plane, box: readonly number[]): Rect {
  const axes = box.length / 2;
  const x = toPixel(plane.columns, box[plane.right]!);
  const width = box[axes + plane.right]! * plane.columns.scale;
  // A box on a signal is as high as its frame, and its lines are seen within that.
  if (plane.down === null) return rectOf(x, plane.frame.y + 1.5, width, plane.frame.height - 3);
  return rectOf(x, toPixel(plane.rows, box[plane.down]!), width, box[axes + plane.down]! * plane.rows.scale);
}

/** Whether a slice meets a box, start.. and extent...  A plane of all of an image's axes meets every box. */
export function meets(pane: Pane, plane: Plane, box: readonly number[]): boolean {
  const axes = pane.picture.size.length;
  if (axes < 3) return true;
  return pane.at.every((at, axis) => {
    const cell = Math.floor(at);
    const inside = cell >= Math.floor(box[axis]!) && cell < box[axis]! + box[axes + axis]!;
    return axis === plane.down || axis === plane.right || inside;
  });
}

/** Everything that is drawn until the pen is restored ends at the plane's frame. */
export function clipped(pen: CanvasRenderingContext2D, { frame }: Plane): void {
  pen.save();
  pen.beginPath();
  pen.rect(frame.x, frame.y, frame.width, frame.height);
  pen.clip();
}

/** A canvas of one pixel a cell, or of another resolution, over all cells of a plane. */
export function drawCells(
  pen: CanvasRenderingContext2D,
  cells: HTMLCanvasElement,
  { picture }: Pane,
  plane: Plane,
  smooth: boolean,
): void {
  const rows = plane.down === null ? 1 : picture.size[plane.down]!;
  pen.imageSmoothingEnabled = smooth;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(
    cells,
    plane.columns.start,
    plane.rows.start,
    picture.size[plane.right]! * plane.columns.scale,
    rows * plane.rows.scale,
  );
}

/** Strokes the path in one colour over a wider line of another, so that it is seen on any ground. */
export function haloed(
  pen: CanvasRenderingContext2D,
  colour: string,
  halo: string,
  width: number,
  strength = 0.7,
): void {
  const alpha = pen.globalAlpha;
  pen.lineJoin = "round";
  pen.strokeStyle = halo;
  pen.globalAlpha = alpha * strength;
  pen.lineWidth = width + 2;
  pen.stroke();
  pen.strokeStyle = colour;
  pen.globalAlpha = alpha;
  pen.lineWidth = width;
  pen.stroke();
}

export function tracedRect(pen: CanvasRenderingContext2D, rect: Rect): void {
  const x = snapped(rect.x);
  const y = snapped(rect.y);
  pen.rect(x, y, snapped(rect.x + rect.width) - x, snapped(rect.y + rect.height) - y);
}

/** Lines from (y, x) to (y, x) in cells, as outline.ts finds them. */
export function tracedLines(pen: CanvasRenderingContext2D, plane: Plane, lines: readonly number[]): void {
  for (let i = 0; i < lines.length; i += 4) {
    pen.moveTo(snapped(toPixel(plane.columns, lines[i + 1]!)), snapped(toPixel(plane.rows, lines[i]!)));
    pen.lineTo(snapped(toPixel(plane.columns, lines[i + 3]!)), snapped(toPixel(plane.rows, lines[i + 2]!)));
  }
}

/** The corners of a rectangle. */
export function tracedCorners(pen: CanvasRenderingContext2D, rect: Rect): void {
  const left = snapped(rect.x);
  const top = snapped(rect.y);
  const right = snapped(rect.x + rect.width);
  const bottom = snapped(rect.y + rect.height);
  const arm = Math.max(3, Math.min(10, (right - left) / 3, (bottom - top) / 3));
  for (const [x, y, h, v] of [
    [left, top, 1, 1],
    [right, top, -1, 1],
    [right, bottom, -1, -1],
    [left, bottom, 1, -1],
  ] as const) {
    pen.moveTo(x + h * arm, y);
    pen.lineTo(x, y);
    pen.lineTo(x, y + v * arm);
  }
}

/** A few letters on a small ground of their own. */
export function label(pen: CanvasRenderingContext2D, theme: Theme, text: string, x: number, y: number): void {
  pen.font = theme.font(11);
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  const width = Math.ceil(pen.measureText(text).width) + 10;
  pen.globalAlpha = 0.82;
  pen.fillStyle = theme.bg;
  pen.beginPath();
  pen.roundRect(x, y, width, 18, 4);
  pen.fill();
  pen.globalAlpha = 1;
  pen.fillStyle = theme.fg;
  pen.fillText(text, x + 5, y + 9.5);
}

/** Fine dots; slanted lines; fainter lines, closer together, that slant the other way. */
export type Texture = "dots" | "hatch" | "faint";

/** Pixels after which a texture repeats. */
const SIDES = { dots: 5, hatch: 8, faint: 7 } as const;

/** A texture that repeats: dark dots or lines beside light ones. */
export function texture(kind: Texture, ratio: number): HTMLCanvasElement {
  const side = Math.round(SIDES[kind] * ratio);
  const tile = document.createElement("canvas");
  tile.width = tile.height = side;
  const pen = tile.getContext("2d")!;
  if (kind === "dots") {
    const dot = Math.max(1, Math.round(ratio));
    pen.fillStyle = "rgba(255, 255, 255, 0.7)";
    pen.fillRect(dot, dot, dot, dot);
    pen.fillStyle = "rgba(0, 0, 0, 0.75)";
    pen.fillRect(0, 0, dot, dot);
    return tile;
  }
  const faint = kind === "faint";
  if (faint) pen.setTransform(-1, 0, 0, 1, side, 0);
  for (const [light, alpha, shift] of [
    [0, faint ? 0.22 : 0.45, 0],
    [255, faint ? 0.32 : 0.7, ratio],
  ] as const) {
    pen.strokeStyle = `rgba(${light}, ${light}, ${light}, ${alpha})`;
    pen.lineWidth = ratio;
    pen.beginPath();
    for (const at of [-side, 0, side]) {
      pen.moveTo(at + shift - side, side * 2);
      pen.lineTo(at + shift + side * 2, -side);
    }
    pen.stroke();
  }
  return tile;
}

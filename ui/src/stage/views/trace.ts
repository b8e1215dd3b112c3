/** One axis: the trace of each channel, over a band of the heat's colours. */

import { haloed, snapped } from "../drawing";
import type { PictureData } from "../pictures";
import { fromSource } from "../source";
import type { Pane, Plane } from "../types";
import { placed, toCell, toPixel } from "../viewport";
import type { View } from "./view";

const CHANNELS = 12;
const LEFT = 30;
const BELOW = 22;
/** How far apart ticks are at least, in pixels. */
const TICK = 90;

export const trace: View = {
  kind: "trace",

  lay(picture, area, camera) {
    const [samples] = picture.size as [number];
    const frame = {
      x: area.x + LEFT,
      y: area.y,
      width: Math.max(1, area.width - LEFT - 8),
      height: Math.max(1, area.height - BELOW),
    };
    const centre = camera.centre ? fromSource(picture, camera.centre)[0]! : samples / 2;
    const scale = (frame.width / samples) * camera.zoom;
    return [
      {
        frame,
        down: null,
        right: 0,
        rows: { start: frame.y, scale: frame.height },
        columns: placed(frame.x, frame.width, samples, scale, centre),
      },
    ];
  },

  ground({ pen, theme }, _pane, { frame }) {
    pen.fillStyle = theme.panel;
    pen.fillRect(frame.x, frame.y, frame.width, frame.height);
  },

  notes({ pen, theme }, pane, plane) {
    const { frame, columns } = plane;
    const lanes = Math.min(pane.picture.channels, CHANNELS);
    const height = frame.height / lanes;
    pen.save();
    pen.beginPath();
    pen.rect(frame.x, frame.y, frame.width, frame.height);
    pen.clip();
    for (let lane = 0; lane < lanes; lane++) {
      pen.beginPath();
      follow(pen, pane, plane, lane, frame.y + lane * height, height);
      haloed(pen, theme.fg, theme.bg, 1.25, 0.65);
    }
    pen.restore();
    pen.strokeStyle = theme.line;
    pen.lineWidth = 1;
    pen.strokeRect(snapped(frame.x), snapped(frame.y), Math.round(frame.width), Math.round(frame.height));
    pen.fillStyle = theme.muted;
    pen.font = theme.font(11);
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (let lane = 0; lane < lanes; lane++)
      pen.fillText(String(lane + 1), frame.x - 8, frame.y + (lane + 0.5) * height);
    pen.textBaseline = "top";
    pen.textAlign = "center";
    const [left, right] = [frame.x, frame.x + frame.width];
    const bottom = frame.y + frame.height;
    for (const cell of ticks(toCell(columns, left), toCell(columns, right), frame.width / TICK)) {
      const x = toPixel(columns, cell);
      pen.beginPath();
      pen.moveTo(snapped(x), bottom);
      pen.lineTo(snapped(x), bottom + 4);
      pen.stroke();
      if (x < right - 12) pen.fillText(String(cell), x, bottom + 7);
    }
  },
};

/** Round numbers from `low` to `high`, at most about `count` of them. */
export function ticks(low: number, high: number, count: number): number[] {
  const rough = Math.max((high - low) / Math.max(count, 1), 1e-9);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough)!);
  const result: number[] = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) result.push(at);
  return result;
}

/** The least and the largest sample of a channel. */
function range(picture: PictureData, channel: number): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let i = channel; i < picture.image.length; i += picture.channels) {
    const value = picture.image[i]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** A path through a channel's samples, each in the middle of its cell; of many in a pixel the two extremes. */
function follow(
  pen: CanvasRenderingContext2D,
  { picture }: Pane,
  { frame, columns }: Plane,
  channel: number,
  top: number,
  height: number,
): void {
  const [low, high] = range(picture, channel);
  const room = height * 0.84;
  const scale = high > low ? room / (high - low) : 0;
  const base = top + (height + room) / 2;
  const at = (sample: number) => base - (picture.image[sample * picture.channels + channel]! - low) * scale;
  const first = Math.max(0, Math.floor(toCell(columns, frame.x)) - 1);
  const end = Math.min(picture.size[0]!, Math.ceil(toCell(columns, frame.x + frame.width)) + 1);
  if (columns.scale >= 0.5) {
    for (let i = first; i < end; i++) pen.lineTo(toPixel(columns, i + 0.5), at(i));
    return;
  }
  const each = Math.ceil(1 / columns.scale);
  for (let i = first; i < end; i += each) {
    let least = Infinity;
    let largest = -Infinity;
    for (let k = i; k < Math.min(i + each, end); k++) {
      const y = at(k);
      if (y < least) least = y;
      if (y > largest) largest = y;
    }
    const x = toPixel(columns, i + each / 2);
    pen.lineTo(x, least);
    pen.lineTo(x, largest);
  }
}

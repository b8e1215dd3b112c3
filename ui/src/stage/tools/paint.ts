/** Paints the mask of a query. */

import { product } from "../../arrays";
import { haloed } from "../drawing";
import { stroke } from "../masks";
import type { PictureData } from "../pictures";
import type { Spot } from "../types";
import { toPixel } from "../viewport";
import type { MakeTool } from "./tool";

/** Sizes of the brush: each is this much larger than the one before. */
const STEP = 1.25;

export const paint: MakeTool = (bench) => {
  let radius = 0;
  let last: number[] | null = null;
  let before: Uint8Array | null = null;
  let value: 0 | 1 = 1;

  /** To begin with a sixteenth of the image's least side. */
  const brush = ({ size }: PictureData) => (radius ||= Math.max(1, Math.min(...size) / 16));

  function begin(picture: PictureData, wipes: boolean): void {
    before = bench.mask && bench.mask.slice();
    value = wipes ? 0 : 1;
    if (bench.mask === null) bench.paint(new Uint8Array(product(picture.size)));
  }

  function to(picture: PictureData, cell: number[]): void {
    const mask = bench.mask;
    if (mask === null) return;
    stroke(mask, picture.size, last ?? cell, cell, brush(picture), value);
    last = cell;
    bench.paint(mask);
  }

  function end(): void {
    last = null;
    before = null;
    const mask = bench.mask;
    const any = mask?.includes(1) ?? false;
    if (!any) bench.paint(null);
    bench.events.onMask(mask !== null && any ? mask.slice() : null);
  }

  return {
    cursor: () => "none",
    press(spot, { wipes }) {
      if (bench.picture === null) return;
      begin(bench.picture, wipes);
      to(bench.picture, bench.own(spot));
    },
    drag(spot) {
      if (last && bench.picture) to(bench.picture, bench.own(spot));
    },
    release() {
      if (last) end();
    },
    cancel() {
      const was = last !== null;
      if (was) bench.paint(before);
      last = null;
      return was;
    },
    key(event) {
      const picture = bench.picture;
      if (picture === null) return false;
      if (event.key === "[" || event.key === "]") {
        const factor = event.key === "]" ? STEP : 1 / STEP;
        radius = Math.max(0.5, Math.min(Math.max(...picture.size) / 2, brush(picture) * factor));
        bench.say(`Brush ${Math.max(1, Math.round(2 * radius))} cells wide`);
        bench.redraw();
        return true;
      }
      const wipes = event.key === "Delete" || event.key === "Backspace";
      if ((event.key !== "Enter" && !wipes) || bench.cursor === null) return false;
      begin(picture, wipes);
      to(picture, bench.own(bench.cursor));
      end();
      bench.say(wipes ? "Wiped" : "Painted");
      return true;
    },
    followed() {},
    draw(pen, pane, plane, theme) {
      const spot: Spot | null = bench.cursor;
      if (spot === null || bench.picture === null || spot.plane !== plane) return;
      const reach = brush(bench.picture);
      const middle = bench.own(spot);
      const centre = bench.cellOn(pane, middle);
      const rim = bench.cellOn(pane, middle.map((at) => at + reach)); // its distance is the brush on this pane's grid
      const width = (rim[plane.right]! - centre[plane.right]!) * plane.columns.scale;
      const x = toPixel(plane.columns, centre[plane.right]!);
      pen.beginPath();
      if (plane.down === null) {
        pen.rect(x - width, plane.frame.y, 2 * width, plane.frame.height);
      } else {
        const height = (rim[plane.down]! - centre[plane.down]!) * plane.rows.scale;
        pen.ellipse(x, toPixel(plane.rows, centre[plane.down]!), width, height, 0, 0, 2 * Math.PI);
      }
      haloed(pen, "#fff", "#000", 1.25, 0.5);
      pen.fillStyle = theme.accent;
      pen.fillRect(spot.x - 1, spot.y - 1, 2, 2);
    },
  };
};

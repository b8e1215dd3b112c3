/** Asks for the score at a position.  In three axes a drag moves the slices instead. */

import type { MakeTool } from "./tool";

/** A pointer that moved less than this many pixels has clicked. */
const STILL = 4;

export const probe: MakeTool = (bench) => {
  let from: { x: number; y: number } | null = null;
  let dragged = false;
  return {
    cursor: () => "crosshair",
    press(spot, { wipes }) {
      if (wipes) return;
      from = { x: spot.x, y: spot.y };
      dragged = false;
    },
    drag(spot) {
      if (from && Math.hypot(spot.x - from.x, spot.y - from.y) >= STILL) dragged = true;
      if (dragged) bench.cross(spot);
    },
    release(spot) {
      if (from && !dragged) {
        bench.cross(spot);
        bench.probe(spot);
      }
      from = null;
    },
    cancel() {
      const was = from !== null;
      from = null;
      return was;
    },
    key(event) {
      if (event.key !== "Enter" || bench.cursor === null) return false;
      bench.probe(bench.cursor);
      return true;
    },
    followed() {},
    draw() {},
  };
};

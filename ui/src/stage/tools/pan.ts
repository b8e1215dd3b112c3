/** Moves what is seen. */

import type { MakeTool } from "./tool";

export const pan: MakeTool = (bench) => {
  let last: { x: number; y: number } | null = null;
  return {
    cursor: () => (last ? "grabbing" : "grab"),
    press(spot) {
      last = { x: spot.x, y: spot.y };
    },
    drag(spot) {
      if (last) bench.pan(spot, spot.x - last.x, spot.y - last.y);
      last = { x: spot.x, y: spot.y };
    },
    release() {
      last = null;
    },
    cancel() {
      const was = last !== null;
      last = null;
      return was;
    },
    key: () => false,
    followed() {},
    draw() {},
  };
};

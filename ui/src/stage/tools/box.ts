/** Draws the box of a query, moves it, and pulls its sides. */

import { clamp } from "../arrays";
import { boxBetween, movedBox, resizedBox, type Handle } from "../boxes";
import { meets, onPlane } from "../drawing";
import type { Pane, Plane, Rect, Spot } from "../types";
import { placeOf, sizeOf } from "../wording";
import { axesOf, type Bench, type MakeTool } from "./tool";

/** How far from a handle, in pixels, it is taken. */
const NEAR = 8;
const SIDE = 7;
const STILL = 4;

type Drag = (cell: number[]) => number[];

export const box: MakeTool = (bench) => {
  let drag: Drag | null = null;
  let from: { x: number; y: number } | null = null;
  let moved = false;
  /** Where the keyboard began a box. */
  let corner: number[] | null = null;

  function begin(spot: Spot, anew: boolean): Drag {
    const { size } = bench.picture!;
    const patch = bench.patch;
    const before = bench.box;
    const start = bench.own(spot);
    const by = (cell: number[]) => cell.map((at, k) => at - start[k]!);
    const handle = anew || before === null ? null : handleAt(bench, spot, before);
    if (before !== null && handle !== null) {
      return handle.some((side) => side !== 0)
        ? (cell) => resizedBox(before, handle, by(cell), size, patch)
        : (cell) => movedBox(before, by(cell), size);
    }
    return (cell) => boxBetween(start, cell, axesOf(spot.plane), before, size, patch);
  }

  function stop(): void {
    drag = null;
    corner = null;
  }

  return {
    cursor(spot) {
      const before = bench.box;
      const handle = spot && before && handleAt(bench, spot, before);
      return handle ? cursorOf(spot.plane, handle) : "crosshair";
    },
    press(spot, { wipes, anew }) {
      if (wipes || bench.picture === null) return;
      corner = null;
      drag = begin(spot, anew);
      from = { x: spot.x, y: spot.y };
      moved = false;
    },
    drag(spot) {
      if (from && Math.hypot(spot.x - from.x, spot.y - from.y) >= STILL) moved = true;
      if (drag && moved) bench.draft(drag(bench.own(spot)));
    },
    release(spot) {
      // Reckoned anew: a form that came since the last move has taken the draft away.
      if (drag && moved) bench.events.onBox(drag(bench.own(spot)));
      stop();
    },
    cancel() {
      const was = drag !== null || corner !== null;
      stop();
      if (was) bench.draft(null);
      return was;
    },
    key(event) {
      if (event.key !== "Enter" || bench.cursor === null || bench.picture === null) return false;
      if (corner === null) {
        corner = bench.own(bench.cursor);
        this.followed(corner);
        bench.say("Box begun. Arrow keys extend it, Enter ends it, Escape cancels it.");
      } else {
        this.followed(bench.own(bench.cursor));
        stop();
        if (bench.box) {
          bench.events.onBox([...bench.box]);
          bench.say(described(bench.picture.axes, bench.box));
        }
      }
      return true;
    },
    followed(cell) {
      if (corner === null || bench.picture === null) return;
      const axes = bench.cursor ? axesOf(bench.cursor.plane) : [];
      // The cursor is in the middle of a patch: all of the patches at both ends are in the box.
      const first = corner.map((at, k) => Math.min(at, cell[k]!) - bench.patch[k]! / 2);
      const last = corner.map((at, k) => Math.max(at, cell[k]!) + bench.patch[k]! / 2);
      bench.draft(boxBetween(first, last, axes, bench.box, bench.picture.size, bench.patch));
    },
    draw(pen, pane, plane, theme) {
      if (bench.box === null) return;
      const shown = bench.boxOn(pane, bench.box);
      if (!meets(pane, plane, shown)) return;
      for (const { x, y } of handles(onPlane(plane, shown), plane)) {
        pen.fillStyle = theme.bg;
        pen.strokeStyle = theme.accent;
        pen.lineWidth = 1.5;
        pen.beginPath();
        pen.rect(Math.round(x - SIDE / 2), Math.round(y - SIDE / 2), SIDE, SIDE);
        pen.fill();
        pen.stroke();
      }
    },
  };
};

function described(axes: string, each: readonly number[]): string {
  const half = each.length / 2;
  return `Box of ${sizeOf(each.slice(half))} at ${placeOf(axes, each.slice(0, half))}.`;
}

interface Grip {
  x: number;
  y: number;
  down: number;
  right: number;
}

/** The corners of a box and the middles of its sides; of an interval its two ends. */
function handles(rect: Rect, plane: Plane): Grip[] {
  const grips: Grip[] = [];
  for (const down of plane.down === null ? [0] : [-1, 0, 1])
    for (const right of [-1, 0, 1])
      if (down !== 0 || right !== 0)
        grips.push({
          x: held(rect.x + (rect.width * (right + 1)) / 2, plane.frame.x, plane.frame.width),
          y: held(rect.y + (rect.height * (down + 1)) / 2, plane.frame.y, plane.frame.height),
          down,
          right,
        });
  return grips;
}

/** Where a handle's middle is seen: that of one at the edge of the frame a little further in, so that all of it is. */
function held(at: number, first: number, length: number): number {
  const room = SIDE / 2 + 1;
  const isOutside = at < first - 1 || at > first + length + 1;
  return isOutside ? at : clamp(at, first + room, first + length - room);
}

/** Which sides of the box are taken at a spot: all zeros for its inside, null for outside of it. */
function handleAt(bench: Bench, { pane, plane, x, y }: Spot, before: readonly number[]): Handle | null {
  const shown = bench.boxOn(pane, before);
  if (!meets(pane, plane, shown)) return null;
  const rect = onPlane(plane, shown);
  const handle = pane.picture.size.map(() => 0);
  const far = ({ x: gx, y: gy }: Grip) =>
    plane.down === null ? Math.abs(gx - x) : Math.max(Math.abs(gx - x), Math.abs(gy - y));
  const near = handles(rect, plane)
    .filter((grip) => far(grip) <= NEAR)
    .sort((one, two) => far(one) - far(two))[0];
  if (near !== undefined) {
    if (plane.down !== null) handle[plane.down] = near.down;
    handle[plane.right] = near.right;
    return handle;
  }
  const inside = x >= rect.x && y >= rect.y && x <= rect.x + rect.width && y <= rect.y + rect.height;
  return inside && !isWhole(pane, shown) ? handle : null;
}

/** A box of all cells cannot be moved: a drag in it draws another. */
function isWhole(pane: Pane, shown: readonly number[]): boolean {
  return pane.picture.size.every((length, k) => shown[pane.picture.size.length + k]! >= length);
}

function cursorOf(plane: Plane, handle: Handle): string {
  const down = plane.down === null ? 0 : handle[plane.down]!;
  const right = handle[plane.right]!;
  if (down === 0 && right === 0) return "move";
  if (down === 0) return "ew-resize";
  if (right === 0) return "ns-resize";
  return down === right ? "nwse-resize" : "nesw-resize";
}

/** The upper canvas: what follows the cursor, so that the images below are not drawn again for it. */

import { sliceOf } from "./arrays";
import { clipped, haloed, meets, onPlane, tracedCorners, tracedLines, tracedRect } from "./drawing";
import type { MapData } from "./maps";
import { Memo } from "./memo";
import { outline } from "./outline";
import type { Theme } from "./theme";
import type { Tool } from "./tools/tool";
import type { Pane, Plane } from "./types";
import { toPixel } from "./viewport";

/** What is under the cursor in one pane, in cells of its grid. */
export interface Pointed {
  /** The patch, start.. and extent..; null where there is none, or it is not to be seen. */
  patch: number[] | null;
  /** The place itself, in a pane that the cursor is not in. */
  cross: number[] | null;
}

export class Front {
  private readonly pen: CanvasRenderingContext2D;
  private readonly memo = new Memo();

  constructor(readonly canvas: HTMLCanvasElement) {
    this.pen = canvas.getContext("2d")!;
  }

  draw(
    panes: Pane[],
    theme: Theme,
    tool: Tool,
    pointed: (pane: Pane) => Pointed,
    marked: (pane: Pane) => number[] | null,
    ratio: number,
  ): void {
    const { pen } = this;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const pane of panes) {
      const { patch, cross } = pointed(pane);
      const mark = marked(pane);
      for (const plane of pane.planes) {
        clipped(pen, plane);
        if (mark && this.traced(pane, plane, mark, tracedCorners)) haloed(pen, theme.accent, theme.bg, 2);
        if (patch && this.traced(pane, plane, patch, tracedRect)) haloed(pen, "#fff", "#000", 1.5, 0.6);
        if (cross) this.cross(plane, cross);
        tool.draw(pen, pane, plane, theme);
        pen.restore();
      }
    }
  }

  /** A path around a patch, or around the segment that it stands for.  Returns whether the plane shows it. */
  private traced(pane: Pane, plane: Plane, patch: number[], shape: typeof tracedRect): boolean {
    const labels = pane.map?.labels;
    if (!labels && !meets(pane, plane, patch)) return false;
    this.pen.beginPath();
    if (pane.map && labels) tracedLines(this.pen, plane, this.segment(pane, pane.map, labels, plane, patch));
    else shape(this.pen, onPlane(plane, patch));
    return true;
  }

  /** The edge of the segment that a cell is of. */
  private segment(pane: Pane, map: MapData, labels: Int32Array, plane: Plane, patch: number[]): number[] {
    const { size } = map;
    const index = size.reduce((sum, length, k) => sum * length + Math.floor(patch[k]!), 0);
    const own = labels[index];
    const slice = sliceOf(size, plane.down, plane.right, pane.at);
    const name = `${pane.slot} ${plane.down} ${plane.right} ${own}`;
    return this.memo.get(name, `${map.map} ${slice.first}`, () => outline((i) => labels[i] === own, slice));
  }

  private cross(plane: Plane, cell: readonly number[]): void {
    const x = Math.round(toPixel(plane.columns, cell[plane.right]!)) + 0.5;
    const { pen } = this;
    pen.beginPath();
    if (plane.down === null) {
      pen.moveTo(x, plane.frame.y);
      pen.lineTo(x, plane.frame.y + plane.frame.height);
    } else {
      const y = Math.round(toPixel(plane.rows, cell[plane.down]!)) + 0.5;
      pen.moveTo(x - 5, y);
      pen.lineTo(x + 5, y);
      pen.moveTo(x, y - 5);
      pen.lineTo(x, y + 5);
    }
    haloed(pen, "#fff", "#000", 1, 0.6);
  }
}

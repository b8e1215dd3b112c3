/** The lower canvas: images with their heat, what of it is estimated, and the regions that the query is about. */

import { sliceOf, type Slice } from "./arrays";
import type { Look } from "./contract";
import { clipped, drawCells, haloed, label, meets, onPlane, texture, tracedLines, tracedRect, type Texture } from "./drawing";
import { fillHeat, fillMask } from "./layers";
import { Memo } from "./memo";
import { outline } from "./outline";
import { Rasters } from "./rasters";
import type { State } from "./state";
import type { Theme } from "./theme";
import type { Pane, Plane } from "./types";
import { across } from "./views/slices";
import type { Brush } from "./views/view";
import { viewOf } from "./views/table";

/** Most boxes of a detector that are shown. */
const BOXES = 20;

/** Cells of a layer, and what they are known by. */
interface Layer {
  name: string;
  key: string;
  inside: (index: number) => boolean;
}

type Fill = string | HTMLCanvasElement;

export class Ground {
  private readonly pen: CanvasRenderingContext2D;
  private readonly scratch = document.createElement("canvas");
  private readonly rasters = new Rasters();
  private readonly memo = new Memo();
  private ratio = 1;

  constructor(readonly canvas: HTMLCanvasElement) {
    this.pen = canvas.getContext("2d")!;
  }

  draw(panes: Pane[], state: State, theme: Theme, ratio: number): void {
    const { pen } = this;
    const { look } = state;
    this.ratio = ratio;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const pane of panes) {
      const view = viewOf(pane.picture.size);
      const brush: Brush = {
        pen,
        rasters: this.rasters,
        theme,
        under: pane.heat !== null && look.heat,
        grid: look.grid,
      };
      for (const plane of pane.planes) {
        clipped(pen, plane);
        view.ground(brush, pane, plane);
        if (look.heat) this.heat(pane, plane, look);
        if (look.region) this.regions(pane, plane, theme, state);
        pen.restore();
        view.notes(brush, pane, plane);
      }
    }
  }

  private heat(pane: Pane, plane: Plane, look: Look): void {
    const { heat, map, picture } = pane;
    if (heat === null || map === null) return;
    const slice = sliceOf(picture.size, plane.down, plane.right, pane.at);
    const where = this.where(pane, plane);
    const [name, key] = [`heat ${where.name}`, `${heat.key} ${where.key}`];
    const cells = this.rasters.canvas(name, key, slice.rows, slice.columns, (to) => fillHeat(to, heat, slice));
    this.pen.globalAlpha = look.opacity;
    drawCells(this.pen, cells, pane, plane, !look.grid);
    this.pen.globalAlpha = 1;
    if (heat.gaps) {
      const layer = { name: "gaps", key: heat.key, inside: (i: number) => Number.isNaN(heat.values[i]) };
      this.filled(pane, plane, layer, slice, this.texture("faint"));
    }
    const { estimates } = map;
    if (look.estimates && estimates !== null) {
      const layer = { name: "estimates", key: String(map.version), inside: (i: number) => estimates[i] === 1 };
      this.filled(pane, plane, layer, slice, this.texture("dots"));
    }
  }

  private regions(pane: Pane, plane: Plane, theme: Theme, state: State): void {
    const { pen } = this;
    const { map, picture } = pane;
    const slice = sliceOf(picture.size, plane.down, plane.right, pane.at);
    const scored = map?.scored;
    if (map && scored) {
      const layer = { name: "scored", key: String(map.version), inside: (i: number) => scored[i] === 1 };
      this.filled(pane, plane, layer, slice, this.texture("hatch"));
      this.outlined(pane, plane, layer, slice);
      haloed(pen, "#fff", "#000", 1.25, 0.6);
    }
    const mask = pane.picture === state.picture ? state.mask : null;
    if (mask) {
      const layer = { name: "mask", key: String(mask.version), inside: (i: number) => mask.cells[i] === 1 };
      pen.globalAlpha = 0.28;
      this.filled(pane, plane, layer, slice, theme.accent);
      pen.globalAlpha = 1;
      this.outlined(pane, plane, layer, slice);
      haloed(pen, theme.accent, theme.bg, 1.5);
    }
    const box = state.box && state.related(pane) ? state.boxOn(pane, state.box) : null;
    if (box && meets(pane, plane, box)) {
      pen.beginPath();
      tracedRect(pen, onPlane(plane, box));
      haloed(pen, theme.accent, theme.bg, 1.5);
    }
    if (map?.boxes && plane.down !== null) this.boxes(map.boxes, plane, theme);
  }

  /** A detector's boxes with their numbers, which a query names them by. */
  private boxes(boxes: Float32Array, plane: Plane, theme: Theme): void {
    const { pen } = this;
    const shown = Math.min(BOXES, boxes.length / 4);
    const rects = Array.from({ length: shown }, (_, i) => onPlane(plane, Array.from(boxes.subarray(4 * i, 4 * i + 4))));
    for (const rect of rects) {
      pen.beginPath();
      tracedRect(pen, rect);
      haloed(pen, "#fff", "#000", 1.25, 0.55);
    }
    for (const [i, rect] of rects.entries()) label(pen, theme, String(i + 1), rect.x + 3, rect.y + 3);
  }

  /** Fills a layer's cells with a colour or a texture, whose grain is that of the screen rather than of the cells. */
  private filled(pane: Pane, plane: Plane, layer: Layer, slice: Slice, fill: Fill): void {
    const where = this.where(pane, plane);
    const name = `${layer.name} ${where.name}`;
    const key = `${layer.key} ${where.key}`;
    const cells = this.rasters.canvas(name, key, slice.rows, slice.columns, (to) => fillMask(to, layer.inside, slice));
    const { scratch, canvas, ratio } = this;
    if (scratch.width !== canvas.width) scratch.width = canvas.width;
    if (scratch.height !== canvas.height) scratch.height = canvas.height;
    const pen = scratch.getContext("2d")!;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.globalCompositeOperation = "source-over";
    pen.clearRect(0, 0, scratch.width, scratch.height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawCells(pen, cells, pane, plane, false);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = typeof fill === "string" ? fill : pen.createPattern(fill, "repeat")!;
    pen.fillRect(0, 0, scratch.width, scratch.height);
    this.pen.save();
    this.pen.setTransform(1, 0, 0, 1, 0, 0);
    this.pen.drawImage(scratch, 0, 0);
    this.pen.restore();
  }

  private outlined(pane: Pane, plane: Plane, layer: Layer, slice: Slice): void {
    const where = this.where(pane, plane);
    const lines = this.memo.get(`${layer.name} ${where.name}`, `${layer.key} ${where.key}`, () =>
      outline(layer.inside, slice),
    );
    this.pen.beginPath();
    tracedLines(this.pen, plane, lines);
  }

  private texture(kind: Texture): HTMLCanvasElement {
    return this.memo.get(kind, String(this.ratio), () => texture(kind, this.ratio));
  }

  /** Which plane this is, and which of all the slices that it can show. */
  private where(pane: Pane, plane: Plane): { name: string; key: string } {
    const name = `${pane.slot} ${plane.down} ${plane.right}`;
    const slices = pane.picture.size.length === 3;
    return { name, key: `${pane.picture.key} ${slices ? Math.floor(pane.at[across(plane)]!) : ""}` };
  }
}

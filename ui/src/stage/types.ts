/** What the parts of the stage hand to one another. */

import type { Packed, Slot } from "../protocol";
import type { MapData } from "./maps";
import type { PictureData } from "./pictures";
import type { Span } from "./viewport";

export type { Packed, Slot };

/** A rectangle of the canvas, in CSS pixels. */
export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Where two of an image's axes lie on the canvas.  A signal has no axis that runs down: its plane is one cell high. */
export interface Plane {
  /** What is outside of it is not drawn. */
  frame: Rect;
  down: number | null;
  right: number;
  rows: Span;
  columns: Span;
}

/** How far in the stage is zoomed, and on what: coordinates of the source, which panes of unlike grids share. */
export interface Camera {
  zoom: number;
  centre: number[] | null;
}

/** Scores of cells with the colours that they are drawn in. */
export interface Heat {
  values: Float32Array;
  /** Which values these are; another text where they are others. */
  key: string;
  /** Whether some of them are NaN. */
  gaps: boolean;
  lowest: number;
  highest: number;
  colours: Uint32Array;
}

/** One image with one map: the whole stage, or half of it where two are compared. */
export interface Pane {
  slot: Slot;
  area: Rect;
  picture: PictureData;
  map: MapData | null;
  heat: Heat | null;
  /** The cell that slices go through; cells of this pane's grid, as are all numbers of a pane. */
  at: number[];
  planes: Plane[];
  title: string;
}

/** A place on a plane.  `cell` has a fractional number for each axis: cell 3 reaches from 3 to 4. */
export interface Spot {
  pane: Pane;
  plane: Plane;
  cell: number[];
  x: number;
  y: number;
}

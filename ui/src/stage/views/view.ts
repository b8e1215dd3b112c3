/** What differs between images of one, two and three axes: how they are laid out, and how they are drawn. */

import type { PictureData } from "../pictures";
import type { Rasters } from "../rasters";
import type { Theme } from "../theme";
import type { Camera, Pane, Plane, Rect } from "../types";

export interface Brush {
  pen: CanvasRenderingContext2D;
  rasters: Rasters;
  theme: Theme;
  /** Whether heat will lie over the picture. */
  under: boolean;
  /** Whether cells are to be seen one by one. */
  grid: boolean;
}

export interface View {
  readonly kind: "flat" | "slices" | "trace";
  /** The planes of a picture within `area`. */
  lay(picture: PictureData, area: Rect, camera: Camera, grid: boolean): Plane[];
  /** The picture on one of its planes, under everything else. */
  ground(brush: Brush, pane: Pane, plane: Plane): void;
  /** What explains a plane, over everything else: letters, numbers, lines to other planes. */
  notes(brush: Brush, pane: Pane, plane: Plane): void;
}

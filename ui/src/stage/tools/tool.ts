/** What a tool is, and what it may do to the stage. */

import type { StageEvents } from "../contract";
import type { PictureData } from "../pictures";
import type { Press } from "../pointer";
import type { Theme } from "../theme";
import type { Pane, Plane, Spot } from "../types";

export interface Tool {
  /** The CSS cursor over a spot, or over nothing. */
  cursor(spot: Spot | null): string;
  press(spot: Spot, press: Press): void;
  drag(spot: Spot): void;
  release(spot: Spot): void;
  /** Gives up what is half done.  Returns whether there was anything. */
  cancel(): boolean;
  /** Returns whether the key meant something. */
  key(event: KeyboardEvent): boolean;
  /** The cursor was moved by the keyboard. */
  followed(cell: number[]): void;
  /** What the tool shows over the image. */
  draw(pen: CanvasRenderingContext2D, pane: Pane, plane: Plane, theme: Theme): void;
}

/** The parts of the stage that tools change.  Cells are those of the query's grid, `picture`. */
export interface Bench {
  readonly events: StageEvents;
  readonly picture: PictureData | null;
  readonly patch: number[];
  /** The box as it is seen: as it is drawn, else the query's. */
  readonly box: number[] | null;
  /** A box that is being drawn; null shows the query's again. */
  draft(box: number[] | null): void;
  readonly mask: Uint8Array | null;
  /** The mask that is painted; the same array again where its cells have changed. */
  paint(mask: Uint8Array | null): void;
  /** Where the cursor is. */
  readonly cursor: Spot | null;
  /** A spot's cell on the query's grid: another than its own where two models are compared. */
  own(spot: Spot): number[];
  /** A cell or box of the query's grid on that of a pane. */
  cellOn(pane: Pane, cell: readonly number[]): number[];
  boxOn(pane: Pane, box: readonly number[]): number[];
  probe(spot: Spot): void;
  /** Slices go through a spot. */
  cross(spot: Spot): void;
  pan(spot: Spot, byX: number, byY: number): void;
  say(text: string): void;
  redraw(): void;
}

export type MakeTool = (bench: Bench) => Tool;

/** The axes that a place on a plane decides. */
export function axesOf(plane: Plane): number[] {
  return plane.down === null ? [plane.right] : [plane.down, plane.right];
}

/** What the rest of the page needs of the stage, where the image is shown with its layers. */

import type { Form, HeatMap, Layer, Picture, Slot } from "../protocol";

export type Tool = "box" | "paint" | "probe" | "pan";

/** safe: for all kinds of colour vision; effect: kdb's red and blue; krypton: the paper's. */
export type Palette = "safe" | "effect" | "krypton";

export interface Look {
  palette: Palette;
  /** Of the heat, from 0 to 1. */
  opacity: number;
  /** Share of the scale's half width below which heat is not drawn, from 0 to 1. */
  threshold: number;
  heat: boolean;
  region: boolean; // the box or mask of the query; the region of a segmentation that is scored
  patch: boolean; // the patch at its true size, at the position under the cursor
  estimates: boolean; // marks cells that were not evaluated
  grid: boolean; // the image as the model sees it, pixel by pixel, instead of the finer source
}

/** What is under the cursor. */
export interface Reading {
  slot: Slot;
  position: number[];
  score: number; // NaN where nothing is known
  change: number; // from the baseline, as written: score - baseline; of drops the score itself
  error: number | null;
  measured: boolean;
  /** The score there in the other slot, while both are shown side by side; else null. */
  other: number | null;
  /** The score of slot a minus that of slot b, while their difference is shown; else null. */
  difference: number | null;
}

export interface StageEvents {
  /** A box was drawn: start.., extent.. in cells. */
  onBox(box: number[]): void;
  /** A mask was painted: 1 where it is, [*size]; null where all of it was wiped out. */
  onMask(mask: Uint8Array | null): void;
  /** A position was clicked, or chosen by the keyboard. */
  onProbe(slot: Slot, position: number[]): void;
  onHover(reading: Reading | null): void;
  /** What a screen reader is to say. */
  onSay(text: string): void;
}

export type Comparing = "off" | "side" | "difference";

export interface StageApi {
  readonly element: HTMLElement;
  /** The image of a form, shown until a map of another image comes. */
  showPicture(picture: Picture, buffers: ArrayBuffer[]): void;
  /** A map in a slot.  Its picture was shown by `showPicture` before, and is found by its key. */
  showMap(map: HeatMap, buffers: ArrayBuffer[]): void;
  showLayer(layer: Layer, buffers: ArrayBuffer[]): void;
  /** Take the map of a slot away. */
  clear(slot: Slot): void;
  /** Region and patch as the form has them. */
  showForm(form: Form): void;
  setTool(tool: Tool): void;
  setLook(look: Look): void;
  setComparing(comparing: Comparing): void;
  /** What differs between the queries of the two slots, for their captions. */
  setNames(names: Readonly<Record<Slot, string>> | null): void;
  /** Marks the position that was probed last; null takes the mark away. */
  mark(position: number[] | null): void;
  zoom(factor: number | "fit"): void;
  /** Ends what is being drawn.  Returns whether something was. */
  cancel(): boolean;
  destroy(): void;
}

/** Makes the stage within an element: src/stage/stage.ts exports `createStage: CreateStage`. */
export type CreateStage = (events: StageEvents, look: Look) => StageApi;

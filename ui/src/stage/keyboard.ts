/** Keys of the stage. */

import { unique } from "../dom";

const KEYS =
  "Arrow keys move from position to position, with Shift five at a time; Page Up and Page Down along the third axis. " +
  "Enter probes a position, paints, or begins and ends a box; Escape cancels. " +
  "Plus and minus zoom, 0 shows all. Square brackets change the size of the brush.";

/** A hidden text on the keys, which the stage is described by. */
export function keysInWords(): HTMLElement {
  const element = document.createElement("p");
  element.id = unique("stage-keys");
  element.className = "kdb-stage-hidden";
  element.textContent = KEYS;
  return element;
}

/** Along the axes of the plane that the cursor is in, or along the third. */
export type Direction = "right" | "down" | "through";

export interface KeyListener {
  /** Moves the cursor. */
  move(direction: Direction, by: number): void;
  zoom(factor: number | "fit"): void;
  /** A key for the tool.  Returns whether it meant something. */
  key(event: KeyboardEvent): boolean;
  /** Returns whether there was something to cancel. */
  cancel(): boolean;
  /** While it is held, the pointer pans. */
  space(held: boolean): void;
}

const MOVES: Record<string, readonly [Direction, number]> = {
  ArrowRight: ["right", 1],
  ArrowLeft: ["right", -1],
  ArrowDown: ["down", 1],
  ArrowUp: ["down", -1],
  PageDown: ["through", 1],
  PageUp: ["through", -1],
};

const ZOOMS: Record<string, number | "fit"> = { "+": 1.25, "=": 1.25, "-": 0.8, "0": "fit" };

/** Attaches the listener to an element, until the signal aborts. */
export function listenToKeys(element: HTMLElement, listener: KeyListener, signal: AbortSignal): void {
  const on = (name: "keydown" | "keyup", handle: (event: KeyboardEvent) => boolean) =>
    element.addEventListener(
      name,
      (event) => {
        // Sliders within the element have keys of their own, and the browser those with Control.
        if (event.target !== element || event.ctrlKey || event.metaKey || event.altKey) return;
        if (!handle(event)) return;
        event.preventDefault();
        event.stopPropagation();
      },
      { signal },
    );
  on("keydown", (event) => {
    const move = MOVES[event.key];
    if (move !== undefined) {
      listener.move(move[0], move[1] * (event.shiftKey ? 5 : 1));
      return true;
    }
    const zoom = ZOOMS[event.key];
    if (zoom !== undefined) {
      listener.zoom(zoom);
      return true;
    }
    if (event.key === " ") {
      listener.space(true);
      return true;
    }
    return event.key === "Escape" ? listener.cancel() : listener.key(event);
  });
  on("keyup", (event) => {
    if (event.key !== " ") return false;
    listener.space(false);
    return true;
  });
  element.addEventListener("blur", () => listener.space(false), { signal });
}

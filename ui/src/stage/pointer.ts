/** Mouse, pen and touch: what they do is said to a listener in terms of the stage. */

import { clamp } from "./arrays";
import type { Spot } from "./types";

/** The most that one turn of the wheel zooms, in pixels: a mouse's turns are long, those of a pinch short. */
const WHEEL_STEP = 25;

export interface Press {
  /** By the middle button. */
  pans: boolean;
  /** By the right button, or with Alt. */
  wipes: boolean;
  /** With Shift: what is there already is left alone. */
  anew: boolean;
}

export interface PointerListener {
  spotAt(x: number, y: number): Spot | null;
  /** A place on the plane of another spot, also outside of its frame. */
  spotOn(other: Spot, x: number, y: number): Spot;
  hover(spot: Spot | null): void;
  press(spot: Spot, press: Press): void;
  drag(spot: Spot): void;
  release(spot: Spot): void;
  cancel(): void;
  zoomAt(spot: Spot, factor: number): void;
  pan(spot: Spot, byX: number, byY: number): void;
  /** The wheel over a slice.  Returns whether it moved. */
  scroll(spot: Spot, by: number): boolean;
}

/** Attaches the listener to an element, until the signal aborts. */
export function listen(element: HTMLElement, listener: PointerListener, signal: AbortSignal): void {
  const touches = new Map<number, { x: number; y: number }>();
  let pressed: Spot | null = null;
  let scrolled = 0;

  const place = (event: MouseEvent) => {
    const bounds = element.getBoundingClientRect();
    return { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
  };

  const on = <K extends keyof HTMLElementEventMap>(
    name: K,
    handle: (event: HTMLElementEventMap[K]) => void,
    passive = true,
  ) => element.addEventListener(name, handle, { signal, passive });

  function pinch(event: PointerEvent): void {
    const [one, two] = [...touches.values()] as [{ x: number; y: number }, { x: number; y: number }];
    const before = { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2, apart: Math.hypot(one.x - two.x, one.y - two.y) };
    Object.assign(touches.get(event.pointerId)!, place(event));
    const spot = listener.spotAt((one.x + two.x) / 2, (one.y + two.y) / 2);
    if (spot === null) return;
    listener.pan(spot, spot.x - before.x, spot.y - before.y);
    if (before.apart > 0) listener.zoomAt(spot, Math.hypot(one.x - two.x, one.y - two.y) / before.apart);
  }

  on("pointerdown", (event) => {
    const { x, y } = place(event);
    if (event.pointerType === "touch") touches.set(event.pointerId, { x, y });
    if (touches.size > 1) {
      if (pressed) listener.cancel();
      pressed = null;
      return;
    }
    const spot = listener.spotAt(x, y);
    if (spot === null || event.button > 2) return;
    element.setPointerCapture(event.pointerId);
    pressed = spot;
    listener.hover(spot);
    const wipes = event.button === 2 || event.altKey;
    listener.press(spot, { pans: event.button === 1, wipes, anew: event.shiftKey });
  });

  on("pointermove", (event) => {
    if (touches.size > 1 && touches.has(event.pointerId)) return pinch(event);
    const { x, y } = place(event);
    if (touches.has(event.pointerId)) touches.set(event.pointerId, { x, y });
    if (pressed) {
      const spot = listener.spotOn(pressed, x, y);
      listener.hover(spot);
      listener.drag(spot);
    } else {
      listener.hover(listener.spotAt(x, y));
    }
  });

  on("pointerup", (event) => {
    touches.delete(event.pointerId);
    if (pressed === null) return;
    const { x, y } = place(event);
    const spot = listener.spotOn(pressed, x, y);
    pressed = null;
    listener.release(spot);
    listener.hover(listener.spotAt(x, y));
  });

  on("pointercancel", (event) => {
    touches.delete(event.pointerId);
    if (pressed) listener.cancel();
    pressed = null;
  });

  on("pointerleave", () => {
    if (pressed === null) listener.hover(null);
  });

  on("contextmenu", (event) => event.preventDefault(), false);
  // The browser's own scrolling by the middle button.
  on("mousedown", (event) => event.button === 1 && event.preventDefault(), false);

  on(
    "wheel",
    (event) => {
      const { x, y } = place(event);
      const spot = listener.spotAt(x, y);
      if (spot === null) return;
      // A pinch on a trackpad comes as a wheel with ctrl.
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        const by = clamp(event.deltaY * (event.deltaMode === 0 ? 1 : 10), -WHEEL_STEP, WHEEL_STEP);
        listener.zoomAt(spot, Math.exp(-by / 100));
        return;
      }
      // A mouse's wheel comes in large steps, a trackpad's in small ones that add up to one.
      scrolled += event.deltaMode === 0 ? event.deltaY / 40 : event.deltaY;
      const steps = Math.trunc(scrolled);
      if (steps === 0 ? spot.pane.planes.length > 1 : listener.scroll(spot, Math.sign(steps))) event.preventDefault();
      if (steps !== 0) scrolled = 0;
    },
    false,
  );
}

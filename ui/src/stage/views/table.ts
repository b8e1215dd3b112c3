/** The view of an image, by the number of its axes. */

import { flat } from "./flat";
import { slices } from "./slices";
import { trace } from "./trace";
import type { View } from "./view";

const VIEWS: Record<number, View> = { 1: trace, 2: flat, 3: slices };

export function viewOf(size: readonly number[]): View {
  const view = VIEWS[size.length];
  if (view === undefined) throw new RangeError(`there is no view of ${size.length} axes`);
  return view;
}

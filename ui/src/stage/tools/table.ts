/** The tools by their names. */

import type { Tool as Name } from "../contract";
import { box } from "./box";
import { paint } from "./paint";
import { pan } from "./pan";
import { probe } from "./probe";
import type { Bench, Tool } from "./tool";

export function toolsAt(bench: Bench): Readonly<Record<Name, Tool>> {
  return {
    box: box(bench),
    paint: paint(bench),
    probe: probe(bench),
    pan: pan(bench),
  };
}

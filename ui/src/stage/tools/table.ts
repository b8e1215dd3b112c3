/** The tools by their names. */

import type { Tool as Name } from "../contract";
import { box } from "./box";
import { paint } from "./paint";
import { pan } from "./pan";
import { probe } from "./probe";
import type { MakeTool } from "./tool";

export const TOOLS: Record<Name, MakeTool> = { box, paint, probe, pan };

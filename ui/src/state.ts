import type { Connection } from "./place";
import type { Checked, Entry, Folder, Form, Gallery, HeatMap, Plan, Probe, Refusal, Slot, Welcome } from "./protocol";
import { differing, sameQuery } from "./query";
import type { Comparing, Look, Reading, Tool } from "./stage/contract";

/** What came with buffers. */
export interface With<Content> {
  content: Content;
  buffers: ArrayBuffer[];
}

export type Outcome = "idle" | "running" | "done" | "stopped" | "failed";

export interface Run {
  id: number | null;
  state: Outcome;
  /** Stop was asked for, and not answered yet. */
  stopping: boolean;
  /** Two queries, for both slots, or one. */
  both: boolean;
  slot: Slot;
  /** Of each slot, as it was sent. */
  texts: Record<Slot, string>;
  done: number;
  total: number;
  seconds: number;
  left: number | null;
  /** Maps received. */
  maps: number;
  refused: Refusal | null;
  /** Which of the two queries was. */
  failed: Slot;
}

export interface Shown extends With<HeatMap> {
  /** Which of its classes is shown. */
  shown: number;
  /** Its query as it was sent, which Python may write in another way. */
  asked: string;
  /** It is of a page that Python has no more: it can be looked at, and nothing else. */
  former: boolean;
}

/** Whether a map is of a text. */
export const isOf = (shown: Shown, text: string): boolean =>
  sameQuery(shown.asked, text) || sameQuery(shown.content.text, text);

/** The map of a slot where it is not of the text that stands for it; else null. */
export function earlier({ a, b, text, variant }: Pick<State, "a" | "b" | "text" | "variant">, slot: Slot): Shown | null {
  const shown = slot === "a" ? a : b;
  return shown === null || isOf(shown, slot === "a" ? text : variant) ? null : shown;
}

/**
 * What differs between the queries that made the two maps, never those that are to make others; while the first of two
 * is there alone, between the two that run.
 */
export function namesOf({ a, b, run }: Pick<State, "a" | "b" | "run">): Record<Slot, string> | null {
  if (a === null) return null;
  if (b !== null) return differing(a.content.text, b.content.text);
  return run.state === "running" && run.both && a.content.id === run.id ? differing(run.texts.a, run.texts.b) : null;
}

/** An image that was dropped on the page. */
export interface Dropped {
  /** As a query writes it. */
  name: string;
  file: string;
}

export interface Table {
  columns: string[];
  rows: (string | number | boolean | null)[][];
  lines: string[];
}

/** A sentence for whoever uses the page, about something that was not a query. */
export interface Message {
  tone: "plain" | "warning" | "error";
  text: string;
}

export interface State {
  connection: Connection;
  welcome: Welcome | null;

  text: string;
  /** Of the text as it was last understood. */
  form: Form | null;
  /** What is wrong with the text, and the text that this is about. */
  error: Refusal | null;
  errorText: string;
  /** Whether the form is of that text, for all its error. */
  understood: boolean;
  /** The last text that was. */
  understoodText: string;
  notes: string[];
  /** Why the text does not have what was entered as the model. */
  modelRefused: string | null;
  /** Whether controls and text say the same. */
  settled: boolean;
  labels: string[];
  dropped: Dropped[];

  run: Run;
  runsOnChange: boolean;
  /** The newest map of each slot. */
  a: Shown | null;
  b: Shown | null;
  table: Table | null;

  planOpen: boolean;
  plan: Plan | null;
  planError: Refusal | null;
  planWaits: boolean;

  probe: With<Probe> | null;
  probeWaits: boolean;
  probeSlot: Slot;
  checked: Checked | null;
  checkWaits: boolean;

  comparing: Comparing;
  variant: string;
  variantError: Refusal | null;
  /** Whether B is made of A by one change, and anew whenever A changes. */
  variantFollows: boolean;
  /** What differs between the two queries, as each has it; null where nothing does. */
  names: Record<Slot, string> | null;

  history: With<Entry[]>;
  folder: Folder | null;
  gallery: With<Gallery>[];
  galleryWaits: boolean;
  browsing: boolean;

  tool: Tool;
  look: Look;
  reading: Reading | null;
  message: Message | null;
  /** What became of model and image since a permalink was made. */
  permalinkSays: string | null;
}

export const IDLE: Run = {
  id: null,
  state: "idle",
  stopping: false,
  both: false,
  slot: "a",
  texts: { a: "", b: "" },
  done: 0,
  total: 0,
  seconds: 0,
  left: null,
  maps: 0,
  refused: null,
  failed: "a",
};

export const LOOK: Look = {
  palette: "safe",
  opacity: 0.8,
  threshold: 0,
  heat: true,
  region: true,
  patch: true,
  estimates: false,
  grid: false,
};

export const beginning = (connection: Connection): State => ({
  connection,
  welcome: null,
  text: "",
  form: null,
  error: null,
  errorText: "",
  understood: true,
  understoodText: "",
  notes: [],
  modelRefused: null,
  settled: true,
  labels: [],
  dropped: [],
  run: IDLE,
  runsOnChange: false,
  a: null,
  b: null,
  table: null,
  planOpen: false,
  plan: null,
  planError: null,
  planWaits: false,
  probe: null,
  probeWaits: false,
  probeSlot: "a",
  checked: null,
  checkWaits: false,
  comparing: "off",
  variant: "",
  variantError: null,
  variantFollows: false,
  names: null,
  history: { content: [], buffers: [] },
  folder: null,
  gallery: [],
  galleryWaits: false,
  browsing: false,
  tool: "probe",
  look: LOOK,
  reading: null,
  message: null,
  permalinkSays: null,
});

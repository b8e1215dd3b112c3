import type { Connection } from "./place";
import type { Checked, Entry, Folder, Form, Gallery, HeatMap, Plan, Probe, Refusal, Slot, Welcome } from "./protocol";
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
  /** Two queries, for both slots, or one. */
  both: boolean;
  slot: Slot;
  text: string;
  done: number;
  total: number;
  seconds: number;
  left: number | null;
  /** Maps received. */
  maps: number;
  refused: Refusal | null;
}

export interface Shown extends With<HeatMap> {
  /** Which of its classes is shown. */
  shown: number;
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
  notes: string[];
  /** Whether controls and text say the same. */
  settled: boolean;
  labels: string[];

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
  both: false,
  slot: "a",
  text: "",
  done: 0,
  total: 0,
  seconds: 0,
  left: null,
  maps: 0,
  refused: null,
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
  notes: [],
  settled: true,
  labels: [],
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

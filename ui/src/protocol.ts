/**
 * What the page and Python say to one another.
 *
 * A message is an object with a `kind`, sent beside a list of buffers: in a notebook by anywidget's custom messages, in
 * `kdb ui` over one WebSocket.  `Request`s go to Python, each with an `id` of the page's own counting; `Event`s come
 * from Python, and one that answers a request has its `id`.  kdb/ui/page.py is the other side.
 *
 * Positions, boxes and sizes are numbers in the order of the image's axes, in cells of the model's input grid; scores
 * are in the unit of the map's score.
 */

/** An array in a message: little endian, in C order, in the buffer of that number. */
export interface Packed {
  dtype: "uint8" | "int32" | "float32";
  shape: number[];
  buffer: number;
}

// ---- requests

export type Request = { id: number } & (
  /** The first: answered by `welcome`. */
  | { kind: "hello" }
  /** The query's text as it is now typed: answered by `form`. */
  | { kind: "edit"; text: string }
  /** A control was moved: answered by `form`, with the text rewritten. */
  | ({ kind: "change"; text: string } & Change)
  /** Another query made of the text, which stays: answered by `varied`, once more if something is wrong with it. */
  | ({ kind: "vary"; text: string } & Change)
  /** The plan of a query: answered by `plan` or `refused`. */
  | { kind: "explain"; text: string }
  /** Run statements: for OCCLUDE `started`, `progress` and `map` several times, `finished`; for others `table`; or
   * `refused`.  Replaces the query under way. */
  | { kind: "run"; text: string }
  /** Run two queries one after another, for slots a and b, as `run` does. */
  | { kind: "compare"; texts: [string, string] }
  /** Stop the query under way, which keeps what it has found. */
  | { kind: "stop" }
  /** The score with the patch at one position of a map's query, for its `class` of that place among `classes`: answered
   * by `probe`. */
  | ({ kind: "probe"; position: number[] } & Mapped)
  /** The same by full inference, the model itself, beside kdb's value: answered by `checked`. */
  | ({ kind: "check"; position: number[] } & Mapped)
  /** The heat of another class of a map of several: answered by `layer`. */
  | { kind: "layer"; map: number; class: number }
  /** A map of the history again, in slot a: answered by `map`. */
  | { kind: "recall"; map: number }
  /** An image that was dropped on the page, its bytes in the buffer: answered by `form`, its text of that image. */
  | { kind: "upload"; text: string; name: string }
  /** Images, volumes and runs in a folder under the root: answered by `folder`. */
  | { kind: "browse"; folder: string }
  /** Cards of a run from `offset` on: answered by `gallery`. */
  | { kind: "gallery"; folder: string; offset: number; label: string | null }
  /** The map of one image of a run: answered by `map`. */
  | { kind: "card"; folder: string; image: string }
  /** A map as a file of one of its `formats`: answered by `file`. */
  | { kind: "export"; map: number; format: string }
);

/** What a position is of: a map, or the first class of a query that has none yet. */
export type Mapped = { map: number; class: number } | { text: string };

/** What a control sets.  `value` null takes the clause away. */
export type Change =
  | { control: "source"; value: string } // as it is written in a query: 'cat.png' with its quotes, cat, $image
  | { control: "model"; value: string }
  | { control: "classes"; value: Classes }
  | { control: "score"; value: string }
  | { control: "patch"; value: number[] }
  | { control: "stride"; value: number[] }
  | { control: "fill"; value: string } // as it is written in a query: black, blur(8), 128
  | { control: "box"; value: number[] | null } // start.., extent..
  | { control: "mask"; value: null | "painted" } // painted: uint8 [*size] in the buffer
  | { control: "over"; value: "predicted" | "all" | null }
  | { control: "effort"; value: Effort };

// ---- what the controls show

export interface Classes {
  kind: "predicted" | "class" | "top" | "several" | "all" | "detection";
  /** The number or label of a class, the k of TOP, the number of a detection; the text of several. */
  value: number | string | null;
}

export type Effort =
  | { kind: "exact" }
  | { kind: "ssim"; ssim: number; guaranteed: boolean }
  | { kind: "seconds"; seconds: number }
  | { kind: "other"; text: string }; // clauses that no control has, as THRESHOLD

export interface Form {
  source: string; // as it is written
  model: string;
  classes: Classes;
  score: string;
  /** A number for each axis; null for segments. */
  patch: number[] | null;
  stride: number[];
  fill: string;
  region: { kind: "none" | "box" | "mask" | "at"; box: number[] | null };
  over: string | null;
  effort: Effort;
  /** Clauses of the text that no control shows. */
  others: string[];
  /** The model's input, and the letters of its axes; null while the model is not known. */
  size: number[] | null;
  axes: string | null;
  /** Whether the model gives maps, so that OVER has a meaning. */
  dense: boolean;
  /** The `key` of the picture and of the labels that belong to the form; null while they are not known. */
  picture: string | null;
  labels: string | null;
}

/** Why something cannot be done; the place is in the text that was sent, from 1. */
export interface Refusal {
  type: string; // ParseError, BindError, ..
  message: string;
  line: number | null;
  column: number | null;
  expected: string[];
  suggestion: string | null;
}

// ---- events

export type Event =
  | Welcome
  | { kind: "form"; id: number; text: string; form: Form | null; error: Refusal | null; notes: string[] }
  | { kind: "varied"; id: number; text: string; error: Refusal | null }
  /** Python has set the query. */
  | { kind: "query"; text: string }
  | Labels
  | Picture
  | ({ kind: "plan"; id: number } & Plan)
  /** `slot` tells which of two queries it is of. */
  | { kind: "refused"; id: number; error: Refusal; slot: Slot | null }
  | { kind: "table"; id: number; columns: string[]; rows: (string | number | boolean | null)[][]; lines: string[] }
  | { kind: "started"; id: number; slot: Slot; text: string }
  | { kind: "progress"; id: number; slot: Slot; done: number; total: number; seconds: number; left: number | null }
  | HeatMap
  | { kind: "finished"; id: number; slot: Slot; map: number | null; stopped: boolean; seconds: number }
  | Probe
  | Checked
  | Layer
  | { kind: "history"; entries: Entry[] }
  | Folder
  | Gallery
  | { kind: "file"; id: number; name: string; type: string; data: Packed };

export type Slot = "a" | "b";

/** What there is to begin with. */
export interface Welcome {
  kind: "welcome";
  id: number;
  version: string;
  /** The query that the page begins with. */
  text: string;
  samples: { name: string; title: string }[]; // a source is the name without quotes
  models: { name: string; from: string; input: string }[];
  scores: string[];
  fills: string[];
  /** Whether images can be dropped and folders browsed; the folder that browsing begins in, as it is shown. */
  root: string | null;
  upload_limit: number; // bytes
}

/** The labels of a model's classes, in their order; empty where it has none. */
export interface Labels {
  kind: "labels";
  key: string;
  labels: string[];
}

/** An image as a model sees it; comes once for each key. */
export interface Picture {
  kind: "picture";
  key: string;
  axes: string; // t, yx, zyx, tyx, ..
  size: number[];
  /** uint8 [*size, 3]; uint8 [*size] where the image of three axes has no three channels; float32 [L, C] in the image's
   * own units for one axis. */
  image: Packed;
  /** Of two axes: uint8 [H, W, 3], what the grid shows of the source image in a finer resolution; null where it is not
   * finer. */
  fine: Packed | null;
  /** The first cells, then the extents, of what the grid shows of the source image, in the source's cells. */
  source_box: number[];
  source_size: number[];
}

/** A heat map, each of a query better than the one before. */
export interface HeatMap {
  kind: "map";
  id: number | null;
  map: number; // the same for all maps of one query
  slot: Slot;
  picture: string; // the key of its picture
  text: string; // its query
  model: string;
  score: string; // probability, drop, logit, logit_drop, cosine, cosine_drop
  axes: string;
  size: number[];
  patch: number[];
  stride: number[] | null;
  /** Of each class; which of them `values` and `heat` are of is `shown`. */
  classes: { index: number; label: string; baseline: number }[];
  shown: number;
  /** What a value is where nothing changes: 0 of drops, else the baseline. */
  neutral: number;
  /** Half the width of the colour scale: the largest distance of any class from neutral, never below a floor. */
  half: number;
  /** float32 [n]: by position; NaN where nothing is known.  int32 [n, axes]: the patch's first cells. */
  values: Packed;
  positions: Packed;
  /** uint8 [n]: 1 where the value was computed by the model, 0 where it is an estimate or NaN. */
  evaluated: Packed;
  /** float32 [n]: the estimates' standard deviation; null where there is none. */
  error: Packed | null;
  /** float32 [*size]: the mean score of the patches that cover a cell, NaN where there is none. */
  heat: Packed;
  /** int32 [*size]: which segment a cell is of, 0 for none; null for patches. */
  labels: Packed | null;
  /** uint8 [*size]: 1 where the output is scored, on the input's grid, of a segmentation; null for others. */
  scored: Packed | null;
  /** float32 [n, 4]: a detector's boxes (y, x, height, width); null for others. */
  boxes: Packed | null;
  exact: boolean;
  complete: boolean;
  last: boolean; // no better one can follow; `finished` tells when none does
  ssim: number | null; // expected similarity to the exact map
  done: number; // positions evaluated
  total: number;
  seconds: number;
  checked: { positions: number; worst: number } | null;
  notes: string[];
  /** File formats that it can be exported as: png, npz, nii.gz, dcm, pm.dcm. */
  formats: string[];
  /** What a permalink has besides the query: digests of the model and of the image's file, if any. */
  identity: { model: string; source: string | null };
}

export interface Layer {
  kind: "layer";
  id: number;
  map: number;
  shown: number;
  neutral: number;
  values: Packed;
  error: Packed | null;
  heat: Packed;
  scored: Packed | null;
}

/** One position: the score, and the image with the patch laid on it. */
export interface Probe {
  kind: "probe";
  id: number;
  map: number | null;
  position: number[];
  score: number;
  baseline: number;
  unit: string; // as `HeatMap.score`
  axes: string;
  patch: number[];
  milliseconds: number;
  /** As `Picture.image`. */
  occluded: Packed;
}

/** One position by full inference. */
export interface Checked {
  kind: "checked";
  id: number;
  map: number | null;
  position: number[];
  kdb: number;
  model: number;
  difference: number;
  /** The difference over what Exact allows; at most 1 where kdb is right. */
  ratio: number | null;
  milliseconds: number;
}

/** A plan, as EXPLAIN has it. */
export interface Plan {
  text: string;
  positions: number;
  expected_seconds: number;
  naive_seconds: number;
  /** Whether the rates that both are by were measured on this machine, are declared, or of a GPU's data sheet. */
  rates_origin: "measured" | "default" | "data sheet";
  naive_macs: number;
  planned_macs: number;
  /** Lines about it: strategy, what is evaluated in full and why, the check, notes. */
  notes: string[];
  rules: { name: string; fired: boolean; reason: string; approximate: boolean; summary: string }[];
  stages: { name: string; layers: number; planned_macs: number; naive_macs: number; seconds: number }[];
  layers: { stage: string; name: string; operator: string; kernel: string; box: number[]; map: number[]; channels: number;
    naive_macs: number; planned_macs: number; seconds: number }[];
}

/** A map of the session's history. */
export interface Entry {
  map: number;
  text: string;
  label: string;
  seconds: number;
  exact: boolean;
  complete: boolean;
  /** uint8 [h, w, 3]: a small picture of the map over its image, at most 96 pixels a side. */
  thumbnail: Packed;
}

export interface Folder {
  kind: "folder";
  id: number;
  folder: string; // relative to the root; "" is the root
  parent: string | null;
  entries: { name: string; kind: "folder" | "image" | "run"; source: string }[]; // source as a query writes it
}

export interface Gallery {
  kind: "gallery";
  id: number;
  folder: string;
  query: string;
  done: number;
  failed: number;
  total: number;
  labels: string[]; // of all images, to filter by
  offset: number;
  cards: {
    image: string;
    status: string;
    label: string;
    baseline: number | null;
    error: string;
    thumbnail: Packed | null;
  }[];
  more: boolean;
}

// ---- anywidget's contract, as far as the page uses it

export interface AnyModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(name: string, callback: (...values: never[]) => void): void;
  off(name: string, callback?: (...values: never[]) => void): void;
  send(content: object, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
}

/** The heat of each slot with its colours, and the legends that explain them: one scale for both where it can be. */

import type { Comparing, Look } from "./contract";
import { difference } from "./difference";
import { hasGaps, type MapData } from "./maps";
import {
  coloursOf,
  faded,
  FLOORS,
  isDrop,
  scaleOf,
  scaleOfDifference,
  together,
  unitOf,
  type Scale,
  type Values,
} from "./palette";
import type { PictureData } from "./pictures";
import type { Heat } from "./types";
import { meaningOf, quantityOf, titleOf } from "./wording";

export interface LegendData {
  title: string;
  colours: Uint32Array;
  lowest: number;
  highest: number;
  neutral: number;
  /** What the neutral value is, where it is more than a number. */
  neutralName: string;
  /** The change of the score is written, rather than the score. */
  changes: boolean;
  /** Whether there are values beyond the ends. */
  below: boolean;
  above: boolean;
  low: string;
  high: string;
  /** Half the scale's width where it is that of the floor, and would be less without. */
  floor: number | null;
  /** Whether cells are dotted, and whether some are hatched. */
  estimates: boolean;
  gaps: boolean;
  /** Of maps that share the scale: which of them has hardly a colour on it, in words. */
  weak?: string[];
}

export interface Shown {
  map: MapData;
  picture: PictureData;
}

export interface Coloured {
  a: Heat | null;
  b: Heat | null;
  legends: LegendData[];
  /** Scores of b at the cells of a are subtracted: why they cannot be, if they cannot. */
  refused: string | null;
}

export function coloured(a: Shown | null, b: Shown | null, comparing: Comparing, look: Look): Coloured {
  if (comparing === "difference" && a !== null && b !== null) return ofDifference(a, b, look);
  const other = comparing === "side" ? b : null;
  if (a === null || other === null) {
    const one = a ?? other;
    if (one === null) return { a: null, b: null, legends: [], refused: null };
    const { heat, legend } = ofOne(one.map, one.map.scale, look);
    return { a: a && heat, b: a === null ? heat : null, legends: [legend], refused: null };
  }
  if (a.map.score !== other.map.score) {
    const [one, two] = [ofOne(a.map, a.map.scale, look), ofOne(other.map, other.map.scale, look)];
    one.legend.title = `A: ${one.legend.title}`;
    two.legend.title = `B: ${two.legend.title}`;
    return { a: one.heat, b: two.heat, legends: [one.legend, two.legend], refused: null };
  }
  const [first, second] = together(a.map.scale, other.map.scale);
  const [one, two] = [ofOne(a.map, first, look), ofOne(other.map, second, look)];
  const legend = {
    ...shared(a.map.score, first, second, one.legend, two.legend, look),
    estimates: one.legend.estimates || two.legend.estimates,
    gaps: one.legend.gaps || two.legend.gaps,
    weak: [weakness("A", one.heat, first.neutral), weakness("B", two.heat, second.neutral)].filter((each) => each !== null),
  };
  return { a: one.heat, b: two.heat, legends: [legend], refused: null };
}

function ofOne(map: MapData, values: Values, look: Look): { heat: Heat; legend: LegendData } {
  const scale = scaleOf(look.palette, values);
  const colours = coloursOf(scale, values.neutral, hidden(scale, values.neutral, look));
  const { lowest, highest } = scale;
  const key = [map.version, look.palette, look.threshold, lowest, highest].join(" ");
  return {
    heat: {
      values: map.heat,
      key,
      gaps: map.gaps,
      lowest,
      highest,
      colours: onImage(colours, scale, values.neutral, look),
    },
    legend: {
      title: titleOf(map.score),
      colours,
      lowest,
      highest,
      neutral: values.neutral,
      neutralName: isDrop(map.score) ? "no effect" : "unmodified",
      changes: false,
      below: values.lowest < lowest - 1e-5 * (highest - lowest),
      above: values.highest > highest + 1e-5 * (highest - lowest),
      ...meaningOf(map.score),
      floor: look.palette === "krypton" ? null : floorOf(map.score, values.half),
      estimates: look.estimates && map.estimates !== null,
      gaps: look.heat && map.gaps,
    },
  };
}

/** Share of a scale below which colours on an image can hardly be told from none. */
const FAINT = 0.05;

/** Says of a map without a visible colour that this is what it found, and no fault. */
function weakness(name: string, { values, lowest, highest }: Heat, neutral: number): string | null {
  let most = 0;
  for (const value of values) if (Math.abs(value - neutral) > most) most = Math.abs(value - neutral);
  const share = most / Math.max(highest - neutral, neutral - lowest);
  return share < FAINT ? `${name}: no effect here exceeds ${Math.max(1, Math.ceil(100 * share))} % of the scale` : null;
}

function floorOf(score: string, half: number): number | null {
  const floor = FLOORS[unitOf(score)];
  return half <= floor ? floor : null;
}

/** One legend of two maps of one score.  Where their neutral values differ it has the changes from them. */
function shared(
  score: string,
  first: Values,
  second: Values,
  one: LegendData,
  two: LegendData,
  look: Look,
): LegendData {
  const ends = { below: one.below || two.below, above: one.above || two.above };
  if (first.neutral === second.neutral) return { ...one, ...ends };
  const lowest = Math.min(one.lowest - first.neutral, two.lowest - second.neutral);
  const highest = Math.max(one.highest - first.neutral, two.highest - second.neutral);
  // The paper's scale of a probability is a share of it, and no change is the same colour in both: a's is shown.
  if (look.palette === "krypton" && score === "probability") return { ...one, ...ends, title: `A: ${one.title}` };
  const name = isDrop(score) ? "drop" : "change"; // a change has no bounds, as a probability has
  const values = { score: isDrop(score) ? score : "logit", neutral: 0, half: first.half, lowest, highest };
  const scale = scaleOf(look.palette, values);
  return {
    ...one,
    ...ends,
    title: `${name} of the ${quantityOf(score)}`,
    neutralName: "no change",
    colours: coloursOf(scale, 0, hidden(scale, 0, look)),
    lowest: scale.lowest,
    highest: scale.highest,
    neutral: 0,
    changes: true,
  };
}

function ofDifference(a: Shown, b: Shown, look: Look): Coloured {
  const score = a.map.score;
  if (score !== b.map.score || a.map.size.length !== b.map.size.length) {
    const why =
      score === b.map.score
        ? "The maps are of images with other axes."
        : `The maps are of other scores: ${titleOf(score)}, and ${titleOf(b.map.score)}.`;
    return { a: null, b: null, legends: [], refused: why };
  }
  const { values, gaps } = differences.of(a, b);
  let half: number = FLOORS[unitOf(score)];
  for (const value of values) if (Math.abs(value) > half) half = Math.abs(value);
  const scale = scaleOfDifference(look.palette, score, half);
  const colours = coloursOf(scale, 0, hidden(scale, 0, look));
  const { lowest, highest } = scale;
  const key = [a.map.version, b.map.version, look.palette, look.threshold].join(" ");
  const name = isDrop(score) ? "drop" : "score";
  return {
    a: { values, key, gaps, lowest, highest, colours: onImage(colours, scale, 0, look) },
    b: null,
    legends: [
      {
        title: `${titleOf(score)}, A \u2212 B`,
        colours,
        lowest,
        highest,
        neutral: 0,
        neutralName: "no difference",
        changes: true,
        below: false,
        above: false,
        low: `A's ${name} is lower`,
        high: `A's ${name} is higher`,
        floor: floorOf(score, half),
        estimates: look.estimates && a.map.estimates !== null,
        gaps: look.heat && gaps,
      },
    ],
    refused: null,
  };
}

/** The last difference, which stays while only colours change. */
const differences = {
  versions: "",
  values: new Float32Array(),
  gaps: false,
  of(a: Shown, b: Shown): { values: Float32Array; gaps: boolean } {
    const versions = `${a.map.version} ${b.map.version}`;
    if (versions !== this.versions) {
      this.values = difference(a.map.heat, a.picture, b.map.heat, b.picture);
      this.gaps = hasGaps(this.values);
      this.versions = versions;
    }
    return this;
  },
};

/** The paper's maps are as opaque everywhere; others fade to the image where nothing matters. */
function onImage(colours: Uint32Array, scale: Scale, neutral: number, look: Look): Uint32Array {
  return look.palette === "krypton" ? colours : faded(colours, scale, neutral, hidden(scale, neutral, look));
}

function hidden(scale: Scale, neutral: number, look: Look): number {
  return look.threshold * Math.max(scale.highest - neutral, neutral - scale.lowest);
}

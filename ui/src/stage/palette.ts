/**
 * What a value looks like: kdb/results/pictures/colours.py for the page.
 *
 * The colours of a scale are a table, so that a map is coloured with one look-up a cell.
 */

import type { Palette } from "./contract";

export type Colour = readonly [number, number, number];

/** Fractions of a scale, ascending from 0 to 1, with their colours; straight lines between. */
export type Stops = readonly (readonly [number, Colour])[];

export interface Scale {
  lowest: number;
  highest: number;
  stops: Stops;
}

/** What a scale is to show: of a score, `lowest` and `highest` are the ends of the values that there are. */
export interface Values {
  score: string;
  neutral: number;
  half: number;
  lowest: number;
  highest: number;
}

interface Arms {
  neutral: Colour;
  /** Hiding this lowers the score: it is important. */
  lowers: Colour;
  raises: Colour;
}

const EFFECT: Arms = { neutral: [0.865, 0.865, 0.865], lowers: [0.86, 0.1, 0.12], raises: [0.12, 0.34, 0.86] };

/**
 * Blue and amber, which differ to all kinds of colour vision, and whose lightness rises all the way from one to the
 * other: the two sides differ even where no colour is seen at all, or printed.
 */
const SAFE: Arms = { neutral: [0.62, 0.62, 0.62], lowers: [1, 0.8, 0.14], raises: [0.13, 0.2, 0.58] };

/** matplotlib's, which the paper's figures are drawn with; from its low to its high end. */
const COOLWARM = evenly(
  "3a4cc0 4d67d7 6182ea 779af6 8daffd a3c1fe b8cff8 ccd8ed " +
    "dddcdb ecd2c4 f4c3ab f7b092 f39879 ea7d61 dc5e4b c93b37 b30326",
);
const JET: Stops = [
  [0, [0, 0, 0.5]],
  [0.11, [0, 0, 1]],
  [0.125, [0, 0, 1]],
  [0.34, [0, 0.86, 1]],
  [0.35, [0, 0.9, 0.968]],
  [0.375, [0.081, 1, 0.887]],
  [0.64, [0.935, 1, 0.032]],
  [0.65, [0.968, 0.963, 0]],
  [0.66, [1, 0.926, 0]],
  [0.89, [1, 0.074, 0]],
  [0.91, [0.909, 0, 0]],
  [1, [0.5, 0, 0]],
];

/** The least half-width of a scale, by the score's unit. */
export const FLOORS = { probability: 0.01, logit: 0.1, cosine: 0.01 } as const;

/** Colours of a scale; many, so that the neutral one is met wherever it lies. */
export const LEVELS = 1025;

export type Unit = keyof typeof FLOORS;

export function isDrop(score: string): boolean {
  return score.endsWith("drop");
}

export function unitOf(score: string): Unit {
  const unit = score.replace(/_?drop$/, "") || "probability";
  return unit in FLOORS ? (unit as Unit) : "probability";
}

export function scaleOf(palette: Palette, values: Values): Scale {
  return palette === "krypton" ? krypton(values) : effect(palette === "safe" ? SAFE : EFFECT, values);
}

/** The scale of a difference: where the first map has the stronger effect the colour is that of an important cell. */
export function scaleOfDifference(palette: Palette, score: string, half: number): Scale {
  const arms = palette === "safe" ? SAFE : EFFECT;
  return palette === "krypton" ? symmetric(score, 0, half) : diverging(arms, score, 0, half, -half, half);
}

function effect(arms: Arms, { score, neutral, half, lowest, highest }: Values): Scale {
  half = Math.max(half, 1e-6 * Math.abs(neutral)); // float32 has hardly any values closer together
  const bounded = score === "probability" && lowest >= -1e-6 && highest <= 1 + 1e-6;
  const low = bounded ? Math.min(0, neutral) : -Infinity;
  const high = bounded ? Math.max(1, neutral) : Infinity;
  return diverging(arms, score, neutral, half, Math.max(neutral - half, low), Math.min(neutral + half, high));
}

function diverging(
  arms: Arms,
  score: string,
  neutral: number,
  half: number,
  lowest: number,
  highest: number,
): Scale {
  const [low, high] = isDrop(score) ? [arms.raises, arms.lowers] : [arms.lowers, arms.raises];
  const stops: [number, Colour][] = [[(neutral - lowest) / (highest - lowest), arms.neutral]];
  if (lowest < neutral) stops.unshift([0, mixed(arms.neutral, low, (neutral - lowest) / half)]);
  if (highest > neutral) stops.push([1, mixed(arms.neutral, high, (highest - neutral) / half)]);
  return { lowest, highest, stops };
}

function krypton({ score, neutral, lowest, highest }: Values): Scale {
  if (score === "probability" && neutral > 0 && neutral <= 1 + 1e-6)
    return { lowest: 0.75 * neutral, highest: Math.min(1, 1.25 * neutral), stops: reversed(JET) };
  return symmetric(score, neutral, Math.max(highest - neutral, neutral - lowest) || 1);
}

function symmetric(score: string, neutral: number, half: number): Scale {
  const stops = isDrop(score) ? COOLWARM : reversed(COOLWARM);
  return { lowest: neutral - half, highest: neutral + half, stops };
}

/** One scale of two maps that are compared: each is centred at its own neutral value, and both are as wide. */
export function together(one: Values, two: Values): [Values, Values] {
  const half = Math.max(one.half, two.half);
  const reach = (values: Values, other: Values): Values => ({
    ...values,
    half,
    lowest: Math.min(values.lowest, other.lowest - other.neutral + values.neutral),
    highest: Math.max(values.highest, other.highest - other.neutral + values.neutral),
  });
  // The ends of a probability are its own: what the other one reaches is no probability of this map.
  return one.score === "probability"
    ? [{ ...one, half }, { ...two, half }]
    : [reach(one, two), reach(two, one)];
}

export function colourAt(stops: Stops, fraction: number): Colour {
  let i = 1;
  while (i < stops.length - 1 && stops[i]![0] < fraction) i++;
  const [from, one] = stops[i - 1]!;
  const [to, two] = stops[i]!;
  return mixed(one, two, to > from ? (fraction - from) / (to - from) : 1);
}

/**
 * The colours of a scale for the pixels of a canvas.
 *
 * Values nearer to `neutral` than `hidden` have none.  Where bytes are in the other order the page has no support: all
 * browsers that there are run on little endian machines.
 */
export function coloursOf(scale: Scale, neutral: number, hidden: number): Uint32Array {
  const colours = new Uint32Array(LEVELS);
  for (let i = 0; i < LEVELS; i++) {
    const fraction = i / (LEVELS - 1);
    const value = scale.lowest + fraction * (scale.highest - scale.lowest);
    if (Math.abs(value - neutral) < hidden) continue;
    const [red, green, blue] = colourAt(scale.stops, fraction).map((each) => Math.floor(each * 255)) as [
      number,
      number,
      number,
    ];
    colours[i] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  return colours;
}

/** Share of a scale's half width over which the colours of heat fade in, so that the image is seen where nothing matters. */
const FADE = 0.35;

/** The colours as they are laid on an image: from `hidden` on they fade in with the distance from `neutral`. */
export function faded(colours: Uint32Array, scale: Scale, neutral: number, hidden: number): Uint32Array {
  const over = FADE * Math.max(scale.highest - neutral, neutral - scale.lowest);
  return colours.map((colour, i) => {
    const value = scale.lowest + (i / (LEVELS - 1)) * (scale.highest - scale.lowest);
    const share = Math.max(0, Math.min(1, (Math.abs(value - neutral) - hidden) / over));
    return ((Math.round((colour >>> 24) * share) << 24) | (colour & 0xffffff)) >>> 0;
  });
}

/** Which of the colours a value has; as matplotlib chooses it. */
export function levelOf(value: number, lowest: number, highest: number): number {
  const level = Math.floor(((value - lowest) / (highest - lowest)) * LEVELS);
  return level < 0 ? 0 : level >= LEVELS ? LEVELS - 1 : level;
}

function mixed(one: Colour, two: Colour, share: number): Colour {
  const at = Math.max(0, Math.min(1, share));
  return [0, 1, 2].map((k) => one[k]! + at * (two[k]! - one[k]!)) as unknown as Colour;
}

function reversed(stops: Stops): Stops {
  return stops.map(([fraction, colour]) => [1 - fraction, colour] as const).reverse();
}

function evenly(hexes: string): Stops {
  const colours = hexes.split(" ");
  // Half a level is added, so that what is rounded down is the number that is written.
  const colour = (hex: string) =>
    [0, 2, 4].map((k) => (parseInt(hex.slice(k, k + 2), 16) + 0.5) / 255) as unknown as Colour;
  return colours.map((hex, i) => [i / (colours.length - 1), colour(hex)] as const);
}

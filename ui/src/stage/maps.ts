/** Heat maps as the stage keeps them: arrays out of their buffers, and what is found of them once. */

import type { HeatMap, Layer } from "../protocol";
import { product, unpack } from "../arrays";
import type { Values } from "./palette";
import { placesOf, type Places } from "./places";

export interface MapData {
  map: number;
  /** Counts all maps and layers that came: another number, other heat. */
  version: number;
  picture: string;
  model: string;
  label: string;
  score: string;
  axes: string;
  size: number[];
  patch: number[];
  baseline: number;
  /** By position. */
  places: Places;
  values: Float32Array;
  evaluated: Uint8Array;
  error: Float32Array | null;
  /** By cell; NaN where nothing is known. */
  heat: Float32Array;
  gaps: boolean;
  labels: Int32Array | null;
  scored: Uint8Array | null;
  /** How many cells are scored. */
  cellsScored: number | null;
  boxes: Float32Array | null;
  /** 1 where a cell is of the share of a position that was not computed; null where all were. */
  estimates: Uint8Array | null;
  classes: HeatMap["classes"];
  scale: Values;
}

let versions = 0;

export function mapData(message: HeatMap, buffers: ArrayBuffer[]): MapData {
  const { size, patch, score, classes, shown } = message;
  const values = unpack("float32", message.values, buffers);
  const positions = unpack("int32", message.positions, buffers);
  const evaluated = unpack("uint8", message.evaluated, buffers);
  const heat = unpack("float32", message.heat, buffers);
  const labels = message.labels && unpack("int32", message.labels, buffers);
  const places = placesOf(positions, patch, size, labels);
  const scored = message.scored && unpack("uint8", message.scored, buffers);
  return {
    map: message.map,
    version: ++versions,
    picture: message.picture,
    model: message.model,
    label: classes[shown]?.label ?? "",
    score,
    axes: message.axes,
    size,
    patch,
    baseline: classes[shown]?.baseline ?? message.neutral,
    places,
    values,
    evaluated,
    error: message.error && unpack("float32", message.error, buffers),
    heat,
    gaps: hasGaps(heat),
    labels,
    scored,
    cellsScored: countOf(scored),
    boxes: message.boxes && unpack("float32", message.boxes, buffers),
    estimates: estimatesOf(positions, labels, values, evaluated, message.stride ?? patch, patch, size),
    classes,
    scale: { score, neutral: message.neutral, half: message.half, ...endsOf(heat, message.neutral) },
  };
}

/** The same map with the heat of another of its classes. */
export function withLayer(map: MapData, layer: Layer, buffers: ArrayBuffer[]): MapData {
  const heat = unpack("float32", layer.heat, buffers);
  const scored = layer.scored && unpack("uint8", layer.scored, buffers);
  return {
    ...map,
    version: ++versions,
    label: map.classes[layer.shown]?.label ?? "",
    baseline: map.classes[layer.shown]?.baseline ?? layer.neutral,
    values: unpack("float32", layer.values, buffers),
    error: layer.error && unpack("float32", layer.error, buffers),
    heat,
    gaps: hasGaps(heat),
    scored,
    cellsScored: countOf(scored),
    scale: { ...map.scale, neutral: layer.neutral, ...endsOf(heat, layer.neutral) },
  };
}

/** Whether some values are NaN. */
export function hasGaps(values: Float32Array): boolean {
  return values.some(Number.isNaN);
}

function countOf(mask: Uint8Array | null): number | null {
  return mask && mask.reduce((sum, each) => sum + each, 0);
}

/** The number of the position with the strongest effect that lowers the score, or -1. */
export function strongest(map: MapData): number {
  const sign = map.score.endsWith("drop") ? 1 : -1;
  let best = -1;
  let most = -Infinity;
  for (let i = 0; i < map.values.length; i++) {
    const effect = sign * (map.values[i]! - map.scale.neutral);
    if (effect > most) [best, most] = [i, effect];
  }
  return best;
}

function endsOf(values: Float32Array, neutral: number): { lowest: number; highest: number } {
  let lowest = neutral;
  let highest = neutral;
  for (const value of values) {
    if (value < lowest) lowest = value;
    if (value > highest) highest = value;
  }
  return { lowest, highest };
}

/**
 * A position's share is the cells that are nearer to it than to others: a block of the stride around the middle of its
 * patch, or its segment.
 */
function estimatesOf(
  positions: Int32Array,
  labels: Int32Array | null,
  values: Float32Array,
  evaluated: Uint8Array,
  stride: readonly number[],
  patch: readonly number[],
  size: readonly number[],
): Uint8Array | null {
  const isEstimate = (i: number) => evaluated[i] === 0 && !Number.isNaN(values[i]!);
  let any = false;
  for (let i = 0; i < values.length && !any; i++) any = isEstimate(i);
  if (!any) return null;
  const result = new Uint8Array(product(size));
  const axes = size.length;
  if (labels !== null) {
    const estimated = new Set<number>();
    for (let i = 0; i < values.length; i++) {
      const cell = size.reduce((index, length, k) => index * length + positions[i * axes + k]!, 0);
      if (isEstimate(i)) estimated.add(labels[cell]!);
    }
    for (let i = 0; i < result.length; i++) result[i] = estimated.has(labels[i]!) ? 1 : 0;
    return result;
  }
  const missing = 3 - axes;
  const lengths = [1, 1, 1].map((one, k) => (k < missing ? one : size[k - missing]!));
  const first = [0, 0, 0];
  const end = [1, 1, 1];
  for (let i = 0; i < values.length; i++) {
    if (!isEstimate(i)) continue;
    for (let k = 0; k < axes; k++) {
      const from = Math.floor(positions[i * axes + k]! + (patch[k]! - stride[k]!) / 2);
      first[missing + k] = Math.max(0, from);
      end[missing + k] = Math.min(size[k]!, from + stride[k]!);
    }
    for (let z = first[0]!; z < end[0]!; z++)
      for (let y = first[1]!; y < end[1]!; y++) {
        const row = (z * lengths[1]! + y) * lengths[2]!;
        result.fill(1, row + first[2]!, row + Math.max(first[2]!, end[2]!));
      }
  }
  return result;
}

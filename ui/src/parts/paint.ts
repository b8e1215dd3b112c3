import { unpack } from "../arrays";
import type { Packed } from "../protocol";

interface Pixels {
  width: number;
  height: number;
  /** Red, green, blue and opacity of each. */
  data: Uint8ClampedArray<ArrayBuffer>;
}

/** Of an array as pictures have it, [H, W, 3], or the slice at `at` of [D, H, W] or [D, H, W, 3]. */
export function pixelsOf(values: Uint8Array, shape: readonly number[], at: readonly number[]): Pixels {
  const isVolume = at.length === 3;
  const channels = shape.length > (isVolume ? 3 : 2) ? 3 : 1;
  const [height, width] = shape.slice(isVolume ? 1 : 0) as [number, number];
  const slice = isVolume ? Math.min(Math.max(at[0]!, 0), shape[0]! - 1) : 0;
  const begin = slice * height * width * channels;
  const data = new Uint8ClampedArray(4 * height * width).fill(255);
  for (let pixel = 0; pixel < height * width; pixel++)
    for (let channel = 0; channel < 3; channel++)
      data[4 * pixel + channel] = values[begin + pixel * channels + (channels === 3 ? channel : 0)]!;
  return { width, height, data };
}

/** A picture of an array as messages have it: see `pixelsOf`; traces of [L, C]. */
export function paint(canvas: HTMLCanvasElement, packed: Packed, buffers: ArrayBuffer[], at: readonly number[] = []): void {
  const { shape } = packed;
  if (packed.dtype === "float32") return traces(canvas, unpack("float32", packed, buffers), shape[0]!, shape[1] ?? 1);
  const { width, height, data } = pixelsOf(unpack("uint8", packed, buffers), shape, at);
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d")!.putImageData(new ImageData(data, width, height), 0, 0);
}

const WIDE = 480;
const HIGH = 48;

function traces(canvas: HTMLCanvasElement, values: Float32Array, length: number, channels: number): void {
  const most = Math.min(channels, 12);
  canvas.width = WIDE;
  canvas.height = HIGH * most;
  const context = canvas.getContext("2d")!;
  context.strokeStyle = getComputedStyle(canvas).color;
  for (let channel = 0; channel < most; channel++) {
    let least = Infinity;
    let largest = -Infinity;
    for (let at = 0; at < length; at++) {
      const value = values[at * channels + channel]!;
      least = Math.min(least, value);
      largest = Math.max(largest, value);
    }
    const span = largest - least || 1;
    context.beginPath();
    for (let at = 0; at < length; at++) {
      const x = ((at + 0.5) / length) * WIDE;
      const y = (channel + 0.92 - (0.84 * (values[at * channels + channel]! - least)) / span) * HIGH;
      if (at === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    }
    context.stroke();
  }
}

import { unpack } from "../arrays";
import type { Packed } from "../protocol";

/** A picture of an array as messages have it: [H, W, 3]; a slice at `at` of [D, H, W]; traces of [L, C]. */
export function paint(canvas: HTMLCanvasElement, packed: Packed, buffers: ArrayBuffer[], at: readonly number[] = []): void {
  const values = unpack(packed, buffers);
  const { shape } = packed;
  if (values instanceof Float32Array) return traces(canvas, values, shape[0]!, shape[1] ?? 1);
  const colours = shape.length === 3 && shape[2] === 3 && at.length !== 3 ? 3 : 1;
  const [height, width] = (colours === 3 ? shape : shape.slice(-2)) as [number, number];
  const slice = shape.length === 3 && colours === 1 ? Math.min(Math.max(at[0] ?? 0, 0), shape[0]! - 1) : 0;
  const begin = slice * height * width;
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * pixel + channel] = values[colours === 3 ? 3 * pixel + channel : begin + pixel]!;
    }
    image.data[4 * pixel + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d")!.putImageData(image, 0, 0);
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

import type { HeatMap } from "../../src/protocol";

/** A map of a grid of 4 x 6 by a patch of 2 x 2 in steps of 2: 2 x 3 positions. */
export function message(score: string, values: number[], evaluated: number[], neutral = 0): [HeatMap, ArrayBuffer[]] {
  const positions = [0, 0, 0, 2, 0, 4, 2, 0, 2, 2, 2, 4];
  const heat = Float32Array.from({ length: 24 }, (_, i) => values[Math.floor(i / 12) * 3 + Math.floor((i % 6) / 2)]!);
  const buffers = [
    Float32Array.from(values).buffer,
    Int32Array.from(positions).buffer,
    Uint8Array.from(evaluated).buffer,
    heat.buffer,
  ];
  const packed = (dtype: "uint8" | "int32" | "float32", shape: number[], buffer: number) => ({ dtype, shape, buffer });
  const made: HeatMap = {
    kind: "map",
    id: 1,
    map: 7,
    slot: "a",
    picture: "p",
    text: "",
    model: "net",
    score,
    axes: "yx",
    size: [4, 6],
    patch: [2, 2],
    stride: [2, 2],
    classes: [
      { index: 3, label: "cat", baseline: 0.75 },
      { index: 4, label: "dog", baseline: 0.25 },
    ],
    shown: 0,
    neutral,
    half: 0.5,
    values: packed("float32", [6], 0),
    positions: packed("int32", [6, 2], 1),
    evaluated: packed("uint8", [6], 2),
    error: null,
    heat: packed("float32", [4, 6], 3),
    labels: null,
    scored: null,
    boxes: null,
    exact: true,
    complete: true,
    last: true,
    ssim: null,
    done: 6,
    total: 6,
    seconds: 1,
    checked: null,
    notes: [],
    formats: [],
    identity: { model: "", source: null },
  };
  return [made, buffers];
}

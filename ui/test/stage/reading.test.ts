import assert from "node:assert/strict";
import { test } from "node:test";
import type { HeatMap, Layer } from "../../src/protocol";
import { mapData, strongest, withLayer } from "../../src/stage/maps";
import { readingAt, spoken } from "../../src/stage/reading";
import { number, signed } from "../../src/stage/wording";

/** A map of a grid of 4 x 6 by a patch of 2 x 2 in steps of 2: 2 x 3 positions. */
function message(score: string, values: number[], evaluated: number[], neutral = 0): [HeatMap, ArrayBuffer[]] {
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

const VALUES = [0.5, 0.25, NaN, -0.25, 0, 0.125];
const ALL = [1, 1, 0, 1, 1, 1];

test("a reading is of the position whose patch is centred nearest", () => {
  const map = mapData(...message("drop", VALUES, ALL));
  assert.deepEqual(readingAt("b", map, [0.1, 2.6]), {
    slot: "b",
    position: [0, 2],
    score: 0.25,
    change: 0.25,
    error: null,
    measured: true,
    difference: null,
  });
});

test("the change of a score is from the baseline, of a drop the drop itself", () => {
  const map = mapData(...message("probability", VALUES, ALL, 0.75));
  assert.equal(readingAt("a", map, [1, 1])!.change, -0.25);
  assert.equal(readingAt("a", mapData(...message("drop", VALUES, ALL)), [3, 1])!.change, -0.25);
});

test("what is not known is said to be so, and what is estimated", () => {
  const map = mapData(...message("drop", VALUES, [1, 0, 0, 1, 1, 1]));
  assert.equal(spoken(readingAt("a", map, [1, 5])!, map), "y 0, x 4: not known");
  assert.equal(spoken(readingAt("a", map, [1, 3])!, map), "y 0, x 2: drop 0.250, estimate");
});

test("cells of estimates are the share of positions that have a score and were not evaluated", () => {
  const { estimates } = mapData(...message("drop", VALUES, [1, 0, 0, 1, 1, 1]));
  const expected = Array.from({ length: 24 }, (_, i) => (i < 12 && [2, 3].includes(i % 6) ? 1 : 0));
  assert.deepEqual([...estimates!], expected);
  assert.equal(mapData(...message("drop", VALUES, ALL)).estimates, null);
});

test("the strongest position lowers the score most", () => {
  assert.equal(strongest(mapData(...message("drop", VALUES, ALL))), 0);
  assert.equal(strongest(mapData(...message("probability", VALUES, ALL, 0.75))), 3);
});

test("a layer is the same map with the scores of another class", () => {
  const map = mapData(...message("probability", VALUES, ALL, 0.75));
  const layer: Layer = {
    kind: "layer",
    id: 1,
    map: 7,
    shown: 1,
    neutral: 0.25,
    values: { dtype: "float32", shape: [6], buffer: 0 },
    heat: { dtype: "float32", shape: [4, 6], buffer: 1 },
    scored: null,
  };
  const other = withLayer(map, layer, [new Float32Array(6).fill(0.5).buffer, new Float32Array(24).fill(0.5).buffer]);
  assert.equal(other.label, "dog");
  assert.ok(other.version > map.version);
  assert.equal(readingAt("a", other, [1, 1])!.change, 0.25);
});

test("numbers have the decimals that matter, a true minus, and no minus before zero", () => {
  assert.deepEqual(
    [number(0.12345, 0.001), number(-2, 0.5), number(-0.0001, 0.01), number(NaN, 1), signed(0.5, 0.1), signed(0, 0.1)],
    ["0.123", "\u22122.0", "0.00", "unknown", "+0.5", "0.0"],
  );
});

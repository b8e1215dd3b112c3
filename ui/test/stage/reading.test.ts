import assert from "node:assert/strict";
import { test } from "node:test";
import type { Layer, Packed } from "../../src/protocol";
import { mapData, strongest, withLayer } from "../../src/stage/maps";
import { latticeOf } from "../../src/stage/places";
import { readingAt, spoken } from "../../src/stage/reading";
import { number, signed } from "../../src/stage/wording";
import { message } from "./message";
import { tried } from "./random";

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
    other: null,
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
    error: { dtype: "float32", shape: [6], buffer: 2 },
    heat: { dtype: "float32", shape: [4, 6], buffer: 1 },
    scored: null,
  };
  const buffers = [[6, 0.5], [24, 0.5], [6, 0.125]] as const;
  const other = withLayer(map, layer, buffers.map(([length, value]) => new Float32Array(length).fill(value).buffer));
  assert.equal(other.label, "dog");
  assert.ok(other.version > map.version);
  assert.equal(readingAt("a", other, [1, 1])!.change, 0.25);
  assert.equal(other.error![0], 0.125, "the error is that class's too");
});

test("numbers have the decimals that matter, a true minus, and no minus before zero", () => {
  assert.deepEqual(
    [number(0.12345, 0.001), number(-2, 0.5), number(-0.0001, 0.01), number(NaN, 1), signed(0.5, 0.1), signed(0, 0.1)],
    ["0.123", "\u22122.0", "0.00", "unknown", "+0.5", "0.0"],
  );
});

test("a cell is marked as an estimate only where the position that is nearest to it is one", () => {
  const [made] = message("drop", VALUES, ALL);
  tried(50, (random) => {
    const stride = random.whole(1, 4);
    const patch = stride + 2 * random.whole(0, 2); // the difference is even, so that a share has whole cells
    const places = latticeOf([20, 24], [patch, patch], [stride, stride]);
    const evaluated = Uint8Array.from(random.list(places.count, () => random.whole(0, 1)));
    const values = new Float32Array(places.count);
    const positions = Int32Array.from(random.list(places.count, (i) => places.start(i)).flat());
    const packed = (dtype: Packed["dtype"], shape: number[], buffer: number): Packed => ({ dtype, shape, buffer });
    const { estimates } = mapData(
      {
        ...made,
        size: [20, 24],
        patch: [patch, patch],
        stride: [stride, stride],
        values: packed("float32", [places.count], 0),
        positions: packed("int32", [places.count, 2], 1),
        evaluated: packed("uint8", [places.count], 2),
        heat: packed("float32", [20, 24], 3),
      },
      [values.buffer, positions.buffer, evaluated.buffer, new Float32Array(480).buffer],
    );
    const rim = (patch - stride) / 2;
    estimates?.forEach((marked, index) => {
      const cell = [Math.floor(index / 24) + 0.5, (index % 24) + 0.5];
      const reached = cell.every((at, k) => at > rim && at < places.starts[k]!.at(-1)! + rim + stride);
      assert.equal(marked, reached && evaluated[places.nearest(cell)] === 0 ? 1 : 0);
    });
  });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Packed } from "../../src/protocol";
import { product, unpack } from "../../src/arrays";
import { sliceOf } from "../../src/stage/arrays";
import { fillHeat, fillImage } from "../../src/stage/layers";
import { stamp, stroke } from "../../src/stage/masks";
import { outline } from "../../src/stage/outline";
import { tried, type Random } from "./random";

test("an array of a message has its type and its cells; another type, or a buffer too short, is refused", () => {
  const values = Float32Array.from([1, 2, 3, 4, 5, 6]);
  const packed: Packed = { dtype: "float32", shape: [2, 3], buffer: 1 };
  const buffers = [new ArrayBuffer(1), values.buffer];
  assert.deepEqual([...unpack("float32", packed, buffers)], [...values]);
  assert.throws(() => unpack("int32", packed, buffers), TypeError);
  assert.throws(() => unpack("float32", { ...packed, shape: [9, 9] }, buffers), RangeError);
  assert.throws(() => unpack("float32", { ...packed, buffer: 7 }, buffers), RangeError);
});

test("a slice has the cells that indices in all axes give", () => {
  tried(200, (random) => {
    const axes = random.whole(1, 3);
    const size = random.list(axes, () => random.whole(1, 7));
    const at = size.map((length) => random.between(-1, length + 1));
    const right = axes === 3 ? [2, 0, 2][random.whole(0, 2)]! : axes - 1;
    const down = axes === 1 ? null : axes === 2 ? 0 : right === 0 ? 1 : random.whole(0, 1);
    const slice = sliceOf(size, down, right, at);
    const cell = at.map((each, k) => Math.max(0, Math.min(size[k]! - 1, Math.floor(each))));
    for (let r = 0; r < slice.rows; r++)
      for (let c = 0; c < slice.columns; c++) {
        if (down !== null) cell[down] = r;
        cell[right] = c;
        const index = cell.reduce((sum, each, k) => sum * size[k]! + each, 0);
        assert.equal(slice.first + r * slice.down + c * slice.right, index);
      }
  });
});

test("heat has a colour of its table in each cell, none where it is NaN", () => {
  const colours = new Uint32Array(1025).map((_, i) => i + 1);
  const values = Float32Array.from([NaN, -9, 0, 0.5, 1, 9]);
  const pixels = new Uint32Array(6);
  const heat = { values, key: "", gaps: true, lowest: 0, highest: 1, colours };
  fillHeat(pixels, heat, sliceOf([2, 3], 0, 1, [0, 0]));
  assert.deepEqual([...pixels], [0, 1, 1, 513, 1025, 1025]);
});

test("pixels have the image's colours; grey ones are equal in all three", () => {
  tried(50, (random) => {
    const image = Uint8Array.from(random.list(4 * 5 * 3, () => random.whole(0, 255)));
    const slice = sliceOf([4, 5], 0, 1, [0, 0]);
    const [colour, grey] = [new Uint32Array(20), new Uint32Array(20)];
    fillImage(colour, image, 3, slice, false);
    fillImage(grey, image, 3, slice, true);
    assert.deepEqual([...new Uint8Array(colour.buffer)].filter((_, i) => i % 4 < 3), [...image]);
    for (const pixel of grey) assert.equal(pixel & 0xffffff, (pixel & 255) * 0x10101);
    for (const pixel of [...colour, ...grey]) assert.equal(pixel >>> 24, 255);
  });
});

function mask(random: Random, rows: number, columns: number): Uint8Array {
  return Uint8Array.from(random.list(rows * columns, () => random.whole(0, 1)));
}

test("an outline is as long as there are sides between cells inside and outside, and begins no line twice", () => {
  tried(100, (random) => {
    const [rows, columns] = [random.whole(1, 9), random.whole(1, 9)];
    const cells = mask(random, rows, columns);
    const lines = outline((i) => cells[i] === 1, sliceOf([rows, columns], 0, 1, [0, 0]));
    const at = (r: number, c: number) => (r >= 0 && c >= 0 && r < rows && c < columns ? cells[r * columns + c]! : 0);
    let sides = 0;
    for (let r = 0; r <= rows; r++)
      for (let c = 0; c <= columns; c++) {
        if (c < columns && at(r - 1, c) !== at(r, c)) sides++;
        if (r < rows && at(r, c - 1) !== at(r, c)) sides++;
      }
    let length = 0;
    const begun = new Set<string>();
    for (let i = 0; i < lines.length; i += 4) {
      const [y, x, y2, x2] = lines.slice(i, i + 4) as [number, number, number, number];
      assert.ok((y === y2) !== (x === x2));
      length += y2 - y + (x2 - x);
      begun.add(`${y} ${x} ${y === y2}`);
    }
    assert.equal(length, sides);
    assert.equal(begun.size, lines.length / 4);
  });
});

test("a stamp sets the cells within its reach and no others, in one, two and three axes", () => {
  tried(100, (random) => {
    const size = random.list(random.whole(1, 3), () => random.whole(1, 9));
    const centre = size.map((length) => random.between(-2, length + 2));
    const radius = random.between(0.5, 6);
    const cells = new Uint8Array(product(size));
    stamp(cells, size, centre, radius, 1);
    cells.forEach((value, index) => {
      let away = 0;
      for (let k = size.length - 1; k >= 0; k--) {
        away += ((index % size[k]!) + 0.5 - centre[k]!) ** 2;
        index = Math.floor(index / size[k]!);
      }
      if (Math.abs(away - radius ** 2) > 1e-9) assert.equal(value, away < radius ** 2 ? 1 : 0);
    });
  });
});

test("a stroke has no gaps, and the same stroke wipes it", () => {
  tried(50, (random) => {
    const size = [40, 50];
    const [from, to] = [0, 1].map(() => size.map((length) => random.between(0, length))) as [number[], number[]];
    const radius = random.between(0.75, 5);
    const cells = new Uint8Array(2000);
    stroke(cells, size, from, to, radius, 1);
    for (let i = 0; i <= 50; i++) {
      const cell = from.map((at, k) => Math.min(size[k]! - 1, Math.floor(at + ((to[k]! - at) * i) / 50)));
      assert.equal(cells[cell[0]! * 50 + cell[1]!], 1);
    }
    stroke(cells, size, from, to, radius, 0);
    assert.ok(!cells.includes(1));
  });
});

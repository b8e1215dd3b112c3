import assert from "node:assert/strict";
import { test } from "node:test";
import { centreAfterPan, centreAfterZoom, placed, toCell, toPixel } from "../../src/stage/viewport";
import { tried, type Random } from "./random";

function any(random: Random) {
  const from = random.between(-500, 500);
  const length = random.between(50, 1500);
  const cells = random.whole(1, 600);
  const scale = (length / cells) * random.between(0.2, 40);
  const span = placed(from, length, cells, scale, random.between(0, cells));
  return { from, length, cells, scale, span };
}

const near = (one: number, two: number, slack = 1e-6) =>
  assert.ok(Math.abs(one - two) <= slack * Math.max(1, Math.abs(one)), `${one} is not ${two}`);

test("a pixel's cell is at that pixel, and a cell's pixel is of that cell", () => {
  tried(500, (random) => {
    const { span } = any(random);
    const pixel = random.between(-3000, 3000);
    near(toPixel(span, toCell(span, pixel)), pixel);
    const cell = random.between(-100, 700);
    near(toCell(span, toPixel(span, cell)), cell);
  });
});

test("what is shorter than its frame is in its middle, what is longer leaves no gap", () => {
  tried(500, (random) => {
    const { from, length, cells, span } = any(random);
    const first = toPixel(span, 0);
    const last = toPixel(span, cells);
    if (last - first <= length) near(first - from, from + length - last, 1e-6);
    else assert.ok(first <= from + 1e-6 && last >= from + length - 1e-6);
  });
});

test("a zoom leaves what is under the pointer where it is, unless that would leave a gap", () => {
  tried(500, (random) => {
    const { from, length, cells, scale, span } = any(random);
    const pixel = random.between(from, from + length);
    const factor = random.between(0.5, 2);
    const centre = centreAfterZoom(span, from, length, pixel, factor);
    const after = placed(from, length, cells, scale * factor, centre);
    const free = { start: from + length / 2 - centre * scale * factor, scale: scale * factor };
    near(toPixel(free, toCell(span, pixel)), pixel, 1e-5);
    const gap = free.start > from || free.start + cells * free.scale < from + length;
    if (!gap) near(after.start, free.start, 1e-5);
  });
});

test("a pan moves what is seen by as many pixels as the pointer", () => {
  tried(200, (random) => {
    const { from, length, scale, span } = any(random);
    const pixels = random.between(-80, 80);
    const centre = centreAfterPan(span, from, length, pixels);
    near(from + length / 2 - centre * scale, span.start + pixels, 1e-5);
  });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import type { PictureData } from "../../src/stage/pictures";
import { toPixel } from "../../src/stage/viewport";
import { flat } from "../../src/stage/views/flat";
import { across, slices } from "../../src/stage/views/slices";
import { viewOf } from "../../src/stage/views/table";
import { ticks, trace } from "../../src/stage/views/trace";
import { tried, type Random } from "./random";

function picture(size: number[]): PictureData {
  const box = [...size.map(() => 0), ...size];
  return { key: "", axes: "", size, box, source: size, image: new Uint8Array(), channels: 1, fine: null };
}

function area(random: Random) {
  return { x: 3, y: 5, width: random.between(120, 1600), height: random.between(120, 1200) };
}

const FIT = { zoom: 1, centre: null };

test("all of an image is seen to begin with, within its area and with square cells", () => {
  tried(200, (random) => {
    const made = picture(random.list(2, () => random.whole(1, 500)));
    const room = area(random);
    const [plane] = flat.lay(made, room, FIT, true);
    assert.ok(Math.abs(plane!.rows.scale - plane!.columns.scale) < 1e-9);
    const right = toPixel(plane!.columns, made.size[1]!);
    const bottom = toPixel(plane!.rows, made.size[0]!);
    assert.ok(plane!.columns.start >= room.x - 1e-6 && right <= room.x + room.width + 1e-6);
    assert.ok(plane!.rows.start >= room.y - 1e-6 && bottom <= room.y + room.height + 1e-6);
  });
});

test("a finer image has the source's shape, also where the model's input was squeezed", () => {
  const made: PictureData = {
    ...picture([100, 100]),
    box: [0, 0, 100, 200],
    fine: { image: new Uint8Array(), rows: 100, columns: 200 },
  };
  const room = { x: 0, y: 0, width: 400, height: 400 };
  const [plane] = flat.lay(made, room, FIT, false);
  assert.equal(plane!.columns.scale, 2 * plane!.rows.scale);
  const [squares] = flat.lay(made, room, FIT, true);
  assert.equal(squares!.columns.scale, squares!.rows.scale);
});

test("slices show each pair of axes once, within the area, without overlap; zoomed, they fill the same frames", () => {
  tried(200, (random) => {
    const made = picture(random.list(3, () => random.whole(2, 200)));
    const room = area(random);
    const planes = slices.lay(made, room, FIT, false);
    assert.deepEqual(planes.map(across).sort(), [0, 1, 2]);
    for (const [i, { frame }] of planes.entries()) {
      assert.ok(frame.x >= room.x - 1e-6 && frame.x + frame.width <= room.x + room.width + 1e-6);
      assert.ok(frame.y >= room.y - 1e-6 && frame.y + frame.height <= room.y + room.height + 1e-6);
      for (const { frame: other } of planes.slice(0, i))
        assert.ok(
          frame.x >= other.x + other.width ||
            other.x >= frame.x + frame.width ||
            frame.y >= other.y + other.height ||
            other.y >= frame.y + frame.height,
        );
    }
    const zoomed = slices.lay(made, room, { zoom: 3, centre: made.size.map((each) => each / 3) }, false);
    assert.deepEqual(zoomed.map(({ frame }) => frame), planes.map(({ frame }) => frame));
  });
});

test("an axis has one scale in all slices that show it, so that their crosshairs agree", () => {
  tried(100, (random) => {
    const planes = slices.lay(picture(random.list(3, () => random.whole(2, 200))), area(random), FIT, false);
    const scales = new Map<number, number>();
    for (const { down, right, rows, columns } of planes)
      for (const [axis, { scale }] of [[down!, rows], [right, columns]] as const) {
        assert.ok(Math.abs((scales.get(axis) ?? scale) - scale) < 1e-9 * scale);
        scales.set(axis, scale);
      }
  });
});

test("a signal is as wide as its frame", () => {
  const [plane] = trace.lay(picture([500]), { x: 0, y: 0, width: 600, height: 200 }, FIT, false);
  assert.equal(toPixel(plane!.columns, 0), plane!.frame.x);
  assert.ok(Math.abs(toPixel(plane!.columns, 500) - plane!.frame.x - plane!.frame.width) < 1e-9);
});

test("ticks are whole numbers within the ends, equally far apart, and few", () => {
  tried(200, (random) => {
    const low = random.between(0, 1000);
    const high = low + random.between(2, 100000);
    const count = random.whole(1, 12);
    const made = ticks(low, high, count);
    assert.ok(made.length <= count + 1);
    made.forEach((at, i) => {
      assert.ok(Number.isInteger(at) && at >= low && at <= high);
      if (i > 1) assert.equal(at - made[i - 1]!, made[1]! - made[0]!);
    });
  });
});

test("the number of axes decides the view", () => {
  assert.deepEqual([[9], [9, 9], [9, 9, 9]].map((size) => viewOf(size).kind), ["trace", "flat", "slices"]);
  assert.throws(() => viewOf([1, 2, 3, 4]), RangeError);
});

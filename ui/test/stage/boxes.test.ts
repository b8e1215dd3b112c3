import assert from "node:assert/strict";
import { test } from "node:test";
import { boxBetween, movedBox, resizedBox, wholeBox } from "../../src/stage/boxes";
import { tried, type Random } from "./random";

function grid(random: Random) {
  const axes = random.whole(1, 3);
  const size = random.list(axes, () => random.whole(4, 60));
  const patch = size.map((length) => random.whole(1, length));
  return { axes, size, patch };
}

/** A box that holds what all boxes do. */
function box(random: Random, { axes, size, patch }: ReturnType<typeof grid>): number[] {
  const place = () => size.map((length) => random.between(-10, length + 10));
  return boxBetween(place(), place(), random.list(axes, (k) => k), null, size, patch);
}

function assertBox(made: readonly number[], size: readonly number[], patch: readonly number[]): void {
  for (const [k, length] of size.entries()) {
    const [start, extent] = [made[k]!, made[size.length + k]!];
    assert.ok(Number.isInteger(start) && Number.isInteger(extent), String(made));
    assert.ok(start >= 0 && start + extent <= length, `${made} is not within ${size}`);
    assert.ok(extent >= Math.min(patch[k]!, length), `${made} is smaller than ${patch}`);
  }
}

test("a box that is drawn has whole cells, is within the grid and is no smaller than the patch", () => {
  tried(500, (random) => {
    const on = grid(random);
    assertBox(box(random, on), on.size, on.patch);
  });
});

test("a box has all of the cells of the grid that its drag touched, whichever way it went", () => {
  tried(500, (random) => {
    const { axes, size, patch } = grid(random);
    const all = random.list(axes, (k) => k);
    const [one, two] = [0, 1].map(() => size.map((length) => random.between(0, length))) as [number[], number[]];
    for (const made of [boxBetween(one, two, all, null, size, patch), boxBetween(two, one, all, null, size, patch)])
      for (const k of all) {
        assert.ok(made[k]! <= Math.min(one[k]!, two[k]!));
        assert.ok(made[k]! + made[axes + k]! >= Math.max(one[k]!, two[k]!));
      }
  });
});

test("a drag in a slice leaves the third axis as it was, or whole", () => {
  const size = [20, 30, 40];
  const patch = [2, 2, 2];
  const before = [5, 1, 1, 6, 9, 9];
  const made = boxBetween([0, 3.2, 4.9], [0, 9.5, 12.1], [1, 2], before, size, patch);
  assert.deepEqual(made, [5, 3, 4, 6, 7, 9]);
  assert.deepEqual(boxBetween([0, 3, 4], [0, 9, 12], [1, 2], null, size, patch), [0, 3, 4, 20, 6, 8]);
});

test("a box that is moved keeps its extents, and comes back where no side stopped it", () => {
  tried(300, (random) => {
    const on = grid(random);
    const before = box(random, on);
    const by = on.size.map(() => random.whole(-40, 40));
    const moved = movedBox(before, by, on.size);
    assertBox(moved, on.size, on.patch);
    assert.deepEqual(moved.slice(on.axes), before.slice(on.axes));
    if (by.every((each, k) => moved[k] === before[k]! + each))
      assert.deepEqual(movedBox(moved, by.map((each) => -each), on.size), before);
  });
});

test("a side that is pulled moves alone", () => {
  tried(300, (random) => {
    const on = grid(random);
    const before = box(random, on);
    const handle = on.size.map(() => random.whole(-1, 1));
    const pulled = resizedBox(before, handle, on.size.map(() => random.between(-40, 40)), on.size, on.patch);
    assertBox(pulled, on.size, on.patch);
    for (const [k, side] of handle.entries()) {
      if (side >= 0) assert.equal(pulled[k], before[k]);
      if (side <= 0) assert.equal(pulled[k]! + pulled[on.axes + k]!, before[k]! + before[on.axes + k]!);
    }
  });
});

test("the whole box is all of the grid", () => assert.deepEqual(wholeBox([3, 4]), [0, 0, 3, 4]));

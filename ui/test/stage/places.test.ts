import assert from "node:assert/strict";
import { test } from "node:test";
import { Lattice, latticeOf, nearestOf, placesOf, Scattered, Segments } from "../../src/stage/places";
import { tried, type Random } from "./random";

function lattice(random: Random) {
  const axes = random.whole(1, 3);
  const patch = random.list(axes, () => random.whole(1, 9));
  const stride = random.list(axes, () => random.whole(1, 6));
  const size = patch.map((each) => each + random.whole(0, 30));
  const made = latticeOf(size, patch, stride);
  const positions = Int32Array.from(random.list(made.count, (i) => made.start(i)).flat());
  return { axes, patch, stride, size, made, positions };
}

test("positions that are a lattice are found to be one, in whatever number of axes", () => {
  tried(100, (random) => {
    const { patch, size, made, positions } = lattice(random);
    const found = placesOf(positions, patch, size, null);
    assert.ok(found instanceof Lattice);
    assert.deepEqual(found.starts, made.starts);
  });
});

test("a lattice without one of its positions, or in another order, is none", () => {
  tried(50, (random) => {
    const { axes, patch, size, made, positions } = lattice(random);
    if (made.count < 3 || axes === 1) return;
    assert.ok(placesOf(positions.slice(axes), patch, size, null) instanceof Scattered);
    const swapped = positions.slice();
    swapped.copyWithin(0, axes, 2 * axes);
    swapped.set(positions.subarray(0, axes), axes);
    assert.ok(placesOf(swapped, patch, size, null) instanceof Scattered);
  });
});

test("the nearest of a lattice is as near as the nearest that a search finds", () => {
  tried(200, (random) => {
    const { patch, size, made, positions } = lattice(random);
    const scattered = new Scattered(positions, patch);
    const cell = size.map((length) => random.between(0, length));
    const away = (index: number) => Math.hypot(...made.centre(index).map((at, k) => at - cell[k]!));
    assert.ok(Math.abs(away(made.nearest(cell)) - away(scattered.nearest(cell))) < 1e-9);
  });
});

test("a position's own middle is nearest to it", () => {
  tried(100, (random) => {
    const { made, positions, patch } = lattice(random);
    const index = random.whole(0, made.count - 1);
    assert.equal(made.nearest(made.centre(index)), index);
    assert.equal(new Scattered(positions, patch).nearest(made.centre(index)), index);
  });
});

test("steps go along one axis alone, end at the ends, and come back", () => {
  tried(200, (random) => {
    const { axes, made } = lattice(random);
    const index = random.whole(0, made.count - 1);
    const axis = random.whole(0, axes - 1);
    const next = made.step(index, axis, 1);
    made.start(index).forEach((at, k) => k !== axis && assert.equal(made.start(next)[k], at));
    if (next !== index) assert.equal(made.step(next, axis, -1), index);
    assert.equal(made.start(made.step(index, axis, 1e6))[axis], made.starts[axis]!.at(-1));
    assert.equal(made.start(made.step(index, axis, -1e6))[axis], 0);
  });
});

test("steps between scattered positions go the way of the key, or stay", () => {
  tried(100, (random) => {
    const positions = Int32Array.from(random.list(40, () => random.whole(0, 50)));
    const places = new Scattered(positions, [4, 4]);
    const index = random.whole(0, 19);
    const axis = random.whole(0, 1);
    const next = places.step(index, axis, 1);
    if (next !== index) assert.ok(places.start(next)[axis]! > places.start(index)[axis]!);
    else for (let i = 0; i < 20; i++) assert.ok(places.start(i)[axis]! <= places.start(index)[axis]!);
  });
});

test("the position of a cell in segments is that of its segment, and none where there is no segment", () => {
  // Segments 7 and 3 of a grid of 2 x 3, and a cell of none.
  const labels = Int32Array.from([3, 3, 7, 0, 7, 7]);
  const places = placesOf(Int32Array.from([0, 0, 0, 2]), [1, 1], [2, 3], labels);
  assert.ok(places instanceof Segments);
  assert.deepEqual(
    [0, 1, 2].flatMap((x) => [places.nearest([0.5, x + 0.5]), places.nearest([1.2, x + 0.9])]),
    [0, -1, 0, 1, 1, 1],
  );
  assert.equal(places.nearest([5, 5]), -1);
});

test("the nearest entry of a list is none that another one is nearer than", () => {
  tried(200, (random) => {
    const list = [...new Set(random.list(random.whole(1, 20), () => random.whole(-50, 50)))].sort((a, b) => a - b);
    const value = random.between(-60, 60);
    const away = (i: number) => Math.abs(list[i]! - value);
    const found = nearestOf(list, value);
    list.forEach((_, i) => assert.ok(away(found) <= away(i)));
  });
});

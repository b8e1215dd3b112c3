import assert from "node:assert/strict";
import { test } from "node:test";
import { product } from "../../src/arrays";
import { difference } from "../../src/stage/difference";
import { convert, convertBox, fromSource, toSource, type Grid } from "../../src/stage/source";
import { tried, type Random } from "./random";

function grid(random: Random, axes: number): Grid {
  const size = random.list(axes, () => random.whole(2, axes === 3 ? 8 : 30));
  return { size, box: [...size.map(() => random.between(-5, 30)), ...size.map(() => random.between(20, 200))] };
}

const near = (one: readonly number[], two: readonly number[]) =>
  one.forEach((each, k) => assert.ok(Math.abs(each - two[k]!) < 1e-6, `${one} is not ${two}`));

test("there and back is where it began, between grids and to the source", () => {
  tried(300, (random) => {
    const axes = random.whole(1, 3);
    const [one, two] = [grid(random, axes), grid(random, axes)];
    const cell = one.size.map((length) => random.between(-3, length + 3));
    near(fromSource(one, toSource(one, cell)), cell);
    near(convert(convert(cell, one, two), two, one), cell);
    const box = [...cell, ...cell.map(() => random.between(1, 9))];
    near(convertBox(convertBox(box, one, two), two, one), box);
  });
});

test("a grid's own box in the source is all of its cells", () => {
  tried(50, (random) => {
    const made = grid(random, 2);
    near(toSource(made, [0, 0]), made.box.slice(0, 2));
    near(fromSource(made, [0, 1].map((k) => made.box[k]! + made.box[2 + k]!)), made.size);
  });
});

test("a map minus itself is nothing, and NaN stays NaN", () => {
  tried(50, (random) => {
    const made = grid(random, random.whole(1, 3));
    const value = () => (random.share() < 0.2 ? NaN : random.share());
    const values = Float32Array.from(random.list(product(made.size), value));
    difference(values, made, values, { ...made }).forEach((each, i) =>
      assert.ok(Number.isNaN(values[i]!) ? Number.isNaN(each) : each === 0),
    );
  });
});

test("maps of one function of the source hardly differ, whatever their grids", () => {
  tried(100, (random) => {
    const axes = random.whole(1, 3);
    const [one, two] = [grid(random, axes), grid(random, axes)];
    const slope = random.list(axes, () => random.between(-1, 1));
    const fill = (on: Grid) =>
      Float32Array.from({ length: product(on.size) }, (_, index) => {
        const cell: number[] = [];
        for (const length of [...on.size].reverse()) {
          cell.unshift((index % length) + 0.5);
          index = Math.floor(index / length);
        }
        return toSource(on, cell).reduce((sum, at, k) => sum + at * slope[k]!, 0);
      });
    const [first, second] = [fill(one), fill(two)];
    const found = difference(first, one, second, two);
    // Between its centres a linear function is met; at a rim, the half cell beyond them is all that it can be off by.
    const rim = slope.reduce((sum, each, k) => sum + Math.abs(each) * (two.box[axes + k]! / two.size[k]!) * 0.5, 0);
    let index = 0;
    for (const value of found) {
      let rest = index++;
      const cell: number[] = [];
      for (const length of [...one.size].reverse()) {
        cell.unshift((rest % length) + 0.5);
        rest = Math.floor(rest / length);
      }
      const there = convert(cell, one, two);
      const inside = there.every((at, k) => at >= 0 && at <= two.size[k]!);
      const between = there.every((at, k) => at >= 0.5 && at <= two.size[k]! - 0.5);
      assert.equal(Number.isNaN(value), !inside);
      if (inside) assert.ok(Math.abs(value) <= (between ? 0 : rim) + 1e-3, `${value} at ${there}`);
    }
  });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Look } from "../../src/stage/contract";
import { notesOf } from "../../src/stage/legend";
import { mapData } from "../../src/stage/maps";
import type { PictureData } from "../../src/stage/pictures";
import { coloured, type Shown } from "../../src/stage/scales";
import { message } from "./message";

const LOOK: Look = {
  palette: "effect",
  opacity: 0.5,
  threshold: 0,
  heat: true,
  region: true,
  patch: true,
  estimates: true,
  grid: false,
};

const PICTURE: PictureData = {
  key: "p",
  axes: "yx",
  size: [4, 6],
  box: [0, 0, 4, 6],
  source: [4, 6],
  image: new Uint8Array(24),
  channels: 1,
  fine: null,
};

function shown(score: string, values: number[], neutral: number, half = 0.5): Shown {
  const [made, buffers] = message(score, values, [1, 1, 1, 1, 1, 1], neutral);
  return { map: mapData({ ...made, half }, buffers), picture: PICTURE };
}

const DROPS = [0.5, 0.25, 0, -0.25, 0, 0.125];

test("alone, a map has its own scale, and the neutral value is marked", () => {
  const { a, b, legends } = coloured(shown("drop", DROPS, 0), shown("drop", DROPS, 0, 2), "off", LOOK);
  assert.equal(b, null);
  assert.deepEqual([a!.lowest, a!.highest], [-0.5, 0.5]);
  assert.equal(legends.length, 1);
  assert.equal(legends[0]!.neutral, 0);
  assert.equal(legends[0]!.high, "hiding it lowers the score");
});

test("side by side, both have the wider of their scales, and one legend", () => {
  const { a, b, legends } = coloured(shown("drop", DROPS, 0), shown("drop", DROPS, 0, 2), "side", LOOK);
  assert.deepEqual([a!.lowest, a!.highest, b!.lowest, b!.highest], [-2, 2, -2, 2]);
  assert.deepEqual(legends.map(({ lowest, highest, changes }) => [lowest, highest, changes]), [[-2, 2, false]]);
});

test("where neutral values differ, the legend has the changes from them", () => {
  const one = shown("logit", [4, 5, 6, 5, 5, 5], 5, 1);
  const two = shown("logit", [1, 2, 5, 2, 2, 2], 2, 3);
  const { a, b, legends } = coloured(one, two, "side", LOOK);
  assert.deepEqual([a!.lowest, a!.highest, b!.lowest, b!.highest], [2, 8, -1, 5]);
  assert.deepEqual(legends.map(({ lowest, highest, changes }) => [lowest, highest, changes]), [[-3, 3, true]]);
});

test("maps of other scores have a legend each, and no difference", () => {
  const [one, two] = [shown("drop", DROPS, 0), shown("logit", DROPS, 0)];
  assert.equal(coloured(one, two, "side", LOOK).legends.length, 2);
  const { a, refused } = coloured(one, two, "difference", LOOK);
  assert.equal(a, null);
  assert.match(refused!, /other scores/);
});

test("the scale of a difference is symmetric, as wide as it, and never below its floor", () => {
  const one = shown("drop", DROPS, 0);
  const { a, legends } = coloured(one, shown("drop", DROPS.map((each) => each / 2), 0), "difference", LOOK);
  assert.deepEqual([a!.lowest, a!.highest], [-0.25, 0.25]);
  assert.deepEqual([legends[0]!.low, legends[0]!.high], ["A's drop is lower", "A's drop is higher"]);
  const same = coloured(one, shown("drop", DROPS, 0), "difference", LOOK);
  assert.deepEqual([same.a!.lowest, same.a!.highest], [-0.01, 0.01]);
});

test("a difference of drops is red where that of the probabilities is", () => {
  const of = (score: string, values: number[], neutral: number) => shown(score, values, neutral);
  const drops = coloured(of("drop", DROPS, 0), of("drop", DROPS.map(() => 0), 0), "difference", LOOK);
  const falls = DROPS.map((each) => 0.5 - each);
  const probabilities = coloured(
    of("probability", falls, 0.5),
    of("probability", falls.map(() => 0.5), 0.5),
    "difference",
    LOOK,
  );
  assert.deepEqual([probabilities.legends[0]!.low, probabilities.legends[0]!.high], ["A's score is lower", "A's score is higher"]);
  assert.equal(drops.a!.colours.at(-1), probabilities.a!.colours[0]);
});

test("a legend says where the scale is that of the floor, and that cells are hatched or dotted", () => {
  const notes = (score: string, values: number[], half: number, look = LOOK) =>
    coloured(shown(score, values, 0, half), null, "off", look).legends.flatMap(notesOf);
  assert.deepEqual(notes("drop", DROPS, 0.5), []);
  assert.deepEqual(notes("drop", DROPS.map((each) => each / 100), 0.01), ["scale floored at \u00b10.01"]);
  assert.deepEqual(notes("logit_drop", DROPS.map(() => 0), 0.1), ["scale floored at \u00b10.1"]);
  assert.deepEqual(notes("drop", DROPS.map(() => 0), 0.01, { ...LOOK, palette: "krypton" }), []);
  assert.deepEqual(notes("drop", [NaN, ...DROPS.slice(1)], 0.5), ["hatched: not computed"]);
  assert.deepEqual(notes("drop", [NaN, ...DROPS.slice(1)], 0.5, { ...LOOK, heat: false }), []);
  assert.deepEqual(notesOf({ floor: null, estimates: true, gaps: false }), ["dotted: estimated"]);
});

test("a difference has gaps where either map has", () => {
  const one = shown("drop", [NaN, ...DROPS.slice(1)], 0);
  const { a, legends } = coloured(shown("drop", DROPS, 0), one, "difference", LOOK);
  assert.deepEqual([a!.gaps, legends[0]!.gaps], [true, true]);
  assert.equal(coloured(one, shown("drop", DROPS, 0), "side", LOOK).legends[0]!.gaps, true);
});

test("a map that has hardly a colour on the scale of both is named", () => {
  const weak = DROPS.map((each) => each / 50);
  const notes = (second: number[]): string[] => coloured(shown("drop", DROPS, 0, 0.5), shown("drop", second, 0, 0.5), "side", LOOK).legends.flatMap(notesOf);
  assert.deepEqual(notes(DROPS), []);
  assert.deepEqual(notes(DROPS.map(() => 0)), ["B: no effect here exceeds 1 % of the scale"]);
  assert.equal(notes(weak).length, 1);
  assert.match(notes(weak)[0]!, /^B: no effect here exceeds [1-5] % of the scale$/);
});

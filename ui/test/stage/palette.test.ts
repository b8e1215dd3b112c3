import assert from "node:assert/strict";
import { test } from "node:test";
import {
  coloursOf,
  colourAt,
  faded,
  levelOf,
  LEVELS,
  scaleOf,
  scaleOfDifference,
  together,
  unitOf,
  type Values,
} from "../../src/stage/palette";
import { tried } from "./random";

const values = (score: string, neutral: number, half: number): Values => {
  const [lowest, highest] = score === "probability" ? [0, 1] : [neutral - half, neutral + half];
  return { score, neutral, half, lowest, highest };
};

function bytes(scale: { lowest: number; highest: number }, colours: Uint32Array, value: number): number[] {
  const colour = colours[levelOf(value, scale.lowest, scale.highest)]!;
  return [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
}

/** Nine colours from one end of a scale to the other. */
function ninth(scale: ReturnType<typeof scaleOf>): number[][] {
  const colours = coloursOf(scale, 0, 0);
  return Array.from({ length: 9 }, (_, i) =>
    bytes(scale, colours, scale.lowest + ((scale.highest - scale.lowest) * i) / 8),
  );
}

const close = (one: number[][], two: number[][], slack: number) =>
  one.forEach((colour, i) =>
    colour.forEach((each, k) => assert.ok(Math.abs(each - two[i]![k]!) <= slack, `${colour} is not ${two[i]}`)),
  );

// What kdb.results.pictures.colours.coloured gives, at nine values from the lowest to the highest.
const RED_TO_BLUE = [
  [219, 25, 30],
  [219, 74, 78],
  [219, 123, 125],
  [220, 171, 173],
  [220, 220, 220],
  [173, 187, 220],
  [125, 153, 219],
  [78, 120, 219],
  [30, 86, 219],
];

test("the colours of an effect are those of kdb's pictures", () => {
  close(ninth(scaleOf("effect", values("drop", 0, 0.3))), [...RED_TO_BLUE].reverse(), 1);
  close(ninth(scaleOf("effect", values("probability", 0.4, 0.3))), RED_TO_BLUE, 1);
  close(ninth(scaleOf("effect", values("logit", 2, 5))), RED_TO_BLUE, 1);
});

test("a probability's scale ends at 1, with the colour that it has there", () => {
  const scale = scaleOf("effect", values("probability", 0.9, 0.3));
  assert.ok(Math.abs(scale.lowest - 0.6) < 1e-12);
  assert.equal(scale.highest, 1);
  close(ninth(scale).slice(-2), [[188, 198, 220], [157, 175, 220]], 1);
  const beyond = scaleOf("effect", { ...values("probability", 0.9, 0.3), highest: 1.2 });
  assert.ok(Math.abs(beyond.highest - 1.2) < 1e-12, "a model without an activation has no ends");
});

test("the paper's colours are matplotlib's", () => {
  const probability = scaleOf("krypton", values("probability", 0.6, 0.2));
  assert.ok(Math.abs(probability.lowest - 0.45) < 1e-12 && Math.abs(probability.highest - 0.75) < 1e-12);
  close(
    ninth(probability),
    [
      [127, 0, 0],
      [255, 29, 0],
      [255, 148, 0],
      [224, 255, 21],
      [121, 255, 125],
      [21, 255, 225],
      [0, 124, 255],
      [0, 0, 255],
      [0, 0, 127],
    ],
    4, // matplotlib's table has 256 colours, this one 1025
  );
  close(
    ninth(scaleOf("krypton", { ...values("drop", 0, 0.5), highest: 0.5, lowest: 0 })),
    [
      [58, 76, 192],
      [97, 130, 234],
      [141, 175, 253],
      [184, 207, 248],
      [221, 220, 219],
      [244, 195, 171],
      [243, 152, 121],
      [220, 94, 75],
      [179, 3, 38],
    ],
    2,
  );
});

test("the neutral value is neutral, an important one is red, and a larger effect is never less so", () => {
  tried(200, (random) => {
    const score = ["drop", "probability", "logit", "logit_drop", "cosine", "cosine_drop"][random.whole(0, 5)]!;
    const drop = score.endsWith("drop");
    const neutral = drop ? 0 : score === "probability" ? random.share() : random.between(-5, 5);
    const half = random.between(0.01, 1);
    const scale = scaleOf("effect", values(score, neutral, half));
    const colours = coloursOf(scale, neutral, 0);
    const at = (value: number) => bytes(scale, colours, value);
    const grey = at(neutral);
    assert.ok(Math.max(...grey) - Math.min(...grey) <= 4 && Math.abs(grey[0]! - 220) <= 4, String(grey));
    let before = -Infinity;
    for (let i = 0; i <= 20; i++) {
      const effect = neutral + ((drop ? 1 : -1) * half * i) / 20;
      if (effect < scale.lowest || effect > scale.highest) break;
      const [red, , blue] = at(effect) as [number, number, number];
      assert.ok(red - blue >= before, "less red");
      before = red - blue;
    }
  });
});

test("cells below the threshold have no colour, and all others are opaque", () => {
  tried(50, (random) => {
    const half = random.between(0.1, 1);
    const hidden = half * random.share() * 0.9;
    const scale = scaleOf("safe", values("drop", 0, half));
    const colours = coloursOf(scale, 0, hidden);
    for (let i = 0; i < LEVELS; i++) {
      const value = scale.lowest + ((scale.highest - scale.lowest) * i) / (LEVELS - 1);
      assert.equal(colours[i]! >>> 24, Math.abs(value) < hidden ? 0 : 255);
    }
  });
});

test("on an image the colours fade in from the threshold on, and are the same", () => {
  tried(50, (random) => {
    const half = random.between(0.1, 1);
    const hidden = half * random.share() * 0.5;
    const scale = scaleOf("safe", values("drop", 0, half));
    const colours = coloursOf(scale, 0, hidden);
    const laid = faded(colours, scale, 0, hidden);
    let before = 256;
    for (let i = 0; i <= (LEVELS - 1) / 2; i++) {
      assert.ok(laid[i]! >>> 24 <= before, "nearer to neutral, and more opaque");
      before = laid[i]! >>> 24;
      assert.equal(laid[i]! & 0xffffff, colours[i]! & 0xffffff);
    }
    assert.equal(laid[0]! >>> 24, 255);
    assert.equal(laid[(LEVELS - 1) / 2]! >>> 24, 0);
  });
});

type Matrix = readonly (readonly number[])[];

/** Machado, Oliveira and Fernandes 2009, of the whole severity, in linear RGB. */
const VISION: Record<string, Matrix> = {
  common: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

function lightness(colour: readonly number[], matrix: Matrix): number {
  const linear = colour.map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
  const seen = matrix.map((row) => row.reduce((sum, each, k) => sum + each * linear[k]!, 0));
  const luminance = 0.2126 * seen[0]! + 0.7152 * seen[1]! + 0.0722 * seen[2]!;
  return 116 * Math.cbrt(luminance) - 16;
}

test("the lightness of the safe colours goes one way over the whole scale, for all kinds of colour vision", () => {
  const { stops } = scaleOf("safe", values("drop", 0, 1));
  for (const [name, matrix] of Object.entries(VISION)) {
    const seen = Array.from({ length: 101 }, (_, i) => lightness(colourAt(stops, i / 100), matrix));
    for (let i = 1; i < seen.length; i++) assert.ok(seen[i]! > seen[i - 1]!, `${name} at ${i}`);
    const [opposite, neutral, important] = [seen[0]!, seen[50]!, seen[100]!];
    assert.ok(neutral - opposite > 12 && important - neutral > 12, `${name}: ${opposite}, ${neutral}, ${important}`);
  }
});

test("two maps that are compared have one width, each about its own neutral value", () => {
  const [one, two] = together(values("probability", 0.3, 0.1), values("probability", 0.8, 0.25));
  assert.equal(one.half, 0.25);
  assert.equal(two.half, 0.25);
  assert.equal(one.neutral, 0.3);
  const both = together(values("logit", 1, 2), values("logit", 5, 3));
  const [first, second] = both.map((each) => scaleOf("krypton", each));
  assert.ok(Math.abs(first!.highest - first!.lowest - (second!.highest - second!.lowest)) < 1e-12);
});

test("a difference is red where the first map has the stronger effect", () => {
  for (const [score, sign] of [["drop", 1], ["probability", -1], ["logit", -1], ["logit_drop", 1]] as const) {
    const scale = scaleOfDifference("effect", score, 0.2);
    const colours = coloursOf(scale, 0, 0);
    assert.deepEqual(bytes(scale, colours, sign * 0.2).slice(0, 1), [219]);
    assert.deepEqual(bytes(scale, colours, -sign * 0.2).slice(0, 1), [30]);
  }
});

test("a score's unit is its own without the drop", () => {
  assert.deepEqual(
    ["drop", "probability", "logit", "logit_drop", "cosine", "cosine_drop"].map(unitOf),
    ["probability", "probability", "logit", "logit", "cosine", "cosine"],
  );
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { coordinates, count, magnitude, milliseconds, number, seconds, signed, times } from "../src/format";
import { always } from "./random";

const back = (shown: string): number => Number(shown.replace("\u2212", "-").replaceAll(",", ""));

test("numbers are as close as their digits", () => {
  always((random) => {
    const digits = 1 + random.below(7);
    const value = (random.next() - 0.5) * 10 ** (random.below(24) - 12);
    assert.ok(Math.abs(back(number(value, digits)) - value) <= 0.51 * 10 ** (1 - digits) * 10 ** Math.floor(Math.log10(Math.abs(value))) * 1.001);
  }, 2000);
});

test("numbers", () => {
  assert.equal(number(0.62, 4), "0.6200");
  assert.equal(number(-0.2077), "\u22120.208");
  assert.equal(number(1.3e-6, 2), "1.3e-6");
  assert.equal(number(0), "0");
  assert.equal(number(NaN), "unknown");
  assert.equal(number(-Infinity), "\u2212∞");
  assert.equal(number(12345.6), "12,346");
  assert.equal(signed(0.5), "+0.500");
  assert.equal(signed(-0.5), "\u22120.500");
  assert.equal(count(2809), "2809");
  assert.equal(count(50176), "50,176");
  assert.equal(count(1234567), "1,234,567");
});

test("magnitudes, times and positions", () => {
  assert.equal(magnitude(390e6), "390 M");
  assert.equal(magnitude(1.08e12), "1.1 T");
  assert.equal(magnitude(999.9e6), "1.0 G");
  assert.equal(magnitude(12), "12");
  assert.equal(seconds(0.05), "50 ms");
  assert.equal(seconds(2.34), "2.3 s");
  assert.equal(seconds(59.7), "1 min 0 s");
  assert.equal(seconds(3725), "1 h 2 min");
  assert.equal(milliseconds(8.31), "8.3 ms");
  assert.equal(milliseconds(2300), "2.3 s");
  assert.equal(times(3.93), "3.9×");
  assert.equal(times(24.2), "24×");
  assert.equal(coordinates([4, 8], "yx"), "y 4, x 8");
  assert.equal(coordinates([4], null), "4");
});

test("times grow with the time", () => {
  const parsed = (shown: string): number =>
    [...shown.matchAll(/([\d.]+) (ms|s|min|h)/g)].reduce((sum, [, value, unit]) => sum + Number(value) * { ms: 0.001, s: 1, min: 60, h: 3600 }[unit!]!, 0);
  always((random) => {
    const value = 10 ** (random.next() * 7 - 3);
    assert.ok(Math.abs(parsed(seconds(value)) - value) <= Math.max(0.06 * value, 0.0006), `${value}: ${seconds(value)}`);
  });
});

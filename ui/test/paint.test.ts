import assert from "node:assert/strict";
import { test } from "node:test";
import { pixelsOf } from "../src/parts/paint";
import { tried } from "./stage/random";

test("a pixel is that of the array, of a volume of its slice", () => {
  tried(100, (random) => {
    const [depth, height, width] = [random.whole(1, 4), random.whole(1, 5), random.whole(1, 5)];
    const [isVolume, isGrey] = [random.share() < 0.6, random.share() < 0.5];
    const channels = isVolume && isGrey ? 1 : 3; // pictures have colours
    const shape = [...(isVolume ? [depth] : []), height, width, ...(channels === 3 ? [3] : [])];
    const values = Uint8Array.from({ length: depth * height * width * channels }, () => random.whole(0, 255));
    const at = isVolume ? [random.whole(-1, depth), 0, 0] : [random.whole(0, 9), 0];
    const found = pixelsOf(values, shape, at);
    assert.deepEqual([found.height, found.width], [height, width]);
    const slice = isVolume ? Math.min(Math.max(at[0]!, 0), depth - 1) : 0;
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const cell = (slice * height + y) * width + x;
        const colour = [0, 1, 2].map((k) => values[cell * channels + (channels === 3 ? k : 0)]!);
        assert.deepEqual([...found.data.slice(4 * (y * width + x), 4 * (y * width + x) + 4)], [...colour, 255]);
      }
  });
});

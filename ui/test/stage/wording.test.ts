import assert from "node:assert/strict";
import { test } from "node:test";
import { seenAs } from "../../src/stage/wording";

test("what a model sees of an image is told where that is another thing than the image", () => {
  const told = (size: number[], box: number[], source: number[]) => seenAs({ size, box, source });
  assert.equal(told([224, 224], [0, 0, 224, 224], [224, 224]), "");
  assert.equal(told([224, 224], [0, 0, 220, 230], [220, 230]), "");
  assert.equal(told([224, 224], [0, 75.5, 300, 300], [300, 451]), "224 \u00d7 224 of 300 \u00d7 451, centre cropped");
  assert.equal(told([100, 100], [0, 0, 100, 100], [100, 300]), "100 \u00d7 100 of 100 \u00d7 300, cropped");
  assert.equal(told([224, 224], [0, 0, 48, 48], [48, 48]), "224 \u00d7 224, scaled from 48 \u00d7 48");
  assert.equal(told([32, 32], [0, 0, 300, 451], [300, 451]), "32 \u00d7 32, squeezed from 300 \u00d7 451");
  assert.equal(told([500], [250, 500], [1000]), "500 of 1000, centre cropped");
  assert.equal(told([8, 16, 16], [0, 0, 0, 32, 64, 64], [32, 64, 64]), "8 \u00d7 16 \u00d7 16, scaled from 32 \u00d7 64 \u00d7 64");
});

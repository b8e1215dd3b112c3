import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeFrame, encodeFrame } from "../src/frames";
import { always } from "./random";

test("a frame gives back what it was made of, its buffers aligned", () => {
  always((random) => {
    const content = { kind: random.text(9), text: random.text(40), number: random.below(1000), list: [random.next()] };
    const buffers = Array.from({ length: random.below(5) }, () => {
      const bytes = Uint8Array.from({ length: random.below(40) }, () => random.below(256));
      return bytes.buffer;
    });
    const frame = encodeFrame({ content, buffers });
    assert.equal(frame.byteLength % 8, 0);
    const back = decodeFrame(frame);
    assert.deepEqual(back.content, content);
    assert.deepEqual(back.buffers.map((each) => [...new Uint8Array(each)]), buffers.map((each) => [...new Uint8Array(each)]));
  });
});

test("the frame is the one that is written down", () => {
  const frame = new Uint8Array(encodeFrame({ content: {}, buffers: [Uint8Array.of(7, 8).buffer] }));
  const header = '{"content":{},"lengths":[2]}';
  assert.equal(new DataView(frame.buffer).getUint32(0, true), header.length);
  assert.equal(new TextDecoder().decode(frame.subarray(4, 4 + header.length)), header);
  assert.deepEqual([...frame.subarray(32)], [7, 8, 0, 0, 0, 0, 0, 0]);
});

test("a frame that is cut off is refused", () => {
  const frame = encodeFrame({ content: { kind: "map" }, buffers: [new ArrayBuffer(64)] });
  for (const length of [0, 3, 10, frame.byteLength - 1]) assert.throws(() => decodeFrame(frame.slice(0, length)));
});

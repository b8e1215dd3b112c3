import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeFrame, encodeFrame } from "../src/frames";
import { PAUSES, SocketModel, type Socket } from "../src/host";
import { Hands } from "./clock";

class FakeSocket implements Socket {
  binaryType = "";
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;
  sent: ArrayBuffer[] = [];

  send(data: ArrayBuffer): void {
    this.sent.push(data);
  }

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  close(): void {
    this.readyState = 3;
    this.onclose?.();
  }
}

function begin(answers = false): { model: SocketModel; sockets: FakeSocket[]; hands: Hands } {
  const sockets: FakeSocket[] = [];
  const hands = new Hands();
  const model = new SocketModel(() => {
    sockets.push(new FakeSocket());
    return sockets.at(-1)!;
  }, () => Promise.resolve(answers), hands);
  return { model, sockets, hands };
}

test("messages go both ways", () => {
  const { model, sockets } = begin();
  const heard: unknown[] = [];
  model.on("msg:custom", (...values: unknown[]) => void heard.push(values));
  model.connect();
  model.send({ kind: "dropped" });
  sockets[0]!.open();
  model.send({ kind: "hello", id: 1 }, undefined, [Uint8Array.of(1).buffer]);
  assert.deepEqual(sockets[0]!.sent.map((frame) => decodeFrame(frame).content), [{ kind: "hello", id: 1 }]);
  sockets[0]!.onmessage!({ data: encodeFrame({ content: { kind: "welcome" }, buffers: [] }) });
  assert.deepEqual(heard, [[{ kind: "welcome" }, []]]);
});

test("a lost connection is tried with growing pauses, and then no more", async () => {
  const { model, sockets, hands } = begin();
  model.connect();
  sockets[0]!.open();
  sockets[0]!.close();
  assert.equal(model.connection, "lost");
  for (const [at, pause] of PAUSES.entries()) {
    hands.go(pause - 1);
    assert.equal(sockets.length, at + 1);
    hands.go(1);
    assert.equal(sockets.length, at + 2);
    sockets.at(-1)!.close();
    await null;
    await null;
  }
  assert.equal(model.connection, "gone");
  assert.equal(hands.waits, 0);
  model.connect();
  sockets.at(-1)!.open();
  assert.equal(model.connection, "open");
});

test("where a server answers and does not let it in, it is not tried again by itself", async () => {
  const { model, sockets, hands } = begin(true);
  model.connect();
  sockets[0]!.open();
  sockets[0]!.close();
  assert.equal(model.connection, "lost", "it was let in before");
  hands.go(PAUSES[0]!);
  sockets[1]!.close();
  await null;
  await null;
  assert.equal(model.connection, "refused");
  assert.equal(hands.waits, 0);
  model.connect();
  sockets[2]!.open();
  assert.equal(model.connection, "open");
});

test("asked for at once, it does not wait, and one connection stays", () => {
  const { model, sockets, hands } = begin();
  model.connect();
  sockets[0]!.close();
  model.connect();
  sockets[1]!.open();
  hands.go(10 ** 6);
  assert.equal(sockets.length, 2);
  assert.equal(model.connection, "open");
});

test("what was taken off hears nothing", () => {
  const { model, sockets } = begin();
  const heard: string[] = [];
  const one = (): void => void heard.push("one");
  model.on("change:connection", one);
  model.on("change:connection", () => void heard.push("two"));
  model.off("change:connection", one);
  model.connect();
  sockets[0]!.open();
  assert.deepEqual(heard, ["two"]);
});

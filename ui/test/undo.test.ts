import assert from "node:assert/strict";
import { test } from "node:test";
import { asked, behindChange, TOGETHER, typedBy, Undo } from "../src/undo";
import { always, type Random } from "./random";

test("typing that goes on is one step, and so is a slider that is moved", () => {
  const undo = new Undo();
  undo.record("Q", "", 0);
  assert.equal(undo.undo(), null, "there is nothing before the first text");
  ["Q a", "Q ab", "Q abc"].forEach((text, at) => undo.record(text, "typed", 10 * at));
  undo.record("Q abc 1", "stride", 40);
  undo.record("Q abc 2", "stride", 50);
  undo.record("Q abc 2 d", "typed", 60);
  undo.record("Q abc 2 d e", "typed", 60 + TOGETHER);
  const back: (string | null)[] = [];
  for (let text = undo.undo(); text !== null; text = undo.undo()) back.push(text);
  assert.deepEqual(back, ["Q abc 2 d", "Q abc 2", "Q abc", "Q"]);
  assert.equal(undo.redo(), "Q abc");
  undo.record("Q abcd", "typed", 70);
  assert.equal(undo.redo(), null, "what comes next takes its place");
  assert.equal(undo.undo(), "Q abc", "what is typed after a step back is a step of its own");
});

test("whatever happens, each step back is a text that there was, and steps on are those back", () => {
  always((random: Random) => {
    const undo = new Undo();
    const seen = new Set<string | null>([null]);
    let now = "begin";
    let at = 0;
    undo.record(now, "", at);
    for (let step = 0; step < 40; step++) {
      seen.add(now);
      const draw = random.below(4);
      if (draw < 2) {
        now = random.text(6, "ab ");
        undo.record(now, random.pick(["typed", "stride", ""]), (at += random.below(2 * TOGETHER)));
      } else {
        const back = undo.undo();
        assert.ok(seen.has(back));
        if (back === null) continue;
        if (draw === 2) {
          assert.equal(undo.redo(), now);
        } else {
          now = back;
        }
      }
    }
  });
});

test("what is pasted is a step of its own", () => {
  const by = ["insertText", "insertFromPaste", "insertFromDrop", undefined].map((inputType) => typedBy({ inputType } as never));
  assert.deepEqual(by, ["typed", "", "", "typed"]);
});

test("keys", () => {
  const press = (key: string, more = {}) => asked({ key, ctrlKey: true, metaKey: false, altKey: false, shiftKey: false, ...more });
  assert.equal(press("z"), "undo");
  assert.equal(press("Z", { shiftKey: true }), "redo");
  assert.equal(press("y"), "redo");
  assert.equal(press("z", { ctrlKey: false, metaKey: true }), "undo");
  assert.equal(press("z", { ctrlKey: false }), null);
  assert.equal(press("z", { altKey: true }), null);
  assert.equal(press("a"), null);
});

test("the cursor is behind what has changed", () => {
  assert.equal(behindChange("STRIDE 4 USING net", "STRIDE 16 USING net"), 9);
  assert.equal(behindChange("abc", "abc"), 0);
  assert.equal(behindChange("", "abc"), 3);
});

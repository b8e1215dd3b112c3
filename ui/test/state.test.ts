import assert from "node:assert/strict";
import { test } from "node:test";
import { behindInWords } from "../src/panels/behind";
import { bondInWords } from "../src/panels/compare";
import { beginning, earlier, IDLE, namesOf, type Shown, type State } from "../src/state";
import { message } from "./stage/message";

const A = "OCCLUDE cat USING net";
const B = "OCCLUDE cat USING second";
const OTHER = "OCCLUDE cat USING third";

const made = (text: string): Shown => {
  const [content, buffers] = message("probability", [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]);
  return { content: { ...content, text }, buffers, shown: 0, asked: text, former: false };
};

const state = (changes: Partial<State>): State => ({ ...beginning("open"), text: A, variant: B, comparing: "side", ...changes });

test("two maps are named by the queries that made them", () => {
  const both = state({ a: made(A), b: made(B), variant: OTHER });
  assert.deepEqual(namesOf(both), { a: "net", b: "second" });
  const texts = { a: A, b: OTHER };
  assert.deepEqual(namesOf({ ...both, run: { ...IDLE, id: 9, state: "running", both: true, texts } }), { a: "net", b: "second" });
  const first = { ...both, b: null, run: { ...IDLE, id: 1, state: "running" as const, both: true, texts } };
  assert.deepEqual(namesOf(first), { a: "net", b: "third" });
  assert.equal(namesOf({ ...first, run: { ...first.run, id: 9 } }), null, "A is still of another run");
  assert.equal(namesOf({ ...first, run: { ...first.run, state: "failed" } }), null);
});

test("how B hangs together with A", () => {
  const given = { text: A, variant: "", variantFollows: false };
  assert.match(bondInWords(given), /by one change/);
  assert.match(bondInWords({ ...given, variant: B, variantFollows: true }), /follows what becomes of A/);
  assert.equal(bondInWords({ ...given, variant: B }), "B is a text of its own, and does not follow A: they differ in USING.");
  assert.match(bondInWords({ ...given, variant: `${B} STRIDE 2 FOR TOP 3` }), /differ in USING, STRIDE and FOR, more than one thing/);
  assert.equal(bondInWords({ ...given, variant: "occlude cat using net" }), "B says the same as A.");
});

test("a map of another query than its text is told on the stage", () => {
  const both = state({ a: made(A), b: made(B) });
  assert.equal(behindInWords(both), null);
  assert.equal(behindInWords({ ...both, variant: OTHER }), "B: the map of an earlier query");
  assert.equal(behindInWords({ ...both, text: OTHER }), "A: the map of an earlier query");
  assert.equal(behindInWords({ ...both, text: OTHER, variant: OTHER }), "A and B: the maps of earlier queries");
  assert.equal(behindInWords({ ...both, text: OTHER, variant: OTHER, comparing: "off" }), "The map of an earlier query");
  assert.equal(earlier({ ...both, variant: "occlude cat -- a note\n using second" }, "b"), null, "it says the same");
});

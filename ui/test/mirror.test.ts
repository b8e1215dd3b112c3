import assert from "node:assert/strict";
import { test } from "node:test";
import { Mirror, MOVING, TYPING } from "../src/mirror";
import { Hands } from "./clock";
import { always, type Random } from "./random";

interface Asked {
  id: number;
  /** What the text is when this is answered. */
  text: string;
}

/** A Python that writes a control into a text as `;name=value`, in place of what stands there of that name. */
class Python {
  asked: Asked[] = [];
  edits: string[] = [];
  changes: string[] = [];
  #next = 1;

  edit(text: string): number {
    this.edits.push(text);
    return this.#ask(text);
  }

  change(text: string, name: string, value: number): number {
    this.changes.push(`${name}=${value}`);
    return this.#ask(text.replace(new RegExp(`;${name}=\\d+`), "") + `;${name}=${value}`);
  }

  #ask(text: string): number {
    this.asked.push({ id: this.#next, text });
    return this.#next++;
  }
}

function begin(): { mirror: Mirror; python: Python; hands: Hands; written: string[] } {
  const python = new Python();
  const hands = new Hands();
  const written: string[] = [];
  const ports = { edit: (text: string) => python.edit(text), written: (text: string) => void written.push(text) };
  return { mirror: new Mirror(ports, hands), python, hands, written };
}

const move = (mirror: Mirror, python: Python, name: string, value: number, more = {}): void =>
  mirror.move(name, (text) => python.change(text, name, value), more);

const answer = (mirror: Mirror, { id, text }: Asked): { runs: boolean } | null => mirror.answer({ id, text, understood: true });

test("typing is sent once, when it pauses", () => {
  const { mirror, python, hands } = begin();
  for (const text of ["O", "OC", "OCC"]) {
    mirror.type(text);
    hands.go(TYPING - 1);
  }
  assert.deepEqual(python.edits, []);
  hands.go(1);
  assert.deepEqual(python.edits, ["OCC"]);
  assert.equal(hands.waits, 0);
});

test("a slider that is held sends its newest value, each after the answer to the one before", () => {
  const { mirror, python, hands, written } = begin();
  mirror.replace("Q");
  answer(mirror, python.asked.pop()!);
  for (let value = 1; value <= 5; value++) move(mirror, python, "patch", value, { held: true });
  assert.deepEqual(python.changes, []);
  hands.go(MOVING);
  assert.deepEqual(python.changes, ["patch=5"]);
  move(mirror, python, "patch", 6, { held: true });
  move(mirror, python, "patch", 7);
  assert.deepEqual(python.changes, ["patch=5"]);
  assert.equal(answer(mirror, python.asked.pop()!), null, "a form that is behind the slider does not move it");
  assert.deepEqual(python.changes, ["patch=5", "patch=7"]);
  assert.deepEqual(answer(mirror, python.asked.pop()!), { runs: false });
  assert.equal(written.at(-1), "Q;patch=7");
});

test("two controls that are moved at once are both in the text", () => {
  const { mirror, python } = begin();
  mirror.replace("Q");
  answer(mirror, python.asked.pop()!);
  move(mirror, python, "patch", 8);
  move(mirror, python, "stride", 2, { runs: true });
  assert.equal(answer(mirror, python.asked.pop()!), null);
  assert.deepEqual(answer(mirror, python.asked.pop()!), { runs: true });
  assert.equal(mirror.text, "Q;patch=8;stride=2");
});

test("an answer never overwrites what was typed since", () => {
  const { mirror, python, hands, written } = begin();
  mirror.replace("Q");
  answer(mirror, python.asked.pop()!);
  move(mirror, python, "patch", 8, { runs: true });
  mirror.type("Q typed");
  assert.equal(answer(mirror, python.asked.pop()!), null);
  assert.equal(mirror.text, "Q typed");
  assert.deepEqual(written, []);
  hands.go(TYPING);
  assert.deepEqual(answer(mirror, python.asked.pop()!), { runs: false });
});

test("a text that is not understood ends what waits behind it", () => {
  const { mirror, python } = begin();
  mirror.replace("?");
  answer(mirror, python.asked.pop()!);
  move(mirror, python, "patch", 8);
  move(mirror, python, "stride", 2, { runs: true });
  const { id } = python.asked.pop()!;
  assert.deepEqual(mirror.answer({ id, text: "?", understood: false }), { runs: false });
  assert.equal(mirror.settled, true);
  assert.deepEqual(python.changes, ["patch=8"]);
});

test("Python may answer once more for the same text, until another is asked for", () => {
  const { mirror, python, hands } = begin();
  mirror.replace("Q");
  const first = python.asked.pop()!;
  move(mirror, python, "patch", 8, { runs: true });
  const second = python.asked.pop()!;
  assert.equal(answer(mirror, first), null);
  assert.deepEqual(answer(mirror, second), { runs: true });
  assert.deepEqual(answer(mirror, second), { runs: false }, "it runs once");
  mirror.type("Q2");
  assert.equal(answer(mirror, second), null);
  hands.go(TYPING);
  assert.equal(answer(mirror, second), null);
  const third = python.asked.pop()!;
  assert.deepEqual(answer(mirror, third), { runs: false });
  assert.deepEqual(answer(mirror, third), { runs: false });
});

test("a change that is refused leaves the text, and what waits goes with it", () => {
  const { mirror, python } = begin();
  mirror.replace("Q");
  answer(mirror, python.asked.pop()!);
  move(mirror, python, "patch", 8);
  move(mirror, python, "stride", 2);
  assert.deepEqual(mirror.refused(python.asked.pop()!.id), { control: "patch" });
  assert.equal(mirror.refused(1), null);
  assert.equal(mirror.text, "Q");
  assert.equal(mirror.settled, true);
});

test("whatever happens in whatever order, text and controls end as one", () => {
  always((random: Random) => {
    const { mirror, python, hands, written } = begin();
    let shown = "";
    let typed = "";
    const open: Asked[] = [];
    const collect = (): void => void open.push(...python.asked.splice(0));
    for (let step = 0; step < 40; step++) {
      const draw = random.below(6);
      const before = mirror.text;
      if (draw === 0) {
        mirror.type(random.text(5, "abc"));
        shown = typed = mirror.text;
      } else if (draw === 1 || draw === 2) {
        move(mirror, python, random.pick(["patch", "stride"]), random.below(50), { held: random.below(2) === 0 });
      } else if (draw === 3) {
        hands.go(random.below(300));
      } else if (open.length > 0) {
        // Answers come in the order of their questions, some of them never.
        const [next] = open.splice(0, 1 + random.below(2)).slice(-1);
        answer(mirror, next!);
        if (mirror.text !== before) shown = written.at(-1)!;
      }
      collect();
      assert.equal(mirror.text, shown, "what is shown is what the mirror has");
      assert.match(mirror.text, new RegExp(`^${typed}(;\\w+=\\d+)*$`), "what was typed is still there");
    }
    for (let rounds = 0; !mirror.settled; rounds++) {
      assert.ok(rounds < 50, "it comes to rest");
      hands.go(1000);
      collect();
      const next = open.pop();
      open.length = 0;
      if (next !== undefined && answer(mirror, next) === null && !mirror.settled) collect();
    }
    assert.equal(hands.waits, 0, "nothing waits at rest");
  });
});

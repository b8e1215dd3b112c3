import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFill, writeFill } from "../src/controls/fill";
import { written } from "../src/controls/source";
import { labelled } from "../src/controls/classes";
import { corrected, offset, runsByItself, tokenAt, tokens } from "../src/query";
import { always } from "./random";

const PIECES = ["OCCLUDE ", "'a b''c'", "'open", "-- note\n", " USING m", "patch(3, 4)", "\n", "1e3", ".5", "$img", "é😀", ";", "  "];

test("tokens joined are the text", () => {
  always((random) => {
    const text = Array.from({ length: random.below(9) }, () => random.pick(PIECES)).join("") + random.text(4);
    assert.equal(tokens(text).map((token) => token.text).join(""), text);
  });
});

test("places that Python counts in lines and code points", () => {
  const text = "OCCLUDE '😀' x\n  STRIED 4";
  assert.equal(text.slice(offset(text, 1, 13)), "x\n  STRIED 4");
  assert.equal(text.slice(offset(text, 2, 3)), "STRIED 4");
  assert.equal(offset(text, 9, 9), text.length);
  assert.equal(corrected(text, 2, 3, "STRIDE"), "OCCLUDE '😀' x\n  STRIDE 4");
  assert.equal(corrected("OCCLUDE x", 1, 10, " USING"), "OCCLUDE x USING");
  assert.deepEqual(tokenAt("a  b", 2), { from: 2, to: 2 });
});

test("a place is within its text, and what stands there holds it", () => {
  always((random) => {
    const text = random.text(30, "ab 1'\n😀");
    const place = offset(text, 1 + random.below(4), 1 + random.below(12));
    assert.ok(place >= 0 && place <= text.length);
    const { from, to } = tokenAt(text, place);
    assert.ok(from <= place && place <= to);
  });
});

test("a link runs one OCCLUDE by itself, and nothing that writes", () => {
  for (const text of ["OCCLUDE cat USING m", " occlude 'into;x' USING m ; ", "-- INTO; \nOCCLUDE cat USING m -- ;"]) {
    assert.equal(runsByItself(text), true, text);
  }
  for (const text of [
    "",
    "-- OCCLUDE",
    "SHOW MODELS",
    "EXPLAIN OCCLUDE cat USING m",
    "OCCLUDE cat USING m; DROP MODEL m",
    "OCCLUDE cat USING m INTO 'x.png'",
    "OCCLUDE cat USING m into run 'x'",
    "OCCLUDE cat USING m/**/INTO 'x'",
  ]) {
    assert.equal(runsByItself(text), false, text);
  }
});

test("fills that are read are written the same", () => {
  for (const text of ["black", "mean", "blur(8)", "blur(2.5)", "128", "0.5", "rgb(124, 116, 104)", "$patch", "rgb(0.5, 1, 2)"]) {
    assert.equal(writeFill(parseFill(text)), text);
  }
  assert.equal(parseFill("rgb(0, 300, 0)").kind, "other");
});

test("sources", () => {
  assert.equal(written("it's.png"), "'it''s.png'");
  for (const text of ["cat", "'a.png'", "$img", "?", "MANIFEST 'a.csv'"]) assert.equal(written(text), text);
  assert.equal(written("images/cat"), "'images/cat'");
});

test("labels that are there twice are told by their numbers", () => {
  assert.deepEqual(labelled(["cat", "crane", "crane", ""]).map(({ value }) => value), ["cat", "1", "2", "3"]);
});

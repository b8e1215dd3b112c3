import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFill, writeFill } from "../src/controls/fill";
import { written } from "../src/controls/source";
import { labelled } from "../src/controls/classes";
import type { Refusal } from "../src/protocol";
import { corrected, differing, droppedIn, offset, runsByItself, sameQuery, tokenAt, tokens } from "../src/query";
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
  assert.deepEqual(tokenAt("a  b", 2), { from: 2, to: 2 });
});

test("a suggestion stands where the mistake was, in place of a name with its quotes", () => {
  const refusal = (type: string, line: number | null, column: number, suggestion: string | null): Refusal => ({
    type, message: "", line, column, expected: [], suggestion,
  });
  const text = "OCCLUDE '😀' x\n  STRIED 4";
  assert.equal(corrected(text, refusal("ParseError", 2, 3, "STRIDE")), "OCCLUDE '😀' x\n  STRIDE 4");
  assert.equal(corrected("OCCLUDE x", refusal("ParseError", 1, 10, " USING")), "OCCLUDE x USING");
  const model = (written: string, column: number) =>
    corrected(`OCCLUDE x USING ${written} STRIDE 4`, refusal("UnknownName", 1, column, "'my net'"));
  assert.equal(model("my_net", 17), "OCCLUDE x USING 'my net' STRIDE 4");
  assert.equal(model("'my nett'", 18), "OCCLUDE x USING 'my net' STRIDE 4", "the place of a name is within its quotes");
  assert.equal(corrected(text, refusal("BindError", null, 3, "x")), null);
  assert.equal(corrected(text, refusal("BindError", 1, 3, null)), null);
});

test("queries are the same but for spaces, comments and the case of keywords", () => {
  assert.ok(sameQuery("OCCLUDE a USING b", "occlude  a -- this\n using b ;"));
  assert.ok(!sameQuery("OCCLUDE a USING b", "OCCLUDE a USING B"));
  assert.ok(!sameQuery("OCCLUDE a USING b", "OCCLUDE a USING 'b'"));
  assert.ok(!sameQuery("OCCLUDE a WITH patch(1, 12)", "OCCLUDE a WITH patch(11, 2)"));
  always((random) => {
    const text = random.text(20, "ab 1'-\n;");
    assert.ok(sameQuery(text, text));
  });
});

test("what differs between two queries, clause by clause", () => {
  const query = "OCCLUDE a WITH patch(8, 8) STRIDE 4 USING net";
  assert.equal(differing(query, query.toLowerCase().replace("stride ", "STRIDE  ")), null);
  assert.deepEqual(differing(query, query.replace("8)", "8) FILL blur(8)")), { a: "black", b: "blur(8)" });
  assert.deepEqual(differing(query, `${query} FOR CLASS 'cup'`), { a: "the predicted class", b: "CLASS 'cup'" });
  assert.deepEqual(differing(query, query.replace("net", "'a b'")), { a: "net", b: "'a b'" });
  assert.deepEqual(differing(query, query.replace("STRIDE 4", "STRIDE 2").replace("net", "other")), {
    a: "STRIDE 4, net",
    b: "STRIDE 2, other",
  });
  assert.deepEqual(differing(`${query} WITHIN box(1, 2, 3, 4)`, query), { a: "WITHIN box(1, 2, 3, 4)", b: "no WITHIN" });
});

test("what of a query no link can take along", () => {
  const samples = ["chelsea"];
  for (const text of ["OCCLUDE chelsea USING m", "OCCLUDE 'my cat.png' USING m", "SHOW MODELS", "", "OCCLUDE '$a' USING m"]) {
    assert.equal(droppedIn(text, samples), null, text);
  }
  assert.match(droppedIn("OCCLUDE chelsea USING m WITHIN mask($painted)", samples)!, /painted on this page/);
  assert.match(droppedIn("OCCLUDE $image USING m", samples)!, /\$image/);
  assert.match(droppedIn("occlude my_cat using m", samples)!, /my_cat/);
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

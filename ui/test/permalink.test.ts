import assert from "node:assert/strict";
import { test } from "node:test";
import { changedSince, readFragment, writeFragment } from "../src/permalink";
import { always } from "./random";

test("a link gives back its query and identities, also beside a token", () => {
  always((random) => {
    const link = {
      query: random.text(60),
      model: random.pick([null, random.text(20)]),
      source: random.pick([null, random.text(20)]),
    };
    const fragment = writeFragment(link);
    assert.match(fragment, /^#[\x21-\x7e]*$/);
    assert.deepEqual(readFragment(fragment), { token: null, permalink: link });
    assert.deepEqual(readFragment(fragment + "&token=abc"), { token: "abc", permalink: link });
    assert.deepEqual(readFragment("#token=abc&" + fragment.slice(1)), { token: "abc", permalink: link });
  });
});

test("any fragment is read without an error", () => {
  always((random) => void readFragment("#" + random.text(40, "query=&%2modelé")));
  assert.deepEqual(readFragment(""), { token: null, permalink: null });
  assert.deepEqual(readFragment("#query=%zz&token=1"), { token: "1", permalink: null });
});

test("what a link does not know is not compared", () => {
  const now = { model: "m", source: "s" };
  assert.equal(changedSince({ query: "", model: null, source: null }, now), null);
  assert.equal(changedSince({ query: "", model: "m", source: "s" }, now), null);
  assert.match(changedSince({ query: "", model: "n", source: "s" }, now)!, /the model behind these names is another/);
  assert.match(changedSince({ query: "", model: "n", source: "t" }, now)!, /the model and the image behind these names are others/);
});

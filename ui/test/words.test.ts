import assert from "node:assert/strict";
import { test } from "node:test";
import { planInWords, ratesInWords } from "../src/panels/plan";
import { checkInWords } from "../src/panels/probe";
import { cellInWords, checkedInWords, qualityInWords } from "../src/panels/result";
import { unknownClass } from "../src/controls/classes";
import { meant } from "../src/parts/combobox";
import { searched } from "../src/parts/search";
import { notWhole } from "../src/parts/number";
import { changeOf, probedInWords, unmodified } from "../src/scores";
import { ofNotebook } from "../src/theme";

test("checks", () => {
  assert.equal(checkedInWords({ checked: null }), null);
  assert.match(checkedInWords({ checked: { positions: 1, worst: 0.031 } })!, /at 1 position: the largest difference is 3\.1 % of/);
  assert.match(checkedInWords({ checked: { positions: 0, worst: 0 } })!, /on the unmodified image/);
  assert.match(checkedInWords({ checked: { positions: 6, worst: 2 } })!, /failed/);
  assert.match(checkedInWords({ checked: { positions: 6, worst: NaN } })!, /failed/);
  assert.match(checkInWords({ kdb: 0.5, model: 0.5, difference: 0, ratio: 0 }), /kdb is right here/);
  assert.match(checkInWords({ kdb: 0.5, model: 0.6, difference: -0.1, ratio: 40 }), /more than it may be/);
});

test("plans", () => {
  const plan = { text: "", rates_origin: "default" as const, positions: 2809, naive_macs: 100, planned_macs: 11, notes: [], rules: [], stages: [], layers: [] };
  assert.match(planInWords({ ...plan, expected_seconds: 10, naive_seconds: 39 }), /^Expected: 3\.9× as fast as full inference.*2809 positions.*\(11 %\)/);
  assert.match(planInWords({ ...plan, expected_seconds: 10, naive_seconds: 10.1 }), /^Expected: as fast as full inference/);
  assert.match(planInWords({ ...plan, expected_seconds: 20, naive_seconds: 10 }), /^Expected: 2\.0× the time/);
  assert.match(ratesInWords(plan)!, /of another machine.*CALIBRATE/);
  assert.equal(ratesInWords({ rates_origin: "measured" }), null);
});

test("what a text in a list of names means", () => {
  const choices = ["resnet18", "alexnet", "Alexnet_large", "net"].map((name) => ({ value: name, text: name }));
  const named = (text: string, entered: boolean): string | undefined => meant(choices, text, entered)?.text;
  assert.equal(named("alex", true), "alexnet");
  assert.equal(named("alex", false), undefined, "a field that is left takes whole names");
  assert.equal(named("NET", false), "net");
  assert.equal(named("net", true), "net", "and not what only holds it");
  assert.equal(named("18", true), undefined);
  assert.equal(named("no such model", true), undefined);
  const labels = ["tabby, tabby cat", "fish"];
  assert.equal(unknownClass(labels, "Tabby cat"), null);
  assert.equal(unknownClass(labels, "1"), null);
  assert.match(unknownClass(labels, "2")!, /from 0 to 1/);
  assert.match(unknownClass(labels, "cat")!, /no class 'cat'/);
  assert.equal(unknownClass([], "cat"), null, "the labels are not known");
});

test("notebooks' themes", () => {
  const body = (dataset: object, className = "", inside: string | null = null): HTMLElement =>
    ({
      dataset,
      className,
      closest: () => (inside === null ? null : { classList: { contains: (name: string) => name === inside } }),
    }) as never;
  const nothing = body({});
  assert.equal(ofNotebook(nothing, body({ jpThemeLight: "false" })), "dark");
  assert.equal(ofNotebook(nothing, body({ jpThemeLight: "true" })), "light");
  assert.equal(ofNotebook(nothing, body({ vscodeThemeKind: "vscode-dark" })), "dark");
  assert.equal(ofNotebook(nothing, body({ vscodeThemeKind: "vscode-high-contrast" })), "dark");
  assert.equal(ofNotebook(nothing, body({ vscodeThemeKind: "vscode-high-contrast-light" })), "light");
  assert.equal(ofNotebook(nothing, body({}, "vscode-dark")), "dark");
  assert.equal(ofNotebook(body({}, "", "dark"), body({})), "dark");
  assert.equal(ofNotebook(nothing, nothing), null);
});

test("a drop is told by itself, and what it leaves of the score", () => {
  assert.equal(probedInWords("drop", 0.0348, 0.951), "drop 0.0348, from 0.951 to 0.916");
  assert.equal(probedInWords("drop", 4e-5, 0.2119), "drop 4.00e-5, from 0.211900 to 0.211860", "the two can be told apart");
  assert.equal(probedInWords("drop", 0, 0.2119), "drop 0, from 0.212 to 0.212");
  assert.equal(probedInWords("logit_drop", -1.5, 8), "logit drop \u22121.50, from 8.00 to 9.50");
  assert.equal(probedInWords("probability", 0.916, 0.951), "0.9160, \u22120.0350 from the unmodified image");
  assert.deepEqual(changeOf("drop", 0.25, 0.75), {
    name: "Drop",
    patched: 0.5,
    change: "0.250",
    ends: ["0.750", "0.500"],
  });
  assert.equal(unmodified("drop", 0.9511), "probability 0.9511 unmodified");
  assert.equal(unmodified("logit_drop", 8.125), "logit 8.125 unmodified");
});

test("one position is one", () => {
  const map = { exact: true, complete: true, ssim: null, done: 1, total: 1 };
  assert.equal(qualityInWords(map as never), "Exact, the 1 position evaluated");
  assert.equal(qualityInWords({ ...map, done: 9, total: 9 } as never), "Exact, all 9 positions evaluated");
});

test("a search finds the name itself first, then words, beginnings of words and parts of them", () => {
  const names = ["vacation", "catamaran", "tabby, tabby cat", "Persian cat", "concatenate", "cat", "dog"];
  const all = names.map((text, at) => ({ text, hint: String(at) }));
  const found = (search: string) => searched(all, search).map(({ text }) => text);
  assert.deepEqual(found("Cat "), ["cat", "tabby, tabby cat", "Persian cat", "catamaran", "vacation", "concatenate"]);
  assert.deepEqual(found("cat tab"), ["tabby, tabby cat"]);
  assert.deepEqual(found("6"), ["dog"]);
  assert.deepEqual(found(""), names);
});

test("numbers that are not whole are refused in words", () => {
  assert.equal(notWhole(3, 1), null);
  assert.equal(notWhole(10 ** 6, 1), null);
  assert.equal(notWhole(2.5, 1), "A whole number, 1 or more.");
  assert.equal(notWhole(9, 1, 8), "A whole number, 1 or more and at most 8.");
});

test("cells of tables have the digits that are read", () => {
  assert.deepEqual([3.8520416617393494e-5, 0.7071067811865476, 169, 1e6, null, true, "a"].map(cellInWords), ["3.852e-5", "0.7071", "169", "1000000", "", "true", "a"]);
});

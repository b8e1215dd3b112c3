import assert from "node:assert/strict";
import { test } from "node:test";
import { planInWords } from "../src/panels/plan";
import { checkInWords } from "../src/panels/probe";
import { checkedInWords } from "../src/panels/result";
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
  const plan = { text: "", positions: 2809, naive_macs: 100, planned_macs: 11, notes: [], rules: [], stages: [], layers: [] };
  assert.match(planInWords({ ...plan, expected_seconds: 10, naive_seconds: 39 }), /^3\.9× as fast as full inference.*2809 positions.*\(11 %\)/);
  assert.match(planInWords({ ...plan, expected_seconds: 10, naive_seconds: 10.1 }), /^As fast as full inference/);
  assert.match(planInWords({ ...plan, expected_seconds: 20, naive_seconds: 10 }), /^2\.0× the time/);
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

/** As much of the query language as colours, permalinks and captions need; Python alone decides what a text means. */

import type { Refusal } from "./protocol";

export type Mark = "keyword" | "string" | "number" | "comment" | "parameter" | "name" | "space" | "sign";

export interface Token {
  mark: Mark;
  text: string;
}

const KEYWORDS = new Set(
  `occlude with patch segments in source fill channels stride using for predicted class classes top all detection score
  to over box mask within at exact precision on into run via threshold auto drill down speedup coarse approximate ssim
  guaranteed refine percent budget seconds explain analyze verify calibrate tune create or replace model from labels
  input drop show set reset resume manifest`.split(/\s+/),
);

const TOKEN =
  /(?<comment>--[^\n]*)|(?<string>'(?:[^']|'')*'?)|(?<parameter>\$\w+|\?)|(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?<name>[\p{L}_][\p{L}\p{N}_]*)|(?<space>\s+)|(?<sign>[^])/gu;

/** The tokens of a text, which joined are the text. */
export function tokens(text: string): Token[] {
  return [...text.matchAll(TOKEN)].map((match) => {
    const [mark] = Object.entries(match.groups!).find(([, found]) => found !== undefined)!;
    const keyword = mark === "name" && KEYWORDS.has(match[0].toLowerCase());
    return { mark: keyword ? "keyword" : (mark as Mark), text: match[0] };
  });
}

/** Whether a text that came with a link may run by itself: one OCCLUDE, which writes no file. */
export function runsByItself(text: string): boolean {
  const meant = tokens(text).filter(({ mark }) => mark !== "comment" && mark !== "space");
  while (meant.at(-1)?.text === ";") meant.pop();
  return (
    meant[0]?.text.toLowerCase() === "occlude" &&
    meant.every(({ mark, text }) => text !== ";" && !(mark === "keyword" && /^into$/i.test(text)))
  );
}

/** Where in a text, counted as JavaScript does, a place is that Python counts from 1, in lines and code points. */
export function offset(text: string, line: number, column: number): number {
  const lines = text.split("\n");
  const before = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  const within = [...(lines[line - 1] ?? "")].slice(0, column - 1).join("").length;
  return Math.min(before + within, text.length);
}

/** What stands at a place: a whole token; at the end of the text, or between two, nothing. */
export function tokenAt(text: string, place: number): { from: number; to: number } {
  let from = 0;
  for (const { mark, text: token } of tokens(text)) {
    const to = from + token.length;
    if (place < to) return mark === "space" ? { from: place, to: place } : { from, to };
    from = to;
  }
  return { from: text.length, to: text.length };
}

/** The text with what stands at an error's place replaced by its suggestion; null where it has none. */
export function corrected(text: string, { line, column, suggestion }: Refusal): string | null {
  if (suggestion === null || line === null || column === null) return null;
  const { from, to } = tokenAt(text, offset(text, line, column));
  return text.slice(0, from) + suggestion + text.slice(to);
}

/** What a text means: its tokens, keywords in lower case. */
function meaning(text: string): Token[] {
  const found = tokens(text)
    .filter(({ mark }) => mark !== "comment" && mark !== "space")
    .map((token) => (token.mark === "keyword" ? { ...token, text: token.text.toLowerCase() } : token));
  while (found.at(-1)?.text === ";") found.pop();
  return found;
}

const joined = (found: readonly Token[]): string => found.map(({ text }) => text).join("\n");

/** Whether two texts say the same, but for spaces, comments and the case of keywords. */
export const sameQuery = (one: string, two: string): boolean => one === two || joined(meaning(one)) === joined(meaning(two));

const CLAUSES = /^(occlude|with|fill|channels|stride|using|for|score|over|within|at|exact|approximate|threshold|drill|budget|precision|on|into)$/;

/** What is so where a clause is not written. */
const UNWRITTEN: Record<string, string> = { fill: "black", for: "the predicted class", score: "probability", stride: "no STRIDE" };

/** The clauses of a query as they are written, by the keyword that each begins with. */
function clausesOf(text: string): Map<string, string> {
  const found = new Map<string, string>();
  let head = "";
  for (const { mark, text: token } of tokens(text)) {
    if (mark === "keyword" && CLAUSES.test(token.toLowerCase())) head = token.toLowerCase();
    found.set(head, (found.get(head) ?? "") + (mark === "comment" || mark === "space" ? " " : token));
  }
  return found;
}

/** The keywords of the clauses that are not the same in two queries. */
export function changedClauses(a: string, b: string): string[] {
  const [first, second] = [clausesOf(a), clausesOf(b)];
  return [...new Set([...first.keys(), ...second.keys()])].filter(
    (head) => !sameQuery(first.get(head) ?? "", second.get(head) ?? ""),
  );
}

/** What differs between two queries, as each of them has it; null where nothing does. */
export function differing(a: string, b: string): { a: string; b: string } | null {
  const [first, second] = [clausesOf(a), clausesOf(b)];
  const heads = changedClauses(a, b);
  const words = (of: Map<string, string>): string =>
    heads
      .map((head) => {
        const clause = of.get(head)?.trim().replace(/\s+/g, " ");
        if (clause === undefined) return UNWRITTEN[head] ?? `no ${head.toUpperCase()}`;
        return /^(occlude|fill|using|for|score)$/.test(head) ? clause.slice(head.length).trim() : clause;
      })
      .join(", ");
  return heads.length === 0 ? null : { a: words(first), b: words(second) };
}

/** What of a query is on this page alone, in words: images and masks that have no path and no sample's name. */
export function droppedIn(text: string, samples: readonly string[]): string | null {
  const found = meaning(text);
  const parameter = found.find(({ mark }) => mark === "parameter")?.text;
  if (parameter === "$painted") return "the mask was painted on this page.";
  if (parameter !== undefined) return `${parameter} is known to this page alone.`;
  const [first, source] = found;
  const dropped = first?.text === "occlude" && source?.mark === "name" && !samples.includes(source.text);
  return dropped ? `the image ${source.text} was given to this page alone.` : null;
}

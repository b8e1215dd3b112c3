/** As much of the query language as colours and permalinks need; Python alone decides what a text means. */

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

/** The text with what stands at a place replaced by a suggestion. */
export function corrected(text: string, line: number, column: number, suggestion: string): string {
  const { from, to } = tokenAt(text, offset(text, line, column));
  return text.slice(0, from) + suggestion + text.slice(to);
}

/** How well a text answers a search: what begins with it comes before what only holds it. */

export interface Searched {
  text: string;
  hint?: string | undefined;
}

const WORDS = /[\p{L}\p{N}_]+/gu;

/** 0 for all of the text, 1 for a whole word of it, 2 for the beginning of a word, 3 for a part; null for none. */
function rankOf({ text, hint = "" }: Searched, search: string, words: readonly string[]): number | null {
  const [name, aside] = [text.toLowerCase(), hint.toLowerCase()];
  if (name === search || aside === search) return 0;
  const all = `${name} ${aside}`;
  const found = new Set(all.match(WORDS));
  let worst = 1;
  for (const word of words) {
    if (!all.includes(word)) return null;
    const rank = found.has(word) ? 1 : [...found].some((each) => each.startsWith(word)) ? 2 : 3;
    worst = Math.max(worst, rank);
  }
  return worst;
}

/** What answers a search, the best first, and what is as good in its own order. */
export function searched<Of extends Searched>(all: readonly Of[], search: string): Of[] {
  const sought = search.trim().toLowerCase();
  const words = sought.split(/\s+/).filter(Boolean);
  if (words.length === 0) return [...all];
  const ranked = all.map((each) => ({ each, rank: rankOf(each, sought, words) }));
  return ranked
    .filter(({ rank }) => rank !== null)
    .sort((one, two) => one.rank! - two.rank!)
    .map(({ each }) => each);
}

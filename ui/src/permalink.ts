/** Links to a query: `#query=<text>&model=<identity>&source=<digest>`, beside which a `token` may stand. */

export interface Permalink {
  query: string;
  /** What model and image were when the link was made; null where that was not known. */
  model: string | null;
  source: string | null;
}

/** Fragments are read by hand: `URLSearchParams` would take the plus signs of a query for spaces. */
function fields(fragment: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const field of fragment.replace(/^#/, "").split("&")) {
    const equals = field.indexOf("=");
    if (equals < 1) continue;
    try {
      found.set(decodeURIComponent(field.slice(0, equals)), decodeURIComponent(field.slice(equals + 1)));
    } catch {
      // Not percent-encoded: a link that was cut off.  The other fields still count.
    }
  }
  return found;
}

export function readFragment(fragment: string): { token: string | null; permalink: Permalink | null } {
  const found = fields(fragment);
  const query = found.get("query");
  const permalink =
    query === undefined ? null : { query, model: found.get("model") ?? null, source: found.get("source") ?? null };
  return { token: found.get("token") ?? null, permalink };
}

export function writeFragment({ query, model, source }: Permalink): string {
  const written = [["query", query], ["model", model], ["source", source]].flatMap(([name, value]) =>
    value === null ? [] : [`${name}=${encodeURIComponent(value!.toWellFormed?.() ?? value!)}`],
  );
  return "#" + written.join("&");
}

/** What has become of model and image since the link was made, in words; null where they are the same. */
export function changedSince(link: Permalink, now: { model: string; source: string | null }): string | null {
  const others = [
    link.model !== null && link.model !== now.model ? "the model" : null,
    link.source !== null && link.source !== now.source ? "the image" : null,
  ].filter((each) => each !== null);
  if (others.length === 0) return null;
  const are = others.length > 1 ? "are others" : "is another";
  return `Since this link was made, ${others.join(" and ")} behind these names ${are}: the map may differ.`;
}

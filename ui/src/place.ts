import type { Permalink } from "./permalink";

/**
 * lost: there is none, and it is tried again at times; gone: is tried again only on request; refused: so too, as whoever
 * answers at the address does not let this page in.
 */
export type Connection = "opening" | "open" | "lost" | "gone" | "refused";

/**
 * What a page of its own has and a notebook has not: an address, and a connection that can break.  The page's model
 * gives it as its value `place`, and says `change:connection` when that has changed.
 */
export interface Place {
  permalink: Permalink | null;
  /** The address of this page with a query in it. */
  address(permalink: Permalink): string;
  /** The text that stood here before the page was loaded again; null where none did. */
  kept(): string | null;
  keep(text: string): void;
  readonly connection: Connection;
  reconnect(): void;
}

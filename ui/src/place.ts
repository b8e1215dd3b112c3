import type { Permalink } from "./permalink";

/** none: not yet; lost: was there, and is tried again at times; gone: is tried again only on request. */
export type Connection = "opening" | "open" | "lost" | "gone";

/**
 * What a page of its own has and a notebook has not: an address, and a connection that can break.  The page's model
 * gives it as its value `place`, and says `change:connection` when that has changed.
 */
export interface Place {
  permalink: Permalink | null;
  /** The address of this page with a query in it. */
  address(permalink: Permalink): string;
  readonly connection: Connection;
  reconnect(): void;
}

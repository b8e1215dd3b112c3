import { h, say, set, show } from "../dom";
import { copy } from "../parts/copy";
import { button, type Panel } from "../parts/field";

/** What happened beside queries, and what became of a link. */
export const message: Panel = (session) => {
  const text = h("p", {});
  const linked = h("p", { "data-testid": "permalink-says" });
  const element = h(
    "div",
    { class: "kdb-message", hidden: true },
    h("div", { role: "status" }, text, linked),
    button("Close", () => session.silence(), { testid: "message-close", symbol: "close", quiet: true, only: true }),
  );
  const holder = h("div", { class: "kdb-messages", "data-testid": "message" }, element);
  session.store.watch(["message", "permalinkSays"], ({ message, permalinkSays }) => {
    show(element, message !== null || permalinkSays !== null);
    say(text, message?.text ?? "");
    show(text, message !== null);
    say(linked, permalinkSays ?? "");
    show(linked, permalinkSays !== null);
    set(element, "data-tone", message?.tone ?? "warning");
  });
  return holder;
};

/** A connection that is not there; nothing on the screen goes away meanwhile. */
export const connection: Panel = (session) => {
  const text = h("p", {});
  const again = button("Connect again", () => session.place?.reconnect(), { testid: "reconnect" });
  const element = h("div", { class: "kdb-message kdb-disconnected", role: "alert", "data-tone": "error", "data-testid": "connection" }, text, again);
  session.store.watch(["connection", "welcome"], ({ connection, welcome }) => {
    // Whom kdb never let in is told below, where there is room for it.
    const broken = connection in LOST && !(welcome === null && connection === "refused");
    show(element, broken);
    say(text, !broken ? "" : welcome === null ? NEVER : LOST[connection as keyof typeof LOST]);
    set(element, "data-connection", connection);
  });
  return element;
};

/** In place of the page, for a browser that kdb answers and does not let in: why, how to get in, and what the link is about. */
export const locked: Panel = (session) => {
  const query = session.place?.permalink?.query ?? null;
  const said = h("span", { class: "kdb-note", role: "status" });
  const copied = async (): Promise<void> => say(said, (await copy(query ?? "")) ? "The query is copied." : "The clipboard is closed to this page.");
  const element = h(
    "section",
    { class: "kdb-locked", "aria-label": "No access", "data-testid": "locked" },
    h("h3", { class: "kdb-heading" }, "This browser has no key to this page"),
    h("p", {}, "kdb answers here, but lets in only those who have its key. What this page was opened with has none, or that of a server that has ended: each start of kdb ui makes a new one."),
    h("p", {}, "Open the address that ", h("code", {}, "kdb ui"), " printed when it was started, all of it with what is behind its #, in this browser. ", query === null ? "" : "Then press Connect again, and this page shows what its link is about."),
    query === null
      ? null
      : h(
          "div",
          { class: "kdb-stack" },
          h("h4", { class: "kdb-subheading" }, "The query of the link"),
          h("pre", { class: "kdb-lines kdb-locked-query", "data-testid": "locked-query" }, query),
        ),
    h(
      "div",
      { class: "kdb-row" },
      button("Connect again", () => session.place?.reconnect(), { testid: "locked-reconnect" }),
      query === null ? null : button("Copy query", () => void copied(), { testid: "locked-copy", symbol: "copy" }),
      said,
    ),
  );
  session.store.watch(["connection", "welcome"], ({ connection, welcome }) => show(element, welcome === null && connection === "refused"));
  return element;
};

const NEVER = "kdb does not answer at this address. If it was ended, start kdb ui again and open the address that it prints.";

const LOST = {
  lost: "The connection to kdb is lost. It is tried again by itself; what is on this page stays.",
  gone:
    "kdb does not answer any more. If it was ended, start kdb ui again and open the address that it prints; what is on " +
    "this page stays.",
  refused: "kdb ui was started again: open the address that it printed. What is on this page stays.",
};

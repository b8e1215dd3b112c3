import { h, say, set, show } from "../dom";
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
    const broken = connection in LOST;
    show(element, broken);
    say(text, !broken ? "" : welcome === null ? NEVER : LOST[connection as keyof typeof LOST]);
    set(element, "data-connection", connection);
  });
  return element;
};

const NEVER = "kdb does not answer this page. Open the address that kdb ui printed, with all that is behind its #.";

const LOST = {
  lost: "The connection to kdb is lost. It is tried again by itself; what is on this page stays.",
  gone:
    "kdb does not answer any more. If it was ended, start kdb ui again and open the address that it prints; what is on " +
    "this page stays.",
  refused: "kdb ui was started again: open the address that it printed. What is on this page stays.",
};

import { fill, h, say, set, show, unique } from "../dom";
import { button, choice, type Panel } from "../parts/field";
import { copy } from "../parts/copy";
import type { Refusal } from "../protocol";
import { offset, tokenAt, tokens } from "../query";
import { typedBy, undoes } from "../undo";

/** Colours the text, and marks the place of an error; a line end at the end still makes a line. */
function marked(text: string, error: Refusal | null): Node[] {
  const place = error?.line != null && error.column != null ? offset(text, error.line, error.column) : null;
  const wrong = place === null ? null : tokenAt(text, place);
  const nodes: Node[] = [];
  let at = 0;
  for (const token of tokens(text)) {
    const piece = h("span", { class: `kdb-token-${token.mark}` }, token.text);
    if (wrong !== null && wrong.from < wrong.to && at <= wrong.from && wrong.to <= at + token.text.length) {
      piece.classList.add("kdb-wrong");
    }
    if (wrong !== null && wrong.from === wrong.to && at <= wrong.from && wrong.from < at + token.text.length) {
      const before = token.text.slice(0, wrong.from - at);
      nodes.push(document.createTextNode(before), h("span", { class: "kdb-wrong-here" }), document.createTextNode(token.text.slice(before.length)));
    } else {
      nodes.push(piece);
    }
    at += token.text.length;
  }
  if (wrong !== null && wrong.from === text.length) nodes.push(h("span", { class: "kdb-wrong-here" }));
  nodes.push(document.createTextNode("\n"));
  return nodes;
}

export const editor: Panel = (session) => {
  const { store } = session;
  const message = h("div", { class: "kdb-error", id: unique("error"), "data-testid": "error" });
  const layer = h("pre", { class: "kdb-layer", "aria-hidden": "true" });
  const text = h("textarea", {
    class: "kdb-text",
    id: unique("query"),
    rows: 1,
    spellcheck: "false",
    autocomplete: "off",
    autocapitalize: "off",
    "aria-describedby": message.id,
    "data-testid": "query",
  });
  text.addEventListener("input", (event) => session.type(text.value, typedBy(event)));
  undoes(text, (way) => session.undo(way));

  const apple = /Mac|iPhone|iPad/.test(navigator.platform);
  const run = button("Run", () => session.run(), { testid: "run", symbol: "run" });
  run.classList.add("kdb-primary");
  run.title = apple ? "⌘ Enter" : "Ctrl + Enter";
  set(run, "aria-keyshortcuts", apple ? "Meta+Enter" : "Control+Enter");
  const stop = button("Stop", () => session.stop(), { testid: "stop", symbol: "stop" });
  const onChange = h("input", { type: "checkbox", "data-testid": "run-on-change" });
  onChange.addEventListener("change", () => store.set({ runsOnChange: onChange.checked }));

  const said = h("span", { class: "kdb-note", role: "status", "data-testid": "copied" });
  const copied = async (what: string, given: string | null): Promise<void> => {
    say(said, "");
    if (given !== null) say(said, (await copy(given)) ? `${what} is copied.` : "The clipboard is closed to this page.");
  };
  const copyText = button("Copy query", () => void copied("The query", store.state.text), { testid: "copy", symbol: "copy", quiet: true });
  const link = button("Copy link", () => void copied("A link to this query", session.permalink()), {
    testid: "permalink",
    symbol: "link",
    quiet: true,
  });
  show(link, session.place !== null);

  store.watch(["text"], (state) => {
    fill(text, state.text);
    say(said, "");
  });
  store.watch(["text", "error", "errorText"], (state) => {
    // An error is shown as long as it is about the text that stands there; one without a place, under the image.
    const error = state.errorText === state.text && state.error?.line != null ? state.error : null;
    layer.replaceChildren(...marked(state.text, error));
    set(text, "aria-invalid", error === null ? null : "true");
    explain(error);
  });
  store.watch(["run"], ({ run: { state, stopping } }) => {
    show(stop, state === "running");
    stop.disabled = stopping;
    say(stop.lastElementChild!, stopping ? "Stopping…" : "Stop");
  });

  function explain(error: Refusal | null): void {
    show(message, error !== null);
    message.replaceChildren();
    if (error === null) return;
    const place = `Line ${error.line}, column ${error.column}: `;
    message.append(h("p", { role: "alert" }, h("span", { class: "kdb-place" }, place), error.message));
    const { suggestion, expected } = error;
    if (suggestion !== null) {
      const apply = button(`Use ${suggestion}`, () => (session.correct(), text.focus()), { testid: "suggestion", symbol: "run" });
      message.append(h("p", { class: "kdb-row" }, "Did you mean ", apply));
    }
    if (expected.length > 0) {
      const list = h("span", { class: "kdb-expected", "data-testid": "expected" });
      expected.forEach((each) => list.append(h("code", {}, each), " "));
      message.append(h("p", { class: "kdb-note" }, "Expected: ", list));
    }
  }

  return h(
    "section",
    { class: "kdb-editor", "aria-label": "Query text" },
    h("label", { for: text.id, class: "kdb-unseen" }, "Query"),
    h("div", { class: "kdb-writing" }, layer, text),
    message,
    h("div", { class: "kdb-row kdb-actions" }, run, choice("Run as I change", onChange, "Runs when a control is released. Boxes and masks that are drawn run in any case."), stop, h("span", { class: "kdb-gap" }), said, copyText, link),
  );
};

import { h, say, show } from "../dom";
import type { Panel } from "../parts/field";
import type { State } from "../state";

/** What has to come before anything can be done; null where all has. */
function awaited({ connection, welcome, form, error, settled }: State): string | null {
  if (welcome === null) return connection === "open" ? "kdb is starting: it loads what its models need…" : "Connecting…";
  if (error !== null || (settled && form === null)) return null;
  return form?.size == null ? "Loading the model and the image…" : null;
}

/** What there is to do before anything was done. */
export const start: Panel = (session) => {
  const samples = h("div", { class: "kdb-chips kdb-center" });
  const drop = h("p", { class: "kdb-note" }, "or drop an image of yours anywhere here");
  const what = h("p", { role: "status" });
  const choice = h("div", { class: "kdb-stack" }, samples, drop);
  const element = h(
    "div",
    { class: "kdb-start", "data-testid": "start" },
    what,
    choice,
  );
  session.store.watch(["welcome"], ({ welcome }) => {
    samples.replaceChildren(
      ...(welcome?.samples ?? []).map(({ name, title }) =>
        h(
          "button",
          { type: "button", class: "kdb-chip", on: { click: () => session.change({ control: "source", value: name }) } },
          title || name,
        ),
      ),
    );
    show(drop, welcome !== null && welcome.root !== null);
  });
  session.store.watch(["a", "run", "form", "error", "settled", "welcome", "connection"], (state) => {
    const { a, run, form } = state;
    const waits = awaited(state);
    show(element, a === null && run.state === "idle" && form?.picture == null);
    show(choice, waits === null);
    say(what, waits ?? "Choose an image, then run the query below.");
  });
  return element;
};

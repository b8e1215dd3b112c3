import { h, show } from "../dom";
import type { Panel } from "../parts/field";

/** What there is to do before anything was done. */
export const start: Panel = (session) => {
  const samples = h("div", { class: "kdb-chips kdb-center" });
  const drop = h("p", { class: "kdb-note" }, "or drop an image of yours anywhere here");
  const element = h(
    "div",
    { class: "kdb-start", "data-testid": "start" },
    h("p", {}, "Choose an image, then run the query below."),
    samples,
    drop,
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
  session.store.watch(["a", "run", "form"], ({ a, run, form }) => show(element, a === null && run.state === "idle" && form?.picture == null));
  return element;
};

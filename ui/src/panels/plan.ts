import { h, say, set, show } from "../dom";
import { count, counted, magnitude, seconds, times } from "../format";
import { disclosure, scrolled, table, type Panel } from "../parts/field";
import type { Plan } from "../protocol";
import { sameQuery } from "../query";
import type { State } from "../state";

/** What the query of a plan took, if it was run last, and to its end. */
function measured({ run, plan }: State): number | null {
  return run.state === "done" && !run.both && run.maps > 0 && plan !== null && sameQuery(run.texts.a, plan.text) ? run.seconds : null;
}

/** Where the estimates are of; null where they are of this machine, as it was measured. */
export function ratesInWords({ rates_origin: origin }: Pick<Plan, "rates_origin">): string | null {
  if (origin === "measured") return null;
  const whose = origin === "default" ? "of another machine" : "by a data sheet";
  return `These are estimates ${whose}, and tell how the two compare. CALIBRATE measures the speed of this one.`;
}

/** A measured time has a bar beside estimates only where they are of the same machine. */
function bars(plan: Plan, took: number | null): HTMLElement {
  const { expected_seconds: planned, naive_seconds: naive } = plan;
  const rates = ratesInWords(plan);
  const beside = rates === null ? took : null;
  const longest = Math.max(planned, naive, beside ?? 0, Number.MIN_VALUE);
  const bar = (name: string, value: number, kind: string): HTMLElement => {
    const full = h("div", { class: `kdb-bar-full kdb-bar-${kind}` });
    full.style.width = `${(100 * value) / longest}%`;
    return h("div", { class: "kdb-bar-row" }, h("span", {}, name), h("div", { class: "kdb-bar-track" }, full), h("span", { class: "kdb-bar-value" }, seconds(value)));
  };
  return h(
    "div",
    { class: "kdb-bar-chart", "data-testid": "plan-bars" },
    bar("kdb, expected", planned, "planned"),
    beside === null ? null : bar("kdb, measured", beside, "measured"),
    bar("Full inference", naive, "naive"),
    rates === null ? null : h("p", { class: "kdb-note" }, rates),
    took === null || beside !== null ? null : h("p", {}, `Measured here: kdb took ${seconds(took)}.`),
  );
}

export function planInWords(plan: Plan): string {
  const ratio = plan.naive_seconds / plan.expected_seconds;
  const faster =
    ratio >= 1.05
      ? `${times(ratio)} as fast as full inference`
      : ratio > 1 / 1.05
        ? "as fast as full inference"
        : `${times(1 / ratio)} the time of full inference`;
  const share = plan.naive_macs > 0 ? ` (${((100 * plan.planned_macs) / plan.naive_macs).toFixed(0)} %)` : "";
  return (
    `Expected: ${faster}, with ${counted(plan.positions, "position")}, ` +
    `${magnitude(plan.planned_macs)} of ${magnitude(plan.naive_macs)} multiply-adds${share}.`
  );
}

function rules({ rules }: Plan): HTMLElement {
  const one = ({ name, fired, reason, approximate, summary }: Plan["rules"][number]): HTMLElement => {
    const named = [h("code", {}, name), approximate ? h("span", { class: "kdb-tag" }, "approximate") : null];
    const says = (text: string): HTMLElement => h("span", { class: "kdb-note" }, ` ${text}`);
    const shown =
      reason === ""
        ? [...named, says(summary)]
        : [h("details", { class: "kdb-rule" }, h("summary", { title: summary }, ...named, says(reason)), h("p", {}, summary))];
    return h("li", { "data-fired": String(fired) }, ...shown);
  };
  const fired = rules.filter((rule) => rule.fired);
  const idle = rules.filter((rule) => !rule.fired);
  return h(
    "div",
    { "data-testid": "plan-rules" },
    h("h4", { class: "kdb-subheading" }, fired.length > 0 ? "Rules that made the plan" : "No rule applied"),
    h("ul", { class: "kdb-rules" }, ...fired.map(one)),
    idle.length > 0
      ? h(
          "details",
          { class: "kdb-fold" },
          h("summary", {}, `${idle.length} rules that did not apply`),
          h("ul", { class: "kdb-rules" }, ...idle.map(one)),
        )
      : null,
  );
}

function stages({ stages }: Plan): HTMLElement {
  const rows = stages.map(({ name, layers, planned_macs, naive_macs, seconds: expected }) => [
    name,
    count(layers),
    magnitude(planned_macs),
    magnitude(naive_macs),
    seconds(expected),
  ]);
  return h(
    "div",
    {},
    h("h4", { class: "kdb-subheading" }, "Stages"),
    h("p", { class: "kdb-note" }, "Thread-seconds are those of all threads together: of two threads, twice as many as pass on the clock."),
    scrolled("Stages of the plan", table(["Stage", "Layers", "Multiply-adds", "Full inference", "Thread-seconds"], rows, new Set([1, 2, 3, 4]))),
  );
}

function layers({ layers }: Plan): HTMLElement {
  const made = h("details", { class: "kdb-fold", "data-testid": "plan-layers" }, h("summary", {}, `${count(layers.length)} layers`));
  // Hundreds of rows: only for those who open them.
  made.addEventListener("toggle", () => {
    if (!made.open || made.childElementCount > 1) return;
    const rows = layers.map((layer) => [
      layer.name,
      layer.operator,
      layer.kernel,
      `${layer.box.join("×")} of ${layer.map.join("×")}`,
      count(layer.channels),
      magnitude(layer.planned_macs),
      magnitude(layer.naive_macs),
      seconds(layer.seconds),
    ]);
    const columns = ["Layer", "Operator", "Kernel", "Box", "Channels", "Multiply-adds", "Full", "Thread-seconds"];
    made.append(scrolled("Layers of the plan", table(columns, rows, new Set([4, 5, 6, 7]))));
  });
  return made;
}

export const plan: Panel = (session) => {
  const empty = h("p", { class: "kdb-note" });
  const error = h("p", { class: "kdb-refusal" });
  const words = h("p", { "data-testid": "plan-words" });
  const content = h("div", { class: "kdb-stack" });
  const body = h("div", { class: "kdb-panel-body" }, empty, error, words, content);
  const { element, aside } = disclosure("Plan", "plan", body, (open) => session.openPlan(open));
  const chart = h("div", {});
  let laid: Plan | null = null;
  session.store.watch(["plan", "run"], (state) => {
    if (state.plan !== null) chart.replaceChildren(bars(state.plan, measured(state)));
  });
  session.store.watch(["plan", "planError", "planWaits", "planOpen", "text", "run"], (state) => {
    const { plan, planError, planWaits, planOpen, text } = state;
    set(element, "data-waits", String(planWaits));
    const behind = plan !== null && plan.text !== text;
    set(element, "data-behind", behind);
    const took = measured(state);
    const stands = plan === null ? "" : behind ? "of the query before" : `${seconds(plan.expected_seconds)} expected${took === null ? "" : `, ${seconds(took)} measured`}`;
    say(aside, planWaits ? "planning…" : planOpen ? stands : "");
    say(empty, planWaits ? "The first plan for a model takes as long as its trace." : "Write a query to see what kdb would do for it.");
    show(empty, plan === null && planError === null);
    say(error, planError?.message ?? "");
    show(error, planError !== null);
    if (plan === laid || plan === null) return;
    const open = content.querySelector<HTMLDetailsElement>("[data-testid=plan-layers]")?.open ?? false;
    laid = plan;
    say(words, planInWords(plan));
    content.replaceChildren(
      chart,
      h("ul", { class: "kdb-notes" }, ...plan.notes.map((note) => h("li", {}, note))),
      rules(plan),
      stages(plan),
      layers(plan),
    );
    content.querySelector<HTMLDetailsElement>("[data-testid=plan-layers]")!.open = open;
  });
  return element;
};

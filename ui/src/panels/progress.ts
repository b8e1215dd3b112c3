import { h, say, set, show } from "../dom";
import { count, seconds } from "../format";
import type { Panel } from "../parts/field";
import type { State } from "../state";

function stated({ run }: State): string {
  const slot = run.both ? ` (${run.slot === "a" ? "first" : "second"} of two)` : "";
  switch (run.state) {
    case "idle":
      return "";
    case "running": {
      if (run.total === 0) return `Preparing${slot}`;
      const parts = [`${count(run.done)} of ${count(run.total)} positions${slot}`, `${seconds(run.seconds)} passed`];
      if (run.left !== null) parts.push(`about ${seconds(run.left)} left`);
      return parts.join(", ");
    }
    case "done":
      return run.seconds === 0 ? "Done" : `Done in ${seconds(run.seconds)}`;
    case "stopped":
      return `Stopped after ${seconds(run.seconds)}; the map is what was found until then`;
    case "failed":
      return "This did not work";
  }
}

export const progress: Panel = (session) => {
  const bar = h("progress", { class: "kdb-progress", "aria-label": "Progress of the query" });
  const text = h("p", { class: "kdb-status", "data-testid": "status" });
  const refusal = h("p", { class: "kdb-refusal", role: "alert", "data-testid": "refusal" });
  const element = h("div", { class: "kdb-running", "data-testid": "progress" }, bar, text, refusal);
  session.store.watch(["run"], (state) => {
    const { run } = state;
    const running = run.state === "running";
    show(element, run.state !== "idle");
    show(bar, running);
    if (running && run.total > 0) {
      bar.max = run.total;
      bar.value = run.done;
    } else {
      set(bar, "value", null);
    }
    say(text, stated(state));
    say(refusal, run.refused?.message ?? "");
    show(refusal, run.refused !== null);
    set(element, "data-state", run.state);
  });
  return element;
};

/** The same for screen readers: its beginning and its end, and not each step. */
export const announced: Panel = (session) => {
  const element = h("p", { class: "kdb-unseen", role: "status", "data-testid": "announced" });
  let was = "";
  session.store.watch(["run"], (state) => {
    if (state.run.state === was) return;
    was = state.run.state;
    if (was !== "failed") say(element, was === "running" ? "Running" : stated(state));
  });
  return element;
};

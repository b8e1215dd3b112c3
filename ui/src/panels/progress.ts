import { h, say, set, show } from "../dom";
import { count, counted, seconds } from "../format";
import type { Panel } from "../parts/field";
import type { Refusal } from "../protocol";
import { sameQuery } from "../query";
import { IDLE, type State } from "../state";

function stated(state: State): string {
  const { run } = state;
  const slot = run.both ? ` (${run.slot === "a" ? "first" : "second"} of two)` : "";
  switch (run.state) {
    case "idle":
      return "";
    case "running": {
      if (run.stopping) return "Stopping…";
      if (run.total === 0) return `Preparing${slot}`;
      const parts = [`${count(run.done)} of ${counted(run.total, "position")}${slot}`, `${seconds(run.seconds)} passed`];
      if (run.left !== null) parts.push(`about ${seconds(run.left)} left`);
      return parts.join(", ");
    }
    case "done":
      return run.seconds === 0 ? "Done" : `Done in ${seconds(run.seconds)}`;
    case "stopped":
      if (run.maps === 0) return "Stopped before there was a map";
      return `Stopped after ${seconds(run.seconds)}; the map is what was found until then`;
    case "failed":
      if (run.both) return `${run.failed.toUpperCase()} did not work${placed(state) ? ": see the query" : ""}`;
      return placed(state) ? "This did not work: see the query" : "This did not work";
  }
}

/** What is wrong with the text that stands there. */
const ofText = ({ error, errorText, text }: State): Refusal | null => (errorText === text ? error : null);

/** Whether what ended the run is shown in the text, at its place. */
function placed(state: State): boolean {
  const { refused, failed } = state.run;
  const own = ofText(state);
  return refused !== null && failed === "a" && (refused.line !== null || (own?.line != null && own.message === refused.message));
}

/** What went wrong and is not shown in the text: with the run, else with the text itself. */
function unplaced(state: State): string | null {
  const { refused } = state.run;
  if (refused !== null && !placed(state)) return refused.message;
  const own = ofText(state);
  return own?.line === null ? own.message : null;
}

export const progress: Panel = (session) => {
  const bar = h("progress", { class: "kdb-progress", "aria-label": "Progress of the query" });
  const text = h("p", { class: "kdb-status", "data-testid": "status" });
  const refusal = h("p", { class: "kdb-refusal", role: "alert", "data-testid": "refusal" });
  const element = h("div", { class: "kdb-running", "data-testid": "progress" }, bar, text, refusal);
  session.store.watch(["run", "a", "text", "variant", "error", "errorText", "settled"], (state) => {
    const run = state.run;
    const running = run.state === "running";
    // How another query ended says nothing of the one in the text.
    const same = sameQuery(run.texts.a, state.text) && (!run.both || sameQuery(run.texts.b, state.variant));
    const counts = running || (run.state !== "idle" && same);
    const refused = counts ? unplaced(state) : unplaced({ ...state, run: IDLE });
    show(element, counts || refused !== null);
    show(bar, running);
    if (running && run.total > 0) {
      bar.max = run.total;
      bar.value = run.done;
    } else {
      set(bar, "value", null);
    }
    say(text, counts ? stated(state) : "");
    say(refusal, refused ?? "");
    show(refusal, refused !== null);
    set(element, "data-state", run.state);
  });
  return element;
};

/** The same for screen readers: its beginning and its end, and not each step. */
export const announced: Panel = (session) => {
  const element = h("p", { class: "kdb-unseen", role: "status", "data-testid": "announced" });
  let was = "";
  session.store.watch(["run"], (state) => {
    const now = state.run.stopping ? "stopping" : state.run.state;
    if (now === was) return;
    was = now;
    if (now !== "failed") say(element, now === "running" ? "Running" : stated(state));
  });
  return element;
};

import { fill, h, say, show, unique } from "../dom";
import { choice, group, type Panel } from "../parts/field";
import { numberField } from "../parts/number";
import type { Effort } from "../protocol";

export const effort: Panel = (session) => {
  const name = unique("effort");
  const radio = (value: Effort["kind"]): HTMLInputElement =>
    h("input", { type: "radio", name, value, "data-testid": `effort-${value}` });
  const radios = { exact: radio("exact"), ssim: radio("ssim"), seconds: radio("seconds"), other: radio("other") };

  const slider = h("input", { type: "range", class: "kdb-range", min: 0.5, max: 0.99, step: 0.01, value: 0.9, "aria-label": "SSIM to reach", "data-testid": "effort-slider" });
  const shown = h("output", { class: "kdb-small kdb-output" });
  const guaranteed = h("input", { type: "checkbox", "data-testid": "effort-guaranteed" });
  const ssim = h(
    "div",
    { class: "kdb-inset" },
    h("div", { class: "kdb-size" }, slider, shown),
    choice("Guaranteed, for nineteen maps of twenty", guaranteed),
  );
  const limit = numberField(
    { class: "kdb-input kdb-small", min: 0, value: 5, "aria-label": "Seconds", "data-testid": "effort-limit" },
    (value) => (value > 0 ? null : "More than 0 seconds."),
    () => change(timed()),
  );
  const time = h("div", { class: "kdb-inset" }, h("div", { class: "kdb-row" }, limit.input, "seconds at most"), limit.why);
  const other = choice("As in the text", radios.other);
  radios.other.disabled = true;

  const similar = (): Effort => ({ kind: "ssim", ssim: Number(slider.value), guaranteed: guaranteed.checked });
  const timed = (): Effort => ({ kind: "seconds", seconds: Number(limit.input.value) });
  const change = (value: Effort, held = false): void => session.change({ control: "effort", value }, { held });
  const reveal = (): void => {
    show(ssim, radios.ssim.checked);
    show(time, radios.seconds.checked);
    say(shown, Number(slider.value).toFixed(2));
  };
  radios.exact.addEventListener("change", () => (reveal(), change({ kind: "exact" })));
  radios.ssim.addEventListener("change", () => (reveal(), change(similar())));
  radios.seconds.addEventListener("change", () => (reveal(), change(timed())));
  slider.addEventListener("input", () => (reveal(), change(similar(), true)));
  slider.addEventListener("change", () => change(similar()));
  guaranteed.addEventListener("change", () => change(similar()));

  session.store.watch(["form"], ({ form }) => {
    if (form === null) return;
    const { effort } = form;
    radios[effort.kind].checked = true;
    show(other, effort.kind === "other");
    if (effort.kind === "ssim") {
      // A value that is refused stays in the text alone; one beyond the slider's ends moves them.
      if (effort.ssim > 0 && effort.ssim <= 1) {
        slider.min = String(Math.min(0.5, effort.ssim));
        slider.max = String(Math.max(0.99, effort.ssim));
        fill(slider, String(effort.ssim));
      }
      guaranteed.checked = effort.guaranteed;
    }
    if (effort.kind === "seconds" && effort.seconds > 0) limit.set(String(effort.seconds));
    if (effort.kind === "other") say(other.lastElementChild!, effort.text);
    reveal();
  });
  reveal();
  return group(
    "Effort",
    "effort",
    choice("Exact", radios.exact, "What full inference gives, up to rounding"),
    choice("Similar to the exact map (SSIM)", radios.ssim, "Faster: some positions are estimated"),
    ssim,
    choice("As good as time allows", radios.seconds),
    time,
    other,
  );
};

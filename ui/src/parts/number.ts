import { fill, h, say, set, show, unique } from "../dom";

export interface NumberField {
  input: HTMLInputElement;
  /** Why what was entered is not taken; to be laid out by the field. */
  why: HTMLElement;
  /** Shows a number, but while another is being typed; one that was not taken goes when there is a new one. */
  set(value: string): void;
  /** Takes back what was typed and not taken. */
  reset(): void;
}

/** A field for a number: `refused` says why one is not taken, and `entered` is given the others. */
export function numberField(
  properties: Record<string, string | number>,
  refused: (value: number) => string | null,
  entered: (value: number) => void,
): NumberField {
  const why = h("p", { class: "kdb-note kdb-refusal", role: "alert", id: unique("why"), hidden: true });
  const input = h("input", { type: "number", class: "kdb-input", step: "any", ...properties, "aria-describedby": why.id });
  let typing = false;
  let shown = "";
  const tell = (reason: string | null): void => {
    say(why, reason ?? "");
    show(why, reason !== null);
    set(input, "aria-invalid", reason === null ? null : "true");
  };
  const reset = (): void => {
    typing = false;
    tell(null);
    fill(input, shown);
  };
  input.addEventListener("input", () => (typing = true));
  input.addEventListener("change", () => {
    const value = input.valueAsNumber;
    const reason = Number.isNaN(value) ? "This is no number." : refused(value);
    tell(reason);
    if (reason !== null) return;
    typing = false;
    shown = input.value;
    entered(value);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !typing) return;
    event.preventDefault();
    reset();
  });
  return {
    input,
    why,
    set(value) {
      const another = value !== shown;
      shown = value;
      if (!typing) fill(input, value);
      else if (another && !why.hidden) reset();
    },
    reset,
  };
}

/** Why a number is no whole one from `least` to `most`. */
export function notWhole(value: number, least: number, most = Infinity): string | null {
  if (Number.isInteger(value) && value >= least && value <= most) return null;
  return `A whole number, ${least} or more${most < Infinity ? ` and at most ${most}` : ""}.`;
}

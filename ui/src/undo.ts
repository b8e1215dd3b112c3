/**
 * What a text field was, to go back to: a browser's own memory is of what was typed alone, and glues texts together once
 * a control has rewritten the field.
 */

/** Milliseconds within which changes of one kind are one step: typing that goes on, a slider that is moved. */
export const TOGETHER = 1000;
/** Steps that are kept. */
const MOST = 200;

export class Undo {
  #past: string[] = [];
  #now: string | null = null;
  #future: string[] = [];
  #kind = "";
  #at = -Infinity;

  /** The text is now another; `kind` says by what, and each of the kind "" is a step of its own. */
  record(text: string, kind: string, at: number): void {
    if (text === this.#now) return;
    const goes = kind !== "" && kind === this.#kind && at - this.#at < TOGETHER && this.#past.length > 0;
    if (this.#now !== null && !goes) this.#past.push(this.#now);
    if (this.#past.length > MOST) this.#past.shift();
    this.#future = [];
    this.#now = text;
    this.#kind = kind;
    this.#at = at;
  }

  /** The text of before, or null where there is none. */
  undo(): string | null {
    return this.#go(this.#past, this.#future);
  }

  redo(): string | null {
    return this.#go(this.#future, this.#past);
  }

  #go(from: string[], to: string[]): string | null {
    const text = from.pop();
    if (text === undefined || this.#now === null) return null;
    to.push(this.#now);
    this.#now = text;
    // What is typed next is a step of its own.
    this.#kind = "";
    return text;
  }
}

/** By what a field was changed: what is pasted or dropped there is a step of its own. */
export const typedBy = (event: Event): string => (/^insertFrom/.test((event as InputEvent).inputType ?? "") ? "" : "typed");

/** What keys ask for, if it is either. */
export function asked({ key, ctrlKey, metaKey, altKey, shiftKey }: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">): "undo" | "redo" | null {
  if (!(ctrlKey || metaKey) || altKey) return null;
  const letter = key.toLowerCase();
  if (letter === "z") return shiftKey ? "redo" : "undo";
  return letter === "y" && !shiftKey ? "redo" : null;
}

/** Where the cursor goes: behind what is not the same in the text of before. */
export function behindChange(before: string, after: string): number {
  let same = 0;
  const most = Math.min(before.length, after.length);
  while (same < most && before.at(-1 - same) === after.at(-1 - same)) same += 1;
  return after.length - same;
}

/** Gives a field these steps in place of the browser's; `go` sets the text, and says whether there was one. */
export function undoes(field: HTMLTextAreaElement, go: (way: "undo" | "redo") => boolean): void {
  const take = (way: "undo" | "redo", event: Event): void => {
    event.preventDefault();
    event.stopPropagation();
    const before = field.value;
    if (go(way)) field.setSelectionRange(behindChange(before, field.value), behindChange(before, field.value));
  };
  field.addEventListener("keydown", (event) => {
    const way = event.isComposing ? null : asked(event);
    if (way !== null) take(way, event);
  });
  // The menu's entries, and keys that a system has of its own.
  field.addEventListener("beforeinput", (event) => {
    if (event.inputType === "historyUndo") take("undo", event);
    if (event.inputType === "historyRedo") take("redo", event);
  });
}

/**
 * The query's text and the controls are two views of one thing, which Python translates.  The mirror keeps them in step:
 * what is typed is sent when the typing pauses, what a control sets is sent with the text as it is, one after another
 * since each answer is the text that the next one changes.  An answer to a text that is no longer there is dropped, so
 * that nothing that was typed is ever overwritten.
 */

export interface Clock {
  /** Calls back later; what it returns prevents it. */
  after(milliseconds: number, call: () => void): () => void;
}

export const clock: Clock = {
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds);
    return () => clearTimeout(timer);
  },
};

export interface Answer {
  id: number;
  text: string;
  /** Whether the text was understood, so that what waits can still be applied to it. */
  understood: boolean;
}

/** Sends a control's change of this text; returns the request's id. */
export type Change = (text: string) => number;

export interface Ports {
  edit(text: string): number;
  /** The text is now this, as a control has written it. */
  written(text: string, control: string): void;
}

export const TYPING = 250; // milliseconds without a key after which a text is sent
export const MOVING = 120; // milliseconds without a change after which a slider that is held is sent

export class Mirror {
  text = "";
  #ports: Ports;
  #clock: Clock;
  /** Counts what was typed: an answer counts only if nothing was since its question. */
  #typed = 0;
  #flight: { id: number; typed: number; control: string | null } | null = null;
  /** What was answered last: more may follow, as Python finds out more of the same text. */
  #answered: { id: number; typed: number } | null = null;
  /** Changes that wait, the newest of each control. */
  #waiting = new Map<string, Change>();
  #runs = false;
  #typing: (() => void) | null = null;
  #moving: (() => void) | null = null;

  constructor(ports: Ports, by: Clock = clock) {
    this.#ports = ports;
    this.#clock = by;
  }

  /** Whether the controls show the text as it stands. */
  get settled(): boolean {
    return this.#flight === null && this.#typing === null && this.#waiting.size === 0;
  }

  type(text: string): void {
    this.text = text;
    this.#typed += 1;
    this.#drop();
    this.#typing?.();
    this.#typing = this.#clock.after(TYPING, () => this.#edit());
  }

  /** The text is replaced as a whole, from the history or by a suggestion, and sent at once. */
  replace(text: string): void {
    this.type(text);
    this.#typing?.();
    this.#edit();
  }

  /** A control was moved; `held` while more of it is to come, `runs` if the query is to run when this is in its text. */
  move(control: string, change: Change, { held = false, runs = false } = {}): void {
    this.#waiting.set(control, change);
    this.#runs ||= runs;
    this.#moving?.();
    this.#moving = held ? this.#clock.after(MOVING, () => this.#moved()) : null;
    if (!held) this.#next();
  }

  /** Takes an answer: `null` if it counts for nothing, else whether the query is to run. */
  answer({ id, text, understood }: Answer): { runs: boolean } | null {
    const flight = this.#flight;
    if (flight === null || id !== flight.id) return this.#again(id) ? { runs: false } : null;
    this.#flight = null;
    if (flight.typed !== this.#typed) return null;
    if (flight.control !== null && text !== this.text) {
      this.text = text;
      this.#ports.written(text, flight.control);
    }
    if (!understood) {
      this.#drop();
    } else if (this.#waiting.size > 0) {
      if (this.#moving === null) this.#next();
      return null;
    }
    const runs = this.#runs && understood;
    this.#runs = false;
    this.#answered = { id, typed: this.#typed };
    return { runs };
  }

  #again(id: number): boolean {
    const last = this.#answered;
    return this.settled && last !== null && last.id === id && last.typed === this.#typed;
  }

  /** A request was refused: returns what was, if it was the one under way, with which all goes that waits behind it. */
  refused(id: number): { control: string | null } | null {
    if (this.#flight?.id !== id) return null;
    const { control } = this.#flight;
    this.#flight = null;
    this.#drop();
    return { control };
  }

  /** The connection is new: whatever was under way is asked again. */
  renew(): void {
    this.#flight = null;
    this.#drop();
    this.#typing?.();
    this.#edit();
  }

  close(): void {
    this.#typing?.();
    this.#moving?.();
    this.#typing = this.#moving = null;
  }

  #drop(): void {
    this.#waiting.clear();
    this.#runs = false;
    this.#moving?.();
    this.#moving = null;
  }

  #edit(): void {
    this.#typing = null;
    this.#answered = null;
    this.#flight = { id: this.#ports.edit(this.text), typed: this.#typed, control: null };
  }

  #moved(): void {
    this.#moving = null;
    this.#next();
  }

  #next(): void {
    const first = this.#waiting.entries().next();
    const overtaken = this.#flight === null || this.#flight.control === null || this.#flight.typed !== this.#typed;
    if (first.done || !overtaken) return;
    const [control, change] = first.value;
    this.#waiting.delete(control);
    this.#typing?.();
    this.#typing = null;
    this.#answered = null;
    this.#flight = { id: change(this.text), typed: this.#typed, control };
  }
}

import type { Clock } from "../src/mirror";

/** A clock that goes on only when it is told to. */
export class Hands implements Clock {
  now = 0;
  #waiting = new Set<{ at: number; call: () => void }>();

  after(milliseconds: number, call: () => void): () => void {
    const entry = { at: this.now + milliseconds, call };
    this.#waiting.add(entry);
    return () => void this.#waiting.delete(entry);
  }

  get waits(): number {
    return this.#waiting.size;
  }

  go(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (;;) {
      const due = [...this.#waiting].filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0];
      if (due === undefined) break;
      this.#waiting.delete(due);
      this.now = due.at;
      due.call();
    }
    this.now = end;
  }
}

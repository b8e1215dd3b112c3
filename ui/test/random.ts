/** Numbers that look random and are the same in each run: a failure can be looked at again. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to below 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  pick<Of>(from: readonly Of[]): Of {
    return from[this.below(from.length)]!;
  }

  text(most: number, from = "aZ09 '#&=%+\n\"\\é✓😀<>"): string {
    const characters = [...from];
    return Array.from({ length: this.below(most + 1) }, () => this.pick(characters)).join("");
  }
}

/** Calls a law with many seeds, and says which one broke it. */
export function always(law: (random: Random) => void, draws = 300): void {
  for (let seed = 0; seed < draws; seed++) {
    try {
      law(new Random(seed));
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
}

/** Numbers that are the same in every run, for laws that are tried on many. */
export class Random {
  constructor(private state = 1) {}

  /** From 0 up to 1: mulberry32. */
  share(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  between(low: number, high: number): number {
    return low + this.share() * (high - low);
  }

  /** A whole number, both ends included. */
  whole(low: number, high: number): number {
    return Math.floor(this.between(low, high + 1));
  }

  list<T>(length: number, make: (index: number) => T): T[] {
    return Array.from({ length }, (_, i) => make(i));
  }
}

/** Calls `law` with `times` different generators. */
export function tried(times: number, law: (random: Random) => void): void {
  for (let seed = 1; seed <= times; seed++) law(new Random(seed * 7919));
}

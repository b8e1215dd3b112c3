/** Values that are made anew only where what they are made of has changed. */
export class Memo {
  private readonly kept = new Map<string, { key: string; value: unknown }>();

  get<T>(name: string, key: string, make: () => T): T {
    const found = this.kept.get(name);
    if (found !== undefined && found.key === key) return found.value as T;
    const value = make();
    this.kept.set(name, { key, value });
    return value;
  }
}

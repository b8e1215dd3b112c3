/** State, and who is to hear of its changes: once for all that changed before the running task ended. */
export class Store<State extends object> {
  #state: State;
  #changed = new Set<keyof State>();
  #watchers = new Set<{ keys: readonly (keyof State)[]; react: (state: State) => void }>();

  constructor(initial: State) {
    this.#state = initial;
  }

  get state(): Readonly<State> {
    return this.#state;
  }

  set(changes: Partial<State>): void {
    const waits = this.#changed.size > 0;
    for (const key of Object.keys(changes) as (keyof State)[]) {
      if (!Object.is(this.#state[key], changes[key])) this.#changed.add(key);
    }
    this.#state = { ...this.#state, ...changes };
    if (!waits && this.#changed.size > 0) queueMicrotask(() => this.#tell());
  }

  /** Calls `react` now and whenever one of these keys has another value; what it returns ends that. */
  watch(keys: readonly (keyof State)[], react: (state: State) => void): () => void {
    const watcher = { keys, react };
    this.#watchers.add(watcher);
    react(this.#state);
    return () => void this.#watchers.delete(watcher);
  }

  #tell(): void {
    const changed = this.#changed;
    this.#changed = new Set();
    for (const { keys, react } of [...this.#watchers]) {
      if (keys.some((key) => changed.has(key))) react(this.#state);
    }
  }
}

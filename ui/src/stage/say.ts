/** Sentences for a screen reader, which would fall behind if it were given all of a fast cursor's. */

const PAUSE = 180;

export class Speaker {
  private waiting: string | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(private readonly say: (text: string) => void) {}

  /** Says it at once if nothing was said of late; else the last of what comes meanwhile, after a pause. */
  speak(text: string): void {
    this.waiting = text;
    if (this.timer === null) this.next();
  }

  stop(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = this.waiting = null;
  }

  private next(): void {
    this.timer = null;
    if (this.waiting === null) return;
    this.say(this.waiting);
    this.waiting = null;
    this.timer = setTimeout(() => this.next(), PAUSE);
  }
}

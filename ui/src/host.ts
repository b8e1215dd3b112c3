import { decodeFrame, encodeFrame } from "./frames";
import type { Connection } from "./place";
import type { AnyModel } from "./protocol";
import { clock, type Clock } from "./mirror";

type Callback = (...values: never[]) => void;

/** As much of a WebSocket as the host uses, so that tests can stand in for one. */
export interface Socket {
  binaryType: string;
  readonly readyState: number;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: (() => void) | null;
  send(data: ArrayBuffer): void;
  close(): void;
}

const OPEN = 1;
const SECOND = 1000;

/** Pauses before a lost connection is tried again, in milliseconds; after the last one it is given up. */
export const PAUSES = [0.5, 1, 2, 4, 8, 15, 30, 60].map((pause) => pause * SECOND);

/** anywidget's model over one WebSocket.  What is sent while there is none is dropped: a new one begins with `hello`. */
export class SocketModel implements AnyModel {
  connection: Connection = "opening";
  #open: () => Socket;
  #answers: () => Promise<boolean>;
  #clock: Clock;
  #socket: Socket | null = null;
  #values = new Map<string, unknown>();
  #callbacks = new Map<string, Set<Callback>>();
  #tries = 0;
  #pause: (() => void) | null = null;
  #was = false;

  /** `answers` finds out whether there is a server at all, where a socket did not open. */
  constructor(open: () => Socket, answers: () => Promise<boolean>, by: Clock = clock) {
    this.#open = open;
    this.#answers = answers;
    this.#clock = by;
  }

  get(name: string): unknown {
    return this.#values.get(name);
  }

  set(name: string, value: unknown): void {
    this.#values.set(name, value);
  }

  save_changes(): void {
    // Values of the page stay on the page.
  }

  on(name: string, callback: Callback): void {
    const callbacks = this.#callbacks.get(name) ?? new Set();
    this.#callbacks.set(name, callbacks.add(callback));
  }

  off(name: string, callback?: Callback): void {
    if (callback === undefined) this.#callbacks.delete(name);
    else this.#callbacks.get(name)?.delete(callback);
  }

  send(content: object, _callbacks?: unknown, buffers: ArrayBuffer[] = []): void {
    if (this.#socket?.readyState === OPEN) this.#socket.send(encodeFrame({ content, buffers }));
  }

  /** Opens the connection, at once and with all pauses yet to come. */
  connect(): void {
    if (this.connection === "open") return;
    this.#tries = 0;
    this.#try();
  }

  #try(): void {
    this.#pause?.();
    this.#pause = null;
    if (this.#socket !== null) this.#socket.onclose = null;
    this.#socket?.close();
    const socket = this.#open();
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#tries = 0;
      this.#was = true;
      this.#say("open");
    };
    socket.onmessage = ({ data }) => {
      if (!(data instanceof ArrayBuffer)) return;
      const { content, buffers } = decodeFrame(data);
      this.#tell("msg:custom", content, buffers);
    };
    socket.onclose = () => (opened ? this.#lost() : void this.#unopened(socket));
    if (!this.#was) this.#say("opening");
  }

  async #unopened(socket: Socket): Promise<void> {
    const refused = await this.#answers();
    if (this.#socket !== socket) return;
    if (!refused) return this.#lost();
    this.#socket = null;
    this.#say("refused");
  }

  #lost(): void {
    this.#socket = null;
    const pause = PAUSES[this.#tries++];
    this.#say(pause === undefined ? "gone" : "lost");
    if (pause !== undefined) this.#pause = this.#clock.after(pause, () => this.#try());
  }

  #say(connection: Connection): void {
    if (this.connection === connection) return;
    this.connection = connection;
    this.#tell("change:connection");
  }

  #tell(name: string, ...values: unknown[]): void {
    for (const callback of [...(this.#callbacks.get(name) ?? [])]) callback(...(values as never[]));
  }
}

import type { AnyModel, Event, Request } from "./protocol";

type Without<Of, Key extends PropertyKey> = Of extends unknown ? Omit<Of, Key> : never;

/** A request before it has its number. */
export type Asked = Without<Request, "id">;

type EventOf<Kind extends Event["kind"]> = Extract<Event, { kind: Kind }>;
type Handler<Kind extends Event["kind"]> = (event: EventOf<Kind>, buffers: ArrayBuffer[]) => void;

/** Requests with ids of their own, and events handed to whoever waits for their kind. */
export class Client {
  #model: AnyModel;
  /** Two views of one widget hear each other's answers: each counts from a number of its own. */
  #next = 1 + Math.floor(Math.random() * 2 ** 20) * 2 ** 20;
  #handlers = new Map<string, (event: Event, buffers: ArrayBuffer[]) => void>();

  constructor(model: AnyModel) {
    this.#model = model;
    model.on("msg:custom", this.#receive);
  }

  send(request: Asked, buffers: ArrayBuffer[] = []): number {
    const id = this.#next++;
    this.#model.send({ id, ...request }, undefined, buffers);
    return id;
  }

  on<Kind extends Event["kind"]>(kind: Kind, handler: Handler<Kind>): void {
    this.#handlers.set(kind, handler as (event: Event, buffers: ArrayBuffer[]) => void);
  }

  close(): void {
    this.#model.off("msg:custom", this.#receive);
  }

  #receive = (event: Event, buffers: (ArrayBuffer | DataView)[]): void => {
    this.#handlers.get(event.kind)?.(event, (buffers ?? []).map(whole));
  };
}

/** Notebooks hand over views, of buffers that may hold more. */
function whole(buffer: ArrayBuffer | DataView): ArrayBuffer {
  if (buffer instanceof ArrayBuffer) return buffer;
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) as ArrayBuffer;
}

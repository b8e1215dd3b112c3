// Generated from ui/ by `npm run build`; do not edit.  Part of kdb, under the Apache License 2.0.

// src/page.ts
import widget from "./kdb.js";

// src/frames.ts
var ALIGNED = 8;
var LENGTH = 4;
var padded = (bytes) => Math.ceil(bytes / ALIGNED) * ALIGNED;
function encodeFrame({ content, buffers }) {
  const lengths = buffers.map((buffer) => buffer.byteLength);
  const header = new TextEncoder().encode(JSON.stringify({ content, lengths }));
  const begin = padded(LENGTH + header.length);
  const frame = new ArrayBuffer(lengths.reduce((sum, length) => sum + padded(length), begin));
  new DataView(frame).setUint32(0, header.length, true);
  new Uint8Array(frame, LENGTH).set(header);
  let at = begin;
  for (const buffer of buffers) {
    new Uint8Array(frame, at).set(new Uint8Array(buffer));
    at += padded(buffer.byteLength);
  }
  return frame;
}
function decodeFrame(frame) {
  const length = new DataView(frame).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(frame, LENGTH, length)));
  let at = padded(LENGTH + length);
  const buffers = header.lengths.map((bytes) => {
    if (at + bytes > frame.byteLength) throw new RangeError("a frame ends before its buffers do");
    const buffer = frame.slice(at, at + bytes);
    at += padded(bytes);
    return buffer;
  });
  return { content: header.content, buffers };
}

// src/mirror.ts
var clock = {
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds);
    return () => clearTimeout(timer);
  }
};

// src/host.ts
var OPEN = 1;
var SECOND = 1e3;
var PAUSES = [0.5, 1, 2, 4, 8, 15, 30, 60].map((pause) => pause * SECOND);
var SocketModel = class {
  connection = "opening";
  #open;
  #answers;
  #clock;
  #socket = null;
  #values = /* @__PURE__ */ new Map();
  #callbacks = /* @__PURE__ */ new Map();
  #tries = 0;
  #pause = null;
  #was = false;
  /** `answers` finds out whether there is a server at all, where a socket did not open. */
  constructor(open, answers, by = clock) {
    this.#open = open;
    this.#answers = answers;
    this.#clock = by;
  }
  get(name) {
    return this.#values.get(name);
  }
  set(name, value) {
    this.#values.set(name, value);
  }
  save_changes() {
  }
  on(name, callback) {
    const callbacks = this.#callbacks.get(name) ?? /* @__PURE__ */ new Set();
    this.#callbacks.set(name, callbacks.add(callback));
  }
  off(name, callback) {
    if (callback === void 0) this.#callbacks.delete(name);
    else this.#callbacks.get(name)?.delete(callback);
  }
  send(content, _callbacks, buffers = []) {
    if (this.#socket?.readyState === OPEN) this.#socket.send(encodeFrame({ content, buffers }));
  }
  /** Opens the connection, at once and with all pauses yet to come. */
  connect() {
    if (this.connection === "open") return;
    this.#tries = 0;
    this.#try();
  }
  #try() {
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
    socket.onclose = () => opened ? this.#lost() : void this.#unopened(socket);
    if (!this.#was) this.#say("opening");
  }
  async #unopened(socket) {
    const refused = await this.#answers();
    if (this.#socket !== socket) return;
    if (!refused) return this.#lost();
    this.#socket = null;
    this.#say("refused");
  }
  #lost() {
    this.#socket = null;
    const pause = PAUSES[this.#tries++];
    this.#say(pause === void 0 ? "gone" : "lost");
    if (pause !== void 0) this.#pause = this.#clock.after(pause, () => this.#try());
  }
  #say(connection) {
    if (this.connection === connection) return;
    this.connection = connection;
    this.#tell("change:connection");
  }
  #tell(name, ...values) {
    for (const callback of [...this.#callbacks.get(name) ?? []]) callback(...values);
  }
};

// src/permalink.ts
function fields(fragment) {
  const found = /* @__PURE__ */ new Map();
  for (const field of fragment.replace(/^#/, "").split("&")) {
    const equals = field.indexOf("=");
    if (equals < 1) continue;
    try {
      found.set(decodeURIComponent(field.slice(0, equals)), decodeURIComponent(field.slice(equals + 1)));
    } catch {
    }
  }
  return found;
}
function readFragment(fragment) {
  const found = fields(fragment);
  const query = found.get("query");
  const permalink = query === void 0 ? null : { query, model: found.get("model") ?? null, source: found.get("source") ?? null };
  return { token: found.get("token") ?? null, permalink };
}
function writeFragment({ query, model, source }) {
  const written = [["query", query], ["model", model], ["source", source]].flatMap(
    ([name, value]) => value === null ? [] : [`${name}=${encodeURIComponent(value.toWellFormed?.() ?? value)}`]
  );
  return "#" + written.join("&");
}

// src/page.ts
async function boot() {
  const el = document.getElementById("kdb");
  const { token, permalink } = readFragment(location.hash);
  const bare = location.pathname + location.search;
  history.replaceState(null, "", permalink === null ? bare : bare + writeFragment(permalink));
  const here = `kdb ${location.pathname}${location.hash}`;
  if (token !== null) {
    await fetch("session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token })
    }).catch(() => null);
  }
  const address = new URL("socket", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  address.hash = "";
  const answers = () => fetch(bare, { method: "HEAD" }).then(({ ok }) => ok, () => false);
  const model = new SocketModel(() => new WebSocket(address), answers);
  const place = {
    permalink,
    kept: () => stored(() => sessionStorage.getItem(here)),
    keep: (text) => void stored(() => sessionStorage.setItem(here, text)),
    address: (link) => location.origin + bare + writeFragment(link),
    get connection() {
      return model.connection;
    },
    reconnect: () => model.connect()
  };
  model.set("place", place);
  widget.render({ model, el });
  model.connect();
  const again = () => {
    if (document.visibilityState === "visible" && /gone|refused/.test(model.connection)) model.connect();
  };
  document.addEventListener("visibilitychange", again);
  window.addEventListener("online", again);
  window.addEventListener("hashchange", () => location.reload());
}
function stored(use) {
  try {
    return use();
  } catch {
    return null;
  }
}
void boot();

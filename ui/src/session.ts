import { Client } from "./client";
import { Mirror } from "./mirror";
import { changedSince, type Permalink } from "./permalink";
import type { Place } from "./place";
import type { AnyModel, Change, Event, Form, HeatMap, Refusal, Slot } from "./protocol";
import { corrected, droppedIn, runsByItself, sameQuery } from "./query";
import type { Comparing, Look, StageApi, Tool } from "./stage/contract";
import { beginning, IDLE, isOf, namesOf, type Message, type Run, type State } from "./state";
import { Store } from "./store";
import { Undo } from "./undo";

type FormEvent = Extract<Event, { kind: "form" }>;

/** Milliseconds of rest after which the plan follows the text. */
const PLANNING = 200;

const OFFLINE: Message = { tone: "error", text: "There is no connection to kdb." };

/** What was asked for, so that a refusal is told where it belongs. */
type Purpose = "probe" | "check" | "plan" | "browse" | "gallery" | "map" | "file" | "layer";

/**
 * All that the page does: panels call its methods and show the store's state; it talks with Python and with the stage.
 * Of everything that can be asked twice only the newest answer counts.
 */
export class Session {
  readonly store: Store<State>;
  readonly place: Place | null;
  #client: Client;
  #mirror: Mirror;
  #stage: StageApi | null = null;
  #labels = new Map<string, string[]>();
  /** The key of the picture that the form was last of. */
  #picture: string | null = null;
  #newest = new Map<Purpose, number>();
  #variant: number | null = null;
  /** The one change that makes B of A, the text that it was last made of, and whether the answer is still awaited. */
  #varied: { by: Change; of: string; waits: boolean } | null = null;
  /** Compare was asked for while B was still to follow A. */
  #comparesThen = false;
  /** The id whose maps are drawn: of the run, or of what was recalled since. */
  #drawn: number | null = null;
  #planning: ReturnType<typeof setTimeout> | null = null;
  /** Whether the text is a query, of which there is a plan. */
  #isQuery = false;
  /** The text whose plan is under way. */
  #planned: string | null = null;
  /** A permalink until its query runs, and after that until its map is there. */
  #linked: Permalink | null;
  #arriving: Permalink | null = null;
  /** Run was asked for before there was anything to run it. */
  #runsFirst = false;
  /** Names of files that are on their way, by the ids of their requests. */
  #uploads = new Map<number, string>();
  /** What was said of the text or of an image for it: of no use once that is another. */
  #saidOfText: Message | null = null;
  /** What the query was, and B's. */
  #texts = new Undo();
  #variants = new Undo();
  /** The query that was probed without a map. */
  #probed = "";

  constructor(model: AnyModel) {
    this.place = (model.get("place") as Place | undefined) ?? null;
    this.#linked = this.place?.permalink ?? null;
    this.store = new Store<State>(beginning(this.place?.connection ?? "open"));
    this.#client = new Client(model);
    this.#mirror = new Mirror({
      edit: (text) => this.#client.send({ kind: "edit", text }),
      written: (text, control) => this.#write(text, control),
    });
    this.#listen();
    model.on("change:connection", this.#connected);
    if (this.store.state.connection === "open") this.#client.send({ kind: "hello" });
  }

  /** The stage, before anything arrives. */
  set stage(stage: StageApi) {
    this.#stage = stage;
  }

  close(model: AnyModel): void {
    model.off("change:connection", this.#connected);
    this.#client.close();
    this.#mirror.close();
    if (this.#planning !== null) clearTimeout(this.#planning);
  }

  get #state(): Readonly<State> {
    return this.store.state;
  }

  // ---- the text and the controls

  type(text: string, by = "typed"): void {
    this.#write(text, by);
    this.store.set({ modelRefused: null });
    this.#unsay(this.#saidOfText);
    this.#mirror.type(text);
    this.#settle();
  }

  replace(text: string): void {
    this.#write(text, "");
    this.#send(text);
  }

  /** Takes the last change of the text back, or makes it again; returns whether there was one. */
  undo(way: "undo" | "redo"): boolean {
    const text = this.#texts[way]();
    if (text === null) return false;
    this.#keep(text);
    this.#send(text);
    return true;
  }

  #send(text: string): void {
    this.store.set({ modelRefused: null });
    this.#unsay(this.#saidOfText);
    this.#mirror.replace(text);
    this.#settle();
  }

  correct(): void {
    const { error, errorText } = this.#state;
    if (error !== null) this.replace(corrected(errorText, error) ?? errorText);
  }

  /** `by` is a control, or what else changes the text. */
  #write(text: string, by: string): void {
    this.#texts.record(text, by, Date.now());
    this.#keep(text);
  }

  #keep(text: string): void {
    this.store.set({ text });
    this.place?.keep(text);
  }

  /** A control was moved; `held` while it still moves, `atOnce` to run in any case and not only as the user chose. */
  change(change: Change, { held = false, atOnce = false, buffers = [] as ArrayBuffer[] } = {}): void {
    this.store.set({ modelRefused: null });
    const runs = atOnce || (this.#state.runsOnChange && !held);
    const send = (text: string): number => this.#client.send({ kind: "change", text, ...change }, buffers);
    this.#mirror.move(change.control, send, { held, runs });
    this.#settle();
  }

  async upload(file: File): Promise<void> {
    const { welcome } = this.#state;
    if (welcome === null || welcome.root === null) {
      this.#sayOfText("Images cannot be dropped here.", "warning");
    } else if (file.size > welcome.upload_limit) {
      this.#sayOfText(`${file.name} is larger than the ${Math.floor(welcome.upload_limit / 2 ** 20)} MiB that are taken.`, "error");
    } else {
      const bytes = await file.arrayBuffer();
      const send = (text: string): number => {
        const id = this.#client.send({ kind: "upload", text, name: file.name }, [bytes]);
        this.#uploads.set(id, file.name);
        return id;
      };
      this.#mirror.move("upload", send, { runs: this.#state.runsOnChange });
      this.#settle();
    }
  }

  #settle(): void {
    this.store.set({ settled: this.#mirror.settled });
  }

  #formed(event: FormEvent): void {
    const counts = this.#mirror.answer({ id: event.id, text: event.text, understood: event.form !== null });
    this.#settle();
    this.#dropped(event);
    if (counts === null) return;
    this.#unsay(this.#saidOfText);
    const { error, notes } = event;
    const { a, probe, probeWaits } = this.#state;
    if (a === null && (probe !== null || probeWaits) && !sameQuery(this.#probed, event.text)) this.#forgetProbe();
    const before = this.#state.form;
    const form = event.form === null ? null : carried(event.form, before);
    this.#isQuery = form !== null;
    // What a run of this very text stumbled over is known for longer than its form, which may come later.
    const { run } = this.#state;
    const found = run.state === "failed" && run.texts.a === event.text && run.refused?.line != null ? run.refused : null;
    this.store.set({ error: error ?? found, errorText: event.text, notes, understood: form !== null });
    this.#show(form ?? before);
    if (form !== null) {
      this.store.set({ understoodText: event.text });
      this.store.set({ labels: form.labels === null ? [] : (this.#labels.get(form.labels) ?? []) });
      this.#follow(form.picture);
    }
    this.#plan();
    if (form !== null && this.#varied !== null && this.#varied.of !== event.text) this.vary(this.#varied.by);
    if (this.#comparesThen && this.#varied?.waits !== true) this.compare();
    const linked = this.#linked;
    this.#linked = null;
    if (linked !== null && event.text === linked.query && form !== null && error === null && runsByItself(linked.query)) {
      this.run();
      this.#arriving = linked;
    } else if (counts.runs && error === null) {
      this.run();
    }
  }

  /** Lists an image that was dropped, once Python has given it a name. */
  #dropped({ id, form }: FormEvent): void {
    const file = this.#uploads.get(id);
    this.#uploads.delete(id);
    if (file === undefined || form === null) return;
    this.store.set({ dropped: [...this.#state.dropped, { name: form.source, file }] });
  }

  /** Sets controls and stage to a form, also to the one from before: what was moved or drawn since goes. */
  #show(form: Form | null): void {
    if (form === null) return;
    this.store.set({ form: { ...form } });
    this.#stage?.showForm(form);
  }

  /** Maps of another image than the form's go when that becomes another. */
  #follow(picture: string | null): void {
    if (picture === null || picture === this.#picture) return;
    this.#picture = picture;
    for (const slot of ["a", "b"] as const) {
      const shown = this.#state[slot];
      if (shown !== null && shown.content.picture !== picture) this.#clear(slot);
    }
  }

  #clear(slot: Slot): void {
    this.#stage?.clear(slot);
    this.store.set(slot === "a" ? { a: null } : { b: null });
    this.#name();
    if (this.#state.probeSlot === slot) this.#forgetProbe();
  }

  // ---- running

  run(): void {
    const { text, welcome, connection } = this.#state;
    if (welcome === null && (connection === "opening" || connection === "open")) {
      this.#runsFirst = true;
      return;
    }
    if (this.#offline()) return;
    if (text.trim() === "") {
      this.say("Write a query first, or begin with one of the samples.", "warning");
      return;
    }
    this.compareBy("off");
    if (this.#state.b !== null) this.#clear("b");
    this.#begin(this.#client.send({ kind: "run", text }), { a: text, b: "" }, false);
  }

  compare(): void {
    const { text, variant, comparing, b } = this.#state;
    if (this.#offline()) return;
    this.#comparesThen = this.#varied !== null && (this.#varied.waits || !this.#mirror.settled);
    if (this.#comparesThen) return;
    // Beside the new A a map of another query than B's would pass for B's.
    if (b !== null && !isOf(b, variant)) this.#clear("b");
    if (comparing === "off") this.compareBy("side");
    this.#begin(this.#client.send({ kind: "compare", texts: [text, variant] }), { a: text, b: variant }, true);
    this.#name();
  }

  #begin(id: number, texts: Record<Slot, string>, both: boolean): void {
    this.#drawn = id;
    this.#arriving = null;
    this.#forgetProbe();
    const { error, run } = this.#state;
    this.store.set({
      // It may be mended elsewhere, as a file that was not there.
      error: error === run.refused ? null : error,
      run: { ...IDLE, id, state: "running", texts, both },
      table: null,
      message: null,
      permalinkSays: null,
    });
  }

  #offline(): boolean {
    const offline = this.#state.connection !== "open";
    if (offline) this.store.set({ message: OFFLINE });
    return offline;
  }

  stop(): void {
    const { run } = this.#state;
    if (run.state !== "running" || run.stopping) return;
    this.store.set({ run: { ...run, stopping: true } });
    this.#client.send({ kind: "stop" });
  }

  #ran(id: number | null, changes: Partial<Run>): void {
    const { run } = this.#state;
    if (id !== run.id) return;
    const ended = changes.state !== undefined && changes.state !== "running";
    this.store.set({ run: { ...run, ...changes, ...(ended ? { stopping: false } : {}) } });
  }

  #mapped(map: HeatMap, buffers: ArrayBuffer[]): void {
    const { run } = this.#state;
    if (map.id === run.id) {
      this.#ran(map.id, { maps: run.maps + 1, slot: map.slot, done: map.done, total: map.total, seconds: map.seconds });
    }
    if (map.id !== null && map.id !== this.#drawn) return;
    const before = this.#state[map.slot];
    if (before !== null && before.content.map !== map.map && this.#state.probeSlot === map.slot) this.#forgetProbe();
    this.#stage?.showMap(map, buffers);
    const asked = map.id === run.id ? run.texts[map.slot] : map.text;
    const shown = { content: map, buffers, shown: map.shown, asked, former: false };
    this.store.set(map.slot === "a" ? { a: shown } : { b: shown });
    this.#name();
    if (this.#arriving !== null) {
      this.store.set({ permalinkSays: changedSince(this.#arriving, map.identity) });
      this.#arriving = null;
    }
  }

  showClass(slot: Slot, index: number): void {
    const shown = this.#state[slot];
    if (shown !== null && !shown.former) this.#ask("layer", this.#client.send({ kind: "layer", map: shown.content.map, class: index }));
  }

  // ---- plan

  openPlan(open: boolean): void {
    this.store.set({ planOpen: open });
    if (open) this.#plan();
  }

  #plan(): void {
    if (this.#planning !== null) clearTimeout(this.#planning);
    this.#planning = null;
    const { planOpen, error, text, plan } = this.#state;
    if (!planOpen || error !== null || !this.#isQuery || plan?.text === text) {
      this.store.set({ planWaits: false });
      return;
    }
    if (this.#planned === text) return;
    this.store.set({ planWaits: true });
    this.#planning = setTimeout(() => {
      this.#planning = null;
      this.#planned = this.#state.text;
      this.#ask("plan", this.#client.send({ kind: "explain", text: this.#planned }));
    }, PLANNING);
  }

  // ---- one position

  probe(slot: Slot, position: number[]): void {
    const shown = this.#state[slot];
    if (shown === null && (slot === "b" || !this.#isQuery)) {
      this.say("Run the query first: then a click shows the score with the patch at that place.");
      return;
    }
    if (this.#offline()) return;
    if (shown?.former) {
      this.say("This map is of before the connection was lost. Run its query again: then a click shows a score.", "warning");
      return;
    }
    this.#stage?.mark(position);
    this.store.set({ probeWaits: true, probeSlot: slot, checked: null, checkWaits: false });
    this.#newest.delete("check");
    this.#probed = this.#state.text;
    const of = shown === null ? { text: this.#probed } : { map: shown.content.map, class: shown.shown };
    this.#ask("probe", this.#client.send({ kind: "probe", position, ...of }));
  }

  check(): void {
    const { probe, probeSlot } = this.#state;
    const shown = this.#state[probeSlot];
    if (probe === null || shown?.former || this.#offline()) return;
    const { map, position } = probe.content;
    this.store.set({ checkWaits: true });
    const of = map === null || shown === null ? { text: this.#probed } : { map, class: shown.shown };
    this.#ask("check", this.#client.send({ kind: "check", position, ...of }));
  }

  #forgetProbe(): void {
    this.#newest.delete("probe");
    this.#newest.delete("check");
    this.#stage?.mark(null);
    this.store.set({ probe: null, probeWaits: false, checked: null, checkWaits: false });
  }

  // ---- comparing

  /** Makes the second query of the first by one change, and again of what the first becomes. */
  vary(change: Change): void {
    const { text } = this.#state;
    this.#varied = { by: change, of: text, waits: true };
    this.#variant = this.#client.send({ kind: "vary", text, ...change });
  }

  #wasVaried(text: string, error: Refusal | null): void {
    if (this.#varied === null) return;
    this.#varied.waits = false;
    this.#variants.record(text, "varied", Date.now());
    this.store.set({ variant: text, variantError: error, variantFollows: true });
    if (this.#comparesThen && this.#mirror.settled) this.compare();
  }

  /** B is now a text of its own. */
  #own(variant: string): void {
    this.#variant = this.#varied = null;
    this.#comparesThen = false;
    this.store.set({ variant, variantError: null, variantFollows: false });
  }

  setVariant(variant: string, by = ""): void {
    this.#variants.record(variant, by, Date.now());
    this.#own(variant);
  }

  undoVariant(way: "undo" | "redo"): boolean {
    const variant = this.#variants[way]();
    if (variant === null) return false;
    this.#own(variant);
    return true;
  }

  /** Says beside the two maps what is not the same in their queries. */
  #name(): void {
    const names = namesOf(this.#state);
    this.store.set({ names });
    this.#stage?.setNames(names);
  }

  compareBy(comparing: Comparing): void {
    if (comparing === this.#state.comparing) return;
    this.store.set({ comparing });
    this.#stage?.setComparing(comparing);
  }

  // ---- history, runs, files

  recall(map: number, text: string): void {
    this.compareBy("off");
    if (this.#state.b !== null) this.#clear("b");
    this.replace(text);
    this.#drawn = this.#ask("map", this.#client.send({ kind: "recall", map }));
  }

  browse(folder: string): void {
    this.store.set({ browsing: true });
    this.#ask("browse", this.#client.send({ kind: "browse", folder }));
  }

  endBrowsing(): void {
    this.store.set({ browsing: false });
  }

  openRun(folder: string, label: string | null = null): void {
    this.store.set({ browsing: false, gallery: [], galleryWaits: true });
    this.#ask("gallery", this.#client.send({ kind: "gallery", folder, offset: 0, label }));
  }

  moreOfRun(label: string | null): void {
    const { gallery } = this.#state;
    const last = gallery.at(-1);
    if (last === undefined || this.#state.galleryWaits) return;
    const offset = last.content.offset + last.content.cards.length;
    this.store.set({ galleryWaits: true });
    this.#ask("gallery", this.#client.send({ kind: "gallery", folder: last.content.folder, offset, label }));
  }

  closeRun(): void {
    this.#newest.delete("gallery");
    this.store.set({ gallery: [], galleryWaits: false });
  }

  openCard(folder: string, image: string): void {
    this.compareBy("off");
    if (this.#state.b !== null) this.#clear("b");
    this.#drawn = this.#ask("map", this.#client.send({ kind: "card", folder, image }));
  }

  export(slot: Slot, format: string): void {
    const shown = this.#state[slot];
    if (shown !== null && !shown.former) this.#ask("file", this.#client.send({ kind: "export", map: shown.content.map, format }));
  }

  /** The address of the query and of the map that is shown of it; null where there can be none, which is said. */
  permalink(): string | null {
    const { text, a, welcome } = this.#state;
    const stays = droppedIn(text, (welcome?.samples ?? []).map(({ name }) => name));
    if (stays !== null) {
      this.say(`A link has no pixels: ${stays}`, "warning");
      return null;
    }
    const identity = a !== null && isOf(a, text) ? a.content.identity : null;
    return this.place?.address({ query: text, model: identity?.model ?? null, source: identity?.source ?? null }) ?? null;
  }

  // ---- how it looks

  setTool(tool: Tool): void {
    this.store.set({ tool });
    this.#stage?.setTool(tool);
  }

  setLook(changes: Partial<Look>): void {
    const look = { ...this.#state.look, ...changes };
    this.store.set({ look });
    this.#stage?.setLook(look);
  }

  zoom(factor: number | "fit"): void {
    this.#stage?.zoom(factor);
  }

  say(text: string, tone: Message["tone"] = "plain"): void {
    this.store.set({ message: { text, tone } });
  }

  #sayOfText(text: string, tone: Message["tone"]): void {
    this.#saidOfText = { text, tone };
    this.store.set({ message: this.#saidOfText });
  }

  #unsay(message: Message | null): void {
    if (message !== null && this.#state.message === message) this.store.set({ message: null });
  }

  silence(): void {
    this.store.set({ message: null, permalinkSays: null });
  }

  // ---- what Python says

  #ask(purpose: Purpose, id: number): number {
    this.#newest.set(purpose, id);
    return id;
  }

  #answers(purpose: Purpose, id: number): boolean {
    return this.#newest.get(purpose) === id;
  }

  #listen(): void {
    const client = this.#client;
    client.on("welcome", (welcome) => {
      const first = this.#state.welcome === null;
      this.store.set({ welcome });
      if (!first) return this.#mirror.renew();
      const text = this.#state.text || this.place?.kept() || this.#linked?.query || welcome.text;
      if (text !== this.#linked?.query) this.#linked = null;
      this.replace(text);
      if (this.#runsFirst) this.run();
    });
    client.on("form", (event) => this.#formed(event));
    client.on("varied", ({ id, text, error }) => {
      if (id === this.#variant) this.#wasVaried(text, error);
    });
    client.on("labels", ({ key, labels }) => {
      this.#labels.set(key, labels);
      if (this.#state.form?.labels === key) this.store.set({ labels });
    });
    client.on("query", ({ text }) => this.replace(text));
    client.on("picture", (picture, buffers) => this.#stage?.showPicture(picture, buffers));

    client.on("started", ({ id, slot }) =>
      // Of several statements each begins anew.
      this.#ran(id, { state: "running", slot, done: 0, total: 0, seconds: 0, left: null }),
    );
    client.on("progress", ({ id, slot, done, total, seconds, left }) =>
      this.#ran(id, { slot, done, total, seconds, left }),
    );
    client.on("map", (map, buffers) => this.#mapped(map, buffers));
    client.on("finished", ({ id, slot, stopped, seconds }) => {
      const more = this.#state.run.both && slot === "a" && !stopped;
      if (!more) this.#ran(id, { state: stopped ? "stopped" : "done", seconds, left: null });
    });
    client.on("table", ({ id, columns, rows, lines }) => {
      if (id !== this.#state.run.id) return;
      this.store.set({ table: { columns, rows, lines } });
      this.#ran(id, { state: "done" });
    });
    client.on("refused", ({ id, error, slot }) => this.#refused(id, error, slot));

    client.on("plan", ({ id, kind: _, ...plan }) => {
      if (!this.#answers("plan", id)) return;
      // The text as it was sent: Python may write it in another way.
      this.store.set({ plan: { ...plan, text: this.#planned ?? plan.text }, planError: null, planWaits: false });
      this.#planned = null;
    });
    client.on("probe", (probe, buffers) => {
      if (this.#answers("probe", probe.id)) this.store.set({ probe: { content: probe, buffers }, probeWaits: false });
    });
    client.on("checked", (checked) => {
      if (this.#answers("check", checked.id)) this.store.set({ checked, checkWaits: false });
    });
    client.on("layer", (layer, buffers) => {
      if (!this.#answers("layer", layer.id)) return;
      for (const slot of ["a", "b"] as const) {
        const shown = this.#state[slot];
        if (shown?.content.map !== layer.map) continue;
        this.store.set(slot === "a" ? { a: { ...shown, shown: layer.shown } } : { b: { ...shown, shown: layer.shown } });
      }
      this.#stage?.showLayer(layer, buffers);
    });
    client.on("history", ({ entries }, buffers) => this.store.set({ history: { content: entries, buffers } }));
    client.on("folder", (folder) => {
      if (this.#answers("browse", folder.id)) this.store.set({ folder });
    });
    client.on("gallery", (gallery, buffers) => {
      if (!this.#answers("gallery", gallery.id)) return;
      const before = gallery.offset === 0 ? [] : this.#state.gallery;
      this.store.set({ gallery: [...before, { content: gallery, buffers }], galleryWaits: false });
    });
    client.on("file", ({ id, name, type, data }, buffers) => {
      if (this.#answers("file", id)) download(name, new Blob([buffers[data.buffer]!], { type }));
    });
  }

  #refused(id: number, error: Refusal, slot: Slot | null): void {
    const { run } = this.#state;
    const refused = this.#mirror.refused(id);
    if (refused !== null) {
      this.#settle();
      this.#show(this.#state.form);
      this.#uploads.delete(id);
      if (refused.control === "model") this.store.set({ modelRefused: error.message });
      else this.#sayOfText(error.message, "error");
      return;
    }
    if (id === run.id) {
      const failed = slot ?? "a";
      this.#ran(id, { state: "failed", refused: error, failed });
      // There is no map of that query: what is left of B is of another, or of before whatever is wrong now.
      if (failed === "b" && this.#state.b !== null) this.#clear("b");
      this.#name();
      // Where it is about the text, it is shown at its place there too.
      if (failed === "a" && error.line !== null && this.#state.text === run.texts.a) this.store.set({ error, errorText: run.texts.a });
      return;
    }
    if (id === this.#variant) {
      this.#varied = null;
      this.#comparesThen = false;
      this.store.set({ variantError: error, variantFollows: false });
      return;
    }
    const purpose = [...this.#newest].find(([, newest]) => newest === id)?.[0];
    if (purpose === "plan") {
      this.#planned = null;
      this.store.set({ planError: error, planWaits: false });
      return;
    }
    if (purpose === "probe") this.store.set({ probeWaits: false });
    if (purpose === "check") this.store.set({ checkWaits: false });
    if (purpose === "gallery") this.store.set({ galleryWaits: false });
    if (purpose !== undefined) this.say(error.message, "error");
  }

  #connected = (): void => {
    const connection = this.place!.connection;
    const before = this.#state.connection;
    this.store.set({ connection });
    if (connection === "open") {
      this.#unsay(OFFLINE);
      this.#client.send({ kind: "hello" });
    } else if (before === "open") {
      const { run } = this.#state;
      const lost = { type: "", message: "The connection was lost while this ran.", line: null, column: null };
      if (run.state === "running") {
        this.store.set({ run: { ...run, state: "failed", stopping: false, left: null, refused: { ...lost, expected: [], suggestion: null } } });
      }
      this.#newest.clear();
      this.#uploads.clear();
      this.#planned = null;
      this.#comparesThen = false;
      if (this.#varied !== null) this.#varied.waits = false;
      // Python keeps maps and images for as long as there is the connection.
      const { a, b } = this.#state;
      this.store.set({ a: a && { ...a, former: true }, b: b && { ...b, former: true }, dropped: [] });
      this.store.set({ planWaits: false, probeWaits: false, checkWaits: false, galleryWaits: false });
    }
  };
}

/** What a form does not know yet is as it was, for as long as it is of the same model and image. */
function carried(form: Form, before: Form | null): Form {
  if (before === null || form.size !== null) return form;
  // The image is shown on, as the model before saw it, also where there is no such model.
  if (form.model !== before.model) return form.source === before.source ? { ...form, picture: before.picture } : form;
  const { size, axes, dense, labels } = before;
  return { ...form, size, axes, dense, labels, picture: form.source === before.source ? before.picture : form.picture };
}

function download(name: string, blob: Blob): void {
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  // Long enough for any browser to have begun.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

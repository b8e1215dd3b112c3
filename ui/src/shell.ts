import { h, icon, say, set, show, type Icon } from "./dom";
import { takesDrops } from "./drop";
import { behind } from "./panels/behind";
import { browse } from "./panels/browse";
import { colours } from "./panels/colours";
import { compare } from "./panels/compare";
import { comparing } from "./panels/comparing";
import { controls } from "./panels/controls";
import { editor } from "./panels/editor";
import { gallery } from "./panels/gallery";
import { history } from "./panels/history";
import { connection, locked, message } from "./panels/message";
import { plan } from "./panels/plan";
import { probe } from "./panels/probe";
import { announced, progress } from "./panels/progress";
import { reading } from "./panels/reading";
import { result } from "./panels/result";
import { start } from "./panels/start";
import { toolbar } from "./panels/toolbar";
import type { Panel } from "./parts/field";
import { Session } from "./session";
import type { AnyModel } from "./protocol";
import { createStage } from "./stage/stage";
import { follow, type Wish } from "./theme";

/** Under the query, in the order in which they are shown. */
const BELOW: Panel[] = [probe, plan, compare, history];

const THEMES: { wish: Wish; name: string; symbol: Icon }[] = [
  { wish: "auto", name: "Colours as around it", symbol: "auto" },
  { wish: "light", name: "Light colours", symbol: "light" },
  { wish: "dark", name: "Dark colours", symbol: "dark" },
];

/** Builds all of the page within an element; what it returns takes it away. */
export function shell(model: AnyModel, el: HTMLElement): () => void {
  const session = new Session(model);
  const { store } = session;
  const spoken = h("p", { class: "kdb-unseen", role: "status", "data-testid": "spoken" });
  const stage = createStage(
    {
      onBox: (box) => session.change({ control: "box", value: box }, { atOnce: true }),
      onMask: (mask) => {
        if (mask === null) return session.change({ control: "mask", value: null });
        session.change({ control: "mask", value: "painted" }, { atOnce: true, buffers: [mask.slice().buffer] });
      },
      onProbe: (slot, position) => session.probe(slot, position),
      onHover: (reading) => store.set({ reading }),
      onSay: (text) => say(spoken, text),
    },
    store.state.look,
  );
  session.stage = stage;
  stage.setTool(store.state.tool);

  const root = h("div", { class: "kdb", "data-testid": "kdb" });
  keepKeys(root);
  const theme = follow(root);
  const stageArea = h(
    "div",
    { class: "kdb-stage-area" },
    h("div", { class: "kdb-bar kdb-looks" }, comparing(session), colours(session)),
    h("div", { class: "kdb-stage-holder" }, stage.element, start(session)),
  );
  const body = h(
    "div",
    { class: "kdb-body" },
    h(
      "section",
      { class: "kdb-main", "aria-label": "Heat map" },
      toolbar(session),
      stageArea,
      h("div", { class: "kdb-under" }, behind(session), reading(session)),
    ),
    editor(session),
    h("div", { class: "kdb-found" }, progress(session), result(session)),
    controls(session),
    h("div", { class: "kdb-below" }, gallery(session), ...BELOW.map((panel) => panel(session))),
  );
  const said = h("div", { class: "kdb-said-stack" }, connection(session), message(session));
  // The header is as high as what is said over it, so that nothing to be used is covered.
  const measured = new ResizeObserver(() => root.style.setProperty("--kdb-said", `${said.offsetHeight}px`));
  measured.observe(said);
  root.append(
    h("div", { class: "kdb-said" }, said),
    header(theme.wish),
    locked(session),
    body,
    browse(session),
    spoken,
    announced(session),
    takesDrops(root, session),
  );
  const ended = new AbortController();
  const pressed = (event: KeyboardEvent): void => {
    const runs = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    // Whatever is open takes Escape for itself, and so does what is being drawn.
    const stops = event.key === "Escape" && !event.defaultPrevented && !(event.target as Element).closest("dialog");
    if (!runs && !stops) return;
    if (stops && (stage.cancel() || store.state.run.state !== "running")) return;
    event.preventDefault();
    event.stopPropagation();
    if (runs) session.run();
    else session.stop();
  };
  root.addEventListener("keydown", pressed);
  // A page of its own has all keys, also while nothing of it has the focus.
  if (session.place !== null) document.body.addEventListener("keydown", pressed, { signal: ended.signal });
  // Whom kdb does not let in sees why, and nothing that does not work.
  store.watch(["connection", "welcome"], (state) => show(body, state.welcome !== null || /^open/.test(state.connection)));
  store.watch(["run", "a", "connection", "settled", "comparing"], ({ run, a, connection, settled, comparing }) => {
    set(root, "data-state", run.state);
    set(root, "data-maps", run.maps);
    set(root, "data-done", run.done);
    set(root, "data-total", run.total);
    set(root, "data-map", a?.content.map ?? null);
    set(root, "data-exact", a === null ? null : String(a.content.exact));
    set(root, "data-complete", a === null ? null : String(a.content.complete));
    set(root, "data-connection", connection);
    set(root, "data-settled", String(settled));
    set(root, "data-comparing", comparing);
  });
  el.append(root);
  return () => {
    session.close(model);
    measured.disconnect();
    ended.abort();
    theme.end();
    stage.destroy();
    root.remove();
  };
}

/**
 * Keys that are pressed within an element are not for the notebook around it, whose shortcuts are single letters.
 *
 * Jupyter listens before anything within the document does, and asks first whether its selector, `:focus`, matches what
 * has the focus, and only then looks further up: so it is there that it has to find this attribute.
 */
function keepKeys(root: HTMLElement): void {
  root.addEventListener("focusin", ({ target }) => set(target as Element, "data-lm-suppress-shortcuts", "true"));
  root.addEventListener("keydown", (event) => {
    const isCommand = (event.ctrlKey || event.metaKey) && event.key !== "Enter";
    if (!isCommand) event.stopPropagation();
  });
}

function header(wish: (wish: Wish) => void): HTMLElement {
  let at = 0;
  const toggle = h("button", { type: "button", class: "kdb-button kdb-quiet kdb-only-icon", "data-testid": "theme" });
  const shown = (): void => {
    const { name, symbol } = THEMES[at]!;
    toggle.replaceChildren(icon(symbol));
    set(toggle, "aria-label", name);
    set(toggle, "title", name);
  };
  toggle.addEventListener("click", () => {
    at = (at + 1) % THEMES.length;
    wish(THEMES[at]!.wish);
    shown();
  });
  shown();
  return h(
    "div",
    { class: "kdb-header" },
    h("h2", { class: "kdb-title" }, "kdb"),
    h("p", { class: "kdb-note" }, "Hides one small part of an image after another, and shows what the network looks at."),
    h("span", { class: "kdb-gap" }),
    toggle,
  );
}

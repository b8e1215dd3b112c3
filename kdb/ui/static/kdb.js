// Generated from ui/ by `npm run build`; do not edit.  Part of kdb, under the Apache License 2.0.

// src/dom.ts
function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  const { on, ...attributes } = properties;
  for (const [attribute, value] of Object.entries(attributes)) set(element, attribute, value);
  for (const [event, handler] of Object.entries(on ?? {})) element.addEventListener(event, handler);
  element.append(...children.filter((child) => child !== null && child !== void 0 && child !== false));
  return element;
}
function set(element, attribute, value) {
  if (value === null || value === void 0 || value === false) {
    if (element.hasAttribute(attribute)) element.removeAttribute(attribute);
    return;
  }
  const written2 = value === true ? "" : String(value);
  if (element.getAttribute(attribute) !== written2) element.setAttribute(attribute, written2);
}
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}
function fill(field2, value) {
  if (field2.value !== value) field2.value = value;
}
var own = crypto.getRandomValues(new Uint32Array(1))[0].toString(36);
var counted = 0;
var unique = (name) => `kdb-${name}-${own}-${++counted}`;
function options(select, wanted) {
  const now = [...select.options];
  if (now.length === wanted.length && wanted.every(({ value: value2, text }, at) => now[at].value === value2 && now[at].text === text)) {
    return;
  }
  const value = select.value;
  select.replaceChildren(...wanted.map((each) => h("option", { value: each.value }, each.text)));
  if (wanted.some((each) => each.value === value)) select.value = value;
}
var SVG = "http://www.w3.org/2000/svg";
var PATHS = {
  run: "M4 2.5v11l9-5.5z",
  stop: "M3.5 3.5h9v9h-9z",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  link: "M7 9a2.8 2.8 0 0 0 4 0l2-2a2.8 2.8 0 0 0-4-4l-1 1M9 7a2.8 2.8 0 0 0-4 0l-2 2a2.8 2.8 0 0 0 4 4l1-1",
  box: "M2.5 3.5h11v9h-11z",
  paint: "M10.5 2.5l3 3-6 6-3.5.5.5-3.5zM2.5 14h5",
  probe: "M8 1.5v4M8 10.5v4M1.5 8h4M10.5 8h4M8 8h.01",
  pan: "M8 1.5v13M1.5 8h13M6 3.5l2-2 2 2M6 12.5l2 2 2-2M3.5 6l-2 2 2 2M12.5 6l2 2-2 2",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  fit: "M2.5 6v-3.5h3.5M10 2.5h3.5v3.5M13.5 10v3.5h-3.5M6 13.5h-3.5v-3.5",
  close: "M4 4l8 8M12 4l-8 8",
  folder: "M1.5 4v8.5h13v-7h-7l-1.5-1.5z",
  image: "M2.5 3h11v10h-11zM2.5 11l3.5-3.5 3 3 2-2 2.5 2.5M10.5 6h.01",
  runs: "M2.5 2.5h4.5v4.5h-4.5zM9 2.5h4.5v4.5h-4.5zM2.5 9h4.5v4.5h-4.5zM9 9h4.5v4.5h-4.5z",
  down: "M4 6l4 4 4-4",
  up: "M8 13v-10M4 7l4-4 4 4",
  chain: "M6 4.5h-1.5a3.5 3.5 0 0 0 0 7h1.5M10 4.5h1.5a3.5 3.5 0 0 1 0 7h-1.5M5.5 8h5",
  light: "M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6M8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7",
  dark: "M13 9.5a5.5 5.5 0 1 1-6.5-6.5a4.5 4.5 0 0 0 6.5 6.5z",
  auto: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 1 1 0 11"
};
function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  for (const [attribute, value] of [["viewBox", "0 0 16 16"], ["class", "kdb-icon"], ["aria-hidden", "true"]]) {
    drawing.setAttribute(attribute, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  if (name === "run" || name === "stop") path.setAttribute("class", "kdb-icon-full");
  drawing.append(path);
  return drawing;
}

// src/drop.ts
function takesDrops(element, session) {
  const cover = h("div", { class: "kdb-drop", hidden: true, "aria-hidden": "true" }, h("p", {}, "Drop the image to explain it"));
  let depth = 0;
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;
  element.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth += 1;
    show(cover, true);
  });
  element.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  element.addEventListener("dragleave", (event) => {
    if (!holdsFiles(event)) return;
    depth = Math.max(0, depth - 1);
    if (depth === 0) show(cover, false);
  });
  element.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show(cover, false);
    const file = event.dataTransfer?.files[0];
    if (file !== void 0) void session.upload(file);
  });
  return cover;
}

// src/parts/field.ts
function field(label2, control, ...more) {
  control.id ||= unique("field");
  return h("div", { class: "kdb-field" }, h("label", { for: control.id, class: "kdb-label" }, label2), control, ...more);
}
function choice(label2, control, title) {
  return h("label", { class: "kdb-choice", title }, control, h("span", {}, label2));
}
function group(legend, testid, ...children) {
  return h("fieldset", { class: "kdb-group", "data-testid": testid }, h("legend", { class: "kdb-legend" }, legend), ...children);
}
function button(text, click, { testid, symbol, quiet = false, only = false } = {}) {
  return h(
    "button",
    {
      type: "button",
      class: `kdb-button${quiet ? " kdb-quiet" : ""}${only ? " kdb-only-icon" : ""}`,
      "data-testid": testid,
      "aria-label": only ? text : null,
      title: only ? text : null,
      on: { click }
    },
    symbol && icon(symbol),
    only ? null : h("span", {}, text)
  );
}
function disclosure(title, testid, body, toggled) {
  const aside = h("span", { class: "kdb-aside" });
  const element = h(
    "details",
    { class: "kdb-panel", "data-testid": testid },
    h("summary", { class: "kdb-summary" }, h("h3", { class: "kdb-heading" }, title), aside),
    body
  );
  element.addEventListener("toggle", () => toggled?.(element.open));
  return { element, aside };
}
function scrolled(label2, table2) {
  return h("div", { class: "kdb-scroll", role: "region", "aria-label": label2, tabindex: 0 }, table2);
}
function table(columns, rows2, numeric = /* @__PURE__ */ new Set()) {
  const align = (at) => numeric.has(at) ? "kdb-number" : null;
  return h(
    "table",
    { class: "kdb-table" },
    h("thead", {}, h("tr", {}, ...columns.map((column, at) => h("th", { scope: "col", class: align(at) }, column)))),
    h("tbody", {}, ...rows2.map((row) => h("tr", {}, ...row.map((cell, at) => h("td", { class: align(at) }, cell)))))
  );
}

// src/query.ts
var KEYWORDS = new Set(
  `occlude with patch segments in source fill channels stride using for predicted class classes top all detection score
  to over box mask within at exact precision on into run via threshold auto drill down speedup coarse approximate ssim
  guaranteed refine percent budget seconds explain analyze verify calibrate tune create or replace model from labels
  input drop show set reset resume manifest`.split(/\s+/)
);
var TOKEN = /(?<comment>--[^\n]*)|(?<string>'(?:[^']|'')*'?)|(?<parameter>\$\w+|\?)|(?<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?<name>[\p{L}_][\p{L}\p{N}_]*)|(?<space>\s+)|(?<sign>[^])/gu;
function tokens(text) {
  return [...text.matchAll(TOKEN)].map((match) => {
    const [mark] = Object.entries(match.groups).find(([, found]) => found !== void 0);
    const keyword = mark === "name" && KEYWORDS.has(match[0].toLowerCase());
    return { mark: keyword ? "keyword" : mark, text: match[0] };
  });
}
function runsByItself(text) {
  const meant2 = tokens(text).filter(({ mark }) => mark !== "comment" && mark !== "space");
  while (meant2.at(-1)?.text === ";") meant2.pop();
  return meant2[0]?.text.toLowerCase() === "occlude" && meant2.every(({ mark, text: text2 }) => text2 !== ";" && !(mark === "keyword" && /^into$/i.test(text2)));
}
function offset(text, line, column) {
  const lines = text.split("\n");
  const before = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  const within = [...lines[line - 1] ?? ""].slice(0, column - 1).join("").length;
  return Math.min(before + within, text.length);
}
function tokenAt(text, place) {
  let from = 0;
  for (const { mark, text: token } of tokens(text)) {
    const to = from + token.length;
    if (place < to) return mark === "space" ? { from: place, to: place } : { from, to };
    from = to;
  }
  return { from: text.length, to: text.length };
}
function corrected(text, { line, column, suggestion }) {
  if (suggestion === null || line === null || column === null) return null;
  const { from, to } = tokenAt(text, offset(text, line, column));
  return text.slice(0, from) + suggestion + text.slice(to);
}
function meaning(text) {
  const found = tokens(text).filter(({ mark }) => mark !== "comment" && mark !== "space").map((token) => token.mark === "keyword" ? { ...token, text: token.text.toLowerCase() } : token);
  while (found.at(-1)?.text === ";") found.pop();
  return found;
}
var joined = (found) => found.map(({ text }) => text).join("\n");
var sameQuery = (one, two) => one === two || joined(meaning(one)) === joined(meaning(two));
var CLAUSES = /^(occlude|with|fill|channels|stride|using|for|score|over|within|at|exact|approximate|threshold|drill|budget|precision|on|into)$/;
var UNWRITTEN = { fill: "black", for: "the predicted class", score: "probability", stride: "no STRIDE" };
function clausesOf(text) {
  const found = /* @__PURE__ */ new Map();
  let head = "";
  for (const { mark, text: token } of tokens(text)) {
    if (mark === "keyword" && CLAUSES.test(token.toLowerCase())) head = token.toLowerCase();
    found.set(head, (found.get(head) ?? "") + (mark === "comment" || mark === "space" ? " " : token));
  }
  return found;
}
function changedClauses(a, b) {
  const [first, second] = [clausesOf(a), clausesOf(b)];
  return [.../* @__PURE__ */ new Set([...first.keys(), ...second.keys()])].filter(
    (head) => !sameQuery(first.get(head) ?? "", second.get(head) ?? "")
  );
}
function differing(a, b) {
  const [first, second] = [clausesOf(a), clausesOf(b)];
  const heads = changedClauses(a, b);
  const words = (of) => heads.map((head) => {
    const clause = of.get(head)?.trim().replace(/\s+/g, " ");
    if (clause === void 0) return UNWRITTEN[head] ?? `no ${head.toUpperCase()}`;
    return /^(occlude|fill|using|for|score)$/.test(head) ? clause.slice(head.length).trim() : clause;
  }).join(", ");
  return heads.length === 0 ? null : { a: words(first), b: words(second) };
}
function droppedIn(text, samples) {
  const found = meaning(text);
  const parameter = found.find(({ mark }) => mark === "parameter")?.text;
  if (parameter === "$painted") return "the mask was painted on this page.";
  if (parameter !== void 0) return `${parameter} is known to this page alone.`;
  const [first, source2] = found;
  const dropped = first?.text === "occlude" && source2?.mark === "name" && !samples.includes(source2.text);
  return dropped ? `the image ${source2.text} was given to this page alone.` : null;
}

// src/state.ts
var isOf = (shown, text) => sameQuery(shown.asked, text) || sameQuery(shown.content.text, text);
function earlier({ a, b, text, variant }, slot) {
  const shown = slot === "a" ? a : b;
  return shown === null || isOf(shown, slot === "a" ? text : variant) ? null : shown;
}
function namesOf({ a, b, run }) {
  if (a === null) return null;
  if (b !== null) return differing(a.content.text, b.content.text);
  return run.state === "running" && run.both && a.content.id === run.id ? differing(run.texts.a, run.texts.b) : null;
}
var IDLE = {
  id: null,
  state: "idle",
  stopping: false,
  both: false,
  slot: "a",
  texts: { a: "", b: "" },
  done: 0,
  total: 0,
  seconds: 0,
  left: null,
  maps: 0,
  refused: null,
  failed: "a"
};
var LOOK = {
  palette: "safe",
  opacity: 0.8,
  threshold: 0,
  heat: true,
  region: true,
  patch: true,
  estimates: false,
  grid: false
};
var beginning = (connection2) => ({
  connection: connection2,
  welcome: null,
  text: "",
  form: null,
  error: null,
  errorText: "",
  understood: true,
  understoodText: "",
  notes: [],
  modelRefused: null,
  settled: true,
  labels: [],
  dropped: [],
  run: IDLE,
  runsOnChange: false,
  a: null,
  b: null,
  table: null,
  planOpen: false,
  plan: null,
  planError: null,
  planWaits: false,
  probe: null,
  probeWaits: false,
  probeSlot: "a",
  checked: null,
  checkWaits: false,
  comparing: "off",
  variant: "",
  variantError: null,
  variantFollows: false,
  names: null,
  history: { content: [], buffers: [] },
  folder: null,
  gallery: [],
  galleryWaits: false,
  browsing: false,
  tool: "probe",
  look: LOOK,
  reading: null,
  message: null,
  permalinkSays: null
});

// src/panels/behind.ts
function behindInWords(state) {
  const a = earlier(state, "a") !== null;
  const b = state.comparing !== "off" && earlier(state, "b") !== null;
  if (a && b) return "A and B: the maps of earlier queries";
  if (b) return "B: the map of an earlier query";
  if (!a) return null;
  return state.b !== null && state.comparing !== "off" ? "A: the map of an earlier query" : "The map of an earlier query";
}
var behind = (session) => {
  const element = h("p", { class: "kdb-of-earlier", "data-testid": "behind" });
  session.store.watch(["a", "b", "text", "variant", "comparing"], (state) => {
    const words = behindInWords(state);
    say(element, words ?? "");
    show(element, words !== null);
  });
  return element;
};
function ofEarlier(session, slot) {
  const text = h("code", { class: "kdb-lines" });
  const use = button("Use this query", () => slot === "a" ? session.replace(text.textContent ?? "") : session.setVariant(text.textContent ?? ""), { testid: `earlier-use-${slot}` });
  const query = h("div", { class: "kdb-row" }, "Of an earlier query: ", text, use);
  const former = h("p", {}, "From before the connection was lost: it can be probed, compared and exported once its query is run again.");
  const element = h("div", { class: "kdb-note kdb-behind", "data-testid": `earlier-${slot}` }, query, former);
  session.store.watch(["a", "b", "text", "variant"], (state) => {
    const shown = slot === "a" ? state.a : state.b;
    const other = earlier(state, slot);
    show(query, other !== null);
    say(text, other?.asked ?? "");
    show(former, shown?.former === true);
    show(element, other !== null || shown?.former === true);
  });
  return element;
}

// src/panels/browse.ts
var SYMBOLS = { folder: "folder", image: "image", run: "runs" };
var browse = (session) => {
  const title = h("h3", { class: "kdb-heading" });
  const list = h("ul", { class: "kdb-entries" });
  const close = button("Close", () => session.endBrowsing(), { testid: "browse-close", symbol: "close", quiet: true, only: true });
  const dialog = h(
    "dialog",
    { class: "kdb-dialog", "aria-label": "Images and runs", "data-testid": "browser" },
    h("div", { class: "kdb-row" }, title, h("span", { class: "kdb-gap" }), close),
    list
  );
  dialog.addEventListener("close", () => session.endBrowsing());
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  const entry = (text, symbol, click, hint = "") => h(
    "li",
    {},
    h("button", { type: "button", class: "kdb-entry", on: { click } }, icon(symbol), h("span", {}, text), h("span", { class: "kdb-hint" }, hint))
  );
  session.store.watch(["browsing"], ({ browsing }) => {
    if (browsing && !dialog.open && dialog.isConnected) dialog.showModal();
    else if (!browsing && dialog.open) dialog.close();
  });
  session.store.watch(["folder", "welcome"], ({ folder, welcome }) => {
    if (folder === null) {
      say(title, "Reading…");
      return;
    }
    say(title, folder.folder === "" ? welcome?.root ?? "" : folder.folder);
    const join = (name) => folder.folder === "" ? name : `${folder.folder}/${name}`;
    list.replaceChildren(
      ...folder.parent === null ? [] : [entry("The folder above", "up", () => session.browse(folder.parent))],
      ...folder.entries.map(
        ({ name, kind, source: source2 }) => entry(
          name,
          SYMBOLS[kind],
          () => {
            if (kind === "folder") return session.browse(join(name));
            if (kind === "run") return session.openRun(source2);
            session.endBrowsing();
            session.change({ control: "source", value: source2 });
          },
          kind === "run" ? "run" : ""
        )
      ),
      ...folder.entries.length === 0 ? [h("li", { class: "kdb-note" }, "There are no images, volumes or runs here.")] : []
    );
  });
  return dialog;
};

// src/panels/colours.ts
var PALETTES = [
  { palette: "safe", name: "Safe colours" },
  { palette: "effect", name: "Red and blue" },
  { palette: "krypton", name: "The paper's" }
];
var colours = (session) => {
  const { store } = session;
  const palette = h(
    "select",
    { class: "kdb-input", "aria-label": "Colours", "data-testid": "palette" },
    ...PALETTES.map((each) => h("option", { value: each.palette }, each.name))
  );
  palette.addEventListener("change", () => session.setLook({ palette: palette.value }));
  const share = (key, text, help) => {
    const id = unique(key);
    const input = h("input", { type: "range", class: "kdb-range", min: 0, max: 1, step: 0.01, id, "data-testid": key });
    const shown = h("output", { class: "kdb-output kdb-percent", for: id });
    input.addEventListener("input", () => session.setLook({ [key]: Number(input.value) }));
    store.watch(["look"], ({ look }) => {
      if (Number(input.value) !== look[key]) input.value = String(look[key]);
      say(shown, `${Math.round(look[key] * 100)} %`);
    });
    return h("div", { class: "kdb-share", title: help }, h("label", { for: id }, text), input, shown);
  };
  store.watch(["look"], ({ look }) => palette.value = look.palette);
  return h(
    "div",
    { class: "kdb-colours", role: "group", "aria-label": "Colours of the heat" },
    palette,
    share("opacity", "Opacity", "Of the heat"),
    share("threshold", "Hide below", "Share of the scale below which heat is not drawn")
  );
};

// src/parts/search.ts
var WORDS = /[\p{L}\p{N}_]+/gu;
function rankOf({ text, hint = "" }, search, words) {
  const [name, aside] = [text.toLowerCase(), hint.toLowerCase()];
  if (name === search || aside === search) return 0;
  const all = `${name} ${aside}`;
  const found = new Set(all.match(WORDS));
  let worst = 1;
  for (const word of words) {
    if (!all.includes(word)) return null;
    const rank = found.has(word) ? 1 : [...found].some((each) => each.startsWith(word)) ? 2 : 3;
    worst = Math.max(worst, rank);
  }
  return worst;
}
function searched(all, search) {
  const sought = search.trim().toLowerCase();
  const words = sought.split(/\s+/).filter(Boolean);
  if (words.length === 0) return [...all];
  const ranked = all.map((each) => ({ each, rank: rankOf(each, sought, words) }));
  return ranked.filter(({ rank }) => rank !== null).sort((one, two) => one.rank - two.rank).map(({ each }) => each);
}

// src/parts/combobox.ts
var MOST = 120;
function meant(choices, text, entered) {
  const sought = text.trim().toLowerCase();
  const same = (each) => each.text.toLowerCase() === sought || each.value.toLowerCase() === sought;
  const exact = choices.find(({ text: name, value }) => name === text || value === text) ?? choices.find(same);
  if (exact !== void 0 || !entered || sought === "") return exact ?? null;
  const first = searched(choices, text)[0];
  return first?.text.toLowerCase().startsWith(sought) ? first : null;
}
function combobox(given) {
  const list = h("ul", { class: "kdb-options", role: "listbox", id: unique("list"), "aria-label": given.label, hidden: true });
  const more = h("p", { class: "kdb-options-more", hidden: true });
  const popup = h("div", { class: "kdb-popup", hidden: true }, list, more);
  const why = h("p", { class: "kdb-note kdb-refusal", role: "alert", id: unique("why"), hidden: true });
  const input = h("input", {
    type: "text",
    class: "kdb-input",
    id: unique("combobox"),
    role: "combobox",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: given.placeholder,
    "aria-expanded": "false",
    "aria-controls": list.id,
    "aria-autocomplete": "list",
    "aria-describedby": why.id,
    "data-testid": given.testid
  });
  const opener = h("button", { type: "button", class: "kdb-opener", tabindex: -1, "aria-hidden": "true" }, icon("down"));
  let shown = "";
  let active = -1;
  let found = [];
  const isOpen = () => !popup.hidden;
  function activate(at) {
    if (active >= 0) set(list.children[active], "aria-selected", "false");
    active = at;
    const option = list.children[at];
    set(input, "aria-activedescendant", option?.id ?? null);
    if (option !== void 0) {
      set(option, "aria-selected", "true");
      option.scrollIntoView({ block: "nearest" });
    }
  }
  function open(search) {
    const all = searched(given.choices(), search);
    found = all.slice(0, MOST);
    active = -1;
    list.replaceChildren(
      ...found.map(
        ({ text, hint }, at) => h(
          "li",
          {
            role: "option",
            id: `${list.id}-${at}`,
            class: "kdb-option",
            "aria-selected": "false",
            // The field keeps the focus, and the click still comes.
            on: { mousedown: (event) => event.preventDefault(), click: () => choose(at) }
          },
          h("span", {}, text),
          hint ? h("span", { class: "kdb-hint" }, hint) : null
        )
      )
    );
    more.textContent = all.length > MOST ? `${all.length - MOST} more: type to narrow the list` : all.length === 0 ? "Nothing by that name" : "";
    show(more, more.textContent !== "");
    show(list, found.length > 0);
    popup.hidden = false;
    set(input, "aria-expanded", "true");
    set(input, "aria-activedescendant", null);
    const current = search === "" ? found.findIndex(({ text, value }) => text === shown || value === shown) : -1;
    if (current >= 0) activate(current);
  }
  function close() {
    popup.hidden = true;
    active = -1;
    set(input, "aria-expanded", "false");
    set(input, "aria-activedescendant", null);
  }
  function choose(at) {
    const { text, value } = found[at];
    shown = text;
    input.value = text;
    close();
    refuse(null);
    given.chosen(value);
  }
  function refuse(reason) {
    say(why, reason ?? "");
    show(why, reason !== null);
    set(input, "aria-invalid", reason === null ? null : "true");
    if (reason !== null) input.value = shown;
  }
  function enter(entered) {
    const text = input.value.trim();
    close();
    if (text === shown || text === "") {
      input.value = shown;
      return;
    }
    const reason = given.free ? given.refused?.(text) : `There is no '${text}'.`;
    const found2 = meant(given.choices(), text, entered && reason !== null);
    if (found2 !== null) {
      input.value = found2.text;
      refuse(null);
      if (found2.text === shown) return;
      shown = found2.text;
      given.chosen(found2.value);
    } else if (typeof reason === "string") {
      refuse(reason);
    } else {
      refuse(null);
      shown = text;
      given.chosen(text);
    }
  }
  input.addEventListener("input", () => {
    refuse(null);
    open(input.value);
  });
  input.addEventListener("mousedown", () => isOpen() || open(""));
  input.addEventListener("focus", () => input.select());
  input.addEventListener("blur", () => enter(false));
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen()) return open("");
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (found.length > 0) activate((Math.max(active, step > 0 ? -1 : 0) + step + found.length) % found.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (isOpen() && active >= 0) choose(active);
      else enter(true);
    } else if (event.key === "Escape" && isOpen()) {
      event.preventDefault();
      event.stopPropagation();
      input.value = shown;
      close();
    }
  });
  opener.addEventListener("mousedown", (event) => {
    event.preventDefault();
    if (isOpen()) return close();
    input.focus();
    open("");
  });
  return {
    element: h("div", {}, h("div", { class: "kdb-combobox" }, input, opener, popup), why),
    input,
    refuse,
    set(text) {
      shown = text;
      if (!input.matches(":focus")) fill(input, text);
    }
  };
}

// src/parts/number.ts
function numberField(properties, refused, entered) {
  const why = h("p", { class: "kdb-note kdb-refusal", role: "alert", id: unique("why"), hidden: true });
  const input = h("input", { type: "number", class: "kdb-input", step: "any", ...properties, "aria-describedby": why.id });
  let typing = false;
  let shown = "";
  const tell = (reason) => {
    say(why, reason ?? "");
    show(why, reason !== null);
    set(input, "aria-invalid", reason === null ? null : "true");
  };
  const reset = () => {
    typing = false;
    tell(null);
    fill(input, shown);
  };
  input.addEventListener("input", () => typing = true);
  input.addEventListener("change", () => {
    const value = input.valueAsNumber;
    const reason = Number.isNaN(value) ? "This is no number." : refused(value);
    tell(reason);
    if (reason !== null) return;
    typing = false;
    shown = input.value;
    entered(value);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !typing) return;
    event.preventDefault();
    reset();
  });
  return {
    input,
    why,
    set(value) {
      const another = value !== shown;
      shown = value;
      if (!typing) fill(input, value);
      else if (another && !why.hidden) reset();
    },
    reset
  };
}
function notWhole(value, least, most = Infinity) {
  if (Number.isInteger(value) && value >= least && value <= most) return null;
  return `A whole number, ${least} or more${most < Infinity ? ` and at most ${most}` : ""}.`;
}

// src/controls/classes.ts
var KINDS = [
  { value: "predicted", text: "The predicted class" },
  { value: "class", text: "One class" },
  { value: "top", text: "The top classes" },
  { value: "all", text: "All classes" },
  { value: "detection", text: "A detection" }
];
var SEVERAL = { value: "several", text: "Several classes" };
function labelled(labels) {
  const seen = /* @__PURE__ */ new Map();
  for (const label2 of labels) seen.set(label2, (seen.get(label2) ?? 0) + 1);
  return labels.map((label2, index) => ({
    value: seen.get(label2) === 1 && label2 !== "" ? label2 : String(index),
    text: label2 === "" ? String(index) : label2,
    hint: String(index)
  }));
}
function unknownClass(labels, text) {
  if (labels.length === 0 || text.startsWith("$")) return null;
  if (/^\d+$/.test(text)) return Number(text) < labels.length ? null : `Classes are numbered from 0 to ${labels.length - 1}.`;
  const sought = text.trim().toLowerCase();
  const has = labels.some((label2) => label2.split(",").some((name) => name.trim().toLowerCase() === sought));
  return has ? null : `There is no class '${text}'.`;
}
var classes = (session) => {
  const kind = h("select", { class: "kdb-input", "aria-label": "Which classes", "data-testid": "class" });
  options(kind, KINDS);
  const count2 = numberField(
    { min: 1, step: 1, "data-testid": "class-number" },
    (value) => notWhole(value, 1),
    (value) => change({ kind: kind.value, value })
  );
  const counts = h("div", {}, count2.input, count2.why);
  const several = h("p", { class: "kdb-note", "data-testid": "class-several" });
  let choices = [];
  const box2 = combobox({
    label: "Labels",
    testid: "class-label",
    free: true,
    placeholder: "A label or a number",
    choices: () => choices,
    // A number that was typed is that of a class, in the text too.
    refused: (text) => unknownClass(session.store.state.labels, text),
    chosen: (value) => session.change({ control: "classes", value: { kind: "class", value: /^\d+$/.test(value) ? Number(value) : value } })
  });
  set(box2.input, "aria-label", "Label or number of the class");
  const change = (value) => session.change({ control: "classes", value });
  const parts = {
    class: box2.element,
    top: counts,
    detection: counts,
    several
  };
  const reveal = () => {
    const part = parts[kind.value];
    for (const each of new Set(Object.values(parts))) show(each, each === part);
    set(count2.input, "aria-label", kind.value === "top" ? "How many classes" : "Which detection, from 1");
  };
  kind.addEventListener("change", () => {
    count2.reset();
    unentered = null;
    reveal();
    const chosen = kind.value;
    const { a } = session.store.state;
    const known = a?.content.classes ?? [];
    if (chosen === "predicted" || chosen === "all") change({ kind: chosen, value: null });
    else if (chosen === "top") change({ kind: "top", value: 5 });
    else if (chosen === "detection") change({ kind: "detection", value: 1 });
    else if (chosen === "class" && known.length > 0) change({ kind: "class", value: known[0].index });
    else if (chosen === "class") {
      unentered = written2;
      box2.input.focus();
    }
  });
  let written2 = "";
  let unentered = null;
  session.store.watch(["form"], ({ form }) => {
    if (form === null) return;
    const { kind: shown, value } = form.classes;
    written2 = JSON.stringify(form.classes);
    if (unentered === written2) return;
    unentered = null;
    options(kind, shown === "several" ? [...KINDS, SEVERAL] : KINDS);
    fill(kind, shown);
    if (shown === "top" || shown === "detection") count2.set(String(value ?? 1));
    say(several, shown === "several" ? String(value ?? "") : "");
    reveal();
  });
  session.store.watch(["form", "labels"], ({ form, labels }) => {
    choices = labelled(labels);
    if (form?.classes.kind !== "class") return;
    const { value } = form.classes;
    box2.set(typeof value === "number" ? labels[value] ?? String(value) : value ?? "");
  });
  reveal();
  return group("Class", "classes", kind, box2.element, counts, several);
};
var score = (session) => {
  const select = h("select", { class: "kdb-input", "data-testid": "score" });
  select.addEventListener("change", () => session.change({ control: "score", value: select.value }));
  session.store.watch(["form", "welcome"], ({ form, welcome }) => {
    const known = welcome?.scores ?? [];
    const all = form === null || known.includes(form.score) ? known : [...known, form.score];
    options(select, all.map((value) => ({ value, text: value.replaceAll("_", " ") })));
    if (form !== null) fill(select, form.score);
  });
  return field("Score", select);
};

// src/undo.ts
var TOGETHER = 1e3;
var MOST2 = 200;
var Undo = class {
  #past = [];
  #now = null;
  #future = [];
  #kind = "";
  #at = -Infinity;
  /** The text is now another; `kind` says by what, and each of the kind "" is a step of its own. */
  record(text, kind, at) {
    if (text === this.#now) return;
    const goes = kind !== "" && kind === this.#kind && at - this.#at < TOGETHER && this.#past.length > 0;
    if (this.#now !== null && !goes) this.#past.push(this.#now);
    if (this.#past.length > MOST2) this.#past.shift();
    this.#future = [];
    this.#now = text;
    this.#kind = kind;
    this.#at = at;
  }
  /** The text of before, or null where there is none. */
  undo() {
    return this.#go(this.#past, this.#future);
  }
  redo() {
    return this.#go(this.#future, this.#past);
  }
  #go(from, to) {
    const text = from.pop();
    if (text === void 0 || this.#now === null) return null;
    to.push(this.#now);
    this.#now = text;
    this.#kind = "";
    return text;
  }
};
var typedBy = (event) => /^insertFrom/.test(event.inputType ?? "") ? "" : "typed";
function asked({ key, ctrlKey, metaKey, altKey, shiftKey }) {
  if (!(ctrlKey || metaKey) || altKey) return null;
  const letter = key.toLowerCase();
  if (letter === "z") return shiftKey ? "redo" : "undo";
  return letter === "y" && !shiftKey ? "redo" : null;
}
function behindChange(before, after) {
  let same = 0;
  const most = Math.min(before.length, after.length);
  while (same < most && before.at(-1 - same) === after.at(-1 - same)) same += 1;
  return after.length - same;
}
function undoes(field2, go) {
  const take = (way, event) => {
    event.preventDefault();
    event.stopPropagation();
    const before = field2.value;
    if (go(way)) field2.setSelectionRange(behindChange(before, field2.value), behindChange(before, field2.value));
  };
  field2.addEventListener("keydown", (event) => {
    const way = event.isComposing ? null : asked(event);
    if (way !== null) take(way, event);
  });
  field2.addEventListener("beforeinput", (event) => {
    if (event.inputType === "historyUndo") take("undo", event);
    if (event.inputType === "historyRedo") take("redo", event);
  });
}

// src/panels/compare.ts
function bondInWords({ text, variant, variantFollows }) {
  if (variant.trim() === "") return "Takes the query as A and makes B of it by one change; both run one after another.";
  if (variantFollows) return "B is A with this one change, and follows what becomes of A.";
  const clauses = changedClauses(text, variant).map((head) => head === "occlude" ? "the image" : head.toUpperCase());
  if (clauses.length === 0) return "B says the same as A.";
  const all = clauses.length === 1 ? clauses[0] : `${clauses.slice(0, -1).join(", ")} and ${clauses.at(-1)}`;
  return `B is a text of its own, and does not follow A: they differ in ${all}${clauses.length > 1 ? ", more than one thing" : ""}.`;
}
var compare = (session) => {
  const { store } = session;
  const by = h("select", { class: "kdb-input", "data-testid": "compare-by" });
  options(by, [
    { value: "model", text: "Another model" },
    { value: "class", text: "Another class" },
    { value: "fill", text: "Another fill" }
  ]);
  const choices = () => {
    const { welcome, labels } = store.state;
    if (by.value === "model") return (welcome?.models ?? []).map(({ name, from }) => ({ value: name, text: name, hint: from }));
    if (by.value === "class") return labelled(labels);
    return (welcome?.fills ?? []).map((value) => ({ value, text: value }));
  };
  const changed = (value) => {
    if (by.value === "model") return { control: "model", value };
    if (by.value === "fill") return { control: "fill", value };
    return { control: "classes", value: { kind: "class", value: /^\d+$/.test(value) ? Number(value) : value } };
  };
  const other = combobox({
    label: "What to compare with",
    testid: "compare-with",
    free: true,
    choices,
    refused: (text2) => by.value === "class" ? unknownClass(store.state.labels, text2) : void 0,
    chosen: (value) => session.vary(changed(value))
  });
  set(other.input, "aria-label", "What to compare with");
  by.addEventListener("change", () => {
    other.set("");
    other.input.value = "";
    session.setVariant("");
    other.input.focus();
  });
  const text = (testid) => h("textarea", { class: "kdb-input kdb-code", rows: 3, spellcheck: "false", "data-testid": testid });
  const first = text("compare-a");
  const second = text("compare-b");
  first.addEventListener("input", (event) => session.type(first.value, typedBy(event)));
  second.addEventListener("input", (event) => session.setVariant(second.value, typedBy(event)));
  undoes(first, (way) => session.undo(way));
  undoes(second, (way) => session.undoVariant(way));
  const bond = h("p", { class: "kdb-note", "data-testid": "compare-bond" });
  store.watch(["text", "variant", "variantFollows"], (state) => say(bond, bondInWords(state)));
  const error = h("p", { class: "kdb-refusal", role: "alert" });
  const begin = () => {
    session.compare();
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    body.closest(".kdb")?.querySelector(".kdb-main")?.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  };
  const run = button("Compare", begin, { testid: "compare-run", symbol: "run" });
  store.watch(["text"], (state) => fill(first, state.text));
  store.watch(["variant", "variantError"], ({ variant, variantError }) => {
    fill(second, variant);
    run.disabled = variant.trim() === "";
    say(error, variantError?.message ?? "");
    show(error, variantError !== null);
  });
  const body = h(
    "div",
    { class: "kdb-panel-body kdb-stack" },
    bond,
    h("div", { class: "kdb-row" }, field("Compare with", by), h("div", { class: "kdb-grow kdb-bottom" }, other.element)),
    h("div", { class: "kdb-pair" }, field("A, the query", first), field("B", second)),
    error,
    h("div", { class: "kdb-row" }, run)
  );
  return disclosure("Compare", "compare", body).element;
};

// src/panels/comparing.ts
var comparing = (session) => {
  const name = unique("comparing");
  const ways = ["side", "difference", "off"].map((way) => {
    const input = h("input", { type: "radio", name, value: way, "data-testid": `comparing-${way}` });
    input.addEventListener("change", () => session.compareBy(way));
    return { way, input, element: choice({ side: "Side by side", difference: "Difference, A − B", off: "A alone" }[way], input) };
  });
  const element = h("div", { class: "kdb-row kdb-comparing", role: "radiogroup", "aria-label": "How to compare" }, ...ways.map(({ element: element2 }) => element2));
  session.store.watch(["comparing", "b"], ({ comparing: comparing2, b }) => {
    ways.forEach(({ way, input }) => input.checked = way === comparing2);
    show(element, b !== null || comparing2 !== "off");
  });
  return element;
};

// src/controls/effort.ts
var effort = (session) => {
  const name = unique("effort");
  const radio = (value) => h("input", { type: "radio", name, value, "data-testid": `effort-${value}` });
  const radios = { exact: radio("exact"), ssim: radio("ssim"), seconds: radio("seconds"), other: radio("other") };
  const slider = h("input", { type: "range", class: "kdb-range", min: 0.5, max: 0.99, step: 0.01, value: 0.9, "aria-label": "SSIM to reach", "data-testid": "effort-slider" });
  const shown = h("output", { class: "kdb-small kdb-output" });
  const guaranteed = h("input", { type: "checkbox", "data-testid": "effort-guaranteed" });
  const ssim = h(
    "div",
    { class: "kdb-inset" },
    h("div", { class: "kdb-size" }, slider, shown),
    choice("Guaranteed, for nineteen maps of twenty", guaranteed)
  );
  const limit = numberField(
    { class: "kdb-input kdb-small", min: 0, value: 5, "aria-label": "Seconds", "data-testid": "effort-limit" },
    (value) => value > 0 ? null : "More than 0 seconds.",
    () => change(timed())
  );
  const time = h("div", { class: "kdb-inset" }, h("div", { class: "kdb-row" }, limit.input, "seconds at most"), limit.why);
  const other = choice("As in the text", radios.other);
  radios.other.disabled = true;
  const similar = () => ({ kind: "ssim", ssim: Number(slider.value), guaranteed: guaranteed.checked });
  const timed = () => ({ kind: "seconds", seconds: Number(limit.input.value) });
  const change = (value, held2 = false) => session.change({ control: "effort", value }, { held: held2 });
  const reveal = () => {
    show(ssim, radios.ssim.checked);
    show(time, radios.seconds.checked);
    say(shown, Number(slider.value).toFixed(2));
  };
  radios.exact.addEventListener("change", () => (reveal(), change({ kind: "exact" })));
  radios.ssim.addEventListener("change", () => (reveal(), change(similar())));
  radios.seconds.addEventListener("change", () => (reveal(), change(timed())));
  slider.addEventListener("input", () => (reveal(), change(similar(), true)));
  slider.addEventListener("change", () => change(similar()));
  guaranteed.addEventListener("change", () => change(similar()));
  session.store.watch(["form"], ({ form }) => {
    if (form === null) return;
    const { effort: effort2 } = form;
    radios[effort2.kind].checked = true;
    show(other, effort2.kind === "other");
    if (effort2.kind === "ssim") {
      if (effort2.ssim > 0 && effort2.ssim <= 1) {
        slider.min = String(Math.min(0.5, effort2.ssim));
        slider.max = String(Math.max(0.99, effort2.ssim));
        fill(slider, String(effort2.ssim));
      }
      guaranteed.checked = effort2.guaranteed;
    }
    if (effort2.kind === "seconds" && effort2.seconds > 0) limit.set(String(effort2.seconds));
    if (effort2.kind === "other") say(other.lastElementChild, effort2.text);
    reveal();
  });
  reveal();
  return group(
    "Effort",
    "effort",
    choice("Exact", radios.exact, "What full inference gives, up to rounding"),
    choice("Similar to the exact map (SSIM)", radios.ssim, "Faster: some positions are estimated"),
    ssim,
    choice("As good as time allows", radios.seconds),
    time,
    other
  );
};

// src/controls/fill.ts
function parseFill(text) {
  const written2 = text.trim().toLowerCase();
  const blur = /^blur\(\s*([\d.]+)\s*\)$/.exec(written2);
  if (blur) return { kind: "blur", sigma: Number(blur[1]) };
  const rgb = /^rgb\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)$/.exec(written2);
  if (rgb && rgb.slice(1).every((part) => Number(part) <= 255)) {
    return { kind: "colour", colour: "#" + rgb.slice(1).map((part) => Number(part).toString(16).padStart(2, "0")).join("") };
  }
  if (written2 !== "" && Number.isFinite(Number(written2))) return { kind: "number", value: Number(written2) };
  return /^[a-z]+$/.test(written2) ? { kind: "name", name: written2 } : { kind: "other", text };
}
function writeFill(fill3) {
  switch (fill3.kind) {
    case "name":
      return fill3.name;
    case "blur":
      return `blur(${fill3.sigma})`;
    case "number":
      return String(fill3.value);
    case "colour":
      return `rgb(${[1, 3, 5].map((at) => parseInt(fill3.colour.slice(at, at + 2), 16)).join(", ")})`;
    case "other":
      return fill3.text;
  }
}
var BEGIN = {
  blur: { kind: "blur", sigma: 8 },
  number: { kind: "number", value: 128 },
  colour: { kind: "colour", colour: "#7c7468" }
};
var fill2 = (session) => {
  const kind = h("select", { class: "kdb-input", "aria-label": "Fill of the patch", "data-testid": "fill" });
  const sigma = numberField(
    { min: 0, "aria-label": "Sigma of the blur, in pixels", "data-testid": "fill-sigma" },
    (value2) => value2 > 0 ? null : "More than 0 pixels.",
    (value2) => change({ kind: "blur", sigma: value2 })
  );
  const value = numberField(
    { "aria-label": "Value of the fill", "data-testid": "fill-number" },
    () => null,
    (value2) => change({ kind: "number", value: value2 })
  );
  const colour = h("input", { type: "color", class: "kdb-colour", "aria-label": "Colour of the fill", "data-testid": "fill-colour" });
  const change = (fill3) => session.change({ control: "fill", value: writeFill(fill3) });
  const reveal = () => {
    show(sigma.input, kind.value === "blur");
    show(value.input, kind.value === "number");
    show(colour, kind.value === "colour");
  };
  kind.addEventListener("change", () => {
    sigma.reset();
    value.reset();
    reveal();
    if (kind.value !== "other") change(BEGIN[kind.value] ?? { kind: "name", name: kind.value });
  });
  colour.addEventListener("change", () => change({ kind: "colour", colour: colour.value }));
  session.store.watch(["form", "welcome"], ({ form, welcome }) => {
    const shown = form === null ? null : parseFill(form.fill);
    const names = (welcome?.fills ?? []).filter((each) => parseFill(each).kind === "name" && !(each in BEGIN));
    if (shown?.kind === "name" && !names.includes(shown.name)) names.push(shown.name);
    options(kind, [
      ...names.map((name) => ({ value: name, text: name[0].toUpperCase() + name.slice(1) })),
      { value: "blur", text: "Blurred image" },
      { value: "number", text: "A value" },
      { value: "colour", text: "A colour" },
      ...shown?.kind === "other" ? [{ value: "other", text: shown.text }] : []
    ]);
    if (shown === null) return;
    fill(kind, shown.kind === "name" ? shown.name : shown.kind);
    if (shown.kind === "blur") sigma.set(String(shown.sigma));
    if (shown.kind === "number") value.set(String(shown.value));
    if (shown.kind === "colour") fill(colour, shown.colour);
    reveal();
  });
  reveal();
  return group("Fill", "fill-group", h("div", { class: "kdb-row" }, kind, sigma.input, value.input, colour), sigma.why, value.why);
};

// src/controls/model.ts
var model = (session) => {
  const box2 = combobox({
    label: "Models",
    testid: "model",
    free: true,
    placeholder: "The name of a model",
    choices: () => (session.store.state.welcome?.models ?? []).map(({ name, from, input }) => ({
      value: name,
      text: name,
      // What keeps a model from being used at once matters more than its size.
      hint: from.startsWith("needs") ? from : [from, input].filter(Boolean).join(", ")
    })),
    chosen: (value) => session.change({ control: "model", value })
  });
  session.store.watch(["form"], ({ form }) => box2.set(form?.model ?? ""));
  session.store.watch(["modelRefused"], ({ modelRefused }) => box2.refuse(modelRefused));
  return h("div", { class: "kdb-field" }, h("label", { for: box2.input.id, class: "kdb-label" }, "Model"), box2.element);
};

// src/format.ts
var MINUS = "−";
function number(value, digits = 3) {
  if (Number.isNaN(value)) return "unknown";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : MINUS + "∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let shown;
  if (size >= 1e-4 && size < 10 ** Math.max(digits, 6)) {
    const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    shown = grouped(size.toFixed(Math.min(places, 20)));
  } else {
    shown = size.toExponential(digits - 1).replace("e+", "e");
  }
  return (value < 0 ? MINUS : "") + shown;
}
function signed(value, digits = 3) {
  return value > 0 ? "+" + number(value, digits) : number(value, digits);
}
function grouped(digits) {
  const [whole2, fraction] = digits.split(".");
  const parts = whole2.length > 4 ? whole2.replace(/\B(?=(\d{3})+$)/g, ",") : whole2;
  return fraction === void 0 ? parts : `${parts}.${fraction}`;
}
var cells = (axes) => ["samples", "pixels", "voxels"][axes - 1] ?? "cells";
var count = (value) => grouped(String(Math.round(value)));
var counted2 = (value, noun) => `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
function magnitude(value) {
  const units = ["", " k", " M", " G", " T", " P"];
  let scaled = value;
  let unit = 0;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1e3;
    unit += 1;
  }
  return (scaled >= 100 || unit === 0 ? scaled.toFixed(0) : scaled.toPrecision(2)) + units[unit];
}
function seconds(value) {
  if (value < 0.9995) return `${Math.round(value * 1e3)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const whole2 = Math.round(value);
  if (whole2 < 60) return `${whole2} s`;
  const minutes = Math.floor(whole2 / 60);
  if (minutes < 60) return `${minutes} min ${whole2 % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
var milliseconds = (value) => value < 1e3 ? `${number(value, value < 10 ? 2 : 3)} ms` : seconds(value / 1e3);
var times = (value) => `${value < 9.95 ? value.toFixed(1) : count(value)}×`;
function coordinates(values, axes) {
  return values.map((value, axis) => axes?.[axis] ? `${axes[axis]} ${value}` : String(value)).join(", ");
}

// src/controls/region.ts
function described({ region: region2, axes }) {
  switch (region2.kind) {
    case "none":
      return "The whole image. Draw a box or paint on it to explain a part.";
    case "at":
      return "The positions that the text lists.";
    case "mask":
      return "A mask.";
    case "box": {
      if (region2.box === null) return "A box.";
      const half = region2.box.length / 2;
      return `A box from ${coordinates(region2.box.slice(0, half), axes)}, ${region2.box.slice(half).join(" × ")} ${cells(half)}.`;
    }
  }
}
var region = (session) => {
  const text = h("p", { class: "kdb-note", "data-testid": "region" });
  const whole2 = button("Whole image", () => {
    const kind = session.store.state.form?.region.kind;
    session.change(kind === "mask" ? { control: "mask", value: null } : { control: "box", value: null });
  }, { testid: "region-clear" });
  session.store.watch(["form"], ({ form }) => {
    say(text, form === null ? "" : described(form));
    show(whole2, form !== null && (form.region.kind === "box" || form.region.kind === "mask"));
  });
  return group("Region", "region-group", text, whole2);
};
var over = (session) => {
  const select = h("select", { class: "kdb-input", "data-testid": "over" });
  select.addEventListener("change", () => {
    const value = select.value;
    if (value === "predicted" || value === "all") session.change({ control: "over", value });
  });
  const element = field("Scored over", select);
  session.store.watch(["form"], ({ form }) => {
    show(element, form?.dense === true);
    if (form === null) return;
    const shown = form.over ?? "predicted";
    const known = shown === "predicted" || shown === "all";
    options(select, [
      { value: "predicted", text: "Where the class wins" },
      { value: "all", text: "All of the output" },
      ...known ? [] : [{ value: shown, text: shown }]
    ]);
    fill(select, shown);
  });
  return element;
};
var others = (session) => {
  const list = h("ul", { class: "kdb-clauses" });
  const element = group("Also in the text", "others", list);
  session.store.watch(["form"], ({ form }) => {
    show(element, (form?.others.length ?? 0) > 0);
    list.replaceChildren(...(form?.others ?? []).map((clause) => h("li", {}, h("code", {}, clause))));
  });
  return element;
};

// src/controls/sizes.ts
function sizes(session, of) {
  let linked = true;
  let rows2 = [];
  const holder = h("div", { class: "kdb-sizes" });
  const absent = h("p", { class: "kdb-note" });
  const link = button("Same along every axis", () => {
    linked = !linked;
    const { form } = session.store.state;
    const values = form === null ? null : spread(of.values(form), form);
    if (linked && values !== null && values.some((each) => each !== values[0])) send(0, values[0], false);
    lay();
  }, { testid: `${of.control}-link`, symbol: "chain", quiet: true, only: true });
  function send(axis, value, held2) {
    const { form } = session.store.state;
    if (form === null) return;
    const axes = spread(of.values(form), form)?.length ?? 2;
    const shown = rows2.length === axes ? rows2.map(({ slider }) => Number(slider.value)) : [];
    const apart = Array.from({ length: axes }, (_, each) => each === axis ? value : shown[each] ?? value);
    const values = linked ? of.alike(value, axes) : apart;
    session.change({ control: of.control, value: values }, { held: held2 });
  }
  function row(axis, name) {
    const suffix = name === "" ? "" : `-${name}`;
    const slider = h("input", { type: "range", class: "kdb-range", min: 1, step: 1, "data-testid": of.control + suffix });
    const number3 = numberField(
      { class: "kdb-input kdb-small", min: 1, step: 1, "data-testid": `${of.control}-number${suffix}` },
      (value) => notWhole(value, 1, least(of.most, axis)),
      (value) => {
        if (value > Number(slider.max)) slider.max = String(value);
        slider.value = String(value);
        send(axis, value, false);
      }
    );
    const said = name === "" ? of.noun : `${of.noun} along ${name}`;
    set(slider, "aria-label", said);
    set(number3.input, "aria-label", `${said}, as a number`);
    const made2 = {
      element: h(
        "div",
        {},
        h("div", { class: "kdb-size" }, h("span", { class: "kdb-axis", "aria-hidden": "true" }, name), slider, number3.input),
        number3.why
      ),
      slider,
      number: number3
    };
    slider.addEventListener("input", () => {
      number3.set(slider.value);
      number3.reset();
      send(axis, Number(slider.value), true);
    });
    slider.addEventListener("change", () => send(axis, Number(slider.value), false));
    return made2;
  }
  function least(limit, axis) {
    const { form } = session.store.state;
    if (form === null) return Infinity;
    const axes = spread(of.values(form), form)?.length ?? 1;
    return linked ? Math.min(...Array.from({ length: axes }, (_, at) => limit(form, at))) : limit(form, axis);
  }
  function lay() {
    const { form } = session.store.state;
    const values = form === null ? null : spread(of.values(form), form);
    const why = form === null ? "" : of.absent(form);
    absent.textContent = why ?? "";
    show(absent, why !== null && why !== "");
    show(holder, values !== null && why === null);
    const axes = values?.length ?? 0;
    show(link, axes > 1 && why === null);
    if (form === null || values === null) return;
    if (values.some((each) => each !== values[0]) && session.store.state.settled) linked = false;
    set(link, "aria-pressed", String(linked));
    const wanted = linked ? 1 : axes;
    const letters = linked ? "" : form.axes ?? holder.dataset.axes ?? "";
    const anew = rows2.length !== wanted || holder.dataset.axes !== letters;
    if (anew) {
      rows2 = Array.from({ length: wanted }, (_, axis) => row(axis, linked ? "" : letters[axis] ?? String(axis + 1)));
      holder.dataset.axes = letters;
      holder.replaceChildren(...rows2.map(({ element }) => element));
    }
    rows2.forEach((each, axis) => {
      const value = values[axis];
      const most = least(of.most, axis);
      set(each.number.input, "max", most < Infinity ? most : null);
      set(each.slider, "max", Math.max(least(of.reach, axis), value));
      if (!anew && !session.store.state.settled) return;
      fill(each.slider, String(value));
      each.number.set(String(value));
    });
  }
  session.store.watch(["form", "settled"], lay);
  const legend = group(of.legend, of.control + "-group", holder, absent);
  legend.firstElementChild.append(link);
  return legend;
}
var spread = (values, { axes }) => values?.length === 1 && axes !== null ? Array.from(axes, () => values[0]) : values;
var extent = (form, axis) => form.size?.[axis] ?? 224;
var patch = (session) => sizes(session, {
  control: "patch",
  legend: "Patch",
  noun: "Size of the patch",
  values: (form) => form.patch,
  alike: (value, axes) => Array.from({ length: axes }, () => value),
  most: extent,
  reach: (form, axis) => Math.ceil(extent(form, axis) / 2),
  absent: (form) => form.patch === null ? "Segments, as the text has them, are hidden in place of a patch." : null
});
var stride = (session) => sizes(session, {
  control: "stride",
  legend: "Stride",
  noun: "Stride",
  values: (form) => form.stride.length === 0 ? null : form.stride,
  alike: (value) => [value],
  most: extent,
  reach: (form, axis) => Math.max(8, Math.ceil(extent(form, axis) / 7)),
  absent: (form) => form.region.kind === "at" ? "The text lists the positions." : form.patch === null ? "Segments have none." : null
});

// src/controls/source.ts
function written(source2) {
  const text = source2.trim();
  const isPath = /[./\\* ]/.test(text) && !/^(['$?]|manifest\b)/i.test(text);
  return isPath ? `'${text.replaceAll("'", "''")}'` : text;
}
var source = (session) => {
  const input = h("input", { type: "text", class: "kdb-input", spellcheck: "false", autocomplete: "off", "data-testid": "source" });
  input.addEventListener("change", () => session.change({ control: "source", value: written(input.value) }));
  input.addEventListener("keydown", (event) => {
    const source2 = session.store.state.form?.source ?? "";
    if (event.key !== "Escape" || input.value === source2) return;
    event.preventDefault();
    fill(input, source2);
  });
  const file = h("input", { type: "file", class: "kdb-unseen", tabindex: -1, "aria-hidden": "true", "data-testid": "file" });
  file.addEventListener("change", () => {
    if (file.files?.[0]) void session.upload(file.files[0]);
    file.value = "";
  });
  const browse2 = button("Browse…", () => session.browse(session.store.state.folder?.folder ?? ""), {
    testid: "browse",
    symbol: "folder"
  });
  const open = button("Open a file…", () => file.click(), { testid: "open", symbol: "image" });
  const samples = h("div", { class: "kdb-chips", role: "group", "aria-label": "Images at hand", "data-testid": "samples" });
  session.store.watch(["form"], ({ form }) => fill(input, form?.source ?? ""));
  session.store.watch(["welcome", "dropped"], ({ welcome, dropped }) => {
    show(browse2, welcome !== null && welcome.root !== null);
    show(open, welcome !== null && welcome.root !== null);
    samples.replaceChildren(
      ...[...welcome?.samples ?? [], ...dropped.map(({ name, file: file2 }) => ({ name, title: file2 }))].map(
        ({ name, title }) => h(
          "button",
          {
            type: "button",
            class: "kdb-chip",
            title,
            "data-sample": name,
            on: { click: () => session.change({ control: "source", value: name }) }
          },
          name
        )
      )
    );
    show(samples, samples.childElementCount > 0);
  });
  session.store.watch(["form", "welcome", "dropped"], ({ form }) => {
    for (const chip of samples.children) chip.setAttribute("aria-pressed", String(chip.textContent === form?.source));
  });
  const image = field("Image", input);
  session.store.watch(["understood"], ({ understood }) => {
    for (const each of [image, samples]) set(each, "inert", !understood);
    open.disabled = !understood;
  });
  return h("div", { class: "kdb-stack" }, image, samples, h("div", { class: "kdb-row" }, browse2, open, file));
};

// src/panels/controls.ts
var CONTROLS = [source, model, classes, score, over, patch, stride, fill2, region, effort, others];
var controls = (session) => {
  const heading = h("h3", { class: "kdb-heading" }, "Query");
  const why = h("span", {});
  const use = button("Use that query", () => session.replace(session.store.state.understoodText), { testid: "controls-use", quiet: true });
  const behind2 = h("div", { class: "kdb-note kdb-behind", role: "status", "data-testid": "controls-behind" }, why, " ", use);
  const waits = h("p", { class: "kdb-note" }, "Connecting…");
  const parts = CONTROLS.map((control) => control(session));
  const all = h("div", { class: "kdb-controls-all" }, ...parts);
  const inner = h("div", { class: "kdb-controls-inner", tabindex: -1 }, heading, behind2, waits, all);
  const element = h("section", { class: "kdb-controls", "aria-label": "Controls", "data-testid": "controls" }, inner);
  session.store.watch(["error", "understood", "understoodText", "settled", "welcome"], (state) => {
    const { error, understood, understoodText, settled, welcome } = state;
    parts.slice(1).forEach((each) => set(each, "inert", !understood));
    show(behind2, !understood && welcome !== null);
    say(why, error !== null ? "The text has an error: this is how it was last understood." : "The text is no OCCLUDE query: this is the last that was.");
    show(use, understoodText !== "");
    show(all, welcome !== null);
    show(waits, welcome === null);
    set(element, "data-settled", String(settled));
  });
  return element;
};

// src/parts/copy.ts
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field2 = document.createElement("textarea");
    field2.value = text;
    field2.className = "kdb-unseen";
    document.body.append(field2);
    field2.select();
    const copied = document.execCommand("copy");
    field2.remove();
    return copied;
  }
}

// src/panels/editor.ts
function marked(text, error) {
  const place = error?.line != null && error.column != null ? offset(text, error.line, error.column) : null;
  const wrong = place === null ? null : tokenAt(text, place);
  const nodes = [];
  let at = 0;
  for (const token of tokens(text)) {
    const piece = h("span", { class: `kdb-token-${token.mark}` }, token.text);
    if (wrong !== null && wrong.from < wrong.to && at <= wrong.from && wrong.to <= at + token.text.length) {
      piece.classList.add("kdb-wrong");
    }
    if (wrong !== null && wrong.from === wrong.to && at <= wrong.from && wrong.from < at + token.text.length) {
      const before = token.text.slice(0, wrong.from - at);
      nodes.push(document.createTextNode(before), h("span", { class: "kdb-wrong-here" }), document.createTextNode(token.text.slice(before.length)));
    } else {
      nodes.push(piece);
    }
    at += token.text.length;
  }
  if (wrong !== null && wrong.from === text.length) nodes.push(h("span", { class: "kdb-wrong-here" }));
  nodes.push(document.createTextNode("\n"));
  return nodes;
}
var editor = (session) => {
  const { store } = session;
  const message2 = h("div", { class: "kdb-error", id: unique("error"), "data-testid": "error" });
  const layer = h("pre", { class: "kdb-layer", "aria-hidden": "true" });
  const text = h("textarea", {
    class: "kdb-text",
    id: unique("query"),
    rows: 1,
    spellcheck: "false",
    autocomplete: "off",
    autocapitalize: "off",
    "aria-describedby": message2.id,
    "data-testid": "query"
  });
  text.addEventListener("input", (event) => session.type(text.value, typedBy(event)));
  undoes(text, (way) => session.undo(way));
  const apple = /Mac|iPhone|iPad/.test(navigator.platform);
  const run = button("Run", () => session.run(), { testid: "run", symbol: "run" });
  run.classList.add("kdb-primary");
  run.title = apple ? "⌘ Enter" : "Ctrl + Enter";
  set(run, "aria-keyshortcuts", apple ? "Meta+Enter" : "Control+Enter");
  const stop = button("Stop", () => session.stop(), { testid: "stop", symbol: "stop" });
  const onChange = h("input", { type: "checkbox", "data-testid": "run-on-change" });
  onChange.addEventListener("change", () => store.set({ runsOnChange: onChange.checked }));
  const said = h("span", { class: "kdb-note", role: "status", "data-testid": "copied" });
  const copied = async (what, given) => {
    say(said, "");
    if (given !== null) say(said, await copy(given) ? `${what} is copied.` : "The clipboard is closed to this page.");
  };
  const copyText = button("Copy query", () => void copied("The query", store.state.text), { testid: "copy", symbol: "copy", quiet: true });
  const link = button("Copy link", () => void copied("A link to this query", session.permalink()), {
    testid: "permalink",
    symbol: "link",
    quiet: true
  });
  show(link, session.place !== null);
  store.watch(["text"], (state) => {
    fill(text, state.text);
    say(said, "");
  });
  store.watch(["text", "error", "errorText"], (state) => {
    const error = state.errorText === state.text && state.error?.line != null ? state.error : null;
    layer.replaceChildren(...marked(state.text, error));
    set(text, "aria-invalid", error === null ? null : "true");
    explain(error);
  });
  store.watch(["run"], ({ run: { state, stopping } }) => {
    show(stop, state === "running");
    stop.disabled = stopping;
    say(stop.lastElementChild, stopping ? "Stopping…" : "Stop");
  });
  function explain(error) {
    show(message2, error !== null);
    message2.replaceChildren();
    if (error === null) return;
    const place = `Line ${error.line}, column ${error.column}: `;
    message2.append(h("p", { role: "alert" }, h("span", { class: "kdb-place" }, place), error.message));
    const { suggestion, expected } = error;
    if (suggestion !== null) {
      const apply = button(`Use ${suggestion}`, () => (session.correct(), text.focus()), { testid: "suggestion", symbol: "run" });
      message2.append(h("p", { class: "kdb-row" }, "Did you mean ", apply));
    }
    if (expected.length > 0) {
      const list = h("span", { class: "kdb-expected", "data-testid": "expected" });
      expected.forEach((each) => list.append(h("code", {}, each), " "));
      message2.append(h("p", { class: "kdb-note" }, "Expected: ", list));
    }
  }
  return h(
    "section",
    { class: "kdb-editor", "aria-label": "Query text" },
    h("label", { for: text.id, class: "kdb-unseen" }, "Query"),
    h("div", { class: "kdb-writing" }, layer, text),
    message2,
    h("div", { class: "kdb-row kdb-actions" }, run, choice("Run as I change", onChange, "Runs when a control is released. Boxes and masks that are drawn run in any case."), stop, h("span", { class: "kdb-gap" }), said, copyText, link)
  );
};

// src/arrays.ts
var TYPES = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array };
function product(numbers) {
  return numbers.reduce((sum, each) => sum * each, 1);
}
function unpack(dtype, packed, buffers) {
  const buffer = buffers[packed.buffer];
  if (packed.dtype !== dtype) throw new TypeError(`an array of ${packed.dtype}, not of ${dtype}`);
  if (buffer === void 0) throw new RangeError(`there is no buffer ${packed.buffer}`);
  return new TYPES[dtype](buffer, 0, product(packed.shape));
}

// src/parts/paint.ts
function pixelsOf(values, shape, at) {
  const isVolume = at.length === 3;
  const channels = shape.length > (isVolume ? 3 : 2) ? 3 : 1;
  const [height, width] = shape.slice(isVolume ? 1 : 0);
  const slice = isVolume ? Math.min(Math.max(at[0], 0), shape[0] - 1) : 0;
  const begin = slice * height * width * channels;
  const data = new Uint8ClampedArray(4 * height * width).fill(255);
  for (let pixel = 0; pixel < height * width; pixel++)
    for (let channel = 0; channel < 3; channel++)
      data[4 * pixel + channel] = values[begin + pixel * channels + (channels === 3 ? channel : 0)];
  return { width, height, data };
}
function paint(canvas2, packed, buffers, at = []) {
  const { shape } = packed;
  if (packed.dtype === "float32") return traces(canvas2, unpack("float32", packed, buffers), shape[0], shape[1] ?? 1);
  const { width, height, data } = pixelsOf(unpack("uint8", packed, buffers), shape, at);
  canvas2.width = width;
  canvas2.height = height;
  canvas2.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
}
var WIDE = 480;
var HIGH = 48;
function traces(canvas2, values, length, channels) {
  const most = Math.min(channels, 12);
  canvas2.width = WIDE;
  canvas2.height = HIGH * most;
  const context = canvas2.getContext("2d");
  context.strokeStyle = getComputedStyle(canvas2).color;
  for (let channel = 0; channel < most; channel++) {
    let least = Infinity;
    let largest = -Infinity;
    for (let at = 0; at < length; at++) {
      const value = values[at * channels + channel];
      least = Math.min(least, value);
      largest = Math.max(largest, value);
    }
    const span = largest - least || 1;
    context.beginPath();
    for (let at = 0; at < length; at++) {
      const x = (at + 0.5) / length * WIDE;
      const y = (channel + 0.92 - 0.84 * (values[at * channels + channel] - least) / span) * HIGH;
      if (at === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    }
    context.stroke();
  }
}

// src/panels/gallery.ts
var ALL = "";
function card(session, folder, given, buffers) {
  const picture = h("canvas", { class: "kdb-thumbnail", "aria-hidden": "true" });
  if (given.thumbnail !== null) paint(picture, given.thumbnail, buffers);
  const said = given.error !== "" ? given.error : given.baseline === null ? given.status : `${given.label} ${number(given.baseline)}`;
  return h(
    "li",
    {},
    h(
      "button",
      {
        type: "button",
        class: "kdb-card",
        title: said,
        disabled: given.thumbnail === null && given.status !== "done",
        "data-status": given.status,
        on: { click: () => session.openCard(folder, given.image) }
      },
      picture,
      h("span", { class: "kdb-card-label" }, given.image),
      h("span", { class: given.error === "" ? "kdb-note" : "kdb-refusal" }, said)
    )
  );
}
var gallery = (session) => {
  const { store } = session;
  const title = h("h3", { class: "kdb-heading" });
  const close = button("Close the run", () => session.closeRun(), { testid: "gallery-close", symbol: "close", quiet: true, only: true });
  const query = h("code", { class: "kdb-lines" });
  const use = button("Use this query", () => session.replace(query.textContent ?? ""), { testid: "gallery-query", quiet: true });
  const stands = h("p", { class: "kdb-note", role: "status" });
  const label2 = h("select", { class: "kdb-input", "data-testid": "gallery-label" });
  const chosen = () => label2.value === ALL ? null : label2.value;
  const list = h("ul", { class: "kdb-cards" });
  const more = button("More", () => session.moreOfRun(chosen()), { testid: "gallery-more" });
  const filter = field("Label", label2);
  filter.classList.add("kdb-beside");
  const element = h(
    "section",
    { class: "kdb-panel kdb-gallery", "aria-label": "Run", "data-testid": "gallery" },
    h("div", { class: "kdb-row kdb-summary" }, title, h("span", { class: "kdb-gap" }), close),
    h("div", { class: "kdb-panel-body kdb-stack" }, h("div", { class: "kdb-row" }, query, use), h("div", { class: "kdb-row" }, stands, filter), list, more)
  );
  label2.addEventListener("change", () => {
    const folder2 = store.state.gallery[0]?.content.folder;
    if (folder2 !== void 0) session.openRun(folder2, chosen());
  });
  let folder = null;
  let pages = 0;
  store.watch(["gallery", "galleryWaits"], ({ gallery: shown, galleryWaits }) => {
    const last = shown.at(-1)?.content;
    show(element, last !== void 0 || galleryWaits);
    set(element, "data-waits", String(galleryWaits));
    if (last === void 0) {
      if (!galleryWaits) folder = null;
      say(stands, "Reading the run…");
      if (folder === null) list.replaceChildren();
      pages = 0;
      return;
    }
    if (folder !== last.folder) {
      folder = last.folder;
      element.scrollIntoView({ block: "nearest" });
    }
    say(title, `Run ${last.folder}`);
    say(query, last.query);
    say(stands, `${count(last.done)} of ${count(last.total)} images done${last.failed > 0 ? `, ${count(last.failed)} failed` : ""}`);
    const kept = label2.value;
    options(label2, [{ value: ALL, text: "All labels" }, ...last.labels.map((value) => ({ value, text: value }))]);
    fill(label2, kept);
    show(filter, last.labels.length > 0);
    if (pages === 0) list.replaceChildren();
    for (const { content, buffers } of shown.slice(pages)) {
      list.append(...content.cards.map((each) => card(session, content.folder, each, buffers)));
    }
    pages = shown.length;
    set(element, "data-cards", list.childElementCount);
    show(more, last.more);
    more.disabled = galleryWaits;
  });
  return element;
};

// src/panels/history.ts
var history = (session) => {
  const empty = h("p", { class: "kdb-note" }, "Maps that were made are kept here, to go back to.");
  const list = h("ul", { class: "kdb-cards" });
  const { element, aside } = disclosure("History", "history", h("div", { class: "kdb-panel-body" }, empty, list));
  function card2(entry, buffers) {
    const picture = h("canvas", { class: "kdb-thumbnail", "aria-hidden": "true" });
    paint(picture, entry.thumbnail, buffers);
    const quality = entry.exact ? entry.complete ? "exact" : "stopped" : "approximate";
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: "kdb-card",
          title: entry.text,
          "data-map": entry.map,
          on: { click: () => session.recall(entry.map, entry.text) }
        },
        picture,
        h("span", { class: "kdb-card-label" }, entry.label),
        h("span", { class: "kdb-note" }, `${seconds(entry.seconds)}, ${quality}`)
      )
    );
  }
  session.store.watch(["history"], ({ history: { content, buffers } }) => {
    list.replaceChildren(...content.map((entry) => card2(entry, buffers)));
    show(empty, content.length === 0);
    say(aside, content.length === 0 ? "" : count(content.length));
    set(element, "data-entries", content.length);
  });
  session.store.watch(["a", "history"], ({ a }) => {
    for (const each of list.querySelectorAll("button")) {
      set(each, "aria-current", each.dataset.map === String(a?.content.map) && !a?.former ? "true" : null);
    }
  });
  return element;
};

// src/panels/message.ts
var message = (session) => {
  const text = h("p", {});
  const linked = h("p", { "data-testid": "permalink-says" });
  const element = h(
    "div",
    { class: "kdb-message", hidden: true },
    h("div", { role: "status" }, text, linked),
    button("Close", () => session.silence(), { testid: "message-close", symbol: "close", quiet: true, only: true })
  );
  const holder = h("div", { class: "kdb-messages", "data-testid": "message" }, element);
  session.store.watch(["message", "permalinkSays"], ({ message: message2, permalinkSays }) => {
    show(element, message2 !== null || permalinkSays !== null);
    say(text, message2?.text ?? "");
    show(text, message2 !== null);
    say(linked, permalinkSays ?? "");
    show(linked, permalinkSays !== null);
    set(element, "data-tone", message2?.tone ?? "warning");
  });
  return holder;
};
var connection = (session) => {
  const text = h("p", {});
  const again = button("Connect again", () => session.place?.reconnect(), { testid: "reconnect" });
  const element = h("div", { class: "kdb-message kdb-disconnected", role: "alert", "data-tone": "error", "data-testid": "connection" }, text, again);
  session.store.watch(["connection", "welcome"], ({ connection: connection2, welcome }) => {
    const broken = connection2 in LOST && !(welcome === null && connection2 === "refused");
    show(element, broken);
    say(text, !broken ? "" : welcome === null ? NEVER : LOST[connection2]);
    set(element, "data-connection", connection2);
  });
  return element;
};
var locked = (session) => {
  const query = session.place?.permalink?.query ?? null;
  const said = h("span", { class: "kdb-note", role: "status" });
  const copied = async () => say(said, await copy(query ?? "") ? "The query is copied." : "The clipboard is closed to this page.");
  const element = h(
    "section",
    { class: "kdb-locked", "aria-label": "No access", "data-testid": "locked" },
    h("h3", { class: "kdb-heading" }, "This browser has no key to this page"),
    h("p", {}, "kdb answers here, but lets in only those who have its key. What this page was opened with has none, or that of a server that has ended: each start of kdb ui makes a new one."),
    h("p", {}, "Open the address that ", h("code", {}, "kdb ui"), " printed when it was started, all of it with what is behind its #, in this browser. ", query === null ? "" : "Then press Connect again, and this page shows what its link is about."),
    query === null ? null : h(
      "div",
      { class: "kdb-stack" },
      h("h4", { class: "kdb-subheading" }, "The query of the link"),
      h("pre", { class: "kdb-lines kdb-locked-query", "data-testid": "locked-query" }, query)
    ),
    h(
      "div",
      { class: "kdb-row" },
      button("Connect again", () => session.place?.reconnect(), { testid: "locked-reconnect" }),
      query === null ? null : button("Copy query", () => void copied(), { testid: "locked-copy", symbol: "copy" }),
      said
    )
  );
  session.store.watch(["connection", "welcome"], ({ connection: connection2, welcome }) => show(element, welcome === null && connection2 === "refused"));
  return element;
};
var NEVER = "kdb does not answer at this address. If it was ended, start kdb ui again and open the address that it prints.";
var LOST = {
  lost: "The connection to kdb is lost. It is tried again by itself; what is on this page stays.",
  gone: "kdb does not answer any more. If it was ended, start kdb ui again and open the address that it prints; what is on this page stays.",
  refused: "kdb ui was started again: open the address that it printed. What is on this page stays."
};

// src/panels/plan.ts
function measured({ run, plan: plan2 }) {
  return run.state === "done" && !run.both && run.maps > 0 && plan2 !== null && sameQuery(run.texts.a, plan2.text) ? run.seconds : null;
}
function ratesInWords({ rates_origin: origin }) {
  if (origin === "measured") return null;
  const whose = origin === "default" ? "of another machine" : "by a data sheet";
  return `These are estimates ${whose}, and tell how the two compare. CALIBRATE measures the speed of this one.`;
}
function bars(plan2, took) {
  const { expected_seconds: planned, naive_seconds: naive } = plan2;
  const rates = ratesInWords(plan2);
  const beside = rates === null ? took : null;
  const longest = Math.max(planned, naive, beside ?? 0, Number.MIN_VALUE);
  const bar = (name, value, kind) => {
    const full = h("div", { class: `kdb-bar-full kdb-bar-${kind}` });
    full.style.width = `${100 * value / longest}%`;
    return h("div", { class: "kdb-bar-row" }, h("span", {}, name), h("div", { class: "kdb-bar-track" }, full), h("span", { class: "kdb-bar-value" }, seconds(value)));
  };
  return h(
    "div",
    { class: "kdb-bar-chart", "data-testid": "plan-bars" },
    bar("kdb, expected", planned, "planned"),
    beside === null ? null : bar("kdb, measured", beside, "measured"),
    bar("Full inference", naive, "naive"),
    rates === null ? null : h("p", { class: "kdb-note" }, rates),
    took === null || beside !== null ? null : h("p", {}, `Measured here: kdb took ${seconds(took)}.`)
  );
}
function planInWords(plan2) {
  const ratio = plan2.naive_seconds / plan2.expected_seconds;
  const faster = ratio >= 1.05 ? `${times(ratio)} as fast as full inference` : ratio > 1 / 1.05 ? "as fast as full inference" : `${times(1 / ratio)} the time of full inference`;
  const share = plan2.naive_macs > 0 ? ` (${(100 * plan2.planned_macs / plan2.naive_macs).toFixed(0)} %)` : "";
  return `Expected: ${faster}, with ${counted2(plan2.positions, "position")}, ${magnitude(plan2.planned_macs)} of ${magnitude(plan2.naive_macs)} multiply-adds${share}.`;
}
function rules({ rules: rules2 }) {
  const one = ({ name, fired: fired2, reason, approximate, summary }) => {
    const named = [h("code", {}, name), approximate ? h("span", { class: "kdb-tag" }, "approximate") : null];
    const says = (text) => h("span", { class: "kdb-note" }, ` ${text}`);
    const shown = reason === "" ? [...named, says(summary)] : [h("details", { class: "kdb-rule" }, h("summary", { title: summary }, ...named, says(reason)), h("p", {}, summary))];
    return h("li", { "data-fired": String(fired2) }, ...shown);
  };
  const fired = rules2.filter((rule) => rule.fired);
  const idle = rules2.filter((rule) => !rule.fired);
  return h(
    "div",
    { "data-testid": "plan-rules" },
    h("h4", { class: "kdb-subheading" }, fired.length > 0 ? "Rules that made the plan" : "No rule applied"),
    h("ul", { class: "kdb-rules" }, ...fired.map(one)),
    idle.length > 0 ? h(
      "details",
      { class: "kdb-fold" },
      h("summary", {}, `${idle.length} rules that did not apply`),
      h("ul", { class: "kdb-rules" }, ...idle.map(one))
    ) : null
  );
}
function stages({ stages: stages2 }) {
  const rows2 = stages2.map(({ name, layers: layers2, planned_macs, naive_macs, seconds: expected }) => [
    name,
    count(layers2),
    magnitude(planned_macs),
    magnitude(naive_macs),
    seconds(expected)
  ]);
  return h(
    "div",
    {},
    h("h4", { class: "kdb-subheading" }, "Stages"),
    h("p", { class: "kdb-note" }, "Thread-seconds are those of all threads together: of two threads, twice as many as pass on the clock."),
    scrolled("Stages of the plan", table(["Stage", "Layers", "Multiply-adds", "Full inference", "Thread-seconds"], rows2, /* @__PURE__ */ new Set([1, 2, 3, 4])))
  );
}
function layers({ layers: layers2 }) {
  const made2 = h("details", { class: "kdb-fold", "data-testid": "plan-layers" }, h("summary", {}, `${count(layers2.length)} layers`));
  made2.addEventListener("toggle", () => {
    if (!made2.open || made2.childElementCount > 1) return;
    const rows2 = layers2.map((layer) => [
      layer.name,
      layer.operator,
      layer.kernel,
      `${layer.box.join("×")} of ${layer.map.join("×")}`,
      count(layer.channels),
      magnitude(layer.planned_macs),
      magnitude(layer.naive_macs),
      seconds(layer.seconds)
    ]);
    const columns = ["Layer", "Operator", "Kernel", "Box", "Channels", "Multiply-adds", "Full", "Thread-seconds"];
    made2.append(scrolled("Layers of the plan", table(columns, rows2, /* @__PURE__ */ new Set([4, 5, 6, 7]))));
  });
  return made2;
}
var plan = (session) => {
  const empty = h("p", { class: "kdb-note" });
  const error = h("p", { class: "kdb-refusal" });
  const words = h("p", { "data-testid": "plan-words" });
  const content = h("div", { class: "kdb-stack" });
  const body = h("div", { class: "kdb-panel-body" }, empty, error, words, content);
  const { element, aside } = disclosure("Plan", "plan", body, (open) => session.openPlan(open));
  const chart = h("div", {});
  let laid = null;
  session.store.watch(["plan", "run"], (state) => {
    if (state.plan !== null) chart.replaceChildren(bars(state.plan, measured(state)));
  });
  session.store.watch(["plan", "planError", "planWaits", "planOpen", "text", "run"], (state) => {
    const { plan: plan2, planError, planWaits, planOpen, text } = state;
    set(element, "data-waits", String(planWaits));
    const behind2 = plan2 !== null && plan2.text !== text;
    set(element, "data-behind", behind2);
    const took = measured(state);
    const stands = plan2 === null ? "" : behind2 ? "of the query before" : `${seconds(plan2.expected_seconds)} expected${took === null ? "" : `, ${seconds(took)} measured`}`;
    say(aside, planWaits ? "planning…" : planOpen ? stands : "");
    say(empty, planWaits ? "The first plan for a model takes as long as its trace." : "Write a query to see what kdb would do for it.");
    show(empty, plan2 === null && planError === null);
    say(error, planError?.message ?? "");
    show(error, planError !== null);
    if (plan2 === laid || plan2 === null) return;
    const open = content.querySelector("[data-testid=plan-layers]")?.open ?? false;
    laid = plan2;
    say(words, planInWords(plan2));
    content.replaceChildren(
      chart,
      h("ul", { class: "kdb-notes" }, ...plan2.notes.map((note) => h("li", {}, note))),
      rules(plan2),
      stages(plan2),
      layers(plan2)
    );
    content.querySelector("[data-testid=plan-layers]").open = open;
  });
  return element;
};

// src/stage/palette.ts
var EFFECT = { neutral: [0.865, 0.865, 0.865], lowers: [0.86, 0.1, 0.12], raises: [0.12, 0.34, 0.86] };
var SAFE = { neutral: [0.62, 0.62, 0.62], lowers: [1, 0.8, 0.14], raises: [0.13, 0.2, 0.58] };
var COOLWARM = evenly(
  "3a4cc0 4d67d7 6182ea 779af6 8daffd a3c1fe b8cff8 ccd8ed dddcdb ecd2c4 f4c3ab f7b092 f39879 ea7d61 dc5e4b c93b37 b30326"
);
var JET = [
  [0, [0, 0, 0.5]],
  [0.11, [0, 0, 1]],
  [0.125, [0, 0, 1]],
  [0.34, [0, 0.86, 1]],
  [0.35, [0, 0.9, 0.968]],
  [0.375, [0.081, 1, 0.887]],
  [0.64, [0.935, 1, 0.032]],
  [0.65, [0.968, 0.963, 0]],
  [0.66, [1, 0.926, 0]],
  [0.89, [1, 0.074, 0]],
  [0.91, [0.909, 0, 0]],
  [1, [0.5, 0, 0]]
];
var FLOORS = { probability: 0.01, logit: 0.1, cosine: 0.01 };
var LEVELS = 1025;
function isDrop(score2) {
  return score2.endsWith("drop");
}
function unitOf(score2) {
  const unit = score2.replace(/_?drop$/, "") || "probability";
  return unit in FLOORS ? unit : "probability";
}
function scaleOf(palette, values) {
  return palette === "krypton" ? krypton(values) : effect(palette === "safe" ? SAFE : EFFECT, values);
}
function scaleOfDifference(palette, score2, half) {
  const arms = palette === "safe" ? SAFE : EFFECT;
  return palette === "krypton" ? symmetric(score2, 0, half) : diverging(arms, score2, 0, half, -half, half);
}
function effect(arms, { score: score2, neutral, half, lowest, highest }) {
  half = Math.max(half, 1e-6 * Math.abs(neutral));
  const bounded = score2 === "probability" && lowest >= -1e-6 && highest <= 1 + 1e-6;
  const low = bounded ? Math.min(0, neutral) : -Infinity;
  const high = bounded ? Math.max(1, neutral) : Infinity;
  return diverging(arms, score2, neutral, half, Math.max(neutral - half, low), Math.min(neutral + half, high));
}
function diverging(arms, score2, neutral, half, lowest, highest) {
  const [low, high] = isDrop(score2) ? [arms.raises, arms.lowers] : [arms.lowers, arms.raises];
  const stops = [[(neutral - lowest) / (highest - lowest), arms.neutral]];
  if (lowest < neutral) stops.unshift([0, mixed(arms.neutral, low, (neutral - lowest) / half)]);
  if (highest > neutral) stops.push([1, mixed(arms.neutral, high, (highest - neutral) / half)]);
  return { lowest, highest, stops };
}
function krypton({ score: score2, neutral, lowest, highest }) {
  if (score2 === "probability" && neutral > 0 && neutral <= 1 + 1e-6)
    return { lowest: 0.75 * neutral, highest: Math.min(1, 1.25 * neutral), stops: reversed(JET) };
  return symmetric(score2, neutral, Math.max(highest - neutral, neutral - lowest) || 1);
}
function symmetric(score2, neutral, half) {
  const stops = isDrop(score2) ? COOLWARM : reversed(COOLWARM);
  return { lowest: neutral - half, highest: neutral + half, stops };
}
function together(one, two) {
  const half = Math.max(one.half, two.half);
  const reach = (values, other) => ({
    ...values,
    half,
    lowest: Math.min(values.lowest, other.lowest - other.neutral + values.neutral),
    highest: Math.max(values.highest, other.highest - other.neutral + values.neutral)
  });
  return one.score === "probability" ? [{ ...one, half }, { ...two, half }] : [reach(one, two), reach(two, one)];
}
function colourAt(stops, fraction) {
  let i = 1;
  while (i < stops.length - 1 && stops[i][0] < fraction) i++;
  const [from, one] = stops[i - 1];
  const [to, two] = stops[i];
  return mixed(one, two, to > from ? (fraction - from) / (to - from) : 1);
}
function coloursOf(scale, neutral, hidden2) {
  const colours2 = new Uint32Array(LEVELS);
  for (let i = 0; i < LEVELS; i++) {
    const fraction = i / (LEVELS - 1);
    const value = scale.lowest + fraction * (scale.highest - scale.lowest);
    if (Math.abs(value - neutral) < hidden2) continue;
    const [red, green, blue] = colourAt(scale.stops, fraction).map((each) => Math.floor(each * 255));
    colours2[i] = (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
  }
  return colours2;
}
var FADE = 0.35;
function faded(colours2, scale, neutral, hidden2) {
  const over2 = FADE * Math.max(scale.highest - neutral, neutral - scale.lowest);
  return colours2.map((colour, i) => {
    const value = scale.lowest + i / (LEVELS - 1) * (scale.highest - scale.lowest);
    const share = Math.max(0, Math.min(1, (Math.abs(value - neutral) - hidden2) / over2));
    return (Math.round((colour >>> 24) * share) << 24 | colour & 16777215) >>> 0;
  });
}
function levelOf(value, lowest, highest) {
  const level = Math.floor((value - lowest) / (highest - lowest) * LEVELS);
  return level < 0 ? 0 : level >= LEVELS ? LEVELS - 1 : level;
}
function mixed(one, two, share) {
  const at = Math.max(0, Math.min(1, share));
  return [0, 1, 2].map((k) => one[k] + at * (two[k] - one[k]));
}
function reversed(stops) {
  return stops.map(([fraction, colour]) => [1 - fraction, colour]).reverse();
}
function evenly(hexes) {
  const colours2 = hexes.split(" ");
  const colour = (hex) => [0, 2, 4].map((k) => (parseInt(hex.slice(k, k + 2), 16) + 0.5) / 255);
  return colours2.map((hex, i) => [i / (colours2.length - 1), colour(hex)]);
}

// src/scores.ts
function changeOf(score2, value, baseline) {
  const isOfDrop = isDrop(score2);
  const patched = isOfDrop ? baseline - value : value;
  const digits = Math.floor(Math.log10(Math.abs(baseline))) - Math.floor(Math.log10(Math.abs(baseline - patched))) + 2;
  const told = Number.isFinite(digits) ? Math.min(Math.max(digits, 3), 7) : 3;
  const ends = [number(baseline, told), number(patched, told)];
  if (isOfDrop) return { name: "Drop", patched, change: number(value), ends };
  return { name: "Change", patched, change: signed(value - baseline), ends };
}
function probedInWords(score2, value, baseline) {
  const { change, ends } = changeOf(score2, value, baseline);
  if (!isDrop(score2)) return `${number(value, 4)}, ${change} from the unmodified image`;
  return `${spaced(score2)} ${change}, from ${ends[0]} to ${ends[1]}`;
}
var unmodified = (score2, baseline) => `${unitOf(score2)} ${number(baseline, 4)} unmodified`;
var spaced = (score2) => score2.replaceAll("_", " ");

// src/panels/probe.ts
function checkInWords({ kdb, model: model2, difference: difference2, ratio }) {
  const both = `kdb says ${number(kdb, 6)}, the model itself ${number(model2, 6)}; they differ by ${number(Math.abs(difference2), 2)}.`;
  if (ratio === null) return both;
  const share = `${number(100 * ratio, 2)} % of what Exact allows`;
  return ratio <= 1 ? `${both} That is ${share}: kdb is right here.` : `${both} That is ${share}: more than it may be.`;
}
var probe = (session) => {
  const empty = h("p", { class: "kdb-note" }, "Click a place of the image to see the image with the patch laid on it, and what the model makes of that.");
  const canvas2 = h("canvas", { class: "kdb-probe-image", role: "img" });
  const row = (name) => {
    const [term, text] = [h("dt", {}, name), h("dd", {})];
    return { element: h("div", {}, term, text), name: term, text };
  };
  const parts = { at: row("Position"), score: row("With the patch"), baseline: row("Unmodified"), change: row("Change"), took: row("Took") };
  const values = h("dl", { class: "kdb-values kdb-column" }, ...Object.values(parts).map(({ element: element2 }) => element2));
  const check = button("Check this position", () => session.check(), { testid: "check" });
  const verdict = h("p", { role: "status", "data-testid": "checked" });
  const content = h(
    "div",
    { class: "kdb-probe" },
    canvas2,
    h("div", { class: "kdb-stack" }, values, check, h("p", { class: "kdb-note" }, "Runs the model itself on this image, by full inference."), verdict)
  );
  const { element, aside } = disclosure("Probe", "probe", h("div", { class: "kdb-panel-body" }, empty, content));
  session.store.watch(["probe", "probeWaits"], ({ probe: probe3, probeWaits }) => {
    set(element, "data-waits", String(probeWaits));
    say(aside, probeWaits ? "probing…" : "");
    show(empty, probe3 === null);
    show(content, probe3 !== null);
    if (probeWaits) element.open = true;
    if (probe3 === null) return;
    const { content: found, buffers } = probe3;
    const middle = found.position.map((first, axis) => first + Math.floor((found.patch[axis] ?? 0) / 2));
    paint(canvas2, found.occluded, buffers, middle);
    const at = coordinates(found.position, found.axes);
    set(canvas2, "aria-label", `The image with the patch at ${at}`);
    say(parts.at.text, at);
    const { name, patched, change } = changeOf(found.unit, found.score, found.baseline);
    say(parts.score.text, number(patched, 5));
    say(parts.baseline.text, number(found.baseline, 5));
    say(parts.change.name, name);
    say(parts.change.text, change);
    say(parts.took.text, milliseconds(found.milliseconds));
    set(element, "data-score", found.score);
  });
  session.store.watch(["checked", "checkWaits", "probe", "a", "b"], ({ checked, checkWaits, probeSlot, a, b }) => {
    check.disabled = checkWaits || (probeSlot === "a" ? a : b)?.former === true;
    say(verdict, checkWaits ? "The model runs…" : checked === null ? "" : `${checkInWords(checked)} It took ${milliseconds(checked.milliseconds)}.`);
    set(verdict, "data-right", checked?.ratio == null ? null : String(checked.ratio <= 1));
  });
  return element;
};

// src/panels/progress.ts
function stated(state) {
  const { run } = state;
  const slot = run.both ? ` (${run.slot === "a" ? "first" : "second"} of two)` : "";
  switch (run.state) {
    case "idle":
      return "";
    case "running": {
      if (run.stopping) return "Stopping…";
      if (run.total === 0) return `Preparing${slot}`;
      const parts = [`${count(run.done)} of ${counted2(run.total, "position")}${slot}`, `${seconds(run.seconds)} passed`];
      if (run.left !== null) parts.push(`about ${seconds(run.left)} left`);
      return parts.join(", ");
    }
    case "done":
      return run.seconds === 0 ? "Done" : `Done in ${seconds(run.seconds)}`;
    case "stopped":
      if (run.maps === 0) return "Stopped before there was a map";
      return `Stopped after ${seconds(run.seconds)}; the map is what was found until then`;
    case "failed":
      if (run.both) return `${run.failed.toUpperCase()} did not work${placed(state) ? ": see the query" : ""}`;
      return placed(state) ? "This did not work: see the query" : "This did not work";
  }
}
var ofText = ({ error, errorText, text }) => errorText === text ? error : null;
function placed(state) {
  const { refused, failed } = state.run;
  const own2 = ofText(state);
  return refused !== null && failed === "a" && (refused.line !== null || own2?.line != null && own2.message === refused.message);
}
function unplaced(state) {
  const { refused } = state.run;
  if (refused !== null && !placed(state)) return refused.message;
  const own2 = ofText(state);
  return own2?.line === null ? own2.message : null;
}
var progress = (session) => {
  const bar = h("progress", { class: "kdb-progress", "aria-label": "Progress of the query" });
  const text = h("p", { class: "kdb-status", "data-testid": "status" });
  const refusal = h("p", { class: "kdb-refusal", role: "alert", "data-testid": "refusal" });
  const element = h("div", { class: "kdb-running", "data-testid": "progress" }, bar, text, refusal);
  session.store.watch(["run", "a", "text", "variant", "error", "errorText", "settled"], (state) => {
    const run = state.run;
    const running = run.state === "running";
    const same = sameQuery(run.texts.a, state.text) && (!run.both || sameQuery(run.texts.b, state.variant));
    const counts = running || run.state !== "idle" && same;
    const refused = counts ? unplaced(state) : unplaced({ ...state, run: IDLE });
    show(element, counts || refused !== null);
    show(bar, running);
    if (running && run.total > 0) {
      bar.max = run.total;
      bar.value = run.done;
    } else {
      set(bar, "value", null);
    }
    say(text, counts ? stated(state) : "");
    say(refusal, refused ?? "");
    show(refusal, refused !== null);
    set(element, "data-state", run.state);
  });
  return element;
};
var announced = (session) => {
  const element = h("p", { class: "kdb-unseen", role: "status", "data-testid": "announced" });
  let was = "";
  session.store.watch(["run"], (state) => {
    const now = state.run.stopping ? "stopping" : state.run.state;
    if (now === was) return;
    was = now;
    if (now !== "failed") say(element, now === "running" ? "Running" : stated(state));
  });
  return element;
};

// src/panels/reading.ts
var reading = (session) => {
  const value = (name) => {
    const [term, text] = [h("dt", {}, name), h("dd", {})];
    return { element: h("div", {}, term, text), name: term, text };
  };
  const parts = { score: value("Score"), other: value("Score"), change: value("Change"), difference: value("Difference, A − B"), error: value("Error"), how: value("Value"), at: value("At") };
  const hint = h("p", { class: "kdb-note" });
  const list = h("dl", { class: "kdb-values" }, ...Object.values(parts).map(({ element }) => element));
  session.store.watch(["reading", "a", "b"], ({ reading: reading2, a, b }) => {
    list.hidden = reading2 === null;
    hint.hidden = reading2 !== null;
    if (reading2 === null) {
      say(hint, a === null ? "" : "Point at the map to read it; click to try the patch there.");
      return;
    }
    const shown = reading2.slot === "a" ? a : b;
    const map = shown?.content;
    const score2 = map?.score ?? "";
    const name = isDrop(score2) ? "Drop" : "Score";
    const both = reading2.other === null ? [reading2.score] : [reading2.score, reading2.other];
    if (reading2.slot === "b") both.reverse();
    say(parts.score.name, both.length > 1 ? `${name} in A` : name);
    say(parts.score.text, number(both[0], 4));
    parts.other.element.hidden = both.length === 1;
    say(parts.other.name, `${name} in B`);
    say(parts.other.text, both.length > 1 ? number(both[1], 4) : "");
    const baseline = map?.classes[shown?.shown ?? 0]?.baseline ?? NaN;
    const change = isDrop(score2) ? changeOf(score2, reading2.score, baseline).ends.join(" → ") : signed(reading2.change);
    say(parts.change.name, isDrop(score2) ? `${unitOf(score2)[0].toUpperCase()}${unitOf(score2).slice(1)}` : "Change");
    say(parts.change.text, Number.isNaN(reading2.score) ? "unknown" : change);
    parts.difference.element.hidden = reading2.difference == null;
    say(parts.difference.text, reading2.difference == null ? "" : signed(reading2.difference));
    say(parts.error.text, Number.isNaN(reading2.score) ? "unknown" : reading2.error === null || reading2.measured ? "none" : `± ${number(reading2.error, 2)}`);
    say(parts.how.text, Number.isNaN(reading2.score) ? "not computed" : reading2.measured ? "measured" : "estimated");
    say(parts.at.text, coordinates(reading2.position, map?.axes ?? null));
  });
  return h("div", { class: "kdb-reading", "data-testid": "reading" }, list, hint, probed(session));
};
var probed = (session) => {
  const text = h("span", {});
  const more = button("Details", () => {
    const panel = session.store.state.probe === null ? null : element.closest(".kdb")?.querySelector("[data-testid=probe]");
    panel?.scrollIntoView({ block: "center" });
    panel?.querySelector("summary")?.focus({ preventScroll: true });
  }, { testid: "probed-details", quiet: true });
  const element = h("p", { class: "kdb-row", "data-testid": "probed" }, text, more);
  session.store.watch(["probe", "probeWaits"], ({ probe: probe3, probeWaits }) => {
    show(element, probe3 !== null || probeWaits);
    show(more, probe3 !== null && !probeWaits);
    if (probe3 === null || probeWaits) return say(text, "Probing…");
    const { position, score: score2, baseline, unit, axes, milliseconds: took } = probe3.content;
    const at = coordinates(position, axes);
    say(text, `Patch at ${at}: ${probedInWords(unit, score2, baseline)}, in ${milliseconds(took)}`);
  });
  return element;
};

// src/panels/result.ts
function checkedInWords({ checked }) {
  if (checked === null) return null;
  const { positions, worst } = checked;
  if (!(worst <= 1)) return "The check failed: the model itself evaluated the whole map, so that its values are right.";
  const where = positions === 0 ? "on the unmodified image" : `at ${counted2(positions, "position")}`;
  return `Compared with the model itself ${where}: the largest difference is ${number(100 * worst, 2)} % of what Exact allows.`;
}
function qualityInWords({ exact, complete, ssim, done, total }) {
  const evaluated = done < total ? `${count(done)} of ${counted2(total, "position")} evaluated` : `${total === 1 ? "the" : "all"} ${counted2(total, "position")} evaluated`;
  if (exact && complete) return `Exact, ${evaluated}`;
  const quality = complete || ssim !== null ? "Approximate" : "Incomplete";
  return `${quality}, ${evaluated}${ssim === null ? "" : `, expected SSIM ${ssim.toFixed(2)}`}`;
}
function slotPanel(session, slot) {
  const title = h("strong", {});
  const caption = h("span", { class: "kdb-note kdb-caption" });
  const which = h("select", { class: "kdb-input", "data-testid": `shown-${slot}` });
  const several = field("Class shown", which);
  several.classList.add("kdb-beside");
  const quality = h("span", { "data-testid": `quality-${slot}` });
  const check = h("span", { class: "kdb-note", "data-testid": `map-check-${slot}` });
  const notes2 = h("ul", { class: "kdb-notes", "data-testid": `map-notes-${slot}` });
  const formats = h("div", { class: "kdb-row kdb-formats", role: "group", "aria-label": "Export the map" });
  const files = h(
    "div",
    { class: "kdb-row", "data-testid": slot === "a" ? "export" : "export-b" },
    h("span", { class: "kdb-label" }, "Export"),
    formats
  );
  const element = h(
    "div",
    { class: "kdb-result", "data-slot": slot, "data-testid": `result-${slot}` },
    h("div", { class: "kdb-row kdb-result-head" }, h("p", {}, title, " ", caption), several, files),
    h("p", {}, quality, ". ", check),
    notes2,
    // Beneath, so that beside another map both begin at one height.
    ofEarlier(session, slot)
  );
  which.addEventListener("change", () => session.showClass(slot, Number(which.value)));
  let formatsShown = "";
  session.store.watch(["a", "b", "comparing", "run", "names"], (state) => {
    const shown = state[slot];
    show(element, shown !== null);
    if (shown === null) return;
    const map = shown.content;
    const grows = state.run.state === "running" && map.id === state.run.id && slot === state.run.slot && !map.last;
    const current = map.classes[shown.shown];
    const letter = state.b === null ? "" : slot === "a" ? "A: " : "B: ";
    say(title, `${letter}${current?.label ?? ""}`);
    const name = state.b === null ? null : state.names?.[slot];
    say(caption, [...name ? [name] : [], unmodified(map.score, current?.baseline ?? NaN), ...name === map.model ? [] : [map.model]].join(", "));
    show(several, map.classes.length > 1);
    options(which, map.classes.map(({ label: label2, baseline }, at) => ({ value: String(at), text: `${label2} (${number(baseline ?? NaN)})` })));
    fill(which, String(shown.shown));
    which.disabled = shown.former;
    say(quality, qualityInWords(map));
    set(quality, "data-exact", String(map.exact));
    const words = checkedInWords(map);
    say(check, words ?? "");
    show(check, words !== null);
    notes2.replaceChildren(...map.notes.map((note) => h("li", {}, note)));
    show(notes2, map.notes.length > 0);
    if (formatsShown !== map.formats.join()) {
      formatsShown = map.formats.join();
      formats.replaceChildren(
        ...map.formats.filter((format) => format !== "jpeg").map((format) => button(format, () => session.export(slot, format), { testid: slot === "a" ? `export-${format}` : `export-b-${format}` }))
      );
    }
    show(files, map.formats.length > 0 && !grows);
    for (const each of formats.children) each.disabled = shown.former;
  });
  return element;
}
var result = (session) => h("section", { class: "kdb-results", "aria-label": "Result" }, rows(session), slotPanel(session, "a"), slotPanel(session, "b"), notes(session));
function cellInWords(cell) {
  if (cell === null) return "";
  return typeof cell === "number" && !Number.isInteger(cell) ? number(cell, 4) : String(cell);
}
var rows = (session) => {
  const element = h("div", { class: "kdb-rows", "data-testid": "table" });
  session.store.watch(["table"], ({ table: given }) => {
    element.replaceChildren();
    show(element, given !== null);
    if (given === null) return;
    const numeric = new Set(given.columns.keys());
    for (const row of given.rows) row.forEach((cell, at) => typeof cell !== "number" && cell !== null && numeric.delete(at));
    const cells2 = given.rows.map((row) => row.map((cell) => cellInWords(cell)));
    if (given.columns.length > 0) element.append(scrolled("Table", table(given.columns, cells2, numeric)));
    if (given.lines.length > 0) element.append(h("pre", { class: "kdb-lines" }, given.lines.join("\n")));
  });
  return element;
};
var notes = (session) => {
  const element = h("ul", { class: "kdb-notes", "data-testid": "notes" });
  session.store.watch(["notes", "a", "b"], ({ notes: notes2, a, b }) => {
    const said = new Set([a, b].flatMap((shown) => shown?.content.notes ?? []));
    const left = notes2.filter((note) => !said.has(note));
    element.replaceChildren(...left.map((note) => h("li", {}, note)));
    show(element, left.length > 0);
  });
  return element;
};

// src/panels/start.ts
function awaited({ connection: connection2, welcome, form, error, settled }) {
  if (welcome === null) return connection2 === "open" ? "kdb is starting: it loads what its models need…" : "Connecting…";
  if (error !== null || settled && form === null) return null;
  return form?.size == null ? "Loading the model and the image…" : null;
}
var start = (session) => {
  const samples = h("div", { class: "kdb-chips kdb-center" });
  const drop = h("p", { class: "kdb-note" }, "or drop an image of yours anywhere here");
  const what = h("p", { role: "status" });
  const choice2 = h("div", { class: "kdb-stack" }, samples, drop);
  const element = h(
    "div",
    { class: "kdb-start", "data-testid": "start" },
    what,
    choice2
  );
  session.store.watch(["welcome"], ({ welcome }) => {
    samples.replaceChildren(
      ...(welcome?.samples ?? []).map(
        ({ name, title }) => h(
          "button",
          { type: "button", class: "kdb-chip", on: { click: () => session.change({ control: "source", value: name }) } },
          title || name
        )
      )
    );
    show(drop, welcome !== null && welcome.root !== null);
  });
  session.store.watch(["a", "run", "form", "error", "settled", "welcome", "connection"], (state) => {
    const { a, run, form } = state;
    const waits = awaited(state);
    show(element, a === null && run.state === "idle" && form?.picture == null);
    show(choice2, waits === null);
    say(what, waits ?? "Choose an image, then run the query below.");
  });
  return element;
};

// src/panels/toolbar.ts
var TOOLS = [
  { tool: "probe", name: "Probe", symbol: "probe", help: "Click a place to see the score with the patch there" },
  { tool: "box", name: "Box", symbol: "box", help: "Draw a box: only the positions within it are explained" },
  { tool: "paint", name: "Paint", symbol: "paint", help: "Paint the part that is to be explained" },
  { tool: "pan", name: "Move", symbol: "pan", help: "Drag the picture" }
];
var TOGGLES = [
  { key: "heat", name: "Heat", help: "The heat map over the image" },
  { key: "region", name: "Region", help: "The box or mask of the query, or what is scored" },
  { key: "patch", name: "Patch", help: "The patch at its true size under the cursor" },
  { key: "estimates", name: "Estimates", help: "Marks what was estimated and not evaluated" },
  { key: "grid", name: "Pixels", help: "The image as the model sees it, pixel by pixel" }
];
var toolbar = (session) => {
  const { store } = session;
  const name = unique("tool");
  const tools = TOOLS.map(({ tool, name: text, symbol, help }) => {
    const input = h("input", { type: "radio", name, value: tool, class: "kdb-unseen", "data-testid": `tool-${tool}` });
    input.addEventListener("change", () => session.setTool(tool));
    return { tool, input, element: h("label", { class: "kdb-tool", title: help }, input, icon(symbol), h("span", {}, text)) };
  });
  const toggles = TOGGLES.map(({ key, name: text, help }) => {
    const element = button(text, () => session.setLook({ [key]: !store.state.look[key] }), { testid: `look-${key}`, quiet: true });
    element.classList.add("kdb-toggle");
    element.title = help;
    return { key, element };
  });
  store.watch(["tool"], ({ tool }) => tools.forEach((each) => each.input.checked = each.tool === tool));
  store.watch(["look"], ({ look }) => {
    toggles.forEach(({ key, element }) => set(element, "aria-pressed", String(look[key])));
  });
  const zoom = (text, symbol, factor, testid) => button(text, () => session.zoom(factor), { testid, symbol, quiet: true, only: true });
  return h(
    "div",
    { class: "kdb-bar" },
    h("div", { class: "kdb-segmented", role: "radiogroup", "aria-label": "Tool" }, ...tools.map(({ element }) => element)),
    h(
      "div",
      { class: "kdb-row kdb-tight", role: "group", "aria-label": "Zoom" },
      zoom("Zoom out", "minus", 1 / 1.5, "zoom-out"),
      zoom("Zoom in", "plus", 1.5, "zoom-in"),
      zoom("Fit", "fit", "fit", "zoom-fit")
    ),
    h("span", { class: "kdb-gap" }),
    h("div", { class: "kdb-row kdb-tight", role: "group", "aria-label": "What is shown" }, ...toggles.map(({ element }) => element))
  );
};

// src/client.ts
var Client = class {
  #model;
  /** Two views of one widget hear each other's answers: each counts from a number of its own. */
  #next = 1 + Math.floor(Math.random() * 2 ** 20) * 2 ** 20;
  #handlers = /* @__PURE__ */ new Map();
  constructor(model2) {
    this.#model = model2;
    model2.on("msg:custom", this.#receive);
  }
  send(request, buffers = []) {
    const id = this.#next++;
    this.#model.send({ id, ...request }, void 0, buffers);
    return id;
  }
  on(kind, handler) {
    this.#handlers.set(kind, handler);
  }
  close() {
    this.#model.off("msg:custom", this.#receive);
  }
  #receive = (event, buffers) => {
    this.#handlers.get(event.kind)?.(event, (buffers ?? []).map(whole));
  };
};
function whole(buffer) {
  if (buffer instanceof ArrayBuffer) return buffer;
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
}

// src/mirror.ts
var clock = {
  after(milliseconds2, call) {
    const timer = setTimeout(call, milliseconds2);
    return () => clearTimeout(timer);
  }
};
var TYPING = 250;
var MOVING = 120;
var Mirror = class {
  text = "";
  #ports;
  #clock;
  /** Counts what was typed: an answer counts only if nothing was since its question. */
  #typed = 0;
  #flight = null;
  /** What was answered last: more may follow, as Python finds out more of the same text. */
  #answered = null;
  /** Changes that wait, the newest of each control. */
  #waiting = /* @__PURE__ */ new Map();
  #runs = false;
  #typing = null;
  #moving = null;
  constructor(ports, by = clock) {
    this.#ports = ports;
    this.#clock = by;
  }
  /** Whether the controls show the text as it stands. */
  get settled() {
    return this.#flight === null && this.#typing === null && this.#waiting.size === 0;
  }
  type(text) {
    this.text = text;
    this.#typed += 1;
    this.#drop();
    this.#typing?.();
    this.#typing = this.#clock.after(TYPING, () => this.#edit());
  }
  /** The text is replaced as a whole, from the history or by a suggestion, and sent at once. */
  replace(text) {
    this.type(text);
    this.#typing?.();
    this.#edit();
  }
  /** A control was moved; `held` while more of it is to come, `runs` if the query is to run when this is in its text. */
  move(control, change, { held: held2 = false, runs = false } = {}) {
    this.#waiting.set(control, change);
    this.#runs ||= runs;
    this.#moving?.();
    this.#moving = held2 ? this.#clock.after(MOVING, () => this.#moved()) : null;
    if (!held2) this.#next();
  }
  /** Takes an answer: `null` if it counts for nothing, else whether the query is to run. */
  answer({ id, text, understood }) {
    const flight = this.#flight;
    if (flight === null || id !== flight.id) return this.#again(id) ? { runs: false } : null;
    this.#flight = null;
    if (flight.typed !== this.#typed) return null;
    if (flight.control !== null && text !== this.text) {
      this.text = text;
      this.#ports.written(text, flight.control);
    }
    if (!understood) {
      this.#drop();
    } else if (this.#waiting.size > 0) {
      if (this.#moving === null) this.#next();
      return null;
    }
    const runs = this.#runs && understood;
    this.#runs = false;
    this.#answered = { id, typed: this.#typed };
    return { runs };
  }
  #again(id) {
    const last = this.#answered;
    return this.settled && last !== null && last.id === id && last.typed === this.#typed;
  }
  /** A request was refused: returns what was, if it was the one under way, with which all goes that waits behind it. */
  refused(id) {
    if (this.#flight?.id !== id) return null;
    const { control } = this.#flight;
    this.#flight = null;
    this.#drop();
    return { control };
  }
  /** The connection is new: whatever was under way is asked again. */
  renew() {
    this.#flight = null;
    this.#drop();
    this.#typing?.();
    this.#edit();
  }
  close() {
    this.#typing?.();
    this.#moving?.();
    this.#typing = this.#moving = null;
  }
  #drop() {
    this.#waiting.clear();
    this.#runs = false;
    this.#moving?.();
    this.#moving = null;
  }
  #edit() {
    this.#typing = null;
    this.#answered = null;
    this.#flight = { id: this.#ports.edit(this.text), typed: this.#typed, control: null };
  }
  #moved() {
    this.#moving = null;
    this.#next();
  }
  #next() {
    const first = this.#waiting.entries().next();
    const overtaken = this.#flight === null || this.#flight.control === null || this.#flight.typed !== this.#typed;
    if (first.done || !overtaken) return;
    const [control, change] = first.value;
    this.#waiting.delete(control);
    this.#typing?.();
    this.#typing = null;
    this.#answered = null;
    this.#flight = { id: change(this.text), typed: this.#typed, control };
  }
};

// src/permalink.ts
function changedSince(link, now) {
  const others2 = [
    link.model !== null && link.model !== now.model ? "the model" : null,
    link.source !== null && link.source !== now.source ? "the image" : null
  ].filter((each) => each !== null);
  if (others2.length === 0) return null;
  const are = others2.length > 1 ? "are others" : "is another";
  return `Since this link was made, ${others2.join(" and ")} behind these names ${are}: the map may differ.`;
}

// src/store.ts
var Store = class {
  #state;
  #changed = /* @__PURE__ */ new Set();
  #watchers = /* @__PURE__ */ new Set();
  constructor(initial) {
    this.#state = initial;
  }
  get state() {
    return this.#state;
  }
  set(changes) {
    const waits = this.#changed.size > 0;
    for (const key of Object.keys(changes)) {
      if (!Object.is(this.#state[key], changes[key])) this.#changed.add(key);
    }
    this.#state = { ...this.#state, ...changes };
    if (!waits && this.#changed.size > 0) queueMicrotask(() => this.#tell());
  }
  /** Calls `react` now and whenever one of these keys has another value; what it returns ends that. */
  watch(keys, react) {
    const watcher = { keys, react };
    this.#watchers.add(watcher);
    react(this.#state);
    return () => void this.#watchers.delete(watcher);
  }
  #tell() {
    const changed = this.#changed;
    this.#changed = /* @__PURE__ */ new Set();
    for (const { keys, react } of [...this.#watchers]) {
      if (keys.some((key) => changed.has(key))) react(this.#state);
    }
  }
};

// src/session.ts
var PLANNING = 200;
var OFFLINE = { tone: "error", text: "There is no connection to kdb." };
var Session = class {
  store;
  place;
  #client;
  #mirror;
  #stage = null;
  #labels = /* @__PURE__ */ new Map();
  /** The key of the picture that the form was last of. */
  #picture = null;
  #newest = /* @__PURE__ */ new Map();
  #variant = null;
  /** The one change that makes B of A, the text that it was last made of, and whether the answer is still awaited. */
  #varied = null;
  /** Compare was asked for while B was still to follow A. */
  #comparesThen = false;
  /** The id whose maps are drawn: of the run, or of what was recalled since. */
  #drawn = null;
  #planning = null;
  /** Whether the text is a query, of which there is a plan. */
  #isQuery = false;
  /** The text whose plan is under way. */
  #planned = null;
  /** A permalink until its query runs, and after that until its map is there. */
  #linked;
  #arriving = null;
  /** Run was asked for before there was anything to run it. */
  #runsFirst = false;
  /** Names of files that are on their way, by the ids of their requests. */
  #uploads = /* @__PURE__ */ new Map();
  /** What was said of the text or of an image for it: of no use once that is another. */
  #saidOfText = null;
  /** What the query was, and B's. */
  #texts = new Undo();
  #variants = new Undo();
  /** The query that was probed without a map. */
  #probed = "";
  constructor(model2) {
    this.place = model2.get("place") ?? null;
    this.#linked = this.place?.permalink ?? null;
    this.store = new Store(beginning(this.place?.connection ?? "open"));
    this.#client = new Client(model2);
    this.#mirror = new Mirror({
      edit: (text) => this.#client.send({ kind: "edit", text }),
      written: (text, control) => this.#write(text, control)
    });
    this.#listen();
    model2.on("change:connection", this.#connected);
    if (this.store.state.connection === "open") this.#client.send({ kind: "hello" });
  }
  /** The stage, before anything arrives. */
  set stage(stage) {
    this.#stage = stage;
  }
  close(model2) {
    model2.off("change:connection", this.#connected);
    this.#client.close();
    this.#mirror.close();
    if (this.#planning !== null) clearTimeout(this.#planning);
  }
  get #state() {
    return this.store.state;
  }
  // ---- the text and the controls
  type(text, by = "typed") {
    this.#write(text, by);
    this.store.set({ modelRefused: null });
    this.#unsay(this.#saidOfText);
    this.#mirror.type(text);
    this.#settle();
  }
  replace(text) {
    this.#write(text, "");
    this.#send(text);
  }
  /** Takes the last change of the text back, or makes it again; returns whether there was one. */
  undo(way) {
    const text = this.#texts[way]();
    if (text === null) return false;
    this.#keep(text);
    this.#send(text);
    return true;
  }
  #send(text) {
    this.store.set({ modelRefused: null });
    this.#unsay(this.#saidOfText);
    this.#mirror.replace(text);
    this.#settle();
  }
  correct() {
    const { error, errorText } = this.#state;
    if (error !== null) this.replace(corrected(errorText, error) ?? errorText);
  }
  /** `by` is a control, or what else changes the text. */
  #write(text, by) {
    this.#texts.record(text, by, Date.now());
    this.#keep(text);
  }
  #keep(text) {
    this.store.set({ text });
    this.place?.keep(text);
  }
  /** A control was moved; `held` while it still moves, `atOnce` to run in any case and not only as the user chose. */
  change(change, { held: held2 = false, atOnce = false, buffers = [] } = {}) {
    this.store.set({ modelRefused: null });
    const runs = atOnce || this.#state.runsOnChange && !held2;
    const send = (text) => this.#client.send({ kind: "change", text, ...change }, buffers);
    this.#mirror.move(change.control, send, { held: held2, runs });
    this.#settle();
  }
  async upload(file) {
    const { welcome } = this.#state;
    if (welcome === null || welcome.root === null) {
      this.#sayOfText("Images cannot be dropped here.", "warning");
    } else if (file.size > welcome.upload_limit) {
      this.#sayOfText(`${file.name} is larger than the ${Math.floor(welcome.upload_limit / 2 ** 20)} MiB that are taken.`, "error");
    } else {
      const bytes = await file.arrayBuffer();
      const send = (text) => {
        const id = this.#client.send({ kind: "upload", text, name: file.name }, [bytes]);
        this.#uploads.set(id, file.name);
        return id;
      };
      this.#mirror.move("upload", send, { runs: this.#state.runsOnChange });
      this.#settle();
    }
  }
  #settle() {
    this.store.set({ settled: this.#mirror.settled });
  }
  #formed(event) {
    const counts = this.#mirror.answer({ id: event.id, text: event.text, understood: event.form !== null });
    this.#settle();
    this.#dropped(event);
    if (counts === null) return;
    this.#unsay(this.#saidOfText);
    const { error, notes: notes2 } = event;
    const { a, probe: probe3, probeWaits } = this.#state;
    if (a === null && (probe3 !== null || probeWaits) && !sameQuery(this.#probed, event.text)) this.#forgetProbe();
    const before = this.#state.form;
    const form = event.form === null ? null : carried(event.form, before);
    this.#isQuery = form !== null;
    const { run } = this.#state;
    const found = run.state === "failed" && run.texts.a === event.text && run.refused?.line != null ? run.refused : null;
    this.store.set({ error: error ?? found, errorText: event.text, notes: notes2, understood: form !== null });
    this.#show(form ?? before);
    if (form !== null) {
      this.store.set({ understoodText: event.text });
      this.store.set({ labels: form.labels === null ? [] : this.#labels.get(form.labels) ?? [] });
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
  #dropped({ id, form }) {
    const file = this.#uploads.get(id);
    this.#uploads.delete(id);
    if (file === void 0 || form === null) return;
    this.store.set({ dropped: [...this.#state.dropped, { name: form.source, file }] });
  }
  /** Sets controls and stage to a form, also to the one from before: what was moved or drawn since goes. */
  #show(form) {
    if (form === null) return;
    this.store.set({ form: { ...form } });
    this.#stage?.showForm(form);
  }
  /** Maps of another image than the form's go when that becomes another. */
  #follow(picture) {
    if (picture === null || picture === this.#picture) return;
    this.#picture = picture;
    for (const slot of ["a", "b"]) {
      const shown = this.#state[slot];
      if (shown !== null && shown.content.picture !== picture) this.#clear(slot);
    }
  }
  #clear(slot) {
    this.#stage?.clear(slot);
    this.store.set(slot === "a" ? { a: null } : { b: null });
    this.#name();
    if (this.#state.probeSlot === slot) this.#forgetProbe();
  }
  // ---- running
  run() {
    const { text, welcome, connection: connection2 } = this.#state;
    if (welcome === null && (connection2 === "opening" || connection2 === "open")) {
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
  compare() {
    const { text, variant, comparing: comparing2, b } = this.#state;
    if (this.#offline()) return;
    this.#comparesThen = this.#varied !== null && (this.#varied.waits || !this.#mirror.settled);
    if (this.#comparesThen) return;
    if (b !== null && !isOf(b, variant)) this.#clear("b");
    if (comparing2 === "off") this.compareBy("side");
    this.#begin(this.#client.send({ kind: "compare", texts: [text, variant] }), { a: text, b: variant }, true);
    this.#name();
  }
  #begin(id, texts, both) {
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
      permalinkSays: null
    });
  }
  #offline() {
    const offline = this.#state.connection !== "open";
    if (offline) this.store.set({ message: OFFLINE });
    return offline;
  }
  stop() {
    const { run } = this.#state;
    if (run.state !== "running" || run.stopping) return;
    this.store.set({ run: { ...run, stopping: true } });
    this.#client.send({ kind: "stop" });
  }
  #ran(id, changes) {
    const { run } = this.#state;
    if (id !== run.id) return;
    const ended = changes.state !== void 0 && changes.state !== "running";
    this.store.set({ run: { ...run, ...changes, ...ended ? { stopping: false } : {} } });
  }
  #mapped(map, buffers) {
    const { run } = this.#state;
    if (map.id === run.id) {
      this.#ran(map.id, { maps: run.maps + 1, slot: map.slot, done: map.done, total: map.total, seconds: map.seconds });
    }
    if (map.id !== null && map.id !== this.#drawn) return;
    const before = this.#state[map.slot];
    if (before !== null && before.content.map !== map.map && this.#state.probeSlot === map.slot) this.#forgetProbe();
    this.#stage?.showMap(map, buffers);
    const asked2 = map.id === run.id ? run.texts[map.slot] : map.text;
    const shown = { content: map, buffers, shown: map.shown, asked: asked2, former: false };
    this.store.set(map.slot === "a" ? { a: shown } : { b: shown });
    this.#name();
    if (this.#arriving !== null) {
      this.store.set({ permalinkSays: changedSince(this.#arriving, map.identity) });
      this.#arriving = null;
    }
  }
  showClass(slot, index) {
    const shown = this.#state[slot];
    if (shown !== null && !shown.former) this.#ask("layer", this.#client.send({ kind: "layer", map: shown.content.map, class: index }));
  }
  // ---- plan
  openPlan(open) {
    this.store.set({ planOpen: open });
    if (open) this.#plan();
  }
  #plan() {
    if (this.#planning !== null) clearTimeout(this.#planning);
    this.#planning = null;
    const { planOpen, error, text, plan: plan2 } = this.#state;
    if (!planOpen || error !== null || !this.#isQuery || plan2?.text === text) {
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
  probe(slot, position) {
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
  check() {
    const { probe: probe3, probeSlot } = this.#state;
    const shown = this.#state[probeSlot];
    if (probe3 === null || shown?.former || this.#offline()) return;
    const { map, position } = probe3.content;
    this.store.set({ checkWaits: true });
    const of = map === null || shown === null ? { text: this.#probed } : { map, class: shown.shown };
    this.#ask("check", this.#client.send({ kind: "check", position, ...of }));
  }
  #forgetProbe() {
    this.#newest.delete("probe");
    this.#newest.delete("check");
    this.#stage?.mark(null);
    this.store.set({ probe: null, probeWaits: false, checked: null, checkWaits: false });
  }
  // ---- comparing
  /** Makes the second query of the first by one change, and again of what the first becomes. */
  vary(change) {
    const { text } = this.#state;
    this.#varied = { by: change, of: text, waits: true };
    this.#variant = this.#client.send({ kind: "vary", text, ...change });
  }
  #wasVaried(text, error) {
    if (this.#varied === null) return;
    this.#varied.waits = false;
    this.#variants.record(text, "varied", Date.now());
    this.store.set({ variant: text, variantError: error, variantFollows: true });
    if (this.#comparesThen && this.#mirror.settled) this.compare();
  }
  /** B is now a text of its own. */
  #own(variant) {
    this.#variant = this.#varied = null;
    this.#comparesThen = false;
    this.store.set({ variant, variantError: null, variantFollows: false });
  }
  setVariant(variant, by = "") {
    this.#variants.record(variant, by, Date.now());
    this.#own(variant);
  }
  undoVariant(way) {
    const variant = this.#variants[way]();
    if (variant === null) return false;
    this.#own(variant);
    return true;
  }
  /** Says beside the two maps what is not the same in their queries. */
  #name() {
    const names = namesOf(this.#state);
    this.store.set({ names });
    this.#stage?.setNames(names);
  }
  compareBy(comparing2) {
    if (comparing2 === this.#state.comparing) return;
    this.store.set({ comparing: comparing2 });
    this.#stage?.setComparing(comparing2);
  }
  // ---- history, runs, files
  recall(map, text) {
    this.compareBy("off");
    if (this.#state.b !== null) this.#clear("b");
    this.replace(text);
    this.#drawn = this.#ask("map", this.#client.send({ kind: "recall", map }));
  }
  browse(folder) {
    this.store.set({ browsing: true });
    this.#ask("browse", this.#client.send({ kind: "browse", folder }));
  }
  endBrowsing() {
    this.store.set({ browsing: false });
  }
  openRun(folder, label2 = null) {
    this.store.set({ browsing: false, gallery: [], galleryWaits: true });
    this.#ask("gallery", this.#client.send({ kind: "gallery", folder, offset: 0, label: label2 }));
  }
  moreOfRun(label2) {
    const { gallery: gallery2 } = this.#state;
    const last = gallery2.at(-1);
    if (last === void 0 || this.#state.galleryWaits) return;
    const offset2 = last.content.offset + last.content.cards.length;
    this.store.set({ galleryWaits: true });
    this.#ask("gallery", this.#client.send({ kind: "gallery", folder: last.content.folder, offset: offset2, label: label2 }));
  }
  closeRun() {
    this.#newest.delete("gallery");
    this.store.set({ gallery: [], galleryWaits: false });
  }
  openCard(folder, image) {
    this.compareBy("off");
    if (this.#state.b !== null) this.#clear("b");
    this.#drawn = this.#ask("map", this.#client.send({ kind: "card", folder, image }));
  }
  export(slot, format) {
    const shown = this.#state[slot];
    if (shown !== null && !shown.former) this.#ask("file", this.#client.send({ kind: "export", map: shown.content.map, format }));
  }
  /** The address of the query and of the map that is shown of it; null where there can be none, which is said. */
  permalink() {
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
  setTool(tool) {
    this.store.set({ tool });
    this.#stage?.setTool(tool);
  }
  setLook(changes) {
    const look = { ...this.#state.look, ...changes };
    this.store.set({ look });
    this.#stage?.setLook(look);
  }
  zoom(factor) {
    this.#stage?.zoom(factor);
  }
  say(text, tone = "plain") {
    this.store.set({ message: { text, tone } });
  }
  #sayOfText(text, tone) {
    this.#saidOfText = { text, tone };
    this.store.set({ message: this.#saidOfText });
  }
  #unsay(message2) {
    if (message2 !== null && this.#state.message === message2) this.store.set({ message: null });
  }
  silence() {
    this.store.set({ message: null, permalinkSays: null });
  }
  // ---- what Python says
  #ask(purpose, id) {
    this.#newest.set(purpose, id);
    return id;
  }
  #answers(purpose, id) {
    return this.#newest.get(purpose) === id;
  }
  #listen() {
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
    client.on(
      "started",
      ({ id, slot }) => (
        // Of several statements each begins anew.
        this.#ran(id, { state: "running", slot, done: 0, total: 0, seconds: 0, left: null })
      )
    );
    client.on(
      "progress",
      ({ id, slot, done, total, seconds: seconds2, left }) => this.#ran(id, { slot, done, total, seconds: seconds2, left })
    );
    client.on("map", (map, buffers) => this.#mapped(map, buffers));
    client.on("finished", ({ id, slot, stopped, seconds: seconds2 }) => {
      const more = this.#state.run.both && slot === "a" && !stopped;
      if (!more) this.#ran(id, { state: stopped ? "stopped" : "done", seconds: seconds2, left: null });
    });
    client.on("table", ({ id, columns, rows: rows2, lines }) => {
      if (id !== this.#state.run.id) return;
      this.store.set({ table: { columns, rows: rows2, lines } });
      this.#ran(id, { state: "done" });
    });
    client.on("refused", ({ id, error, slot }) => this.#refused(id, error, slot));
    client.on("plan", ({ id, kind: _, ...plan2 }) => {
      if (!this.#answers("plan", id)) return;
      this.store.set({ plan: { ...plan2, text: this.#planned ?? plan2.text }, planError: null, planWaits: false });
      this.#planned = null;
    });
    client.on("probe", (probe3, buffers) => {
      if (this.#answers("probe", probe3.id)) this.store.set({ probe: { content: probe3, buffers }, probeWaits: false });
    });
    client.on("checked", (checked) => {
      if (this.#answers("check", checked.id)) this.store.set({ checked, checkWaits: false });
    });
    client.on("layer", (layer, buffers) => {
      if (!this.#answers("layer", layer.id)) return;
      for (const slot of ["a", "b"]) {
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
    client.on("gallery", (gallery2, buffers) => {
      if (!this.#answers("gallery", gallery2.id)) return;
      const before = gallery2.offset === 0 ? [] : this.#state.gallery;
      this.store.set({ gallery: [...before, { content: gallery2, buffers }], galleryWaits: false });
    });
    client.on("file", ({ id, name, type, data }, buffers) => {
      if (this.#answers("file", id)) download(name, new Blob([buffers[data.buffer]], { type }));
    });
  }
  #refused(id, error, slot) {
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
      if (failed === "b" && this.#state.b !== null) this.#clear("b");
      this.#name();
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
    if (purpose !== void 0) this.say(error.message, "error");
  }
  #connected = () => {
    const connection2 = this.place.connection;
    const before = this.#state.connection;
    this.store.set({ connection: connection2 });
    if (connection2 === "open") {
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
      const { a, b } = this.#state;
      this.store.set({ a: a && { ...a, former: true }, b: b && { ...b, former: true }, dropped: [] });
      this.store.set({ planWaits: false, probeWaits: false, checkWaits: false, galleryWaits: false });
    }
  };
};
function carried(form, before) {
  if (before === null || form.size !== null) return form;
  if (form.model !== before.model) return form.source === before.source ? { ...form, picture: before.picture } : form;
  const { size, axes, dense, labels } = before;
  return { ...form, size, axes, dense, labels, picture: form.source === before.source ? before.picture : form.picture };
}
function download(name, blob) {
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 6e4);
}

// src/stage/arrays.ts
function sliceOf(size, down, right, at) {
  const strides = size.map((_, axis) => product(size.slice(axis + 1)));
  let first = 0;
  for (const [axis, stride2] of strides.entries())
    if (axis !== down && axis !== right) first += stride2 * clamp(Math.floor(at[axis]), 0, size[axis] - 1);
  return {
    first,
    down: down === null ? 0 : strides[down],
    right: strides[right],
    rows: down === null ? 1 : size[down],
    columns: size[right]
  };
}
function clamp(value, lowest, highest) {
  return Math.max(lowest, Math.min(highest, value));
}
function sameNumbers(one, two) {
  if (one === null || two === null) return one === two;
  return one.length === two.length && one.every((each, i) => each === two[i]);
}

// src/stage/keyboard.ts
var KEYS = "Arrow keys move from position to position, with Shift five at a time; Page Up and Page Down along the third axis. Enter probes a position, paints, or begins and ends a box; Escape cancels. Plus and minus zoom, 0 shows all. Square brackets change the size of the brush.";
function keysInWords() {
  const element = document.createElement("p");
  element.id = unique("stage-keys");
  element.className = "kdb-stage-hidden";
  element.textContent = KEYS;
  return element;
}
var MOVES = {
  ArrowRight: ["right", 1],
  ArrowLeft: ["right", -1],
  ArrowDown: ["down", 1],
  ArrowUp: ["down", -1],
  PageDown: ["through", 1],
  PageUp: ["through", -1]
};
var ZOOMS = { "+": 1.25, "=": 1.25, "-": 0.8, "0": "fit" };
function listenToKeys(element, listener, signal) {
  const on = (name, handle) => element.addEventListener(
    name,
    (event) => {
      if (event.target !== element || event.ctrlKey || event.metaKey || event.altKey) return;
      if (!handle(event)) return;
      event.preventDefault();
      event.stopPropagation();
    },
    { signal }
  );
  on("keydown", (event) => {
    const move = MOVES[event.key];
    if (move !== void 0) {
      listener.move(move[0], move[1] * (event.shiftKey ? 5 : 1));
      return true;
    }
    const zoom = ZOOMS[event.key];
    if (zoom !== void 0) {
      listener.zoom(zoom);
      return true;
    }
    if (event.key === " ") {
      listener.space(true);
      return true;
    }
    return event.key === "Escape" ? listener.cancel() : listener.key(event);
  });
  on("keyup", (event) => {
    if (event.key !== " ") return false;
    listener.space(false);
    return true;
  });
  element.addEventListener("blur", () => listener.space(false), { signal });
}

// src/stage/pointer.ts
var WHEEL_STEP = 25;
function listen(element, listener, signal) {
  const touches = /* @__PURE__ */ new Map();
  let pressed = null;
  let scrolled2 = 0;
  const place = (event) => {
    const bounds = element.getBoundingClientRect();
    return { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
  };
  const on = (name, handle, passive = true) => element.addEventListener(name, handle, { signal, passive });
  function pinch(event) {
    const [one, two] = [...touches.values()];
    const before = { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2, apart: Math.hypot(one.x - two.x, one.y - two.y) };
    Object.assign(touches.get(event.pointerId), place(event));
    const spot = listener.spotAt((one.x + two.x) / 2, (one.y + two.y) / 2);
    if (spot === null) return;
    listener.pan(spot, spot.x - before.x, spot.y - before.y);
    if (before.apart > 0) listener.zoomAt(spot, Math.hypot(one.x - two.x, one.y - two.y) / before.apart);
  }
  on("pointerdown", (event) => {
    const { x, y } = place(event);
    if (event.pointerType === "touch") touches.set(event.pointerId, { x, y });
    if (touches.size > 1) {
      if (pressed) listener.cancel();
      pressed = null;
      return;
    }
    const spot = listener.spotAt(x, y);
    if (spot === null || event.button > 2) return;
    element.setPointerCapture(event.pointerId);
    pressed = spot;
    listener.hover(spot);
    const wipes = event.button === 2 || event.altKey;
    listener.press(spot, { pans: event.button === 1, wipes, anew: event.shiftKey });
  });
  on("pointermove", (event) => {
    if (touches.size > 1 && touches.has(event.pointerId)) return pinch(event);
    const { x, y } = place(event);
    if (touches.has(event.pointerId)) touches.set(event.pointerId, { x, y });
    if (pressed) {
      const spot = listener.spotOn(pressed, x, y);
      listener.hover(spot);
      listener.drag(spot);
    } else {
      listener.hover(listener.spotAt(x, y));
    }
  });
  on("pointerup", (event) => {
    touches.delete(event.pointerId);
    if (pressed === null) return;
    const { x, y } = place(event);
    const spot = listener.spotOn(pressed, x, y);
    pressed = null;
    listener.release(spot);
    listener.hover(listener.spotAt(x, y));
  });
  on("pointercancel", (event) => {
    touches.delete(event.pointerId);
    if (pressed) listener.cancel();
    pressed = null;
  });
  on("pointerleave", () => {
    if (pressed === null) listener.hover(null);
  });
  on("contextmenu", (event) => event.preventDefault(), false);
  on("mousedown", (event) => event.button === 1 && event.preventDefault(), false);
  on(
    "wheel",
    (event) => {
      const { x, y } = place(event);
      const spot = listener.spotAt(x, y);
      if (spot === null) return;
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        const by = clamp(event.deltaY * (event.deltaMode === 0 ? 1 : 10), -WHEEL_STEP, WHEEL_STEP);
        listener.zoomAt(spot, Math.exp(-by / 100));
        return;
      }
      scrolled2 += event.deltaMode === 0 ? event.deltaY / 40 : event.deltaY;
      const steps = Math.trunc(scrolled2);
      if (steps === 0 ? spot.pane.planes.length > 1 : listener.scroll(spot, Math.sign(steps))) event.preventDefault();
      if (steps !== 0) scrolled2 = 0;
    },
    false
  );
}

// src/stage/wording.ts
var TITLES = {
  probability: "probability",
  drop: "drop of the probability",
  logit: "logit (nats)",
  logit_drop: "drop of the logit (nats)",
  cosine: "cosine similarity",
  cosine_drop: "drop of the cosine similarity"
};
function titleOf(score2) {
  return TITLES[score2] ?? score2;
}
function quantityOf(score2) {
  return titleOf(unitOf(score2));
}
function number2(value, step) {
  if (!Number.isFinite(value)) return "unknown";
  const decimals = Math.max(0, Math.min(8, -Math.floor(Math.log10(step || 1))));
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}
function signed2(value, step) {
  const text = number2(value, step);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}
function placeOf(axes, position) {
  return position.map((at, k) => `${axes[k] ?? `axis ${k + 1}`} ${at}`).join(", ");
}
function sizeOf(size) {
  return size.join(" × ");
}
function meaningOf(score2) {
  const [lowers, raises] = ["hiding it lowers the score", "hiding it raises the score"];
  return isDrop(score2) ? { low: raises, high: lowers } : { low: lowers, high: raises };
}
function described2(picture, map, comparing2) {
  if (picture === null) return "No image yet";
  const parts = [`Image of ${sizeOf(picture.size)}`];
  if (map !== null) parts.push(`heat map of ${map.label || "the output"} by ${map.model}: ${titleOf(map.score)}`);
  if (map !== null && !isDrop(map.score)) parts.push(`${map.baseline.toPrecision(3)} for the unmodified image`);
  if (map?.scored) parts.push(`scored over ${map.cellsScored} of ${map.scored.length} cells`);
  if (comparing2 !== "off") parts.push(comparing2 === "side" ? "beside another map" : "the difference from another map");
  return parts.join(", ");
}
function seenAs({ size, box: box2, source: source2 }) {
  const axes = size.length;
  const extents2 = box2.slice(axes);
  const [own2, whole2] = [sizeOf(size), sizeOf(source2)];
  const isCropped = extents2.some((extent2, k) => extent2 < 0.99 * source2[k]);
  if (isCropped) {
    const isCentred = extents2.every((extent2, k) => Math.abs(2 * box2[k] + extent2 - source2[k]) <= 2);
    return `${own2} of ${whole2}, ${isCentred ? "centre " : ""}cropped`;
  }
  const scales = size.map((length, k) => length / source2[k]);
  const [least, most] = [Math.min(...scales), Math.max(...scales)];
  if (least > 0.9 && most < 1.1) return "";
  return `${own2}, ${most > 1.05 * least ? "squeezed" : "scaled"} from ${whole2}`;
}

// src/stage/reading.ts
function readingAt(slot, map, cell) {
  const index = map.places.nearest(cell);
  if (index < 0) return null;
  const score2 = map.values[index];
  const error = map.error?.[index] ?? null;
  return {
    slot,
    position: map.places.start(index),
    score: score2,
    change: isDrop(map.score) ? score2 : score2 - map.baseline,
    error: error !== null && Number.isFinite(error) ? error : null,
    measured: map.evaluated[index] === 1,
    other: null,
    difference: null
  };
}
function spoken(reading2, map) {
  const step = map.scale.half / 100;
  const place = placeOf(map.axes, reading2.position);
  if (Number.isNaN(reading2.score)) return `${place}: not known`;
  const name = map.score.replace("_", " ");
  const parts = [`${place}: ${name} ${number2(reading2.score, step)}`];
  if (!isDrop(map.score)) parts.push(`change ${signed2(reading2.change, step)}`);
  if (reading2.difference !== null) parts.push(`difference ${signed2(reading2.difference, step)}`);
  if (!reading2.measured) parts.push("estimate");
  return parts.join(", ");
}

// src/stage/say.ts
var PAUSE = 180;
var Speaker = class {
  constructor(say2) {
    this.say = say2;
  }
  say;
  waiting = null;
  timer = null;
  /** Says it at once if nothing was said of late; else the last of what comes meanwhile, after a pause. */
  speak(text) {
    this.waiting = text;
    if (this.timer === null) this.next();
  }
  stop() {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = this.waiting = null;
  }
  next() {
    this.timer = null;
    if (this.waiting === null) return;
    this.say(this.waiting);
    this.waiting = null;
    this.timer = setTimeout(() => this.next(), PAUSE);
  }
};

// src/stage/viewport.ts
var ZOOMS2 = { least: 1, most: 48 };
function toPixel(span, cell) {
  return span.start + cell * span.scale;
}
function toCell(span, pixel) {
  return (pixel - span.start) / span.scale;
}
function placed2(from, length, cells2, scale, centre) {
  const spare = length - cells2 * scale;
  const start2 = spare >= 0 ? spare / 2 : clamp(length / 2 - centre * scale, spare, 0);
  return { start: from + start2, scale };
}
function centreAfterZoom(span, from, length, pixel, factor) {
  const cell = toCell(span, pixel);
  return cell - (pixel - (from + length / 2)) / (span.scale * factor);
}
function centreAfterPan(span, from, length, pixels) {
  return toCell(span, from + length / 2 - pixels);
}

// src/stage/drawing.ts
function rectOf(x, y, width, height) {
  return { x, y, width, height };
}
function snapped(at) {
  return Math.round(at - 0.5) + 0.5;
}
function onPlane(plane, box2) {
  const axes = box2.length / 2;
  const x = toPixel(plane.columns, box2[plane.right]);
  const width = box2[axes + plane.right] * plane.columns.scale;
  if (plane.down === null) return rectOf(x, plane.frame.y + 1.5, width, plane.frame.height - 3);
  return rectOf(x, toPixel(plane.rows, box2[plane.down]), width, box2[axes + plane.down] * plane.rows.scale);
}
function meets(pane, plane, box2) {
  const axes = pane.picture.size.length;
  if (axes < 3) return true;
  return pane.at.every((at, axis) => {
    const cell = Math.floor(at);
    const inside = cell >= Math.floor(box2[axis]) && cell < box2[axis] + box2[axes + axis];
    return axis === plane.down || axis === plane.right || inside;
  });
}
function clipped(pen, { frame }) {
  pen.save();
  pen.beginPath();
  pen.rect(frame.x, frame.y, frame.width, frame.height);
  pen.clip();
}
function drawCells(pen, cells2, { picture }, plane, smooth) {
  const rows2 = plane.down === null ? 1 : picture.size[plane.down];
  pen.imageSmoothingEnabled = smooth;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(
    cells2,
    plane.columns.start,
    plane.rows.start,
    picture.size[plane.right] * plane.columns.scale,
    rows2 * plane.rows.scale
  );
}
function haloed(pen, colour, halo, width, strength = 0.7) {
  const alpha = pen.globalAlpha;
  pen.lineJoin = "round";
  pen.strokeStyle = halo;
  pen.globalAlpha = alpha * strength;
  pen.lineWidth = width + 2;
  pen.stroke();
  pen.strokeStyle = colour;
  pen.globalAlpha = alpha;
  pen.lineWidth = width;
  pen.stroke();
}
function tracedRect(pen, rect) {
  const x = snapped(rect.x);
  const y = snapped(rect.y);
  pen.rect(x, y, snapped(rect.x + rect.width) - x, snapped(rect.y + rect.height) - y);
}
function tracedLines(pen, plane, lines) {
  for (let i = 0; i < lines.length; i += 4) {
    pen.moveTo(snapped(toPixel(plane.columns, lines[i + 1])), snapped(toPixel(plane.rows, lines[i])));
    pen.lineTo(snapped(toPixel(plane.columns, lines[i + 3])), snapped(toPixel(plane.rows, lines[i + 2])));
  }
}
function tracedCorners(pen, rect) {
  const left = snapped(rect.x);
  const top = snapped(rect.y);
  const right = snapped(rect.x + rect.width);
  const bottom = snapped(rect.y + rect.height);
  const arm = Math.max(3, Math.min(10, (right - left) / 3, (bottom - top) / 3));
  for (const [x, y, h2, v] of [
    [left, top, 1, 1],
    [right, top, -1, 1],
    [right, bottom, -1, -1],
    [left, bottom, 1, -1]
  ]) {
    pen.moveTo(x + h2 * arm, y);
    pen.lineTo(x, y);
    pen.lineTo(x, y + v * arm);
  }
}
function label(pen, theme, text, x, y) {
  pen.font = theme.font(11);
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  const width = Math.ceil(pen.measureText(text).width) + 10;
  pen.globalAlpha = 0.82;
  pen.fillStyle = theme.bg;
  pen.beginPath();
  pen.roundRect(x, y, width, 18, 4);
  pen.fill();
  pen.globalAlpha = 1;
  pen.fillStyle = theme.fg;
  pen.fillText(text, x + 5, y + 9.5);
}
var SIDES = { dots: 5, hatch: 8, faint: 7 };
function texture(kind, ratio) {
  const side = Math.round(SIDES[kind] * ratio);
  const tile = document.createElement("canvas");
  tile.width = tile.height = side;
  const pen = tile.getContext("2d");
  if (kind === "dots") {
    const dot = Math.max(1, Math.round(ratio));
    pen.fillStyle = "rgba(255, 255, 255, 0.7)";
    pen.fillRect(dot, dot, dot, dot);
    pen.fillStyle = "rgba(0, 0, 0, 0.75)";
    pen.fillRect(0, 0, dot, dot);
    return tile;
  }
  const faint = kind === "faint";
  if (faint) pen.setTransform(-1, 0, 0, 1, side, 0);
  for (const [light, alpha, shift] of [
    [0, faint ? 0.22 : 0.45, 0],
    [255, faint ? 0.32 : 0.7, ratio]
  ]) {
    pen.strokeStyle = `rgba(${light}, ${light}, ${light}, ${alpha})`;
    pen.lineWidth = ratio;
    pen.beginPath();
    for (const at of [-side, 0, side]) {
      pen.moveTo(at + shift - side, side * 2);
      pen.lineTo(at + shift + side * 2, -side);
    }
    pen.stroke();
  }
  return tile;
}

// src/stage/memo.ts
var Memo = class {
  kept = /* @__PURE__ */ new Map();
  get(name, key, make) {
    const found = this.kept.get(name);
    if (found !== void 0 && found.key === key) return found.value;
    const value = make();
    this.kept.set(name, { key, value });
    return value;
  }
};

// src/stage/outline.ts
function outline(inside, slice) {
  const { first, down, right, rows: rows2, columns } = slice;
  const at = (r, c) => r >= 0 && c >= 0 && r < rows2 && c < columns && inside(first + r * down + c * right);
  const lines = [];
  for (let r = 0; r <= rows2; r++) {
    let begun = -1;
    for (let c = 0; c <= columns; c++) {
      const edge = c < columns && at(r - 1, c) !== at(r, c);
      if (edge && begun < 0) begun = c;
      if (!edge && begun >= 0) {
        lines.push(r, begun, r, c);
        begun = -1;
      }
    }
  }
  for (let c = 0; c <= columns; c++) {
    let begun = -1;
    for (let r = 0; r <= rows2; r++) {
      const edge = r < rows2 && at(r, c - 1) !== at(r, c);
      if (edge && begun < 0) begun = r;
      if (!edge && begun >= 0) {
        lines.push(begun, c, r, c);
        begun = -1;
      }
    }
  }
  return lines;
}

// src/stage/front.ts
var Front = class {
  constructor(canvas2) {
    this.canvas = canvas2;
    this.pen = canvas2.getContext("2d");
  }
  canvas;
  pen;
  memo = new Memo();
  draw(panes, theme, tool, pointed, marked2, ratio) {
    const { pen } = this;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const pane of panes) {
      const { patch: patch2, cross } = pointed(pane);
      const mark = marked2(pane);
      for (const plane of pane.planes) {
        clipped(pen, plane);
        if (mark && this.traced(pane, plane, mark, tracedCorners)) haloed(pen, theme.accent, theme.bg, 2);
        if (patch2 && this.traced(pane, plane, patch2, tracedRect)) haloed(pen, "#fff", "#000", 1.5, 0.6);
        if (cross) this.cross(plane, cross);
        tool.draw(pen, pane, plane, theme);
        pen.restore();
      }
    }
  }
  /** A path around a patch, or around the segment that it stands for.  Returns whether the plane shows it. */
  traced(pane, plane, patch2, shape) {
    const labels = pane.map?.labels;
    if (!labels && !meets(pane, plane, patch2)) return false;
    this.pen.beginPath();
    if (pane.map && labels) tracedLines(this.pen, plane, this.segment(pane, pane.map, labels, plane, patch2));
    else shape(this.pen, onPlane(plane, patch2));
    return true;
  }
  /** The edge of the segment that a cell is of. */
  segment(pane, map, labels, plane, patch2) {
    const { size } = map;
    const index = size.reduce((sum, length, k) => sum * length + Math.floor(patch2[k]), 0);
    const own2 = labels[index];
    const slice = sliceOf(size, plane.down, plane.right, pane.at);
    const name = `${pane.slot} ${plane.down} ${plane.right} ${own2}`;
    return this.memo.get(name, `${map.map} ${slice.first}`, () => outline((i) => labels[i] === own2, slice));
  }
  cross(plane, cell) {
    const x = Math.round(toPixel(plane.columns, cell[plane.right])) + 0.5;
    const { pen } = this;
    pen.beginPath();
    if (plane.down === null) {
      pen.moveTo(x, plane.frame.y);
      pen.lineTo(x, plane.frame.y + plane.frame.height);
    } else {
      const y = Math.round(toPixel(plane.rows, cell[plane.down])) + 0.5;
      pen.moveTo(x - 5, y);
      pen.lineTo(x + 5, y);
      pen.moveTo(x, y - 5);
      pen.lineTo(x, y + 5);
    }
    haloed(pen, "#fff", "#000", 1, 0.6);
  }
};

// src/stage/layers.ts
var OPAQUE = 4278190080;
function fillImage(pixels, image, channels, slice, grey) {
  const { first, down, right, rows: rows2, columns } = slice;
  let to = 0;
  for (let r = 0; r < rows2; r++) {
    let from = (first + r * down) * channels;
    for (let c = 0; c < columns; c++, from += right * channels) {
      if (channels < 3) {
        pixels[to++] = (OPAQUE | image[from] * 65793) >>> 0;
      } else if (grey) {
        const light = image[from] * 77 + image[from + 1] * 150 + image[from + 2] * 29 >> 8;
        pixels[to++] = (OPAQUE | light * 65793) >>> 0;
      } else {
        pixels[to++] = (OPAQUE | image[from + 2] << 16 | image[from + 1] << 8 | image[from]) >>> 0;
      }
    }
  }
}
function fillHeat(pixels, heat, slice) {
  const { first, down, right, rows: rows2, columns } = slice;
  const { values, lowest, highest, colours: colours2 } = heat;
  let to = 0;
  for (let r = 0; r < rows2; r++) {
    let from = first + r * down;
    for (let c = 0; c < columns; c++, from += right) {
      const value = values[from];
      pixels[to++] = value === value ? colours2[levelOf(value, lowest, highest)] : 0;
    }
  }
}
function fillMask(pixels, inside, slice) {
  const { first, down, right, rows: rows2, columns } = slice;
  let to = 0;
  for (let r = 0; r < rows2; r++)
    for (let c = 0; c < columns; c++) pixels[to++] = inside(first + r * down + c * right) ? OPAQUE : 0;
}

// src/stage/rasters.ts
var Rasters = class {
  kept = /* @__PURE__ */ new Map();
  /** The canvas called `name`, filled anew where it was filled for another `key`. */
  canvas(name, key, rows2, columns, fill3) {
    let raster = this.kept.get(name);
    if (raster === void 0 || raster.canvas.width !== columns || raster.canvas.height !== rows2) {
      raster = blank(rows2, columns);
      this.kept.set(name, raster);
    }
    if (raster.key !== key) {
      fill3(raster.pixels);
      raster.pen.putImageData(raster.image, 0, 0);
      raster.key = key;
    }
    return raster.canvas;
  }
};
function blank(rows2, columns) {
  const canvas2 = document.createElement("canvas");
  canvas2.width = columns;
  canvas2.height = rows2;
  const pen = canvas2.getContext("2d");
  const image = pen.createImageData(columns, rows2);
  return { canvas: canvas2, pen, image, pixels: new Uint32Array(image.data.buffer), key: "" };
}

// src/stage/source.ts
function toSource(grid, cell) {
  const axes = grid.size.length;
  return cell.map((at, k) => grid.box[k] + at * grid.box[axes + k] / grid.size[k]);
}
function fromSource(grid, place) {
  const axes = grid.size.length;
  return place.map((at, k) => (at - grid.box[k]) * grid.size[k] / grid.box[axes + k]);
}
function sameGrid(one, two) {
  return one.size.length === two.size.length && one.size.every((each, k) => each === two.size[k]) && one.box.every((each, k) => each === two.box[k]);
}
function convert(cell, from, to) {
  return sameGrid(from, to) ? [...cell] : fromSource(to, toSource(from, cell));
}
function convertBox(box2, from, to) {
  const axes = from.size.length;
  const start2 = box2.slice(0, axes);
  const first = convert(start2, from, to);
  const end = convert(start2.map((at, k) => at + box2[axes + k]), from, to);
  return [...first, ...end.map((at, k) => at - first[k])];
}

// src/stage/views/slices.ts
var GAP = 6;
var LEAST_SHARE = 0.3;
var TABLES = [
  [[1, 2, 0, 0], [1, 0, 0, 1], [0, 2, 1, 0]],
  [[1, 2, 0, 0], [1, 0, 0, 1], [0, 2, 0, 2]],
  [[1, 2, 0, 0], [1, 0, 1, 0], [0, 2, 2, 0]]
];
function lengthsOf(size) {
  const least = Math.max(...size) * LEAST_SHARE;
  return size.map((cells2) => Math.max(cells2, least));
}
var slices = {
  kind: "slices",
  lay(picture, area, camera) {
    const lengths = lengthsOf(picture.size);
    const scales = TABLES.map((table2) => scaleOf2(table2, lengths, area));
    const best = Math.max(...scales);
    const chosen = scales[0] * 1.2 >= best ? 0 : scales.indexOf(best);
    return planesOf(TABLES[chosen], lengths, scales[chosen], picture, area, camera);
  },
  ground({ pen, rasters, under, grid }, pane, plane) {
    const { key, size, image, channels } = pane.picture;
    const slice = sliceOf(size, plane.down, plane.right, pane.at);
    const through = across(plane);
    const canvas2 = rasters.canvas(
      `slice ${pane.slot} ${through}`,
      `${key} ${Math.floor(pane.at[through])} ${under}`,
      slice.rows,
      slice.columns,
      (pixels) => fillImage(pixels, image, channels, slice, under)
    );
    drawCells(pen, canvas2, pane, plane, !grid);
  },
  notes({ pen, theme }, pane, plane) {
    const { frame } = plane;
    const axes = pane.picture.axes;
    const through = across(plane);
    const x = snapped(toPixel(plane.columns, Math.floor(pane.at[plane.right]) + 0.5));
    const y = snapped(toPixel(plane.rows, Math.floor(pane.at[plane.down]) + 0.5));
    pen.save();
    pen.beginPath();
    pen.rect(frame.x, frame.y, frame.width, frame.height);
    pen.clip();
    pen.beginPath();
    pen.moveTo(x, frame.y);
    pen.lineTo(x, frame.y + frame.height);
    pen.moveTo(frame.x, y);
    pen.lineTo(frame.x + frame.width, y);
    pen.globalAlpha = 0.8;
    haloed(pen, theme.accent, theme.bg, 1, 0.3);
    pen.restore();
    label(pen, theme, `${axes[through]} ${Math.floor(pane.at[through])}`, frame.x + 6, frame.y + 6);
  }
};
function across(plane) {
  return [0, 1, 2].find((axis) => axis !== plane.down && axis !== plane.right);
}
function extents(table2, lengths) {
  const heights = [];
  const widths = [];
  for (const [down, right, row, column] of table2) {
    heights[row] = Math.max(heights[row] ?? 0, lengths[down]);
    widths[column] = Math.max(widths[column] ?? 0, lengths[right]);
  }
  return { heights, widths };
}
function scaleOf2(table2, lengths, area) {
  const { heights, widths } = extents(table2, lengths);
  const fit = (room, parts) => Math.max(1, room - GAP * (parts.length - 1)) / parts.reduce((sum, each) => sum + each, 0);
  return Math.min(fit(area.height, heights), fit(area.width, widths));
}
function planesOf(table2, lengths, scale, picture, area, camera) {
  const { heights, widths } = extents(table2, lengths);
  const total = (parts) => parts.reduce((sum, each) => sum + each * scale, GAP * (parts.length - 1));
  const begin = (parts, index) => parts.slice(0, index).reduce((sum, each) => sum + each * scale + GAP, 0);
  const left = area.x + (area.width - total(widths)) / 2;
  const top = area.y + (area.height - total(heights)) / 2;
  const centre = camera.centre ? fromSource(picture, camera.centre) : picture.size.map((cells2) => cells2 / 2);
  return table2.map(([down, right, row, column]) => {
    const frame = rectOf(
      left + begin(widths, column),
      top + begin(heights, row),
      lengths[right] * scale,
      lengths[down] * scale
    );
    const span = (axis, from, length) => placed2(from, length, picture.size[axis], length / picture.size[axis] * camera.zoom, centre[axis]);
    return {
      frame,
      down,
      right,
      rows: span(down, frame.y, frame.height),
      columns: span(right, frame.x, frame.width)
    };
  });
}

// src/stage/views/flat.ts
var flat = {
  kind: "flat",
  lay(picture, area, camera, grid) {
    const [rows2, columns] = picture.size;
    const squeezed = picture.fine !== null && !grid;
    const height = squeezed ? picture.box[2] / rows2 : 1;
    const width = squeezed ? picture.box[3] / columns : 1;
    const scale = Math.min(area.height / (rows2 * height), area.width / (columns * width)) * camera.zoom;
    const centre = camera.centre ? fromSource(picture, camera.centre) : [rows2 / 2, columns / 2];
    return [
      {
        frame: area,
        down: 0,
        right: 1,
        rows: placed2(area.y, area.height, rows2, scale * height, centre[0]),
        columns: placed2(area.x, area.width, columns, scale * width, centre[1])
      }
    ];
  },
  ground({ pen, rasters, under, grid }, pane, plane) {
    const { key, size, image, channels, fine } = pane.picture;
    const shown = fine !== null && !grid ? fine : { image, rows: size[0], columns: size[1] };
    const slice = sliceOf([shown.rows, shown.columns], 0, 1, [0, 0]);
    const name = `picture ${pane.slot} ${shown === fine ? "fine" : "grid"} ${under ? "grey" : "colours"}`;
    const canvas2 = rasters.canvas(
      name,
      key,
      shown.rows,
      shown.columns,
      (pixels) => fillImage(pixels, shown.image, shown === fine ? 3 : channels, slice, under)
    );
    drawCells(pen, canvas2, pane, plane, !grid);
  },
  notes() {
  }
};

// src/stage/views/trace.ts
var CHANNELS = 12;
var LEFT = 30;
var BELOW = 22;
var TICK = 90;
var trace = {
  kind: "trace",
  lay(picture, area, camera) {
    const [samples] = picture.size;
    const frame = {
      x: area.x + LEFT,
      y: area.y,
      width: Math.max(1, area.width - LEFT - 8),
      height: Math.max(1, area.height - BELOW)
    };
    const centre = camera.centre ? fromSource(picture, camera.centre)[0] : samples / 2;
    const scale = frame.width / samples * camera.zoom;
    return [
      {
        frame,
        down: null,
        right: 0,
        rows: { start: frame.y, scale: frame.height },
        columns: placed2(frame.x, frame.width, samples, scale, centre)
      }
    ];
  },
  ground({ pen, theme }, _pane, { frame }) {
    pen.fillStyle = theme.panel;
    pen.fillRect(frame.x, frame.y, frame.width, frame.height);
  },
  notes({ pen, theme }, pane, plane) {
    const { frame, columns } = plane;
    const lanes = Math.min(pane.picture.channels, CHANNELS);
    const height = frame.height / lanes;
    pen.save();
    pen.beginPath();
    pen.rect(frame.x, frame.y, frame.width, frame.height);
    pen.clip();
    for (let lane = 0; lane < lanes; lane++) {
      pen.beginPath();
      follow(pen, pane, plane, lane, frame.y + lane * height, height);
      haloed(pen, theme.fg, theme.bg, 1.25, 0.65);
    }
    pen.restore();
    pen.strokeStyle = theme.line;
    pen.lineWidth = 1;
    pen.strokeRect(snapped(frame.x), snapped(frame.y), Math.round(frame.width), Math.round(frame.height));
    pen.fillStyle = theme.muted;
    pen.font = theme.font(11);
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (let lane = 0; lane < lanes; lane++)
      pen.fillText(String(lane + 1), frame.x - 8, frame.y + (lane + 0.5) * height);
    pen.textBaseline = "top";
    pen.textAlign = "center";
    const [left, right] = [frame.x, frame.x + frame.width];
    const bottom = frame.y + frame.height;
    for (const cell of ticks(toCell(columns, left), toCell(columns, right), frame.width / TICK)) {
      const x = toPixel(columns, cell);
      pen.beginPath();
      pen.moveTo(snapped(x), bottom);
      pen.lineTo(snapped(x), bottom + 4);
      pen.stroke();
      if (x < right - 12) pen.fillText(String(cell), x, bottom + 7);
    }
  }
};
function ticks(low, high, count2) {
  const rough = Math.max((high - low) / Math.max(count2, 1), 1e-9);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough));
  const result2 = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) result2.push(at);
  return result2;
}
function range(picture, channel) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = channel; i < picture.image.length; i += picture.channels) {
    const value = picture.image[i];
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
function follow(pen, { picture }, { frame, columns }, channel, top, height) {
  const [low, high] = range(picture, channel);
  const room = height * 0.84;
  const scale = high > low ? room / (high - low) : 0;
  const base = top + (height + room) / 2;
  const at = (sample) => base - (picture.image[sample * picture.channels + channel] - low) * scale;
  const first = Math.max(0, Math.floor(toCell(columns, frame.x)) - 1);
  const end = Math.min(picture.size[0], Math.ceil(toCell(columns, frame.x + frame.width)) + 1);
  if (columns.scale >= 0.5) {
    for (let i = first; i < end; i++) pen.lineTo(toPixel(columns, i + 0.5), at(i));
    return;
  }
  const each = Math.ceil(1 / columns.scale);
  for (let i = first; i < end; i += each) {
    let least = Infinity;
    let largest = -Infinity;
    for (let k = i; k < Math.min(i + each, end); k++) {
      const y = at(k);
      if (y < least) least = y;
      if (y > largest) largest = y;
    }
    const x = toPixel(columns, i + each / 2);
    pen.lineTo(x, least);
    pen.lineTo(x, largest);
  }
}

// src/stage/views/table.ts
var VIEWS = { 1: trace, 2: flat, 3: slices };
function viewOf(size) {
  const view = VIEWS[size.length];
  if (view === void 0) throw new RangeError(`there is no view of ${size.length} axes`);
  return view;
}

// src/stage/ground.ts
var BOXES = 20;
var Ground = class {
  constructor(canvas2) {
    this.canvas = canvas2;
    this.pen = canvas2.getContext("2d");
  }
  canvas;
  pen;
  scratch = document.createElement("canvas");
  rasters = new Rasters();
  memo = new Memo();
  ratio = 1;
  draw(panes, state, theme, ratio) {
    const { pen } = this;
    const { look } = state;
    this.ratio = ratio;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const pane of panes) {
      const view = viewOf(pane.picture.size);
      const brush = {
        pen,
        rasters: this.rasters,
        theme,
        under: pane.heat !== null && look.heat,
        grid: look.grid
      };
      for (const plane of pane.planes) {
        clipped(pen, plane);
        view.ground(brush, pane, plane);
        if (look.heat) this.heat(pane, plane, look);
        if (look.region) this.regions(pane, plane, theme, state);
        pen.restore();
        view.notes(brush, pane, plane);
      }
    }
  }
  heat(pane, plane, look) {
    const { heat, map, picture } = pane;
    if (heat === null || map === null) return;
    const slice = sliceOf(picture.size, plane.down, plane.right, pane.at);
    const where = this.where(pane, plane);
    const [name, key] = [`heat ${where.name}`, `${heat.key} ${where.key}`];
    const cells2 = this.rasters.canvas(name, key, slice.rows, slice.columns, (to) => fillHeat(to, heat, slice));
    this.pen.globalAlpha = look.opacity;
    drawCells(this.pen, cells2, pane, plane, !look.grid);
    this.pen.globalAlpha = 1;
    if (heat.gaps) {
      const layer = { name: "gaps", key: heat.key, inside: (i) => Number.isNaN(heat.values[i]) };
      this.filled(pane, plane, layer, slice, this.texture("faint"));
    }
    const { estimates } = map;
    if (look.estimates && estimates !== null) {
      const layer = { name: "estimates", key: String(map.version), inside: (i) => estimates[i] === 1 };
      this.filled(pane, plane, layer, slice, this.texture("dots"));
    }
  }
  regions(pane, plane, theme, state) {
    const { pen } = this;
    const { map, picture } = pane;
    const slice = sliceOf(picture.size, plane.down, plane.right, pane.at);
    const scored = map?.scored;
    if (map && scored) {
      const layer = { name: "scored", key: String(map.version), inside: (i) => scored[i] === 1 };
      this.filled(pane, plane, layer, slice, this.texture("hatch"));
      this.outlined(pane, plane, layer, slice);
      haloed(pen, "#fff", "#000", 1.25, 0.6);
    }
    const mask = pane.picture === state.picture ? state.mask : null;
    if (mask) {
      const layer = { name: "mask", key: String(mask.version), inside: (i) => mask.cells[i] === 1 };
      pen.globalAlpha = 0.28;
      this.filled(pane, plane, layer, slice, theme.accent);
      pen.globalAlpha = 1;
      this.outlined(pane, plane, layer, slice);
      haloed(pen, theme.accent, theme.bg, 1.5);
    }
    const box2 = state.box && state.related(pane) ? state.boxOn(pane, state.box) : null;
    if (box2 && meets(pane, plane, box2)) {
      pen.beginPath();
      tracedRect(pen, onPlane(plane, box2));
      haloed(pen, theme.accent, theme.bg, 1.5);
    }
    if (map?.boxes && plane.down !== null) this.boxes(map.boxes, plane, theme);
  }
  /** A detector's boxes with their numbers, which a query names them by. */
  boxes(boxes, plane, theme) {
    const { pen } = this;
    const shown = Math.min(BOXES, boxes.length / 4);
    const rects = Array.from({ length: shown }, (_, i) => onPlane(plane, Array.from(boxes.subarray(4 * i, 4 * i + 4))));
    for (const rect of rects) {
      pen.beginPath();
      tracedRect(pen, rect);
      haloed(pen, "#fff", "#000", 1.25, 0.55);
    }
    for (const [i, rect] of rects.entries()) label(pen, theme, String(i + 1), rect.x + 3, rect.y + 3);
  }
  /** Fills a layer's cells with a colour or a texture, whose grain is that of the screen rather than of the cells. */
  filled(pane, plane, layer, slice, fill3) {
    const where = this.where(pane, plane);
    const name = `${layer.name} ${where.name}`;
    const key = `${layer.key} ${where.key}`;
    const cells2 = this.rasters.canvas(name, key, slice.rows, slice.columns, (to) => fillMask(to, layer.inside, slice));
    const { scratch, canvas: canvas2, ratio } = this;
    if (scratch.width !== canvas2.width) scratch.width = canvas2.width;
    if (scratch.height !== canvas2.height) scratch.height = canvas2.height;
    const pen = scratch.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.globalCompositeOperation = "source-over";
    pen.clearRect(0, 0, scratch.width, scratch.height);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawCells(pen, cells2, pane, plane, false);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.globalCompositeOperation = "source-in";
    pen.fillStyle = typeof fill3 === "string" ? fill3 : pen.createPattern(fill3, "repeat");
    pen.fillRect(0, 0, scratch.width, scratch.height);
    this.pen.save();
    this.pen.setTransform(1, 0, 0, 1, 0, 0);
    this.pen.drawImage(scratch, 0, 0);
    this.pen.restore();
  }
  outlined(pane, plane, layer, slice) {
    const where = this.where(pane, plane);
    const lines = this.memo.get(
      `${layer.name} ${where.name}`,
      `${layer.key} ${where.key}`,
      () => outline(layer.inside, slice)
    );
    this.pen.beginPath();
    tracedLines(this.pen, plane, lines);
  }
  texture(kind) {
    return this.memo.get(kind, String(this.ratio), () => texture(kind, this.ratio));
  }
  /** Which plane this is, and which of all the slices that it can show. */
  where(pane, plane) {
    const name = `${pane.slot} ${plane.down} ${plane.right}`;
    const slices2 = pane.picture.size.length === 3;
    return { name, key: `${pane.picture.key} ${slices2 ? Math.floor(pane.at[across(plane)]) : ""}` };
  }
};

// src/stage/legend.ts
var Legends = class {
  element = made("div", "kdb-stage-legends");
  bars = [new Bar()];
  shown = [];
  constructor() {
    this.element.append(this.bars[0].element);
    this.element.toggleAttribute("data-empty", true);
  }
  show(legends) {
    if (legends === this.shown) return;
    this.shown = legends;
    this.element.toggleAttribute("data-empty", legends.length === 0);
    while (this.bars.length > Math.max(1, legends.length)) this.bars.pop().element.remove();
    for (const [i, legend] of legends.entries()) {
      if (this.bars[i] === void 0) {
        this.bars[i] = new Bar();
        this.element.append(this.bars[i].element);
      }
      this.bars[i].show(legend);
    }
  }
  /** A mark at what is under the cursor: a value for each legend. */
  point(values) {
    for (const [i, bar] of this.bars.entries()) bar.point(values[i] ?? null);
  }
};
var Bar = class {
  element = made("div", "kdb-stage-legend");
  title = made("div", "kdb-stage-legend-title");
  canvas = document.createElement("canvas");
  neutralLine = made("span", "kdb-stage-legend-line");
  pointer = made("span", "kdb-stage-legend-pointer");
  lowest = made("span", "kdb-stage-legend-end");
  neutral = made("span", "kdb-stage-legend-neutral");
  highest = made("span", "kdb-stage-legend-end");
  low = made("span", "kdb-stage-legend-word");
  high = made("span", "kdb-stage-legend-word");
  legend = null;
  constructor() {
    this.element.setAttribute("role", "img");
    this.canvas.className = "kdb-stage-legend-colours";
    this.canvas.width = LEVELS;
    this.canvas.height = 1;
    this.pointer.hidden = true;
    const bar = made("div", "kdb-stage-legend-bar");
    bar.append(this.canvas, this.neutralLine, this.pointer);
    const numbers = made("div", "kdb-stage-legend-numbers");
    numbers.append(this.lowest, this.neutral, this.highest);
    const words = made("div", "kdb-stage-legend-words");
    words.append(this.low, this.high);
    this.element.append(this.title, bar, numbers, words);
  }
  show(legend) {
    this.legend = legend;
    const pen = this.canvas.getContext("2d");
    const image = pen.createImageData(LEVELS, 1);
    new Uint32Array(image.data.buffer).set(legend.colours);
    pen.putImageData(image, 0, 0);
    const { lowest, highest, neutral } = legend;
    const write = legend.changes ? signed2 : number2;
    const step = (highest - lowest) / 20;
    const low = (legend.below ? "≤ " : "") + write(lowest, step);
    const high = (legend.above ? "≥ " : "") + write(highest, step);
    const middle = neutral === 0 ? "0" : write(neutral, step);
    const at = (neutral - lowest) / (highest - lowest);
    const notes2 = notesOf(legend);
    this.title.textContent = [legend.title, ...notes2].join(" · ");
    this.lowest.textContent = low;
    this.highest.textContent = high;
    this.neutral.textContent = `${middle} ${legend.neutralName}`;
    this.neutralLine.style.left = percent(at);
    this.neutral.style.left = percent(Math.max(0.3, Math.min(0.7, at)));
    this.lowest.hidden = at < 0.02;
    this.highest.hidden = at > 0.98;
    this.low.textContent = at < 0.02 ? "" : legend.low;
    this.high.textContent = at > 0.98 ? "" : legend.high;
    Object.assign(this.element.dataset, { low: String(lowest), high: String(highest), neutral: String(neutral) });
    this.element.setAttribute(
      "aria-label",
      `Colours: ${legend.title}, from ${low} (${legend.low}) to ${high} (${legend.high}); ${middle} is ${legend.neutralName}` + notes2.map((note) => `; ${note}`).join("") + "."
    );
  }
  point(value) {
    const { legend } = this;
    const hidden2 = legend === null || value === null || Number.isNaN(value);
    if (hidden2 !== this.pointer.hidden) this.pointer.hidden = hidden2;
    if (!hidden2) this.pointer.style.left = percent(levelOf(value, legend.lowest, legend.highest) / (LEVELS - 1));
  }
};
function notesOf({ floor, estimates, gaps, weak = [] }) {
  const notes2 = [...weak];
  if (floor !== null) notes2.push(`scale floored at ±${floor}`);
  if (estimates) notes2.push("dotted: estimated");
  if (gaps) notes2.push("hatched: not computed");
  return notes2;
}
function made(tag, name) {
  const element = document.createElement(tag);
  element.className = name;
  return element;
}
function percent(share) {
  return `${(100 * share).toFixed(2)}%`;
}

// src/stage/difference.ts
function centresAmong(grid, other, axis) {
  const count2 = grid.size[axis];
  const last = other.size[axis] - 1;
  const [low, high, share] = [new Int32Array(count2), new Int32Array(count2), new Float64Array(count2)];
  const cell = grid.size.map(() => 0);
  for (let i = 0; i < count2; i++) {
    cell[axis] = i + 0.5;
    const at = fromSource(other, toSource(grid, cell))[axis];
    const among = Math.max(0, Math.min(last, at - 0.5));
    low[i] = at >= 0 && at <= last + 1 ? Math.floor(among) : -1;
    high[i] = Math.ceil(among);
    share[i] = among - Math.floor(among);
  }
  return { low, high, share };
}
function difference(first, grid, second, other) {
  const result2 = new Float32Array(product(grid.size));
  if (sameGrid(grid, other)) {
    for (let i2 = 0; i2 < result2.length; i2++) result2[i2] = first[i2] - second[i2];
    return result2;
  }
  const missing = 3 - grid.size.length;
  const lengths = [1, 1, 1].map((one, k) => k < missing ? one : other.size[k - missing]);
  const single = { low: new Int32Array(1), high: new Int32Array(1), share: new Float64Array(1) };
  const [planes, rows2, columns] = [0, 1, 2].map(
    (k) => k < missing ? single : centresAmong(grid, other, k - missing)
  );
  const mixed2 = (one, two, share) => share === 0 ? one : one + (two - one) * share;
  const along = (from, c) => mixed2(second[from + columns.low[c]], second[from + columns.high[c]], columns.share[c]);
  let i = 0;
  for (let p = 0; p < planes.low.length; p++)
    for (let r = 0; r < rows2.low.length; r++) {
      const start2 = (plane, row) => (plane * lengths[1] + row) * lengths[2];
      const nearLow = start2(planes.low[p], rows2.low[r]);
      const nearHigh = start2(planes.low[p], rows2.high[r]);
      const farLow = start2(planes.high[p], rows2.low[r]);
      const farHigh = start2(planes.high[p], rows2.high[r]);
      const inside = planes.low[p] >= 0 && rows2.low[r] >= 0;
      for (let c = 0; c < columns.low.length; c++, i++) {
        if (!inside || columns.low[c] < 0) {
          result2[i] = NaN;
          continue;
        }
        const near = mixed2(along(nearLow, c), along(nearHigh, c), rows2.share[r]);
        const value = planes.share[p] === 0 ? near : mixed2(near, mixed2(along(farLow, c), along(farHigh, c), rows2.share[r]), planes.share[p]);
        result2[i] = first[i] - value;
      }
    }
  return result2;
}

// src/stage/places.ts
var Lattice = class {
  constructor(starts, patch2) {
    this.starts = starts;
    this.patch = patch2;
    this.count = product(starts.map((each) => each.length));
  }
  starts;
  patch;
  count;
  nearest(cell) {
    return this.index(this.starts.map((starts, k) => nearestOf(starts, cell[k] - this.patch[k] / 2)));
  }
  start(index) {
    return this.places(index).map((place, k) => this.starts[k][place]);
  }
  centre(index) {
    return this.start(index).map((at, k) => at + this.patch[k] / 2);
  }
  step(index, axis, by) {
    const places = this.places(index);
    places[axis] = Math.max(0, Math.min(this.starts[axis].length - 1, places[axis] + by));
    return this.index(places);
  }
  places(index) {
    const places = [];
    for (const starts of [...this.starts].reverse()) {
      places.unshift(index % starts.length);
      index = Math.floor(index / starts.length);
    }
    return places;
  }
  index(places) {
    return places.reduce((index, place, k) => index * this.starts[k].length + place, 0);
  }
};
var Scattered = class {
  constructor(positions, patch2) {
    this.positions = positions;
    this.patch = patch2;
    this.axes = patch2.length;
    this.count = positions.length / this.axes;
  }
  positions;
  patch;
  count;
  axes;
  nearest(cell) {
    return this.least((index) => {
      let distance = 0;
      for (let k = 0; k < this.axes; k++) distance += this.away(index, k, cell[k]) ** 2;
      return distance;
    });
  }
  start(index) {
    return Array.from(this.positions.subarray(index * this.axes, (index + 1) * this.axes));
  }
  centre(index) {
    return this.start(index).map((at, k) => at + this.patch[k] / 2);
  }
  /** What lies ahead counts by its distance, and twice as much by how far it is to the side. */
  step(index, axis, by) {
    for (let left = Math.abs(by); left > 0; left--) {
      const from = this.centre(index);
      const next = this.least((other) => {
        const ahead = this.away(other, axis, from[axis]) * Math.sign(by);
        if (ahead <= 0) return Infinity;
        let distance = ahead;
        for (let k = 0; k < this.axes; k++) if (k !== axis) distance += 2 * Math.abs(this.away(other, k, from[k]));
        return distance;
      });
      if (next < 0) break;
      index = next;
    }
    return index;
  }
  away(index, axis, from) {
    return this.positions[index * this.axes + axis] + this.patch[axis] / 2 - from;
  }
  least(distance) {
    let best = -1;
    let least = Infinity;
    for (let i = 0; i < this.count; i++) {
      const here = distance(i);
      if (here < least) [best, least] = [i, here];
    }
    return best;
  }
};
var Segments = class extends Scattered {
  constructor(positions, labels, size) {
    super(positions, size.map(() => 1));
    this.labels = labels;
    this.size = size;
    for (let i = 0; i < this.count; i++) this.indexOf.set(this.label(this.start(i)), i);
  }
  labels;
  size;
  indexOf = /* @__PURE__ */ new Map();
  nearest(cell) {
    return this.indexOf.get(this.label(cell)) ?? -1;
  }
  label(cell) {
    const inside = cell.every((at, k) => at >= 0 && at < this.size[k]);
    return inside ? this.labels[cell.reduce((index, at, k) => index * this.size[k] + Math.floor(at), 0)] : 0;
  }
};
function placesOf(positions, patch2, size, labels) {
  if (labels !== null) return new Segments(positions, labels, size);
  const axes = patch2.length;
  const starts = patch2.map((_, k) => {
    const found = /* @__PURE__ */ new Set();
    for (let i = k; i < positions.length; i += axes) found.add(positions[i]);
    return [...found].sort((a, b) => a - b);
  });
  const lattice = new Lattice(starts, patch2);
  return lattice.count * axes === positions.length && isInOrder(positions, starts) ? lattice : new Scattered(positions, patch2);
}
function latticeOf(size, patch2, stride2) {
  return new Lattice(
    size.map(
      (length, k) => Array.from({ length: Math.max(1, Math.floor((length - patch2[k]) / stride2[k]) + 1) }, (_, i) => i * stride2[k])
    ),
    patch2
  );
}
function isInOrder(positions, starts) {
  const axes = starts.length;
  const lengths = starts.map((each) => each.length);
  let stride2 = positions.length / axes;
  for (let k = 0; k < axes; k++) {
    stride2 /= lengths[k];
    for (let i = 0; i < positions.length / axes; i++)
      if (positions[i * axes + k] !== starts[k][Math.floor(i / stride2) % lengths[k]]) return false;
  }
  return true;
}
function nearestOf(ascending, value) {
  let low = 0;
  let high = ascending.length - 1;
  while (low < high) {
    const middle = low + high >> 1;
    if (ascending[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value - ascending[low - 1] <= ascending[low] - value ? low - 1 : low;
}

// src/stage/maps.ts
var versions = 0;
function mapData(message2, buffers) {
  const { size, patch: patch2, score: score2, classes: classes2, shown } = message2;
  const values = unpack("float32", message2.values, buffers);
  const positions = unpack("int32", message2.positions, buffers);
  const evaluated = unpack("uint8", message2.evaluated, buffers);
  const heat = unpack("float32", message2.heat, buffers);
  const labels = message2.labels && unpack("int32", message2.labels, buffers);
  const places = placesOf(positions, patch2, size, labels);
  const scored = message2.scored && unpack("uint8", message2.scored, buffers);
  return {
    map: message2.map,
    version: ++versions,
    picture: message2.picture,
    model: message2.model,
    label: classes2[shown]?.label ?? "",
    score: score2,
    axes: message2.axes,
    size,
    patch: patch2,
    baseline: classes2[shown]?.baseline ?? message2.neutral,
    places,
    values,
    evaluated,
    error: message2.error && unpack("float32", message2.error, buffers),
    heat,
    gaps: hasGaps(heat),
    labels,
    scored,
    cellsScored: countOf(scored),
    boxes: message2.boxes && unpack("float32", message2.boxes, buffers),
    estimates: estimatesOf(positions, labels, values, evaluated, message2.stride ?? patch2, patch2, size),
    classes: classes2,
    scale: { score: score2, neutral: message2.neutral, half: message2.half, ...endsOf(heat, message2.neutral) }
  };
}
function withLayer(map, layer, buffers) {
  const heat = unpack("float32", layer.heat, buffers);
  const scored = layer.scored && unpack("uint8", layer.scored, buffers);
  return {
    ...map,
    version: ++versions,
    label: map.classes[layer.shown]?.label ?? "",
    baseline: map.classes[layer.shown]?.baseline ?? layer.neutral,
    values: unpack("float32", layer.values, buffers),
    error: layer.error && unpack("float32", layer.error, buffers),
    heat,
    gaps: hasGaps(heat),
    scored,
    cellsScored: countOf(scored),
    scale: { ...map.scale, neutral: layer.neutral, ...endsOf(heat, layer.neutral) }
  };
}
function hasGaps(values) {
  return values.some(Number.isNaN);
}
function countOf(mask) {
  return mask && mask.reduce((sum, each) => sum + each, 0);
}
function strongest(map) {
  const sign = map.score.endsWith("drop") ? 1 : -1;
  let best = -1;
  let most = -Infinity;
  for (let i = 0; i < map.values.length; i++) {
    const effect2 = sign * (map.values[i] - map.scale.neutral);
    if (effect2 > most) [best, most] = [i, effect2];
  }
  return best;
}
function endsOf(values, neutral) {
  let lowest = neutral;
  let highest = neutral;
  for (const value of values) {
    if (value < lowest) lowest = value;
    if (value > highest) highest = value;
  }
  return { lowest, highest };
}
function estimatesOf(positions, labels, values, evaluated, stride2, patch2, size) {
  const isEstimate = (i) => evaluated[i] === 0 && !Number.isNaN(values[i]);
  let any = false;
  for (let i = 0; i < values.length && !any; i++) any = isEstimate(i);
  if (!any) return null;
  const result2 = new Uint8Array(product(size));
  const axes = size.length;
  if (labels !== null) {
    const estimated = /* @__PURE__ */ new Set();
    for (let i = 0; i < values.length; i++) {
      const cell = size.reduce((index, length, k) => index * length + positions[i * axes + k], 0);
      if (isEstimate(i)) estimated.add(labels[cell]);
    }
    for (let i = 0; i < result2.length; i++) result2[i] = estimated.has(labels[i]) ? 1 : 0;
    return result2;
  }
  const missing = 3 - axes;
  const lengths = [1, 1, 1].map((one, k) => k < missing ? one : size[k - missing]);
  const first = [0, 0, 0];
  const end = [1, 1, 1];
  for (let i = 0; i < values.length; i++) {
    if (!isEstimate(i)) continue;
    for (let k = 0; k < axes; k++) {
      const from = Math.floor(positions[i * axes + k] + (patch2[k] - stride2[k]) / 2);
      first[missing + k] = Math.max(0, from);
      end[missing + k] = Math.min(size[k], from + stride2[k]);
    }
    for (let z = first[0]; z < end[0]; z++)
      for (let y = first[1]; y < end[1]; y++) {
        const row = (z * lengths[1] + y) * lengths[2];
        result2.fill(1, row + first[2], row + Math.max(first[2], end[2]));
      }
  }
  return result2;
}

// src/stage/scales.ts
function coloured(a, b, comparing2, look) {
  if (comparing2 === "difference" && a !== null && b !== null) return ofDifference(a, b, look);
  const other = comparing2 === "side" ? b : null;
  if (a === null || other === null) {
    const one2 = a ?? other;
    if (one2 === null) return { a: null, b: null, legends: [], refused: null };
    const { heat, legend: legend2 } = ofOne(one2.map, one2.map.scale, look);
    return { a: a && heat, b: a === null ? heat : null, legends: [legend2], refused: null };
  }
  if (a.map.score !== other.map.score) {
    const [one2, two2] = [ofOne(a.map, a.map.scale, look), ofOne(other.map, other.map.scale, look)];
    one2.legend.title = `A: ${one2.legend.title}`;
    two2.legend.title = `B: ${two2.legend.title}`;
    return { a: one2.heat, b: two2.heat, legends: [one2.legend, two2.legend], refused: null };
  }
  const [first, second] = together(a.map.scale, other.map.scale);
  const [one, two] = [ofOne(a.map, first, look), ofOne(other.map, second, look)];
  const legend = {
    ...shared(a.map.score, first, second, one.legend, two.legend, look),
    estimates: one.legend.estimates || two.legend.estimates,
    gaps: one.legend.gaps || two.legend.gaps,
    weak: [weakness("A", one.heat, first.neutral), weakness("B", two.heat, second.neutral)].filter((each) => each !== null)
  };
  return { a: one.heat, b: two.heat, legends: [legend], refused: null };
}
function ofOne(map, values, look) {
  const scale = scaleOf(look.palette, values);
  const colours2 = coloursOf(scale, values.neutral, hidden(scale, values.neutral, look));
  const { lowest, highest } = scale;
  const key = [map.version, look.palette, look.threshold, lowest, highest].join(" ");
  return {
    heat: {
      values: map.heat,
      key,
      gaps: map.gaps,
      lowest,
      highest,
      colours: onImage(colours2, scale, values.neutral, look)
    },
    legend: {
      title: titleOf(map.score),
      colours: colours2,
      lowest,
      highest,
      neutral: values.neutral,
      neutralName: isDrop(map.score) ? "no effect" : "unmodified",
      changes: false,
      below: values.lowest < lowest - 1e-5 * (highest - lowest),
      above: values.highest > highest + 1e-5 * (highest - lowest),
      ...meaningOf(map.score),
      floor: look.palette === "krypton" ? null : floorOf(map.score, values.half),
      estimates: look.estimates && map.estimates !== null,
      gaps: look.heat && map.gaps
    }
  };
}
var FAINT = 0.05;
function weakness(name, { values, lowest, highest }, neutral) {
  let most = 0;
  for (const value of values) if (Math.abs(value - neutral) > most) most = Math.abs(value - neutral);
  const share = most / Math.max(highest - neutral, neutral - lowest);
  return share < FAINT ? `${name}: no effect here exceeds ${Math.max(1, Math.ceil(100 * share))} % of the scale` : null;
}
function floorOf(score2, half) {
  const floor = FLOORS[unitOf(score2)];
  return half <= floor ? floor : null;
}
function shared(score2, first, second, one, two, look) {
  const ends = { below: one.below || two.below, above: one.above || two.above };
  if (first.neutral === second.neutral) return { ...one, ...ends };
  const lowest = Math.min(one.lowest - first.neutral, two.lowest - second.neutral);
  const highest = Math.max(one.highest - first.neutral, two.highest - second.neutral);
  if (look.palette === "krypton" && score2 === "probability") return { ...one, ...ends, title: `A: ${one.title}` };
  const name = isDrop(score2) ? "drop" : "change";
  const values = { score: isDrop(score2) ? score2 : "logit", neutral: 0, half: first.half, lowest, highest };
  const scale = scaleOf(look.palette, values);
  return {
    ...one,
    ...ends,
    title: `${name} of the ${quantityOf(score2)}`,
    neutralName: "no change",
    colours: coloursOf(scale, 0, hidden(scale, 0, look)),
    lowest: scale.lowest,
    highest: scale.highest,
    neutral: 0,
    changes: true
  };
}
function ofDifference(a, b, look) {
  const score2 = a.map.score;
  if (score2 !== b.map.score || a.map.size.length !== b.map.size.length) {
    const why = score2 === b.map.score ? "The maps are of images with other axes." : `The maps are of other scores: ${titleOf(score2)}, and ${titleOf(b.map.score)}.`;
    return { a: null, b: null, legends: [], refused: why };
  }
  const { values, gaps } = differences.of(a, b);
  let half = FLOORS[unitOf(score2)];
  for (const value of values) if (Math.abs(value) > half) half = Math.abs(value);
  const scale = scaleOfDifference(look.palette, score2, half);
  const colours2 = coloursOf(scale, 0, hidden(scale, 0, look));
  const { lowest, highest } = scale;
  const key = [a.map.version, b.map.version, look.palette, look.threshold].join(" ");
  const name = isDrop(score2) ? "drop" : "score";
  return {
    a: { values, key, gaps, lowest, highest, colours: onImage(colours2, scale, 0, look) },
    b: null,
    legends: [
      {
        title: `${titleOf(score2)}, A − B`,
        colours: colours2,
        lowest,
        highest,
        neutral: 0,
        neutralName: "no difference",
        changes: true,
        below: false,
        above: false,
        low: `A's ${name} is lower`,
        high: `A's ${name} is higher`,
        floor: floorOf(score2, half),
        estimates: look.estimates && a.map.estimates !== null,
        gaps: look.heat && gaps
      }
    ],
    refused: null
  };
}
var differences = {
  versions: "",
  values: new Float32Array(),
  gaps: false,
  of(a, b) {
    const versions2 = `${a.map.version} ${b.map.version}`;
    if (versions2 !== this.versions) {
      this.values = difference(a.map.heat, a.picture, b.map.heat, b.picture);
      this.gaps = hasGaps(this.values);
      this.versions = versions2;
    }
    return this;
  }
};
function onImage(colours2, scale, neutral, look) {
  return look.palette === "krypton" ? colours2 : faded(colours2, scale, neutral, hidden(scale, neutral, look));
}
function hidden(scale, neutral, look) {
  return look.threshold * Math.max(scale.highest - neutral, neutral - scale.lowest);
}

// src/stage/scene.ts
var GAP2 = 16;
var CAPTION = 26;
function shownIn(content, slot) {
  const { pictures, chosen, maps } = content;
  const map = maps[slot];
  const key = slot === "b" && map !== null ? map.picture : chosen;
  return {
    picture: key === null ? null : pictures.get(key) ?? null,
    map: map !== null && map.picture === key && pictures.has(key) ? map : null
  };
}
function colouredOf(content) {
  const of = (slot) => {
    const { picture, map } = shownIn(content, slot);
    return picture && map && { picture, map };
  };
  return coloured(of("a"), of("b"), content.comparing, content.look);
}
function panesOf(content, heats, area, camera, at) {
  const { comparing: comparing2, look } = content;
  const slots = comparing2 === "side" ? ["a", "b"] : ["a"];
  const own2 = shownIn(content, "a");
  const areas = halves(area, slots.length, own2.picture);
  return slots.flatMap((slot, i) => {
    const { picture, map } = shownIn(content, slot);
    if (picture === null) return [];
    const related = own2.picture !== null && own2.picture.size.length === picture.size.length;
    const here = related ? convert(at, own2.picture, picture) : picture.size.map((length) => length / 2);
    const inner = comparing2 === "off" ? areas[i] : below(areas[i]);
    const linked = related ? camera : { zoom: 1, centre: null };
    return [
      {
        slot,
        area: areas[i],
        picture,
        map,
        heat: heats[slot],
        at: here.map((cell, k) => clamp(cell, 0, picture.size[k] - 1)),
        planes: viewOf(picture.size).lay(picture, inner, linked, look.grid),
        title: titleOf2(content, slot, map, heats)
      }
    ];
  });
}
function titleOf2(content, slot, map, heats) {
  const { names } = content;
  const name = (each, of) => {
    if (names !== null) return each.label ? `${names[of]} (${each.label})` : names[of];
    return each.label ? `${each.label}, ${each.model}` : each.model;
  };
  if (content.comparing === "side") return `${slot.toUpperCase()}: ${map ? name(map, slot) : "no map yet"}`;
  if (content.comparing === "off") return "";
  const { a, b } = content.maps;
  return heats.refused ?? (a && b ? `${name(a, "a")} − ${name(b, "b")}` : "A difference needs two maps.");
}
function below(area) {
  return { ...area, y: area.y + CAPTION, height: Math.max(1, area.height - CAPTION) };
}
function halves(area, count2, picture) {
  if (count2 === 1) return [area];
  const width = (area.width - GAP2) / 2;
  const height = (area.height - GAP2) / 2;
  const isSignal = picture?.size.length === 1;
  const beside = Math.min(width, area.height - CAPTION);
  const stacked = Math.min(area.width, height - CAPTION);
  if (isSignal || stacked > beside)
    return [0, 1].map((i) => ({ ...area, y: area.y + i * (height + GAP2), height: Math.max(1, height) }));
  return [0, 1].map((i) => ({ ...area, x: area.x + i * (width + GAP2), width: Math.max(1, width) }));
}

// src/stage/sliders.ts
var Sliders = class {
  constructor(moved) {
    this.moved = moved;
    this.element.className = "kdb-stage-sliders";
    this.element.hidden = true;
  }
  moved;
  element = document.createElement("div");
  rows = [];
  made = "";
  /** `at` are the cells that the slices go through; no axes take the sliders away. */
  show(axes, size, at) {
    const wanted = `${axes} ${size.join(" ")}`;
    if (this.made !== wanted) {
      this.made = wanted;
      this.rows = size.map((length, axis) => this.row(axes[axis] ?? `axis ${axis + 1}`, length, axis));
      this.element.hidden = size.length === 0;
    }
    for (const [axis, { input, number: number3 }] of this.rows.entries()) {
      const cell = String(Math.floor(at[axis]));
      if (input.value !== cell) input.value = cell;
      number3.textContent = `${cell} / ${size[axis] - 1}`;
    }
  }
  row(name, length, axis) {
    if (axis === 0) this.element.replaceChildren();
    const row = document.createElement("label");
    row.className = "kdb-stage-slider";
    const letter = document.createElement("span");
    letter.className = "kdb-stage-slider-axis";
    letter.textContent = name;
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: "0", max: String(length - 1), step: "1" });
    input.setAttribute("aria-label", `Slice across ${name}`);
    input.addEventListener("input", () => this.moved(axis, Number(input.value)));
    const number3 = document.createElement("span");
    number3.className = "kdb-stage-slider-number";
    row.append(letter, input, number3);
    this.element.append(row);
    return { input, number: number3 };
  }
};

// src/stage/theme.ts
function themeOf(element) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(`--kdb-stage-${name}`).trim() || "#888";
  return {
    bg: colour("bg"),
    fg: colour("fg"),
    muted: colour("muted"),
    line: colour("line"),
    accent: colour("accent"),
    panel: colour("panel"),
    font: (pixels) => `${pixels}px ${style.fontFamily || "sans-serif"}`
  };
}

// src/stage/screen.ts
var Screen = class {
  /** `keys` is a hidden text on the keyboard's keys. */
  constructor(drawn, keys) {
    this.drawn = drawn;
    this.sliders = new Sliders((axis, cell) => drawn.slice(axis, cell));
    this.element.className = "kdb-stage";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "application");
    this.element.setAttribute("aria-roledescription", "image with heat map");
    this.element.setAttribute("aria-describedby", keys.id);
    this.field.className = "kdb-stage-field";
    for (const { canvas: canvas2 } of [this.ground, this.front]) {
      canvas2.setAttribute("aria-hidden", "true");
      this.field.append(canvas2);
    }
    this.seen.className = "kdb-stage-seen";
    const side = document.createElement("div");
    side.className = "kdb-stage-side";
    side.append(this.seen, this.sliders.element, this.legends.element);
    this.element.append(this.field, side, keys);
    this.field.addEventListener("transitionend", () => this.changed());
    this.resized.observe(this.field);
  }
  drawn;
  element = document.createElement("div");
  /** Where images are, and pointers act. */
  field = document.createElement("div");
  panes = [];
  ground = new Ground(canvas("kdb-stage-ground"));
  front = new Front(canvas("kdb-stage-front"));
  captions = [];
  seen = document.createElement("div");
  legends = new Legends();
  sliders;
  resized = new ResizeObserver(() => this.changed());
  frame = 0;
  /** Whether more than the cursor has changed. */
  stale = true;
  /** The cursor has changed, or what a tool shows. */
  redraw() {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.draw());
  }
  /** Something else has. */
  changed() {
    this.stale = true;
    this.redraw();
  }
  /** Places the panes at once, for what is asked of them before the next frame. */
  lay() {
    const { clientWidth: width, clientHeight: height } = this.field;
    this.panes = this.drawn.state.panes({ x: 0, y: 0, width, height });
  }
  /** The legends' mark of the value under the cursor. */
  point() {
    const { reading: reading2, state } = this.drawn;
    const { legends } = state.heats;
    if (reading2 === null) return this.legends.point([]);
    const own2 = legends.length > 1 && reading2.slot === "b" ? 1 : 0;
    const value = legends[own2]?.changes ? reading2.difference ?? reading2.change : reading2.score;
    this.legends.point(legends.map((_, i) => i === own2 ? value : null));
  }
  destroy() {
    this.resized.disconnect();
    cancelAnimationFrame(this.frame);
    this.element.remove();
  }
  draw() {
    this.frame = 0;
    const { state, tool } = this.drawn;
    const ratio = devicePixelRatio || 1;
    const theme = themeOf(this.element);
    if (this.stale) {
      this.stale = false;
      this.describe();
      this.lay();
      this.drawn.read();
      this.fit(ratio);
      this.caption();
      this.tellSizes();
      this.ground.draw(this.panes, state, theme, ratio);
    }
    const pointed = (pane) => this.drawn.pointedIn(pane);
    this.front.draw(this.panes, theme, tool, pointed, (pane) => state.markIn(pane), ratio);
  }
  fit(ratio) {
    const width = Math.round(this.field.clientWidth * ratio);
    const height = Math.round(this.field.clientHeight * ratio);
    for (const { canvas: canvas2 } of [this.ground, this.front]) {
      if (canvas2.width !== width) canvas2.width = width;
      if (canvas2.height !== height) canvas2.height = height;
    }
  }
  /** What is shown in words, and what the page around and tests are to know of it. */
  describe() {
    const { state } = this.drawn;
    const { picture, map, heats, box: box2, comparing: comparing2 } = state;
    const three = picture !== null && picture.size.length === 3;
    this.legends.show(heats.legends);
    this.sliders.show(three ? picture.axes : "", three ? picture.size : [], state.crossed);
    const { dataset } = this.element;
    dataset.comparing = comparing2;
    dataset.hasMap = String(heats.a !== null || heats.b !== null);
    this.element.toggleAttribute("data-beside", state.maps.b === null && comparing2 === "off" && !isWide(picture));
    dataset.zoom = state.camera.zoom.toFixed(2);
    if (picture) dataset.view = viewOf(picture.size).kind;
    else delete dataset.view;
    if (box2) dataset.box = JSON.stringify(box2);
    else delete dataset.box;
    this.element.setAttribute("aria-label", described2(picture, map, comparing2));
    this.point();
  }
  /** How the models see the images, once where all see them alike. */
  tellSizes() {
    const told = this.panes.map(({ slot, picture }) => ({ slot, text: seenAs(picture) })).filter(({ text }) => text);
    const isOne = new Set(told.map(({ text }) => text)).size === 1 && told.length === this.panes.length;
    const texts = isOne ? [told[0].text] : told.map(({ slot, text }) => `${slot.toUpperCase()}: ${text}`);
    this.seen.textContent = texts.join(" · ");
  }
  caption() {
    const titled = this.panes.filter((pane) => pane.title);
    while (this.captions.length > titled.length) this.captions.pop().remove();
    for (const [i, { title, area, planes }] of titled.entries()) {
      const top = Math.min(...planes.map(({ frame, rows: rows2 }) => Math.max(frame.y, rows2.start)));
      const caption = this.captions[i] ??= this.field.appendChild(document.createElement("div"));
      caption.className = "kdb-stage-caption";
      caption.textContent = title;
      caption.style.left = `${area.x}px`;
      caption.style.top = `${Math.max(area.y, top - CAPTION)}px`;
      caption.style.width = `${area.width}px`;
    }
  }
};
function isWide(picture) {
  if (picture === null) return false;
  const { size, box: box2 } = picture;
  if (size.length !== 2) return size.length === 1;
  return Math.max(size[1] / size[0], box2[3] / box2[2]) > 1.3;
}
function canvas(name) {
  const element = document.createElement("canvas");
  element.className = name;
  return element;
}

// src/stage/pictures.ts
function pictureData(picture, buffers) {
  const { key, axes, size, image, fine, source_box: box2, source_size: source2 } = picture;
  return {
    key,
    axes,
    size,
    box: box2,
    source: source2,
    image: image.dtype === "float32" ? unpack("float32", image, buffers) : unpack("uint8", image, buffers),
    channels: image.shape.length > size.length ? image.shape[size.length] : 1,
    fine: fine && { image: unpack("uint8", fine, buffers), rows: fine.shape[0], columns: fine.shape[1] }
  };
}

// src/stage/state.ts
var ALL2 = { zoom: ZOOMS2.least, centre: null };
var State = class {
  pictures = /* @__PURE__ */ new Map();
  maps = { a: null, b: null };
  chosen = null;
  comparing = "off";
  names = null;
  look;
  camera = ALL2;
  /** A box that is being drawn, in place of the query's. */
  draft = null;
  /** The mask that is painted, and how often it was. */
  mask = null;
  /** The position that was probed last. */
  mark = null;
  form = null;
  /** The cell that slices go through; null until something chooses one. */
  at = null;
  /** The image that mask, draft, camera and slices are of. */
  seen = null;
  heatsNow = null;
  constructor(look) {
    this.look = look;
  }
  // ---- what comes
  addPicture(message2, buffers) {
    const picture = pictureData(message2, buffers);
    this.pictures.set(picture.key, picture);
    if (this.chosen === null || this.chosen === picture.key) this.choose(picture.key);
    this.recolour();
  }
  addMap(message2, buffers) {
    const { slot } = message2;
    const before = this.maps[slot];
    const map = mapData(message2, buffers);
    this.maps[slot] = map;
    if (slot === "a") this.choose(map.picture);
    if (before?.map !== map.map && this.mark?.slot === slot) this.mark = null;
    const best = slot === "a" && this.at === null && map.size.length === 3 ? strongest(map) : -1;
    if (best >= 0) this.at = map.places.centre(best);
    this.recolour();
  }
  addLayer(layer, buffers) {
    for (const slot of ["a", "b"]) {
      const map = this.maps[slot];
      if (map?.map === layer.map) this.maps[slot] = withLayer(map, layer, buffers);
    }
    this.recolour();
  }
  clear(slot) {
    this.maps[slot] = null;
    if (this.mark?.slot === slot) this.mark = null;
    this.recolour();
  }
  setForm(form) {
    const before = this.form;
    this.form = form;
    if (form.picture !== null && form.picture !== before?.picture) this.choose(form.picture);
    this.draft = null;
    if (before?.region.kind === "mask" && form.region.kind !== "mask") this.mask = null;
    this.recolour();
  }
  /** Colours are to be made anew: of other maps, or by another look. */
  recolour() {
    this.heatsNow = null;
  }
  /** Slot a shows an image, once it is there.  What was drawn on a grid of another size is nothing on this one. */
  choose(key) {
    this.chosen = key;
    const picture = this.pictures.get(key);
    if (picture === void 0) return;
    if (picture.key !== this.seen?.key) this.at = null;
    if (!sameNumbers(picture.size, this.seen?.size ?? null)) {
      this.mask = this.draft = null;
      this.camera = ALL2;
    }
    this.seen = picture;
  }
  // ---- what is shown
  /** The image that the query is about. */
  get picture() {
    return shownIn(this, "a").picture;
  }
  get map() {
    return shownIn(this, "a").map;
  }
  get heats() {
    return this.heatsNow ??= colouredOf(this);
  }
  panes(area) {
    return area.width > 0 && area.height > 0 ? panesOf(this, this.heats, area, this.camera, this.crossed) : [];
  }
  get patch() {
    const { picture } = this;
    const patch2 = this.formOfPicture?.patch ?? this.maps.a?.patch;
    if (picture === null) return [];
    return patch2?.length === picture.size.length ? patch2 : picture.size.map(() => 1);
  }
  /** The box as it is seen: as it is drawn, else the query's. */
  get box() {
    const region2 = this.formOfPicture?.region;
    return this.draft ?? (region2?.kind === "box" ? region2.box : null);
  }
  /** The cell that slices go through. */
  get crossed() {
    return this.at ?? this.picture?.size.map((length) => Math.floor(length / 2)) ?? [];
  }
  cross(cell) {
    const { picture } = this;
    if (picture?.size.length === 3) this.at = cell.map((at, k) => clamp(at, 0, picture.size[k] - 1));
  }
  /** Null where the form is of a grid of another size than is shown. */
  get formOfPicture() {
    const { form, picture } = this;
    return form && picture && (form.size === null || sameNumbers(form.size, picture.size)) ? form : null;
  }
  // ---- a pane's cells, and the query's
  /** Whether a pane shows as many axes as the query's image, so that places on one are places on the other. */
  related(pane) {
    return pane.picture.size.length === this.picture?.size.length;
  }
  own(pane, cell) {
    return this.picture ? convert(cell, pane.picture, this.picture) : [...cell];
  }
  cellOn(pane, cell) {
    return this.picture ? convert(cell, this.picture, pane.picture) : [...cell];
  }
  boxOn(pane, box2) {
    return this.picture ? convertBox(box2, this.picture, pane.picture) : [...box2];
  }
  /** The cell in the middle of a pane. */
  centreOf({ picture }) {
    return this.camera.centre ? fromSource(picture, this.camera.centre) : picture.size.map((length) => length / 2);
  }
  lookAt({ picture }, centre, zoom) {
    this.camera = { zoom, centre: zoom === ZOOMS2.least ? null : toSource(picture, centre) };
  }
  seeAll() {
    this.camera = ALL2;
  }
  // ---- positions
  /** The positions of a pane: its map's, else those that the query would have; null where nothing is known. */
  placesIn(pane) {
    if (pane.map !== null) return pane.map.places;
    const form = this.formOfPicture;
    if (form === null || form.patch === null || pane.picture !== this.picture) return null;
    const axes = pane.picture.size.length;
    const spread2 = (values) => values.length === 1 ? pane.picture.size.map(() => values[0]) : values;
    const [patch2, stride2] = [spread2(form.patch), spread2(form.stride.length === 0 ? [1] : form.stride)];
    const fits = patch2.length === axes && stride2.length === axes;
    return fits ? latticeOf(pane.picture.size, patch2, stride2) : null;
  }
  /** The patch that is centred nearest to a cell, start.. and extent... */
  patchAt(pane, cell) {
    const places = this.placesIn(pane);
    const index = places?.nearest(cell) ?? -1;
    if (places === null || index < 0) return null;
    return [...places.start(index), ...pane.map?.patch ?? this.patch];
  }
  /** What the map of a pane says of a cell; null where there is no map, or outside of it. */
  readingIn(pane, cell) {
    const { map } = pane;
    if (map === null || !isWithin(pane, cell)) return null;
    const reading2 = readingAt(pane.slot, map, cell);
    if (reading2 === null || this.comparing === "off" || pane.heat === null) return reading2;
    const slot = pane.slot === "a" ? "b" : "a";
    const other = shownIn(this, slot);
    if (other.map === null || other.picture?.size.length !== pane.picture.size.length) return reading2;
    const centre = reading2.position.map((at, k) => at + map.patch[k] / 2);
    const there = readingAt(slot, other.map, convert(centre, pane.picture, other.picture));
    if (this.comparing === "side") return { ...reading2, other: there && there.score };
    return { ...reading2, difference: there && reading2.score - there.score };
  }
  /** The probed position with the patch on it, start.. and extent.., as a pane shows it. */
  markIn(pane) {
    if (this.mark === null) return null;
    const { slot, position } = this.mark;
    const { picture, map } = shownIn(this, slot);
    if (picture === null || position.length !== picture.size.length || !this.related(pane)) return null;
    return convertBox([...position, ...map?.patch ?? this.patch], picture, pane.picture);
  }
};
function isWithin({ picture }, cell) {
  return cell.every((at, k) => at >= 0 && at < picture.size[k]);
}

// src/stage/boxes.ts
function wholeBox(size) {
  return [...size.map(() => 0), ...size];
}
function boxBetween(from, to, axes, before, size, patch2) {
  const box2 = [...before ?? wholeBox(size)];
  for (const k of axes) {
    const first = clamp(Math.floor(Math.min(from[k], to[k])), 0, size[k] - 1);
    const end = clamp(Math.ceil(Math.max(from[k], to[k])), first + 1, size[k]);
    const extent2 = Math.min(Math.max(end - first, patch2[k]), size[k]);
    const start2 = to[k] < from[k] ? end - extent2 : first;
    box2[k] = clamp(start2, 0, size[k] - extent2);
    box2[size.length + k] = extent2;
  }
  return box2;
}
function movedBox(box2, by, size) {
  const axes = size.length;
  return box2.map((each, i) => i < axes ? clamp(Math.round(each + by[i]), 0, size[i] - box2[axes + i]) : each);
}
function resizedBox(box2, handle, by, size, patch2) {
  const axes = size.length;
  const result2 = [...box2];
  for (let k = 0; k < axes; k++) {
    const least = Math.min(patch2[k], size[k]);
    const start2 = box2[k];
    const end = start2 + box2[axes + k];
    if (handle[k] < 0) result2[k] = clamp(Math.round(start2 + by[k]), 0, end - least);
    const last = handle[k] > 0 ? clamp(Math.round(end + by[k]), start2 + least, size[k]) : end;
    result2[axes + k] = last - result2[k];
  }
  return result2;
}

// src/stage/tools/tool.ts
function axesOf(plane) {
  return plane.down === null ? [plane.right] : [plane.down, plane.right];
}

// src/stage/tools/box.ts
var NEAR = 8;
var SIDE = 7;
var STILL = 4;
var box = (bench) => {
  let drag = null;
  let from = null;
  let moved = false;
  let corner = null;
  function begin(spot, anew) {
    const { size } = bench.picture;
    const patch2 = bench.patch;
    const before = bench.box;
    const start2 = bench.own(spot);
    const by = (cell) => cell.map((at, k) => at - start2[k]);
    const handle = anew || before === null ? null : handleAt(bench, spot, before);
    if (before !== null && handle !== null) {
      return handle.some((side) => side !== 0) ? (cell) => resizedBox(before, handle, by(cell), size, patch2) : (cell) => movedBox(before, by(cell), size);
    }
    return (cell) => boxBetween(start2, cell, axesOf(spot.plane), before, size, patch2);
  }
  function stop() {
    drag = null;
    corner = null;
  }
  return {
    cursor(spot) {
      const before = bench.box;
      const handle = spot && before && handleAt(bench, spot, before);
      return handle ? cursorOf(spot.plane, handle) : "crosshair";
    },
    press(spot, { wipes, anew }) {
      if (wipes || bench.picture === null) return;
      corner = null;
      drag = begin(spot, anew);
      from = { x: spot.x, y: spot.y };
      moved = false;
    },
    drag(spot) {
      if (from && Math.hypot(spot.x - from.x, spot.y - from.y) >= STILL) moved = true;
      if (drag && moved) bench.draft(drag(bench.own(spot)));
    },
    release(spot) {
      if (drag && moved) bench.events.onBox(drag(bench.own(spot)));
      stop();
    },
    cancel() {
      const was = drag !== null || corner !== null;
      stop();
      if (was) bench.draft(null);
      return was;
    },
    key(event) {
      if (event.key !== "Enter" || bench.cursor === null || bench.picture === null) return false;
      if (corner === null) {
        corner = bench.own(bench.cursor);
        this.followed(corner);
        bench.say("Box begun. Arrow keys extend it, Enter ends it, Escape cancels it.");
      } else {
        this.followed(bench.own(bench.cursor));
        stop();
        if (bench.box) {
          bench.events.onBox([...bench.box]);
          bench.say(described3(bench.picture.axes, bench.box));
        }
      }
      return true;
    },
    followed(cell) {
      if (corner === null || bench.picture === null) return;
      const axes = bench.cursor ? axesOf(bench.cursor.plane) : [];
      const first = corner.map((at, k) => Math.min(at, cell[k]) - bench.patch[k] / 2);
      const last = corner.map((at, k) => Math.max(at, cell[k]) + bench.patch[k] / 2);
      bench.draft(boxBetween(first, last, axes, bench.box, bench.picture.size, bench.patch));
    },
    draw(pen, pane, plane, theme) {
      if (bench.box === null) return;
      const shown = bench.boxOn(pane, bench.box);
      if (!meets(pane, plane, shown)) return;
      for (const { x, y } of handles(onPlane(plane, shown), plane)) {
        pen.fillStyle = theme.bg;
        pen.strokeStyle = theme.accent;
        pen.lineWidth = 1.5;
        pen.beginPath();
        pen.rect(Math.round(x - SIDE / 2), Math.round(y - SIDE / 2), SIDE, SIDE);
        pen.fill();
        pen.stroke();
      }
    }
  };
};
function described3(axes, each) {
  const half = each.length / 2;
  return `Box of ${sizeOf(each.slice(half))} at ${placeOf(axes, each.slice(0, half))}.`;
}
function handles(rect, plane) {
  const grips = [];
  for (const down of plane.down === null ? [0] : [-1, 0, 1])
    for (const right of [-1, 0, 1])
      if (down !== 0 || right !== 0)
        grips.push({
          x: held(rect.x + rect.width * (right + 1) / 2, plane.frame.x, plane.frame.width),
          y: held(rect.y + rect.height * (down + 1) / 2, plane.frame.y, plane.frame.height),
          down,
          right
        });
  return grips;
}
function held(at, first, length) {
  const room = SIDE / 2 + 1;
  const isOutside = at < first - 1 || at > first + length + 1;
  return isOutside ? at : clamp(at, first + room, first + length - room);
}
function handleAt(bench, { pane, plane, x, y }, before) {
  const shown = bench.boxOn(pane, before);
  if (!meets(pane, plane, shown)) return null;
  const rect = onPlane(plane, shown);
  const handle = pane.picture.size.map(() => 0);
  const far = ({ x: gx, y: gy }) => plane.down === null ? Math.abs(gx - x) : Math.max(Math.abs(gx - x), Math.abs(gy - y));
  const near = handles(rect, plane).filter((grip) => far(grip) <= NEAR).sort((one, two) => far(one) - far(two))[0];
  if (near !== void 0) {
    if (plane.down !== null) handle[plane.down] = near.down;
    handle[plane.right] = near.right;
    return handle;
  }
  const inside = x >= rect.x && y >= rect.y && x <= rect.x + rect.width && y <= rect.y + rect.height;
  return inside && !isWhole(pane, shown) ? handle : null;
}
function isWhole(pane, shown) {
  return pane.picture.size.every((length, k) => shown[pane.picture.size.length + k] >= length);
}
function cursorOf(plane, handle) {
  const down = plane.down === null ? 0 : handle[plane.down];
  const right = handle[plane.right];
  if (down === 0 && right === 0) return "move";
  if (down === 0) return "ew-resize";
  if (right === 0) return "ns-resize";
  return down === right ? "nwse-resize" : "nesw-resize";
}

// src/stage/masks.ts
function stamp(mask, size, centre, radius, value) {
  const missing = 3 - size.length;
  const lengths = [1, 1, 1].map((one, k) => k < missing ? one : size[k - missing]);
  const middle = [0.5, 0.5, 0.5].map((half, k) => k < missing ? half : centre[k - missing]);
  const first = lengths.map((length, k) => clamp(Math.floor(middle[k] - radius), 0, length));
  const end = lengths.map((length, k) => clamp(Math.ceil(middle[k] + radius), 0, length));
  const reach = Math.max(radius, 0.5) ** 2;
  for (let i = first[0]; i < end[0]; i++)
    for (let j = first[1]; j < end[1]; j++) {
      const left = reach - (i + 0.5 - middle[0]) ** 2 - (j + 0.5 - middle[1]) ** 2;
      const row = (i * lengths[1] + j) * lengths[2];
      for (let k = first[2]; k < end[2]; k++) if ((k + 0.5 - middle[2]) ** 2 <= left) mask[row + k] = value;
    }
}
function stroke(mask, size, from, to, radius, value) {
  const length = Math.hypot(...to.map((at, k) => at - from[k]));
  const steps = Math.max(1, Math.ceil(length / Math.max(radius / 2, 0.5)));
  for (let i = 0; i <= steps; i++)
    stamp(mask, size, from.map((at, k) => at + (to[k] - at) * i / steps), radius, value);
}

// src/stage/tools/paint.ts
var STEP = 1.25;
var paint2 = (bench) => {
  let radius = 0;
  let last = null;
  let before = null;
  let value = 1;
  const brush = ({ size }) => radius ||= Math.max(1, Math.min(...size) / 16);
  function begin(picture, wipes) {
    before = bench.mask && bench.mask.slice();
    value = wipes ? 0 : 1;
    if (bench.mask === null) bench.paint(new Uint8Array(product(picture.size)));
  }
  function to(picture, cell) {
    const mask = bench.mask;
    if (mask === null) return;
    stroke(mask, picture.size, last ?? cell, cell, brush(picture), value);
    last = cell;
    bench.paint(mask);
  }
  function end() {
    last = null;
    before = null;
    const mask = bench.mask;
    const any = mask?.includes(1) ?? false;
    if (!any) bench.paint(null);
    bench.events.onMask(mask !== null && any ? mask.slice() : null);
  }
  return {
    cursor: () => "none",
    press(spot, { wipes }) {
      if (bench.picture === null) return;
      begin(bench.picture, wipes);
      to(bench.picture, bench.own(spot));
    },
    drag(spot) {
      if (last && bench.picture) to(bench.picture, bench.own(spot));
    },
    release() {
      if (last) end();
    },
    cancel() {
      const was = last !== null;
      if (was) bench.paint(before);
      last = null;
      return was;
    },
    key(event) {
      const picture = bench.picture;
      if (picture === null) return false;
      if (event.key === "[" || event.key === "]") {
        const factor = event.key === "]" ? STEP : 1 / STEP;
        radius = Math.max(0.5, Math.min(Math.max(...picture.size) / 2, brush(picture) * factor));
        bench.say(`Brush ${Math.max(1, Math.round(2 * radius))} cells wide`);
        bench.redraw();
        return true;
      }
      const wipes = event.key === "Delete" || event.key === "Backspace";
      if (event.key !== "Enter" && !wipes || bench.cursor === null) return false;
      begin(picture, wipes);
      to(picture, bench.own(bench.cursor));
      end();
      bench.say(wipes ? "Wiped" : "Painted");
      return true;
    },
    followed() {
    },
    draw(pen, pane, plane, theme) {
      const spot = bench.cursor;
      if (spot === null || bench.picture === null || spot.plane !== plane) return;
      const reach = brush(bench.picture);
      const middle = bench.own(spot);
      const centre = bench.cellOn(pane, middle);
      const rim = bench.cellOn(pane, middle.map((at) => at + reach));
      const width = (rim[plane.right] - centre[plane.right]) * plane.columns.scale;
      const x = toPixel(plane.columns, centre[plane.right]);
      pen.beginPath();
      if (plane.down === null) {
        pen.rect(x - width, plane.frame.y, 2 * width, plane.frame.height);
      } else {
        const height = (rim[plane.down] - centre[plane.down]) * plane.rows.scale;
        pen.ellipse(x, toPixel(plane.rows, centre[plane.down]), width, height, 0, 0, 2 * Math.PI);
      }
      haloed(pen, "#fff", "#000", 1.25, 0.5);
      pen.fillStyle = theme.accent;
      pen.fillRect(spot.x - 1, spot.y - 1, 2, 2);
    }
  };
};

// src/stage/tools/pan.ts
var pan = (bench) => {
  let last = null;
  return {
    cursor: () => last ? "grabbing" : "grab",
    press(spot) {
      last = { x: spot.x, y: spot.y };
    },
    drag(spot) {
      if (last) bench.pan(spot, spot.x - last.x, spot.y - last.y);
      last = { x: spot.x, y: spot.y };
    },
    release() {
      last = null;
    },
    cancel() {
      const was = last !== null;
      last = null;
      return was;
    },
    key: () => false,
    followed() {
    },
    draw() {
    }
  };
};

// src/stage/tools/probe.ts
var STILL2 = 4;
var probe2 = (bench) => {
  let from = null;
  let dragged = false;
  return {
    cursor: () => "crosshair",
    press(spot, { wipes }) {
      if (wipes) return;
      from = { x: spot.x, y: spot.y };
      dragged = false;
    },
    drag(spot) {
      if (from && Math.hypot(spot.x - from.x, spot.y - from.y) >= STILL2) dragged = true;
      if (dragged) bench.cross(spot);
    },
    release(spot) {
      if (from && !dragged) {
        bench.cross(spot);
        bench.probe(spot);
      }
      from = null;
    },
    cancel() {
      const was = from !== null;
      from = null;
      return was;
    },
    key(event) {
      if (event.key !== "Enter" || bench.cursor === null) return false;
      bench.probe(bench.cursor);
      return true;
    },
    followed() {
    },
    draw() {
    }
  };
};

// src/stage/tools/table.ts
function toolsAt(bench) {
  return {
    box: box(bench),
    paint: paint2(bench),
    probe: probe2(bench),
    pan: pan(bench)
  };
}

// src/stage/stage.ts
var createStage = (events, look) => new Stage(events, look);
var Stage = class {
  constructor(events, look) {
    this.events = events;
    this.state = new State(look);
    this.speaker = new Speaker((text) => events.onSay(text));
    this.tools = toolsAt(this);
    this.chosen = this.tools.probe;
    this.screen = new Screen(this, keysInWords());
    this.element = this.screen.element;
    this.element.dataset.tool = "probe";
    listen(this.screen.field, this, this.ended.signal);
    listenToKeys(this.element, this, this.ended.signal);
    this.screen.changed();
  }
  events;
  element;
  state;
  reading = null;
  screen;
  speaker;
  ended = new AbortController();
  tools;
  chosen;
  /** The tool of a press that has not ended. */
  active = null;
  /** Whether the space bar is held, which makes a hand of every tool. */
  holding = false;
  pointed = null;
  /** Where the cursor was last, from where keys take it on. */
  left = null;
  /** The slot that was probed last. */
  probed = "a";
  // ---- what the page says
  showPicture(picture, buffers) {
    this.state.addPicture(picture, buffers);
    this.screen.changed();
  }
  showMap(map, buffers) {
    this.state.addMap(map, buffers);
    this.screen.changed();
  }
  showLayer(layer, buffers) {
    this.state.addLayer(layer, buffers);
    this.screen.changed();
  }
  clear(slot) {
    this.state.clear(slot);
    this.screen.changed();
  }
  showForm(form) {
    this.state.setForm(form);
    this.screen.changed();
  }
  setTool(tool) {
    this.cancel();
    this.chosen = this.tools[tool];
    this.element.dataset.tool = tool;
    this.screen.changed();
  }
  setLook(look) {
    this.state.look = look;
    this.state.recolour();
    this.screen.changed();
  }
  setComparing(comparing2) {
    this.state.comparing = comparing2;
    this.state.recolour();
    this.screen.changed();
  }
  setNames(names) {
    this.state.names = names;
    this.screen.changed();
  }
  mark(position) {
    this.state.mark = position && { slot: this.probed, position: [...position] };
    this.screen.redraw();
  }
  zoom(factor) {
    this.screen.lay();
    const pane = this.screen.panes[0];
    const plane = pane?.planes[0];
    if (factor === "fit") {
      this.state.seeAll();
      this.screen.changed();
    } else if (pane && plane) {
      const { x, y, width, height } = plane.frame;
      this.zoomAt(spotOn(pane, plane, x + width / 2, y + height / 2), factor);
    }
  }
  destroy() {
    this.ended.abort();
    this.speaker.stop();
    this.screen.destroy();
  }
  // ---- what tools see and do
  get tool() {
    return this.active ?? (this.holding ? this.tools.pan : this.chosen);
  }
  get picture() {
    return this.state.picture;
  }
  get patch() {
    return this.state.patch;
  }
  get box() {
    return this.state.box;
  }
  get mask() {
    return this.state.mask?.cells ?? null;
  }
  get cursor() {
    return this.spotOf(this.pointed);
  }
  draft(box2) {
    if (sameNumbers(box2, this.state.draft)) return;
    this.state.draft = box2;
    this.screen.changed();
  }
  paint(cells2) {
    this.state.mask = cells2 && { cells: cells2, version: (this.state.mask?.version ?? 0) + 1 };
    this.screen.changed();
  }
  own({ pane, cell }) {
    return this.state.own(pane, cell);
  }
  cellOn(pane, cell) {
    return this.state.cellOn(pane, cell);
  }
  boxOn(pane, box2) {
    return this.state.boxOn(pane, box2);
  }
  probe({ pane, cell }) {
    const patch2 = this.state.patchAt(pane, cell);
    if (patch2 === null) return;
    this.probed = pane.slot;
    this.events.onProbe(pane.slot, patch2.slice(0, patch2.length / 2));
  }
  cross({ pane, cell }) {
    if (!this.state.related(pane)) return;
    this.state.cross(this.state.own(pane, cell));
    this.screen.changed();
  }
  pan({ pane, plane }, byX, byY) {
    const { down, right, rows: rows2, columns, frame } = this.current(pane, plane);
    const centre = this.state.centreOf(pane);
    centre[right] = centreAfterPan(columns, frame.x, frame.width, byX);
    if (down !== null) centre[down] = centreAfterPan(rows2, frame.y, frame.height, byY);
    this.look(pane, centre, this.state.camera.zoom);
  }
  say(text) {
    this.speaker.speak(text);
  }
  redraw() {
    this.screen.redraw();
  }
  // ---- what the pointer does
  spotAt(x, y) {
    for (const pane of this.screen.panes)
      for (const plane of pane.planes) {
        const { frame } = plane;
        const within = x >= frame.x && y >= frame.y && x < frame.x + frame.width && y < frame.y + frame.height;
        if (within) return spotOn(pane, plane, x, y);
      }
    return null;
  }
  spotOn({ pane, plane }, x, y) {
    return spotOn(this.paneOf(pane.slot) ?? pane, this.current(pane, plane), x, y);
  }
  hover(spot) {
    this.left = this.pointed ?? this.left;
    this.pointed = spot && { slot: spot.pane.slot, plane: spot.pane.planes.indexOf(spot.plane), cell: spot.cell };
    this.screen.field.style.cursor = this.tool.cursor(spot);
    this.read();
    this.screen.redraw();
  }
  press(spot, press) {
    this.active = press.pans ? this.tools.pan : this.tool;
    this.active.press(spot, press);
    this.screen.field.style.cursor = this.active.cursor(spot);
    this.screen.redraw();
  }
  drag(spot) {
    this.active?.drag(spot);
  }
  release(spot) {
    this.active?.release(spot);
    this.active = null;
    this.screen.redraw();
  }
  cancel() {
    const was = (this.active ?? this.chosen).cancel();
    this.active = null;
    this.screen.redraw();
    return was;
  }
  zoomAt({ pane, plane, x, y }, factor) {
    const { down, right, rows: rows2, columns, frame } = this.current(pane, plane);
    const { zoom: before } = this.state.camera;
    const zoom = clamp(before * factor, ZOOMS2.least, ZOOMS2.most);
    const centre = this.state.centreOf(pane);
    centre[right] = centreAfterZoom(columns, frame.x, frame.width, x, zoom / before);
    if (down !== null) centre[down] = centreAfterZoom(rows2, frame.y, frame.height, y, zoom / before);
    this.look(pane, centre, zoom);
  }
  scroll({ pane, plane }, by) {
    if (pane.picture.size.length !== 3 || !this.state.related(pane)) return false;
    const axis = across(plane);
    this.slice(axis, Math.floor(this.state.crossed[axis]) + by);
    return true;
  }
  // ---- what keys do
  move(direction, by) {
    const spot = this.cursor ?? this.spotOf(this.left) ?? this.startingSpot();
    const places = spot && this.state.placesIn(spot.pane);
    if (!spot || !places) return;
    const { pane, plane } = spot;
    const third = pane.picture.size.length === 3 ? across(plane) : null;
    const axis = { right: plane.right, down: plane.down, through: third }[direction];
    if (axis === null) return;
    const index = Math.max(0, places.nearest(spot.cell));
    const next = this.pointed === null ? index : places.step(index, axis, by);
    const cell = places.centre(next);
    this.pointed = { slot: pane.slot, plane: pane.planes.indexOf(plane), cell };
    if (third !== null) this.cross({ ...spot, cell });
    this.read();
    this.say(this.spokenAt(pane, cell, places.start(next)));
    this.tool.followed(this.own({ ...spot, cell }));
    this.screen.redraw();
  }
  key(event) {
    if (event.key === "Enter" && this.cursor === null) this.move("right", 0);
    return this.chosen.key(event);
  }
  space(held2) {
    if (this.holding === held2) return;
    this.holding = held2;
    this.screen.field.style.cursor = this.tool.cursor(this.cursor);
  }
  // ---- what is drawn of the cursor
  slice(axis, cell) {
    const at = this.state.crossed.map((each) => Math.floor(each) + 0.5);
    at[axis] = cell + 0.5;
    this.state.cross(at);
    const spot = this.cursor;
    if (this.pointed && spot && spot.pane.planes.length > 1 && across(spot.plane) === axis) {
      const inside = [...spot.cell];
      inside[axis] = this.state.cellOn(spot.pane, this.state.crossed)[axis];
      this.pointed = { ...this.pointed, cell: inside };
    }
    this.read();
    this.screen.changed();
  }
  pointedIn(pane) {
    const spot = this.cursor;
    if (spot === null || pane.picture.size.length !== spot.cell.length) return { patch: null, cross: null };
    const cell = convert(spot.cell, spot.pane.picture, pane.picture);
    const seen = this.state.look.patch && this.chosen !== this.tools.paint && isWithin(pane, cell);
    return {
      patch: seen ? this.state.patchAt(pane, cell) : null,
      cross: pane.slot === spot.pane.slot ? null : cell
    };
  }
  /** Tells what the cursor is on, if that is another thing than before. */
  read() {
    const spot = this.cursor;
    const reading2 = spot && this.state.readingIn(spot.pane, spot.cell);
    const text = JSON.stringify(reading2);
    if (text === JSON.stringify(this.reading)) return;
    this.reading = reading2;
    if (reading2) this.element.dataset.reading = text;
    else delete this.element.dataset.reading;
    this.screen.point();
    this.events.onHover(reading2);
  }
  spokenAt(pane, cell, position) {
    const said = this.screen.panes.flatMap((each) => {
      if (each.slot !== pane.slot && !this.state.related(each)) return [];
      const there = this.state.readingIn(each, convert(cell, pane.picture, each.picture));
      if (there === null || each.map === null) return [];
      const text = spoken(there, each.map);
      return [each.slot === pane.slot ? text : `${each.slot.toUpperCase()}: ${text}`];
    });
    return said.length > 0 ? said.join("; ") : placeOf(pane.picture.axes, position);
  }
  // ---- places
  paneOf(slot) {
    return this.screen.panes.find((pane) => pane.slot === slot) ?? null;
  }
  /** A plane as it is laid out by now. */
  current(pane, plane) {
    const planes = this.paneOf(pane.slot)?.planes;
    return planes?.find((each) => each.down === plane.down && each.right === plane.right) ?? plane;
  }
  look(pane, centre, zoom) {
    this.state.lookAt(pane, centre, zoom);
    this.screen.changed();
    this.screen.lay();
  }
  spotOf(cursor) {
    const pane = cursor && this.paneOf(cursor.slot);
    const plane = pane?.planes[cursor.plane];
    if (!cursor || !pane || !plane || cursor.cell.length !== pane.picture.size.length) return null;
    const { frame, down, right, rows: rows2, columns } = plane;
    const x = toPixel(columns, cursor.cell[right]);
    const y = down === null ? frame.y + frame.height / 2 : toPixel(rows2, cursor.cell[down]);
    return { pane, plane, cell: cursor.cell, x, y };
  }
  /** Where the first key finds the cursor: in the middle, or where the slices meet. */
  startingSpot() {
    const pane = this.screen.panes[0];
    if (pane === void 0) return null;
    const { size } = pane.picture;
    const cell = pane.planes.length > 1 ? this.state.cellOn(pane, this.state.crossed) : size.map((length) => length / 2);
    return this.spotOf({ slot: pane.slot, plane: 0, cell });
  }
};
function spotOn(pane, plane, x, y) {
  const cell = pane.at.map((at) => Math.floor(at) + 0.5);
  cell[plane.right] = toCell(plane.columns, x);
  if (plane.down !== null) cell[plane.down] = toCell(plane.rows, y);
  return { pane, plane, cell, x, y };
}

// src/theme.ts
function ofNotebook(root, body) {
  const jupyter = body.dataset.jpThemeLight;
  if (jupyter !== void 0) return jupyter === "false" ? "dark" : "light";
  const kind = body.dataset.vscodeThemeKind ?? body.className;
  if (/vscode-(dark|high-contrast(?!-light))/.test(kind)) return "dark";
  if (/vscode-(light|high-contrast-light)/.test(kind)) return "light";
  const marimo = root.closest(".dark, .light") ?? body.closest(".dark, .light");
  if (marimo !== null) return marimo.classList.contains("dark") ? "dark" : "light";
  return null;
}
function follow2(element) {
  let wished = "auto";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const own2 = ofNotebook(element, document.body) ?? (system.matches ? "dark" : "light");
    element.dataset.theme = wished === "auto" ? own2 : wished;
  };
  const observer = new MutationObserver(apply);
  for (const each of [document.documentElement, document.body]) {
    observer.observe(each, { attributeFilter: ["class", "data-jp-theme-light", "data-vscode-theme-kind"] });
  }
  system.addEventListener("change", apply);
  apply();
  return {
    wish(wish) {
      wished = wish;
      apply();
    },
    end() {
      observer.disconnect();
      system.removeEventListener("change", apply);
    }
  };
}

// src/shell.ts
var BELOW2 = [probe, plan, compare, history];
var THEMES = [
  { wish: "auto", name: "Colours as around it", symbol: "auto" },
  { wish: "light", name: "Light colours", symbol: "light" },
  { wish: "dark", name: "Dark colours", symbol: "dark" }
];
function shell(model2, el) {
  const session = new Session(model2);
  const { store } = session;
  const spoken2 = h("p", { class: "kdb-unseen", role: "status", "data-testid": "spoken" });
  const stage = createStage(
    {
      onBox: (box2) => session.change({ control: "box", value: box2 }, { atOnce: true }),
      onMask: (mask) => {
        if (mask === null) return session.change({ control: "mask", value: null });
        session.change({ control: "mask", value: "painted" }, { atOnce: true, buffers: [mask.slice().buffer] });
      },
      onProbe: (slot, position) => session.probe(slot, position),
      onHover: (reading2) => store.set({ reading: reading2 }),
      onSay: (text) => say(spoken2, text)
    },
    store.state.look
  );
  session.stage = stage;
  stage.setTool(store.state.tool);
  const root = h("div", { class: "kdb", "data-testid": "kdb" });
  keepKeys(root);
  const theme = follow2(root);
  const stageArea = h(
    "div",
    { class: "kdb-stage-area" },
    h("div", { class: "kdb-bar kdb-looks" }, comparing(session), colours(session)),
    h("div", { class: "kdb-stage-holder" }, stage.element, start(session))
  );
  const body = h(
    "div",
    { class: "kdb-body" },
    h(
      "section",
      { class: "kdb-main", "aria-label": "Heat map" },
      toolbar(session),
      stageArea,
      h("div", { class: "kdb-under" }, behind(session), reading(session))
    ),
    editor(session),
    h("div", { class: "kdb-found" }, progress(session), result(session)),
    controls(session),
    h("div", { class: "kdb-below" }, gallery(session), ...BELOW2.map((panel) => panel(session)))
  );
  const said = h("div", { class: "kdb-said-stack" }, connection(session), message(session));
  const measured2 = new ResizeObserver(() => root.style.setProperty("--kdb-said", `${said.offsetHeight}px`));
  measured2.observe(said);
  root.append(
    h("div", { class: "kdb-said" }, said),
    header(theme.wish),
    locked(session),
    body,
    browse(session),
    spoken2,
    announced(session),
    takesDrops(root, session)
  );
  const ended = new AbortController();
  const pressed = (event) => {
    const runs = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    const stops = event.key === "Escape" && !event.defaultPrevented && !event.target.closest("dialog");
    if (!runs && !stops) return;
    if (stops && (stage.cancel() || store.state.run.state !== "running")) return;
    event.preventDefault();
    event.stopPropagation();
    if (runs) session.run();
    else session.stop();
  };
  root.addEventListener("keydown", pressed);
  if (session.place !== null) document.body.addEventListener("keydown", pressed, { signal: ended.signal });
  store.watch(["connection", "welcome"], (state) => show(body, state.welcome !== null || /^open/.test(state.connection)));
  store.watch(["run", "a", "connection", "settled", "comparing"], ({ run, a, connection: connection2, settled, comparing: comparing2 }) => {
    set(root, "data-state", run.state);
    set(root, "data-maps", run.maps);
    set(root, "data-done", run.done);
    set(root, "data-total", run.total);
    set(root, "data-map", a?.content.map ?? null);
    set(root, "data-exact", a === null ? null : String(a.content.exact));
    set(root, "data-complete", a === null ? null : String(a.content.complete));
    set(root, "data-connection", connection2);
    set(root, "data-settled", String(settled));
    set(root, "data-comparing", comparing2);
  });
  el.append(root);
  return () => {
    session.close(model2);
    measured2.disconnect();
    ended.abort();
    theme.end();
    stage.destroy();
    root.remove();
  };
}
function keepKeys(root) {
  root.addEventListener("focusin", ({ target }) => set(target, "data-lm-suppress-shortcuts", "true"));
  root.addEventListener("keydown", (event) => {
    const isCommand = (event.ctrlKey || event.metaKey) && event.key !== "Enter";
    if (!isCommand) event.stopPropagation();
  });
}
function header(wish) {
  let at = 0;
  const toggle = h("button", { type: "button", class: "kdb-button kdb-quiet kdb-only-icon", "data-testid": "theme" });
  const shown = () => {
    const { name, symbol } = THEMES[at];
    toggle.replaceChildren(icon(symbol));
    set(toggle, "aria-label", name);
    set(toggle, "title", name);
  };
  toggle.addEventListener("click", () => {
    at = (at + 1) % THEMES.length;
    wish(THEMES[at].wish);
    shown();
  });
  shown();
  return h(
    "div",
    { class: "kdb-header" },
    h("h2", { class: "kdb-title" }, "kdb"),
    h("p", { class: "kdb-note" }, "Hides one small part of an image after another, and shows what the network looks at."),
    h("span", { class: "kdb-gap" }),
    toggle
  );
}

// src/index.ts
function render({ model: model2, el }) {
  return shell(model2, el);
}
var src_default = { render };
export {
  src_default as default
};

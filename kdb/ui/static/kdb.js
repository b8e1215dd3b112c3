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
var counted = 0;
var unique = (name) => `kdb-${name}-${++counted}`;
function options(select, wanted) {
  const now = [...select.options];
  if (now.length === wanted.length && wanted.every(({ value: value2, text }, at) => now[at].value === value2 && now[at].text === text)) {
    return;
  }
  const value = select.value;
  select.replaceChildren(...wanted.map((each) => h("option", { value: each.value }, each.text)));
  select.value = value;
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
function field(label, control, ...more) {
  control.id ||= unique("field");
  return h("div", { class: "kdb-field" }, h("label", { for: control.id, class: "kdb-label" }, label), control, ...more);
}
function choice(label, control, title) {
  return h("label", { class: "kdb-choice", title }, control, h("span", {}, label));
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
function scrolled(label, table2) {
  return h("div", { class: "kdb-scroll", role: "region", "aria-label": label, tabindex: 0 }, table2);
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
            if (kind === "run") return session.openRun(join(name));
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

// src/parts/combobox.ts
var MOST = 120;
function combobox(given) {
  const list = h("ul", { class: "kdb-options", role: "listbox", id: unique("list"), "aria-label": given.label, hidden: true });
  const more = h("p", { class: "kdb-options-more", hidden: true });
  const popup = h("div", { class: "kdb-popup", hidden: true }, list, more);
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
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const all = given.choices().filter(({ text, hint }) => {
      const searched = `${text} ${hint ?? ""}`.toLowerCase();
      return words.every((word) => searched.includes(word));
    });
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
    given.chosen(value);
  }
  function enter() {
    const text = input.value.trim();
    close();
    if (text === shown || text === "") {
      input.value = shown;
    } else if (given.free) {
      shown = text;
      given.chosen(text);
    } else {
      const meant = given.choices().find((each) => each.text.toLowerCase() === text.toLowerCase());
      input.value = shown = meant?.text ?? shown;
      if (meant !== void 0) given.chosen(meant.value);
    }
  }
  input.addEventListener("input", () => open(input.value));
  input.addEventListener("mousedown", () => isOpen() || open(""));
  input.addEventListener("focus", () => input.select());
  input.addEventListener("blur", enter);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen()) return open("");
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (found.length > 0) activate((Math.max(active, step > 0 ? -1 : 0) + step + found.length) % found.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (isOpen() && active >= 0) choose(active);
      else enter();
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
    element: h("div", { class: "kdb-combobox" }, input, opener, popup),
    input,
    set(text) {
      shown = text;
      if (!input.matches(":focus")) fill(input, text);
    }
  };
}

// src/controls/classes.ts
var KINDS = [
  { value: "predicted", text: "The predicted class" },
  { value: "class", text: "One class" },
  { value: "top", text: "The top classes" },
  { value: "several", text: "Several classes" },
  { value: "all", text: "All classes" },
  { value: "detection", text: "A detection" }
];
function labelled(labels) {
  const seen = /* @__PURE__ */ new Map();
  for (const label of labels) seen.set(label, (seen.get(label) ?? 0) + 1);
  return labels.map((label, index) => ({
    value: seen.get(label) === 1 && label !== "" ? label : String(index),
    text: label === "" ? String(index) : label,
    hint: String(index)
  }));
}
var classes = (session) => {
  const kind = h("select", { class: "kdb-input", "aria-label": "Which classes", "data-testid": "class" });
  options(kind, KINDS);
  const count2 = h("input", { type: "number", class: "kdb-input", min: 1, step: 1, "data-testid": "class-number" });
  const several = h("input", {
    type: "text",
    class: "kdb-input",
    spellcheck: "false",
    "aria-label": "Classes, with commas between them",
    "data-testid": "class-several"
  });
  let choices = [];
  const box = combobox({
    label: "Labels",
    testid: "class-label",
    free: true,
    placeholder: "A label or a number",
    choices: () => choices,
    // A number that was typed is that of a class, in the text too.
    chosen: (value) => session.change({ control: "classes", value: { kind: "class", value: /^\d+$/.test(value) ? Number(value) : value } })
  });
  set(box.input, "aria-label", "Label or number of the class");
  const change = (value) => session.change({ control: "classes", value });
  const parts = {
    class: box.element,
    top: count2,
    detection: count2,
    several
  };
  const reveal = () => {
    const part = parts[kind.value];
    for (const each of new Set(Object.values(parts))) show(each, each === part);
    set(count2, "aria-label", kind.value === "top" ? "How many classes" : "Which detection, from 1");
  };
  kind.addEventListener("change", () => {
    reveal();
    const chosen = kind.value;
    const { a } = session.store.state;
    const known = a?.content.classes ?? [];
    if (chosen === "predicted" || chosen === "all") change({ kind: chosen, value: null });
    else if (chosen === "top") change({ kind: "top", value: 5 });
    else if (chosen === "detection") change({ kind: "detection", value: 1 });
    else if (chosen === "class" && known.length > 0) change({ kind: "class", value: known[0].index });
    else if (chosen === "several" && known.length > 0) {
      change({ kind: "several", value: known.map(({ index }) => index).join(", ") });
    } else (chosen === "class" ? box.input : several).focus();
  });
  count2.addEventListener("change", () => {
    if (count2.checkValidity() && count2.value !== "") {
      change({ kind: kind.value, value: Number(count2.value) });
    }
  });
  several.addEventListener("change", () => change({ kind: "several", value: several.value }));
  session.store.watch(["form"], ({ form }) => {
    if (form === null) return;
    const { kind: shown, value } = form.classes;
    fill(kind, shown);
    if (shown === "top" || shown === "detection") fill(count2, String(value ?? 1));
    if (shown === "several") fill(several, String(value ?? ""));
    reveal();
  });
  session.store.watch(["form", "labels"], ({ form, labels }) => {
    choices = labelled(labels);
    if (form?.classes.kind !== "class") return;
    const { value } = form.classes;
    box.set(typeof value === "number" ? labels[value] ?? String(value) : value ?? "");
  });
  reveal();
  return group("Class", "classes", kind, box.element, count2, several);
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

// src/panels/compare.ts
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
    if (by.value === "model") return (welcome?.models ?? []).map(({ name: name2, from }) => ({ value: name2, text: name2, hint: from }));
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
    chosen: (value) => session.vary(changed(value))
  });
  set(other.input, "aria-label", "What to compare with");
  by.addEventListener("change", () => {
    other.set("");
    other.input.value = "";
    other.input.focus();
  });
  const text = (testid) => h("textarea", { class: "kdb-input kdb-code", rows: 3, spellcheck: "false", "data-testid": testid });
  const first = text("compare-a");
  const second = text("compare-b");
  first.addEventListener("input", () => session.type(first.value));
  second.addEventListener("input", () => session.setVariant(second.value));
  const error = h("p", { class: "kdb-refusal", role: "alert" });
  const run = button("Compare", () => session.compare(), { testid: "compare-run", symbol: "run" });
  const name = unique("comparing");
  const ways = ["side", "difference", "off"].map((way) => {
    const input = h("input", { type: "radio", name, value: way, "data-testid": `comparing-${way}` });
    input.addEventListener("change", () => session.compareBy(way));
    return { way, input, element: choice({ side: "Side by side", difference: "Difference, A − B", off: "A alone" }[way], input) };
  });
  const how = h("div", { class: "kdb-row", role: "radiogroup", "aria-label": "How to compare" }, ...ways.map(({ element }) => element));
  store.watch(["text"], (state) => fill(first, state.text));
  store.watch(["variant", "variantError"], ({ variant, variantError }) => {
    fill(second, variant);
    run.disabled = variant.trim() === "";
    say(error, variantError?.message ?? "");
    show(error, variantError !== null);
  });
  store.watch(["comparing", "b"], ({ comparing, b }) => {
    ways.forEach(({ way, input }) => input.checked = way === comparing);
    show(how, b !== null);
  });
  const body = h(
    "div",
    { class: "kdb-panel-body kdb-stack" },
    h("p", { class: "kdb-note" }, "Takes the query as A and makes B of it by one change; both run one after another."),
    h("div", { class: "kdb-row" }, field("Compare with", by), h("div", { class: "kdb-grow kdb-bottom" }, other.element)),
    h("div", { class: "kdb-pair" }, field("A, the query", first), field("B", second)),
    error,
    h("div", { class: "kdb-row" }, run, how)
  );
  return disclosure("Compare", "compare", body).element;
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
  const limit = h("input", { type: "number", class: "kdb-input kdb-small", min: 0.1, step: "any", value: 5, "aria-label": "Seconds", "data-testid": "effort-limit" });
  const time = h("div", { class: "kdb-inset kdb-row" }, limit, "seconds at most");
  const other = choice("As in the text", radios.other);
  radios.other.disabled = true;
  const similar = () => ({ kind: "ssim", ssim: Number(slider.value), guaranteed: guaranteed.checked });
  const timed = () => ({ kind: "seconds", seconds: Number(limit.value) });
  const change = (value, held = false) => session.change({ control: "effort", value }, { held });
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
  limit.addEventListener("change", () => limit.value !== "" && limit.checkValidity() && change(timed()));
  session.store.watch(["form"], ({ form }) => {
    if (form === null) return;
    const { effort: effort2 } = form;
    radios[effort2.kind].checked = true;
    show(other, effort2.kind === "other");
    if (effort2.kind === "ssim") {
      fill(slider, String(effort2.ssim));
      guaranteed.checked = effort2.guaranteed;
    }
    if (effort2.kind === "seconds") fill(limit, String(effort2.seconds));
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
  const sigma = h("input", { type: "number", class: "kdb-input", min: 0.1, max: 1e3, step: "any", "aria-label": "Sigma of the blur, in pixels", "data-testid": "fill-sigma" });
  const value = h("input", { type: "number", class: "kdb-input", step: "any", "aria-label": "Value of the fill", "data-testid": "fill-number" });
  const colour = h("input", { type: "color", class: "kdb-colour", "aria-label": "Colour of the fill", "data-testid": "fill-colour" });
  const change = (fill3) => session.change({ control: "fill", value: writeFill(fill3) });
  const reveal = () => {
    show(sigma, kind.value === "blur");
    show(value, kind.value === "number");
    show(colour, kind.value === "colour");
  };
  kind.addEventListener("change", () => {
    reveal();
    if (kind.value !== "other") change(BEGIN[kind.value] ?? { kind: "name", name: kind.value });
  });
  sigma.addEventListener("change", () => sigma.checkValidity() && change({ kind: "blur", sigma: Number(sigma.value) }));
  value.addEventListener("change", () => value.value !== "" && change({ kind: "number", value: Number(value.value) }));
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
    if (shown.kind === "blur") fill(sigma, String(shown.sigma));
    if (shown.kind === "number") fill(value, String(shown.value));
    if (shown.kind === "colour") fill(colour, shown.colour);
    reveal();
  });
  reveal();
  return group("Fill", "fill-group", h("div", { class: "kdb-row" }, kind, sigma, value, colour));
};

// src/controls/model.ts
var model = (session) => {
  const box = combobox({
    label: "Models",
    testid: "model",
    free: true,
    placeholder: "The name of a model",
    choices: () => (session.store.state.welcome?.models ?? []).map(({ name, from, input }) => ({
      value: name,
      text: name,
      hint: [from, input].filter(Boolean).join(", ")
    })),
    chosen: (value) => session.change({ control: "model", value })
  });
  session.store.watch(["form"], ({ form }) => box.set(form?.model ?? ""));
  return h("div", { class: "kdb-field" }, h("label", { for: box.input.id, class: "kdb-label" }, "Model"), box.element);
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
var count = (value) => grouped(String(Math.round(value)));
function magnitude(value) {
  const units = ["", " k", " M", " G", " T", " P"];
  let scaled = value;
  let unit = 0;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1e3;
    unit += 1;
  }
  return (scaled >= 100 || Number.isInteger(scaled) ? scaled.toFixed(0) : scaled.toPrecision(2)) + units[unit];
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
      return `A box from ${coordinates(region2.box.slice(0, half), axes)}, ${region2.box.slice(half).join(" × ")} cells.`;
    }
  }
}
var region = (session) => {
  const text = h("p", { class: "kdb-note", "data-testid": "region" });
  const whole2 = button("Whole image", () => {
    const kind = session.store.state.form?.region.kind;
    session.change(kind === "mask" ? { control: "mask", value: null } : { control: "box", value: null });
  }, { testid: "region-clear", quiet: true });
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
    const values = form === null ? null : of.values(form);
    if (linked && values !== null && values.some((each) => each !== values[0])) send(0, values[0], false);
    lay();
  }, { testid: `${of.control}-link`, symbol: "chain", quiet: true, only: true });
  function send(axis, value, held) {
    const { form } = session.store.state;
    if (form === null) return;
    const axes = form.axes?.length ?? of.values(form)?.length ?? 2;
    const shown = rows2.length === axes ? rows2.map(({ slider }) => Number(slider.value)) : [];
    const values = Array.from({ length: axes }, (_, each) => linked || each === axis ? value : shown[each] ?? value);
    session.change({ control: of.control, value: values }, { held });
  }
  function row(axis, name) {
    const suffix = name === "" ? "" : `-${name}`;
    const slider = h("input", { type: "range", class: "kdb-range", min: 1, step: 1, "data-testid": of.control + suffix });
    const number2 = h("input", { type: "number", class: "kdb-input kdb-small", min: 1, step: 1, "data-testid": `${of.control}-number${suffix}` });
    const said = name === "" ? of.noun : `${of.noun} along ${name}`;
    set(slider, "aria-label", said);
    set(number2, "aria-label", `${said}, as a number`);
    const made = {
      element: h("div", { class: "kdb-size" }, h("span", { class: "kdb-axis", "aria-hidden": "true" }, name), slider, number2),
      slider,
      number: number2,
      typing: false
    };
    slider.addEventListener("input", () => {
      fill(number2, slider.value);
      send(axis, Number(slider.value), true);
    });
    slider.addEventListener("change", () => send(axis, Number(slider.value), false));
    number2.addEventListener("input", () => made.typing = true);
    number2.addEventListener("change", () => {
      made.typing = false;
      if (number2.value === "" || !number2.checkValidity()) return lay();
      if (Number(number2.value) > Number(slider.max)) slider.max = number2.value;
      slider.value = number2.value;
      send(axis, Number(number2.value), false);
    });
    return made;
  }
  function lay() {
    const { form } = session.store.state;
    const values = form === null ? null : of.values(form);
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
    const letters = form.axes ?? "";
    if (rows2.length !== wanted || holder.dataset.axes !== letters) {
      rows2 = Array.from({ length: wanted }, (_, axis) => row(axis, linked ? "" : letters[axis] ?? String(axis + 1)));
      holder.dataset.axes = letters;
      holder.replaceChildren(...rows2.map(({ element }) => element));
    }
    rows2.forEach((each, axis) => {
      const all = linked ? values.map((_, at) => at) : [axis];
      const least = (limit) => Math.min(...all.map((at) => limit(form, at)));
      const value = values[axis];
      set(each.number, "max", least(of.most));
      set(each.slider, "max", Math.max(least(of.reach), value));
      fill(each.slider, String(value));
      if (!each.typing) fill(each.number, String(value));
    });
  }
  session.store.watch(["form", "settled"], lay);
  const legend = group(of.legend, of.control + "-group", holder, absent);
  legend.firstElementChild.append(link);
  return legend;
}
var extent = (form, axis) => form.size?.[axis] ?? 224;
var patch = (session) => sizes(session, {
  control: "patch",
  legend: "Patch",
  noun: "Size of the patch",
  values: (form) => form.patch,
  most: extent,
  reach: (form, axis) => Math.ceil(extent(form, axis) / 2),
  absent: (form) => form.patch === null ? "Segments, as the text has them, are hidden in place of a patch." : null
});
var stride = (session) => sizes(session, {
  control: "stride",
  legend: "Stride",
  noun: "Stride",
  values: (form) => form.stride.length === 0 ? null : form.stride,
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
  input.addEventListener("keydown", ({ key }) => key === "Escape" && fill(input, session.store.state.form?.source ?? ""));
  const file = h("input", { type: "file", class: "kdb-unseen", tabindex: -1, "aria-hidden": "true", "data-testid": "file" });
  file.addEventListener("change", () => {
    if (file.files?.[0]) void session.upload(file.files[0]);
    file.value = "";
  });
  const browse2 = button("Browse…", () => session.browse(session.store.state.folder?.folder ?? ""), {
    testid: "browse",
    symbol: "folder",
    quiet: true
  });
  const open = button("Open a file…", () => file.click(), { testid: "open", symbol: "image", quiet: true });
  const samples = h("div", { class: "kdb-chips", role: "group", "aria-label": "Sample images", "data-testid": "samples" });
  session.store.watch(["form"], ({ form }) => fill(input, form?.source ?? ""));
  session.store.watch(["welcome"], ({ welcome }) => {
    show(browse2, welcome !== null && welcome.root !== null);
    show(open, welcome !== null && welcome.root !== null);
    samples.replaceChildren(
      ...(welcome?.samples ?? []).map(
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
  session.store.watch(["form"], ({ form }) => {
    for (const chip of samples.children) chip.setAttribute("aria-pressed", String(chip.textContent === form?.source));
  });
  return h("div", { class: "kdb-stack" }, field("Image", input), samples, h("div", { class: "kdb-row" }, browse2, open, file));
};

// src/panels/controls.ts
var CONTROLS = [source, model, classes, score, over, patch, stride, fill2, region, effort, others];
var controls = (session) => {
  const heading = h("h3", { class: "kdb-heading" }, "Query");
  const inner = h(
    "div",
    { class: "kdb-controls-inner", tabindex: -1 },
    heading,
    ...CONTROLS.map((control) => control(session))
  );
  const element = h("section", { class: "kdb-controls", "aria-label": "Controls", "data-testid": "controls" }, inner);
  session.store.watch(["error", "form", "settled"], ({ error, settled }) => {
    set(inner, "data-behind", error !== null);
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
  const meant = tokens(text).filter(({ mark }) => mark !== "comment" && mark !== "space");
  while (meant.at(-1)?.text === ";") meant.pop();
  return meant[0]?.text.toLowerCase() === "occlude" && meant.every(({ mark, text: text2 }) => text2 !== ";" && !(mark === "keyword" && /^into$/i.test(text2)));
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
function corrected(text, line, column, suggestion) {
  const { from, to } = tokenAt(text, offset(text, line, column));
  return text.slice(0, from) + suggestion + text.slice(to);
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
  text.addEventListener("input", () => session.type(text.value));
  const apple = /Mac|iPhone|iPad/.test(navigator.platform);
  const run = button("Run", () => session.run(), { testid: "run", symbol: "run" });
  run.classList.add("kdb-primary");
  run.title = apple ? "⌘ Enter" : "Ctrl + Enter";
  set(run, "aria-keyshortcuts", apple ? "Meta+Enter" : "Control+Enter");
  const stop = button("Stop", () => session.stop(), { testid: "stop", symbol: "stop" });
  const onChange = h("input", { type: "checkbox", "data-testid": "run-on-change" });
  onChange.addEventListener("change", () => store.set({ runsOnChange: onChange.checked }));
  const copied = async (what, address) => {
    if (address !== null) session.say(await copy(address) ? `${what} is copied.` : "The clipboard is closed to this page.");
  };
  const copyText = button("Copy query", () => void copied("The query", store.state.text), { testid: "copy", symbol: "copy", quiet: true });
  const link = button("Copy link", () => void copied("A link to this query", session.permalink()), {
    testid: "permalink",
    symbol: "link",
    quiet: true
  });
  show(link, session.place !== null);
  store.watch(["text"], (state) => fill(text, state.text));
  store.watch(["text", "error", "errorText"], (state) => {
    const error = state.errorText === state.text ? state.error : null;
    layer.replaceChildren(...marked(state.text, error));
    set(text, "aria-invalid", error === null ? null : "true");
    explain(error);
  });
  store.watch(["run"], ({ run: { state } }) => show(stop, state === "running"));
  function explain(error) {
    show(message2, error !== null);
    message2.replaceChildren();
    if (error === null) return;
    const place = error.line !== null && error.column !== null ? `Line ${error.line}, column ${error.column}: ` : "";
    message2.append(h("p", { role: "alert" }, h("span", { class: "kdb-place" }, place), error.message));
    const { suggestion, expected } = error;
    if (suggestion !== null && error.line !== null && error.column !== null) {
      const apply = button(`Use ${suggestion}`, () => (session.correct(), text.focus()), { testid: "suggestion", symbol: "run" });
      message2.append(h("p", { class: "kdb-row" }, "Did you mean ", apply));
    } else if (suggestion !== null) {
      message2.append(h("p", {}, `Did you mean ${suggestion}?`));
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
    h("div", { class: "kdb-row kdb-actions" }, run, stop, choice("Run as I change", onChange, "Runs when a control is released. Boxes and masks that are drawn run in any case."), h("span", { class: "kdb-gap" }), copyText, link)
  );
};

// src/arrays.ts
function unpack(packed, buffers) {
  const buffer = buffers[packed.buffer];
  if (buffer === void 0) throw new RangeError(`a message has no buffer ${packed.buffer}`);
  const length = packed.shape.reduce((product, extent2) => product * extent2, 1);
  switch (packed.dtype) {
    case "uint8":
      return new Uint8Array(buffer, 0, length);
    case "int32":
      return new Int32Array(buffer, 0, length);
    case "float32":
      return new Float32Array(buffer, 0, length);
  }
}

// src/parts/paint.ts
function paint(canvas, packed, buffers, at = []) {
  const values = unpack(packed, buffers);
  const { shape } = packed;
  if (values instanceof Float32Array) return traces(canvas, values, shape[0], shape[1] ?? 1);
  const colours = shape.length === 3 && shape[2] === 3 && at.length !== 3 ? 3 : 1;
  const [height, width] = colours === 3 ? shape : shape.slice(-2);
  const slice = shape.length === 3 && colours === 1 ? Math.min(Math.max(at[0] ?? 0, 0), shape[0] - 1) : 0;
  const begin = slice * height * width;
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * pixel + channel] = values[colours === 3 ? 3 * pixel + channel : begin + pixel];
    }
    image.data[4 * pixel + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}
var WIDE = 480;
var HIGH = 48;
function traces(canvas, values, length, channels) {
  const most = Math.min(channels, 12);
  canvas.width = WIDE;
  canvas.height = HIGH * most;
  const context = canvas.getContext("2d");
  context.strokeStyle = getComputedStyle(canvas).color;
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
        disabled: given.thumbnail === null,
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
  const label = h("select", { class: "kdb-input", "data-testid": "gallery-label" });
  const chosen = () => label.value === ALL ? null : label.value;
  const list = h("ul", { class: "kdb-cards" });
  const more = button("More", () => session.moreOfRun(chosen()), { testid: "gallery-more" });
  const filter = field("Label", label);
  filter.classList.add("kdb-beside");
  const element = h(
    "section",
    { class: "kdb-panel kdb-gallery", "aria-label": "Run", "data-testid": "gallery" },
    h("div", { class: "kdb-row kdb-summary" }, title, h("span", { class: "kdb-gap" }), close),
    h("div", { class: "kdb-panel-body kdb-stack" }, h("div", { class: "kdb-row" }, query, use), h("div", { class: "kdb-row" }, stands, filter), list, more)
  );
  label.addEventListener("change", () => {
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
    const kept = label.value;
    options(label, [{ value: ALL, text: "All labels" }, ...last.labels.map((value) => ({ value, text: value }))]);
    fill(label, kept);
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
      set(each, "aria-current", each.dataset.map === String(a?.content.map) ? "true" : null);
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
  session.store.watch(["connection"], ({ connection: connection2 }) => {
    show(element, connection2 === "lost" || connection2 === "gone");
    say(
      text,
      connection2 === "lost" ? "The connection to kdb is lost. It is tried again by itself; what is on this page stays." : connection2 === "gone" ? "kdb does not answer any more. If it was ended, start kdb ui again and open the address that it prints; what is on this page stays." : ""
    );
    set(element, "data-connection", connection2);
  });
  return element;
};

// src/panels/plan.ts
function bars({ expected_seconds: planned, naive_seconds: naive }) {
  const longest = Math.max(planned, naive, Number.MIN_VALUE);
  const bar = (name, value, kind) => {
    const full = h("div", { class: `kdb-bar-full kdb-bar-${kind}` });
    full.style.width = `${100 * value / longest}%`;
    return h("div", { class: "kdb-bar-row" }, h("span", {}, name), h("div", { class: "kdb-bar-track" }, full), h("span", { class: "kdb-bar-value" }, seconds(value)));
  };
  return h("div", { class: "kdb-bar-chart", "data-testid": "plan-bars" }, bar("kdb", planned, "planned"), bar("Full inference", naive, "naive"));
}
function planInWords(plan2) {
  const ratio = plan2.naive_seconds / plan2.expected_seconds;
  const faster = ratio >= 1.05 ? `${times(ratio)} as fast as full inference` : ratio > 1 / 1.05 ? "As fast as full inference" : `${times(1 / ratio)} the time of full inference`;
  const share = plan2.naive_macs > 0 ? ` (${(100 * plan2.planned_macs / plan2.naive_macs).toFixed(0)} %)` : "";
  return `${faster}, as expected: ${count(plan2.positions)} positions, ${magnitude(plan2.planned_macs)} of ${magnitude(plan2.naive_macs)} multiply-adds${share}.`;
}
function rules({ rules: rules2 }) {
  const one = ({ name, fired: fired2, reason, approximate, summary }) => h(
    "li",
    { "data-fired": String(fired2) },
    h(
      "details",
      { class: "kdb-rule" },
      h(
        "summary",
        { title: summary },
        h("code", {}, name),
        approximate ? h("span", { class: "kdb-tag" }, "approximate") : null,
        h("span", { class: "kdb-note" }, ` ${reason}`)
      ),
      h("p", {}, summary)
    )
  );
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
    scrolled("Stages of the plan", table(["Stage", "Layers", "Multiply-adds", "Full inference", "Expected"], rows2, /* @__PURE__ */ new Set([1, 2, 3, 4])))
  );
}
function layers({ layers: layers2 }) {
  const made = h("details", { class: "kdb-fold", "data-testid": "plan-layers" }, h("summary", {}, `${count(layers2.length)} layers`));
  made.addEventListener("toggle", () => {
    if (!made.open || made.childElementCount > 1) return;
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
    const columns = ["Layer", "Operator", "Kernel", "Box", "Channels", "Multiply-adds", "Full", "Expected"];
    made.append(scrolled("Layers of the plan", table(columns, rows2, /* @__PURE__ */ new Set([4, 5, 6, 7]))));
  });
  return made;
}
var plan = (session) => {
  const empty = h("p", { class: "kdb-note" });
  const error = h("p", { class: "kdb-refusal" });
  const words = h("p", { "data-testid": "plan-words" });
  const content = h("div", { class: "kdb-stack" });
  const body = h("div", { class: "kdb-panel-body" }, empty, error, words, content);
  const { element, aside } = disclosure("Plan", "plan", body, (open) => session.openPlan(open));
  let laid = null;
  session.store.watch(["plan", "planError", "planWaits", "planOpen", "text"], ({ plan: plan2, planError, planWaits, planOpen, text }) => {
    set(element, "data-waits", String(planWaits));
    set(body, "data-behind", plan2 !== null && (planWaits || plan2.text !== text));
    say(aside, planWaits ? "planning…" : plan2 !== null && planOpen ? `${seconds(plan2.expected_seconds)} expected` : "");
    say(empty, planWaits ? "The first plan for a model takes as long as its trace." : "Write a query to see what kdb would do for it.");
    show(empty, plan2 === null && planError === null);
    say(error, planError?.message ?? "");
    show(error, planError !== null);
    if (plan2 === laid || plan2 === null) return;
    const open = content.querySelector("[data-testid=plan-layers]")?.open ?? false;
    laid = plan2;
    say(words, planInWords(plan2));
    content.replaceChildren(
      bars(plan2),
      h("ul", { class: "kdb-notes" }, ...plan2.notes.map((note) => h("li", {}, note))),
      rules(plan2),
      stages(plan2),
      layers(plan2)
    );
    content.querySelector("[data-testid=plan-layers]").open = open;
  });
  return element;
};

// src/panels/probe.ts
function checkInWords({ kdb, model: model2, difference, ratio }) {
  const both = `kdb says ${number(kdb, 6)}, the model itself ${number(model2, 6)}; they differ by ${number(Math.abs(difference), 2)}.`;
  if (ratio === null) return both;
  const share = `${number(100 * ratio, 2)} % of what Exact allows`;
  return ratio <= 1 ? `${both} That is ${share}: kdb is right here.` : `${both} That is ${share}: more than it may be.`;
}
var probe = (session) => {
  const empty = h("p", { class: "kdb-note" }, "Click a place of the map to see the image with the patch laid on it, and what the model makes of that.");
  const canvas = h("canvas", { class: "kdb-probe-image", role: "img" });
  const row = (name) => {
    const text = h("dd", {});
    return { element: h("div", {}, h("dt", {}, name), text), text };
  };
  const parts = { at: row("Position"), score: row("Score"), baseline: row("Unmodified"), change: row("Change"), took: row("Took") };
  const values = h("dl", { class: "kdb-values kdb-column" }, ...Object.values(parts).map(({ element: element2 }) => element2));
  const check = button("Check this position", () => session.check(), { testid: "check" });
  const verdict = h("p", { role: "status", "data-testid": "checked" });
  const content = h(
    "div",
    { class: "kdb-probe" },
    canvas,
    h("div", { class: "kdb-stack" }, values, check, h("p", { class: "kdb-note" }, "Runs the model itself on this image, by full inference."), verdict)
  );
  const { element, aside } = disclosure("Probe", "probe", h("div", { class: "kdb-panel-body" }, empty, content));
  session.store.watch(["probe", "probeWaits"], ({ probe: probe2, probeWaits, probeSlot, a, b }) => {
    set(element, "data-waits", String(probeWaits));
    say(aside, probeWaits ? "probing…" : "");
    show(empty, probe2 === null);
    show(content, probe2 !== null);
    if (probeWaits) element.open = true;
    if (probe2 === null) return;
    const { content: found, buffers } = probe2;
    const map = (probeSlot === "a" ? a : b)?.content;
    const middle = found.position.map((first, axis) => first + Math.floor((map?.patch[axis] ?? 0) / 2));
    paint(canvas, found.occluded, buffers, middle);
    const at = coordinates(found.position, map?.axes ?? null);
    set(canvas, "aria-label", `The image with the patch at ${at}`);
    say(parts.at.text, at);
    say(parts.score.text, number(found.score, 5));
    say(parts.baseline.text, number(found.baseline, 5));
    say(parts.change.text, signed(found.score - found.baseline));
    say(parts.took.text, milliseconds(found.milliseconds));
    set(element, "data-score", found.score);
  });
  session.store.watch(["checked", "checkWaits", "probe"], ({ checked, checkWaits }) => {
    check.disabled = checkWaits;
    say(verdict, checkWaits ? "The model runs…" : checked === null ? "" : `${checkInWords(checked)} It took ${milliseconds(checked.milliseconds)}.`);
    set(verdict, "data-right", checked?.ratio == null ? null : String(checked.ratio <= 1));
  });
  return element;
};

// src/panels/progress.ts
function stated({ run, a }) {
  const slot = run.both ? ` (${run.slot === "a" ? "first" : "second"} of two)` : "";
  switch (run.state) {
    case "idle":
      return "";
    case "running": {
      if (run.total === 0) return `Preparing${slot}`;
      const parts = [`${count(run.done)} of ${count(run.total)} positions${slot}`, `${seconds(run.seconds)} passed`];
      if (run.left !== null) parts.push(`about ${seconds(run.left)} left`);
      const ssim = a?.content.id === run.id ? a.content.ssim : null;
      if (ssim !== null) parts.push(`expected SSIM ${ssim.toFixed(2)}`);
      return parts.join(", ");
    }
    case "done":
      return `Done in ${seconds(run.seconds)}`;
    case "stopped":
      return `Stopped after ${seconds(run.seconds)}; the map is what was found until then`;
    case "failed":
      return "This did not work";
  }
}
var progress = (session) => {
  const bar = h("progress", { class: "kdb-progress", "aria-label": "Progress of the query" });
  const text = h("p", { class: "kdb-status", "data-testid": "status" });
  const stop = button("Stop", () => session.stop(), { testid: "stop-progress", symbol: "stop", quiet: true });
  const refusal = h("p", { class: "kdb-refusal", role: "alert", "data-testid": "refusal" });
  const element = h("div", { class: "kdb-running", "data-testid": "progress" }, bar, h("div", { class: "kdb-row" }, text, stop), refusal);
  session.store.watch(["run", "a"], (state) => {
    const { run } = state;
    const running = run.state === "running";
    show(element, run.state !== "idle");
    show(bar, running);
    show(stop, running);
    if (running && run.total > 0) {
      bar.max = run.total;
      bar.value = run.done;
    } else {
      set(bar, "value", null);
    }
    say(text, stated(state));
    say(refusal, run.refused?.message ?? "");
    show(refusal, run.refused !== null);
    set(element, "data-state", run.state);
  });
  return element;
};
var announced = (session) => {
  const element = h("p", { class: "kdb-unseen", role: "status", "data-testid": "announced" });
  let was = "";
  session.store.watch(["run"], (state) => {
    if (state.run.state === was) return;
    was = state.run.state;
    if (was !== "failed") say(element, was === "running" ? "Running" : stated(state));
  });
  return element;
};

// src/panels/reading.ts
var reading = (session) => {
  const value = (name) => {
    const text = h("dd", {});
    return { element: h("div", {}, h("dt", {}, name), text), text };
  };
  const parts = { score: value("Score"), change: value("Change"), error: value("Error"), how: value("Value"), at: value("At") };
  const hint = h("p", { class: "kdb-note" });
  const list = h("dl", { class: "kdb-values" }, ...Object.values(parts).map(({ element }) => element));
  session.store.watch(["reading", "a", "b"], ({ reading: reading2, a, b }) => {
    list.hidden = reading2 === null;
    hint.hidden = reading2 !== null;
    if (reading2 === null) {
      say(hint, a === null ? "" : "Point at the map to read it; click to try the patch there.");
      return;
    }
    const map = (reading2.slot === "a" ? a : b)?.content;
    say(parts.score.text, number(reading2.score, 4));
    say(parts.change.text, Number.isNaN(reading2.change) ? "unknown" : signed(reading2.change));
    say(parts.error.text, reading2.error === null || reading2.measured ? "none" : `± ${number(reading2.error, 2)}`);
    say(parts.how.text, Number.isNaN(reading2.score) ? "not computed" : reading2.measured ? "measured" : "estimated");
    say(parts.at.text, coordinates(reading2.position, map?.axes ?? null));
  });
  return h("div", { class: "kdb-reading", "data-testid": "reading" }, list, hint);
};

// src/panels/result.ts
function checkedInWords({ checked }) {
  if (checked === null) return null;
  const { positions, worst } = checked;
  if (!(worst <= 1)) return "The check failed: the model itself evaluated the whole map, so that its values are right.";
  const where = positions === 0 ? "on the unmodified image" : `at ${count(positions)} position${positions === 1 ? "" : "s"}`;
  return `Compared with the model itself ${where}: the largest difference is ${number(100 * worst, 2)} % of what Exact allows.`;
}
function qualityInWords({ exact, complete, ssim, done, total }) {
  const evaluated = done < total ? `${count(done)} of ${count(total)} positions evaluated` : `all ${count(total)} positions evaluated`;
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
  const quality = h("p", { "data-testid": `quality-${slot}` });
  const check = h("p", { class: "kdb-note", "data-testid": `map-check-${slot}` });
  const notes2 = h("ul", { class: "kdb-notes", "data-testid": `map-notes-${slot}` });
  const formats = h("div", { class: "kdb-row kdb-tight", role: "group", "aria-label": "Export the map" });
  const element = h(
    "div",
    { class: "kdb-result", "data-slot": slot, "data-testid": `result-${slot}` },
    h("p", {}, title, " ", caption),
    several,
    quality,
    check,
    notes2,
    h("div", { class: "kdb-row", "data-testid": slot === "a" ? "export" : "export-b" }, h("span", { class: "kdb-label" }, "Export"), formats)
  );
  which.addEventListener("change", () => session.showClass(slot, Number(which.value)));
  let formatsShown = "";
  session.store.watch(["a", "b", "comparing"], (state) => {
    const shown = state[slot];
    show(element, shown !== null);
    if (shown === null) return;
    const map = shown.content;
    const current = map.classes[shown.shown];
    const letter = state.b === null ? "" : slot === "a" ? "A: " : "B: ";
    say(title, `${letter}${current?.label ?? ""}`);
    say(caption, [`${map.score.replaceAll("_", " ")} ${number(current?.baseline ?? NaN, 4)} unmodified`, map.model].join(", "));
    show(several, map.classes.length > 1);
    options(which, map.classes.map(({ label, baseline }, at) => ({ value: String(at), text: `${label} (${number(baseline)})` })));
    fill(which, String(shown.shown));
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
        ...map.formats.map((format) => button(format, () => session.export(slot, format), { testid: `export-${format}`, quiet: true }))
      );
    }
    show(formats.parentElement, map.formats.length > 0 && map.last);
  });
  return element;
}
var result = (session) => h("section", { class: "kdb-results", "aria-label": "Result" }, slotPanel(session, "a"), slotPanel(session, "b"), rows(session), notes(session));
var rows = (session) => {
  const element = h("div", { "data-testid": "table" });
  session.store.watch(["table"], ({ table: given }) => {
    element.replaceChildren();
    if (given === null) return;
    const numeric = new Set(given.columns.keys());
    for (const row of given.rows) row.forEach((cell, at) => typeof cell !== "number" && cell !== null && numeric.delete(at));
    const cells = given.rows.map((row) => row.map((cell) => cell === null ? "" : String(cell)));
    if (given.columns.length > 0) element.append(scrolled("Table", table(given.columns, cells, numeric)));
    if (given.lines.length > 0) element.append(h("pre", { class: "kdb-lines" }, given.lines.join("\n")));
  });
  return element;
};
var notes = (session) => {
  const element = h("ul", { class: "kdb-notes", "data-testid": "notes" });
  session.store.watch(["notes"], ({ notes: notes2 }) => {
    element.replaceChildren(...notes2.map((note) => h("li", {}, note)));
    show(element, notes2.length > 0);
  });
  return element;
};

// src/panels/start.ts
var start = (session) => {
  const samples = h("div", { class: "kdb-chips kdb-center" });
  const drop = h("p", { class: "kdb-note" }, "or drop an image of yours anywhere here");
  const element = h(
    "div",
    { class: "kdb-start", "data-testid": "start" },
    h("p", {}, "Choose an image, then run the query below."),
    samples,
    drop
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
  session.store.watch(["a", "run", "form"], ({ a, run, form }) => show(element, a === null && run.state === "idle" && form?.picture == null));
  return element;
};

// src/panels/toolbar.ts
var TOOLS = [
  { tool: "probe", name: "Probe", symbol: "probe", help: "Click a place to see the score with the patch there" },
  { tool: "box", name: "Box", symbol: "box", help: "Draw a box: only the positions within it are explained" },
  { tool: "paint", name: "Paint", symbol: "paint", help: "Paint the part that is to be explained" },
  { tool: "pan", name: "Move", symbol: "pan", help: "Drag the picture" }
];
var PALETTES = [
  { palette: "safe", name: "Safe colours" },
  { palette: "effect", name: "Red and blue" },
  { palette: "krypton", name: "The paper's" }
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
  store.watch(["tool"], ({ tool }) => tools.forEach((each) => each.input.checked = each.tool === tool));
  store.watch(["look"], ({ look }) => {
    toggles.forEach(({ key, element }) => set(element, "aria-pressed", String(look[key])));
    palette.value = look.palette;
  });
  const zoom = (text, symbol, factor, testid) => button(text, () => session.zoom(factor), { testid, symbol, quiet: true, only: true });
  return h(
    "div",
    { class: "kdb-bars" },
    h(
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
    ),
    h(
      "div",
      { class: "kdb-bar" },
      palette,
      share("opacity", "Opacity", "Of the heat"),
      share("threshold", "Hide below", "Share of the scale below which heat is not drawn")
    )
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
  move(control, change, { held = false, runs = false } = {}) {
    this.#waiting.set(control, change);
    this.#runs ||= runs;
    this.#moving?.();
    this.#moving = held ? this.#clock.after(MOVING, () => this.#moved()) : null;
    if (!held) this.#next();
  }
  /** Takes an answer: `null` if it counts for nothing, else whether the query is to run. */
  answer({ id, text, understood }) {
    const flight = this.#flight;
    if (flight === null || id !== flight.id) return null;
    this.#flight = null;
    if (flight.typed !== this.#typed) return null;
    if (flight.change && text !== this.text) {
      this.text = text;
      this.#ports.written(text);
    }
    if (!understood) {
      this.#drop();
    } else if (this.#waiting.size > 0) {
      if (this.#moving === null) this.#next();
      return null;
    }
    const runs = this.#runs && understood;
    this.#runs = false;
    return { runs };
  }
  /** A request was refused: what waits behind it goes on. */
  refused(id) {
    if (this.#flight?.id !== id) return;
    this.#flight = null;
    this.#drop();
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
    this.#flight = { id: this.#ports.edit(this.text), typed: this.#typed, change: false };
  }
  #moved() {
    this.#moving = null;
    this.#next();
  }
  #next() {
    const first = this.#waiting.entries().next();
    const overtaken = this.#flight === null || !this.#flight.change || this.#flight.typed !== this.#typed;
    if (first.done || !overtaken) return;
    const [control, change] = first.value;
    this.#waiting.delete(control);
    this.#typing?.();
    this.#typing = null;
    this.#flight = { id: change(this.text), typed: this.#typed, change: true };
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

// src/state.ts
var IDLE = {
  id: null,
  state: "idle",
  both: false,
  slot: "a",
  text: "",
  done: 0,
  total: 0,
  seconds: 0,
  left: null,
  maps: 0,
  refused: null
};
var LOOK = {
  palette: "safe",
  opacity: 0.65,
  threshold: 0.05,
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
  notes: [],
  settled: true,
  labels: [],
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
var Session = class {
  store;
  place;
  #client;
  #mirror;
  #stage = null;
  #pictures = /* @__PURE__ */ new Map();
  #labels = /* @__PURE__ */ new Map();
  /** The key of the picture that the form was last of, and those that the stage knows. */
  #picture = null;
  #newest = /* @__PURE__ */ new Map();
  #variant = null;
  /** The id whose maps are drawn: of the run, or of what was recalled since. */
  #drawn = null;
  #planning = null;
  /** A permalink until its query runs, and after that until its map is there. */
  #linked;
  #arriving = null;
  constructor(model2) {
    this.place = model2.get("place") ?? null;
    this.#linked = this.place?.permalink ?? null;
    this.store = new Store(beginning(this.place?.connection ?? "open"));
    this.#client = new Client(model2);
    this.#mirror = new Mirror({
      edit: (text) => this.#client.send({ kind: "edit", text }),
      written: (text) => this.store.set({ text })
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
  type(text) {
    this.store.set({ text });
    this.#mirror.type(text);
    this.#settle();
  }
  replace(text) {
    this.store.set({ text });
    this.#mirror.replace(text);
    this.#settle();
  }
  correct() {
    const { error, errorText } = this.#state;
    if (error?.suggestion && error.line !== null && error.column !== null) {
      this.replace(corrected(errorText, error.line, error.column, error.suggestion));
    }
  }
  /** A control was moved; `held` while it still moves, `atOnce` to run in any case and not only as the user chose. */
  change(change, { held = false, atOnce = false, buffers = [] } = {}) {
    const runs = atOnce || this.#state.runsOnChange && !held;
    const send = (text) => this.#client.send({ kind: "change", text, ...change }, buffers);
    this.#mirror.move(change.control, send, { held, runs });
    this.#settle();
  }
  async upload(file) {
    const { welcome } = this.#state;
    if (welcome === null || welcome.root === null) {
      this.say("Images cannot be dropped here.", "warning");
    } else if (file.size > welcome.upload_limit) {
      this.say(`${file.name} is larger than the ${Math.floor(welcome.upload_limit / 2 ** 20)} MiB that are taken.`, "error");
    } else {
      const bytes = await file.arrayBuffer();
      const send = (text) => this.#client.send({ kind: "upload", text, name: file.name }, [bytes]);
      this.#mirror.move("upload", send, { runs: this.#state.runsOnChange });
      this.#settle();
    }
  }
  #settle() {
    this.store.set({ settled: this.#mirror.settled });
  }
  #formed(event) {
    if (event.id === this.#variant) {
      this.store.set({ variant: event.text, variantError: event.error });
      return;
    }
    const counts = this.#mirror.answer({ id: event.id, text: event.text, understood: event.form !== null });
    this.#settle();
    if (counts === null) return;
    const { form, error, notes: notes2 } = event;
    this.store.set({ error, errorText: event.text, notes: notes2, ...form === null ? {} : { form } });
    if (form !== null) {
      this.store.set({ labels: form.labels === null ? [] : this.#labels.get(form.labels) ?? [] });
      this.#showPicture();
      this.#stage?.showForm(form);
    }
    this.#plan();
    const linked = this.#linked;
    this.#linked = null;
    if (linked !== null && form !== null && error === null && runsByItself(linked.query)) {
      this.run();
      this.#arriving = linked;
    } else if (counts.runs && error === null) {
      this.run();
    }
  }
  /** Shows the picture of the form, if it is there and not yet shown; maps of another one go. */
  #showPicture() {
    const key = this.#state.form?.picture ?? null;
    const picture = key === null ? void 0 : this.#pictures.get(key);
    if (key === null || key === this.#picture || picture === void 0) return;
    this.#picture = key;
    for (const slot of ["a", "b"]) {
      if (this.#state[slot] !== null && this.#state[slot].content.picture !== key) this.#clear(slot);
    }
    this.#stage?.showPicture(picture.content, picture.buffers);
  }
  #clear(slot) {
    this.#stage?.clear(slot);
    this.store.set(slot === "a" ? { a: null } : { b: null });
    if (this.#state.probeSlot === slot) this.#forgetProbe();
  }
  // ---- running
  run() {
    const { text } = this.#state;
    if (text.trim() === "") {
      this.say("Write a query first, or begin with one of the samples.", "warning");
      return;
    }
    this.compareBy("off");
    if (this.#state.b !== null) this.#clear("b");
    this.#begin(this.#client.send({ kind: "run", text }), text, false);
  }
  compare() {
    const { text, variant, comparing } = this.#state;
    if (comparing === "off") this.compareBy("side");
    this.#begin(this.#client.send({ kind: "compare", texts: [text, variant] }), text, true);
  }
  #begin(id, text, both) {
    this.#drawn = id;
    this.#arriving = null;
    this.#forgetProbe();
    this.store.set({
      run: { ...IDLE, id, state: "running", text, both },
      table: null,
      message: null,
      permalinkSays: null
    });
  }
  stop() {
    if (this.#state.run.state === "running") this.#client.send({ kind: "stop" });
  }
  #ran(id, changes) {
    const { run } = this.#state;
    if (id === run.id && run.state === "running") this.store.set({ run: { ...run, ...changes } });
  }
  #mapped(map, buffers) {
    const { run } = this.#state;
    if (map.id === run.id) {
      this.#ran(map.id, { maps: run.maps + 1, slot: map.slot, done: map.done, total: map.total, seconds: map.seconds });
    }
    if (map.id !== null && map.id !== this.#drawn) return;
    const picture = this.#pictures.get(map.picture);
    if (picture !== void 0 && map.picture !== this.#picture) {
      this.#picture = map.picture;
      this.#stage?.showPicture(picture.content, picture.buffers);
    }
    const before = this.#state[map.slot];
    if (before !== null && before.content.map !== map.map && this.#state.probeSlot === map.slot) this.#forgetProbe();
    this.#stage?.showMap(map, buffers);
    const shown = { content: map, buffers, shown: map.shown };
    this.store.set(map.slot === "a" ? { a: shown } : { b: shown });
    if (this.#arriving !== null) {
      this.store.set({ permalinkSays: changedSince(this.#arriving, map.identity) });
      this.#arriving = null;
    }
  }
  showClass(slot, index) {
    const shown = this.#state[slot];
    if (shown !== null) this.#ask("layer", this.#client.send({ kind: "layer", map: shown.content.map, class: index }));
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
    if (!planOpen || error !== null || text.trim() === "" || plan2?.text === text) return;
    this.store.set({ planWaits: true });
    this.#planning = setTimeout(() => {
      this.#planning = null;
      this.#ask("plan", this.#client.send({ kind: "explain", text: this.#state.text }));
    }, PLANNING);
  }
  // ---- one position
  probe(slot, position) {
    const shown = this.#state[slot];
    if (shown === null) {
      this.say("Run the query first: then a click shows the score with the patch at that place.");
      return;
    }
    this.#stage?.mark(position);
    this.store.set({ probeWaits: true, probeSlot: slot, checked: null, checkWaits: false });
    this.#newest.delete("check");
    this.#ask("probe", this.#client.send({ kind: "probe", map: shown.content.map, position }));
  }
  check() {
    const { probe: probe2 } = this.#state;
    if (probe2 === null) return;
    const { map, position } = probe2.content;
    this.store.set({ checkWaits: true });
    this.#ask("check", this.#client.send({ kind: "check", map, position }));
  }
  #forgetProbe() {
    this.#newest.delete("probe");
    this.#newest.delete("check");
    this.#stage?.mark(null);
    this.store.set({ probe: null, probeWaits: false, checked: null, checkWaits: false });
  }
  // ---- comparing
  /** Makes the second query of the first by one change. */
  vary(change) {
    this.#variant = this.#client.send({ kind: "change", text: this.#state.text, ...change });
  }
  setVariant(variant) {
    this.#variant = null;
    this.store.set({ variant, variantError: null });
  }
  compareBy(comparing) {
    if (comparing === this.#state.comparing) return;
    this.store.set({ comparing });
    this.#stage?.setComparing(comparing);
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
  openRun(folder, label = null) {
    this.store.set({ browsing: false, gallery: [], galleryWaits: true });
    this.#ask("gallery", this.#client.send({ kind: "gallery", folder, offset: 0, label }));
  }
  moreOfRun(label) {
    const { gallery: gallery2 } = this.#state;
    const last = gallery2.at(-1);
    if (last === void 0 || this.#state.galleryWaits) return;
    const offset2 = last.content.offset + last.content.cards.length;
    this.store.set({ galleryWaits: true });
    this.#ask("gallery", this.#client.send({ kind: "gallery", folder: last.content.folder, offset: offset2, label }));
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
    if (shown !== null) this.#ask("file", this.#client.send({ kind: "export", map: shown.content.map, format }));
  }
  /** The address of the query and of the map that is shown of it; null where pages have none. */
  permalink() {
    const { text, a } = this.#state;
    const identity = a !== null && a.content.text === text ? a.content.identity : null;
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
      if (first) this.replace(this.#linked?.query ?? welcome.text);
      else this.#mirror.renew();
    });
    client.on("form", (event) => this.#formed(event));
    client.on("labels", ({ key, labels }) => {
      this.#labels.set(key, labels);
      if (this.#state.form?.labels === key) this.store.set({ labels });
    });
    client.on("picture", (picture, buffers) => {
      this.#pictures.set(picture.key, { content: picture, buffers });
      this.#showPicture();
    });
    client.on("started", ({ id, slot }) => this.#ran(id, { slot, done: 0, total: 0, seconds: 0, left: null }));
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
    client.on("refused", ({ id, error }) => this.#refused(id, error));
    client.on("plan", ({ id, kind: _, ...plan2 }) => {
      if (this.#answers("plan", id)) this.store.set({ plan: plan2, planError: null, planWaits: false });
    });
    client.on("probe", (probe2, buffers) => {
      if (this.#answers("probe", probe2.id)) this.store.set({ probe: { content: probe2, buffers }, probeWaits: false });
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
  #refused(id, error) {
    const { run } = this.#state;
    this.#mirror.refused(id);
    this.#settle();
    if (id === run.id) {
      this.#ran(id, { state: "failed", refused: error });
      if (error.line !== null && this.#state.text === run.text) this.store.set({ error, errorText: run.text });
      return;
    }
    if (id === this.#variant) {
      this.store.set({ variantError: error });
      return;
    }
    const purpose = [...this.#newest].find(([, newest]) => newest === id)?.[0];
    if (purpose === "plan") {
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
      this.#client.send({ kind: "hello" });
    } else if (before === "open") {
      const { run } = this.#state;
      const lost = { type: "", message: "The connection was lost while this ran.", line: null, column: null };
      if (run.state === "running") {
        this.store.set({ run: { ...run, state: "failed", left: null, refused: { ...lost, expected: [], suggestion: null } } });
      }
      this.#newest.clear();
      this.store.set({ planWaits: false, probeWaits: false, checkWaits: false, galleryWaits: false });
    }
  };
};
function download(name, blob) {
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 6e4);
}

// src/stage/stage.ts
var createStage = (events) => {
  const element = document.createElement("div");
  element.className = "kdb-stage";
  const canvas = document.createElement("canvas");
  canvas.style.cssText = "width:100%;height:100%;object-fit:contain";
  element.append(canvas);
  let map = null, size = [1, 1], pic = null;
  const at = (e) => {
    const r = canvas.getBoundingClientRect();
    return [Math.floor((e.clientY - r.top) / r.height * size[0]), Math.floor((e.clientX - r.left) / r.width * size[1])];
  };
  canvas.addEventListener("mousemove", (e) => events.onHover({ slot: "a", position: at(e), score: 0.4321, change: -0.2, error: null, measured: true }));
  canvas.addEventListener("mouseleave", () => events.onHover(null));
  canvas.addEventListener("click", (e) => events.onProbe("a", at(e)));
  const draw = () => {
    if (!pic) return;
    size = pic.p.size;
    canvas.height = size[0];
    canvas.width = size[1];
    const v = unpack(pic.p.image, pic.b);
    const im = new ImageData(size[1], size[0]);
    const heat = map ? unpack(map.m.heat, map.b) : null;
    for (let i = 0; i < size[0] * size[1]; i++) {
      for (let c = 0; c < 3; c++) im.data[4 * i + c] = v[3 * i + c];
      if (heat && !Number.isNaN(heat[i])) {
        const t = (heat[i] - map.m.neutral) / map.m.half;
        im.data[4 * i] = im.data[4 * i] * 0.5 + 127 - 120 * t;
        im.data[4 * i + 2] = im.data[4 * i + 2] * 0.5 + 127 + 120 * t;
      }
      im.data[4 * i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(im, 0, 0);
  };
  return {
    element,
    showPicture(p, b) {
      pic = { p, b };
      map = null;
      draw();
    },
    showMap(m, b) {
      map = { m, b };
      draw();
    },
    showLayer() {
    },
    clear() {
      map = null;
      draw();
    },
    showForm() {
    },
    setTool() {
    },
    setLook() {
    },
    setComparing() {
    },
    mark() {
    },
    zoom() {
    },
    destroy() {
    }
  };
};

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
function follow(element) {
  let wished = "auto";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const own = ofNotebook(element, document.body) ?? (system.matches ? "dark" : "light");
    element.dataset.theme = wished === "auto" ? own : wished;
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
var BELOW = [probe, plan, compare, history];
var THEMES = [
  { wish: "auto", name: "Colours as around it", symbol: "auto" },
  { wish: "light", name: "Light colours", symbol: "light" },
  { wish: "dark", name: "Dark colours", symbol: "dark" }
];
function shell(model2, el) {
  const session = new Session(model2);
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
      onHover: (reading2) => store.set({ reading: reading2 }),
      onSay: (text) => say(spoken, text)
    },
    store.state.look
  );
  session.stage = stage;
  stage.setTool(store.state.tool);
  const root = h("div", {
    class: "kdb",
    "data-testid": "kdb",
    // Jupyter's own shortcuts would take Ctrl+Enter and single letters away.
    "data-lm-suppress-shortcuts": "true"
  });
  const theme = follow(root);
  const stageHolder = h("div", { class: "kdb-stage-holder" }, stage.element, start(session));
  root.append(
    header(theme.wish),
    connection(session),
    message(session),
    h(
      "div",
      { class: "kdb-body" },
      h(
        "section",
        { class: "kdb-main", "aria-label": "Heat map" },
        toolbar(session),
        stageHolder,
        reading(session),
        progress(session),
        result(session)
      ),
      editor(session),
      controls(session),
      h("div", { class: "kdb-below" }, gallery(session), ...BELOW.map((panel) => panel(session)))
    ),
    browse(session),
    spoken,
    announced(session),
    takesDrops(root, session)
  );
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopPropagation();
    session.run();
  });
  store.watch(["run", "a", "connection", "settled", "comparing"], ({ run, a, connection: connection2, settled, comparing }) => {
    set(root, "data-state", run.state);
    set(root, "data-maps", run.maps);
    set(root, "data-done", run.done);
    set(root, "data-total", run.total);
    set(root, "data-map", a?.content.map ?? null);
    set(root, "data-exact", a === null ? null : String(a.content.exact));
    set(root, "data-complete", a === null ? null : String(a.content.complete));
    set(root, "data-connection", connection2);
    set(root, "data-settled", String(settled));
    set(root, "data-comparing", comparing);
  });
  el.append(root);
  return () => {
    session.close(model2);
    theme.end();
    stage.destroy();
    root.remove();
  };
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

import { fill, h, icon, say, set, show, unique } from "../dom";
import { searched } from "./search";

export interface Choice {
  value: string;
  text: string;
  hint?: string;
}

/** So many are laid out at once: lists of labels have thousands. */
const MOST = 120;

export interface Combobox {
  element: HTMLElement;
  input: HTMLInputElement;
  /** What the field shows while nobody types in it. */
  set(text: string): void;
  /** Says why what was entered is not taken, and shows again what was there; null takes that back. */
  refuse(reason: string | null): void;
}

/** The choice that a text means: one of that name; and while it is entered, the first that is offered if it begins so. */
export function meant(choices: readonly Choice[], text: string, entered: boolean): Choice | null {
  const sought = text.trim().toLowerCase();
  const same = (each: Choice): boolean => each.text.toLowerCase() === sought || each.value.toLowerCase() === sought;
  const exact = choices.find(({ text: name, value }) => name === text || value === text) ?? choices.find(same);
  if (exact !== undefined || !entered || sought === "") return exact ?? null;
  const first = searched(choices, text)[0];
  return first?.text.toLowerCase().startsWith(sought) ? first : null;
}

/**
 * A field with a list that is searched by what is typed.  `choices` is asked when the list opens; with `free` any other
 * text may be entered too, for which `refused` has no reason not to take it.
 */
export function combobox(given: {
  label: string;
  testid: string;
  free: boolean;
  placeholder?: string;
  choices(): readonly Choice[];
  /** Why a text is no name; null where it is one, and undefined where that is not known here. */
  refused?(text: string): string | null | undefined;
  chosen(value: string): void;
}): Combobox {
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
    "data-testid": given.testid,
  });
  const opener = h("button", { type: "button", class: "kdb-opener", tabindex: -1, "aria-hidden": "true" }, icon("down"));
  let shown = "";
  let active = -1;
  let found: Choice[] = [];

  const isOpen = (): boolean => !popup.hidden;

  function activate(at: number): void {
    if (active >= 0) set(list.children[active]!, "aria-selected", "false");
    active = at;
    const option = list.children[at];
    set(input, "aria-activedescendant", option?.id ?? null);
    if (option !== undefined) {
      set(option, "aria-selected", "true");
      option.scrollIntoView({ block: "nearest" });
    }
  }

  function open(search: string): void {
    const all = searched(given.choices(), search);
    found = all.slice(0, MOST);
    active = -1;
    list.replaceChildren(
      ...found.map(({ text, hint }, at) =>
        h(
          "li",
          {
            role: "option",
            id: `${list.id}-${at}`,
            class: "kdb-option",
            "aria-selected": "false",
            // The field keeps the focus, and the click still comes.
            on: { mousedown: (event) => event.preventDefault(), click: () => choose(at) },
          },
          h("span", {}, text),
          hint ? h("span", { class: "kdb-hint" }, hint) : null,
        ),
      ),
    );
    more.textContent =
      all.length > MOST ? `${all.length - MOST} more: type to narrow the list` : all.length === 0 ? "Nothing by that name" : "";
    show(more, more.textContent !== "");
    show(list, found.length > 0);
    popup.hidden = false;
    set(input, "aria-expanded", "true");
    set(input, "aria-activedescendant", null);
    const current = search === "" ? found.findIndex(({ text, value }) => text === shown || value === shown) : -1;
    if (current >= 0) activate(current);
  }

  function close(): void {
    popup.hidden = true;
    active = -1;
    set(input, "aria-expanded", "false");
    set(input, "aria-activedescendant", null);
  }

  function choose(at: number): void {
    const { text, value } = found[at]!;
    shown = text;
    input.value = text;
    close();
    refuse(null);
    given.chosen(value);
  }

  function refuse(reason: string | null): void {
    say(why, reason ?? "");
    show(why, reason !== null);
    set(input, "aria-invalid", reason === null ? null : "true");
    if (reason !== null) input.value = shown;
  }

  /** Takes what was typed; `entered` by the key, and not as the field was left. */
  function enter(entered: boolean): void {
    const text = input.value.trim();
    close();
    if (text === shown || text === "") {
      input.value = shown;
      return;
    }
    const reason = given.free ? given.refused?.(text) : `There is no '${text}'.`;
    // A name of its own is not taken for the beginning of another.
    const found = meant(given.choices(), text, entered && reason !== null);
    if (found !== null) {
      input.value = found.text;
      refuse(null);
      if (found.text === shown) return;
      shown = found.text;
      given.chosen(found.value);
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
    },
  };
}

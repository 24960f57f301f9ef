// A field to choose one of a list by typing: the combobox pattern of ARIA, with groups.

import { element } from "./dom.js";

let made = 0;

// options: [{value, label, group, words}]; chosen(value) is called when one is taken, and with null when it is cleared.
export function picker(label, options, chosen) {
  const id = `pick-${++made}`;
  const list = element("ul", { role: "listbox", id, "aria-label": label, hidden: true });
  const input = element("input", {
    type: "text", role: "combobox", "aria-label": label, "aria-expanded": "false", "aria-controls": id,
    "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: label,
  });
  let shown = [];
  let at = -1;
  let taken = null;

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function mark(to) {
    at = to;
    shown.forEach(({ item }, index) => item.setAttribute("aria-selected", String(index === at)));
    const marked = shown[at]?.item;
    if (!marked) return;
    input.setAttribute("aria-activedescendant", marked.id);
    marked.scrollIntoView({ block: "nearest" });
  }

  function take(option) {
    taken = option;
    input.value = option.label;
    close();
    chosen(option.value);
  }

  function open(all = false) {
    const wanted = all ? [] : input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const fitting = options.filter((option) => wanted.every((word) => option.words.includes(word)));
    const drawn = [];
    shown = [];
    let group = null;
    for (const option of fitting) {
      if (option.group && option.group !== group) {
        group = option.group;
        drawn.push(element("li", { class: "group", role: "presentation" }, group));
      }
      const item = element("li", { role: "option", id: `${id}-${shown.length}`, "aria-selected": "false" }, option.label);
      item.addEventListener("mousedown", (event) => {
        event.preventDefault();
        take(option);
      });
      shown.push({ option, item });
      drawn.push(item);
    }
    if (!fitting.length) drawn.push(element("li", { class: "group", role: "presentation" }, "Nothing of that name"));
    list.replaceChildren(...drawn);
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    // what begins so is likelier meant than what has it somewhere
    const begins = fitting.findIndex((option) => option.label.toLowerCase().startsWith(wanted.join(" ")));
    mark(wanted.length && fitting.length ? Math.max(0, begins) : -1);
  }

  input.addEventListener("focus", () => open(taken !== null));
  input.addEventListener("click", () => list.hidden && open(taken !== null));
  input.addEventListener("blur", close);
  input.addEventListener("input", () => {
    if (taken) chosen(null);
    taken = null;
    open();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) open(taken !== null);
      const step = event.key === "ArrowDown" ? 1 : -1;
      mark(Math.max(0, Math.min(shown.length - 1, at + step)));
    } else if (event.key === "Enter" && !list.hidden && shown[at]) {
      event.preventDefault();
      take(shown[at].option);
    } else if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      close();
    }
  });
  return { element: element("div", { class: "pick" }, input, list), input };
}

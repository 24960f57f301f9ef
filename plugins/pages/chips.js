// Several values in one field: each a chip with a button; Enter or a comma takes what is typed, Backspace the last one.

import { element } from "./dom.js";

let lists = 0;

// `options`: values to choose from, or a promise of them; `read(text)` gives the value, or undefined where it is none.
export function chips({ label, values, changed, options = [], type = "text", read = (text) => text, placeholder = "" }) {
  const list = element("datalist", { id: `choice${(lists += 1)}` });
  Promise.resolve(options).then(
    (known) => list.replaceChildren(...known.map((one) => element("option", { value: one }))),
    () => {},
  );
  const input = element("input", {
    type, list: list.id, "aria-label": label, placeholder: values.length ? "" : placeholder, autocomplete: "off", spellcheck: "false",
    ...(type === "number" ? { step: "any" } : {}),
  });
  const holder = element("div", { class: "chips" });

  const take = () => {
    const text = input.value.trim();
    if (!text) return;
    const value = read(text);
    if (value === undefined) return;
    input.value = "";
    if (!values.includes(value)) {
      values.push(value);
      changed();
    }
    draw();
  };
  const drop = (value) => {
    values.splice(values.indexOf(value), 1);
    changed();
    draw();
    input.focus();
  };

  function draw() {
    const held = document.activeElement === input;
    input.placeholder = values.length ? "" : placeholder;
    holder.replaceChildren(
      ...values.map((value) =>
        element("span", { class: "chip" }, String(value),
          element("button", { type: "button", "aria-label": `Remove ${value} from ${label}`, onclick: () => drop(value) }, "×")),
      ),
      input,
      list,
    );
    if (held) input.focus();
  }

  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || (event.key === "," && type === "text")) {
      event.preventDefault();
      take();
    } else if (event.key === "Backspace" && !input.value && values.length) drop(values[values.length - 1]);
  });
  input.addEventListener("change", take);
  // a choice from the list comes whole and not as a key
  input.addEventListener("input", (event) => {
    if (event.inputType === "insertReplacementText" || !("inputType" in event)) take();
  });
  draw();
  return holder;
}

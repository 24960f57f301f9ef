// The answer about a film: as the model says until somebody changes it. Keys: digits for the class, letters for a region.

import { element, region } from "./dom.js";
import { labelled } from "./film.js";
import { picker } from "./pick.js";

const GROUPS = { HEADNECK: "Head and neck", SPINE: "Spine", TRUNK: "Trunk", UPPERLIMB: "Upper limb", LOWERLIMB: "Lower limb" };
const CHESTS = ["adult_chest", "pediatric_chest"];

// known: {labels, regions}; begun: an answer that was given before and is taken up again; changed() after each change;
// hints: whether digits mean classes here.
export function saying(film, task, known, begun, changed, hints = true) {
  const sure = known.labels.includes(film.label);
  const model = { label: sure ? film.label : null, examined: task === "body_part" && sure ? film.examined : null, visible: task === "body_part" && sure ? [...(film.visible ?? [])] : [] };
  const said = begun ? { ...begun, visible: [...begun.visible] } : { ...model, visible: [...model.visible] };
  let own = Boolean(begun);
  const options = known.regions.map(({ key, name, group }) => ({ value: key, label: region(key), group: GROUPS[group] ?? group, words: `${name} ${key} ${region(key)}`.toLowerCase() }));
  options.sort((one, other) => Object.values(GROUPS).indexOf(one.group) - Object.values(GROUPS).indexOf(other.group));
  const labels = element("div", { class: "labels", role: "group", "aria-label": "Class" });
  const chips = element("div", { class: "regions" });
  const examined = picker("Region examined", options, (key) => key && examine(key));
  const also = picker("Also visible", options, (key) => key && see(key));
  const digit = (label) => (label === "unclear" ? "0" : String(known.labels.indexOf(label) + 1));

  function draw() {
    labels.replaceChildren(...known.labels.map((label) =>
      element("button", { type: "button", "aria-pressed": String(said.label === label), onclick: () => choose(label) }, labelled(label), hints ? element("kbd", {}, digit(label)) : null)));
    chips.replaceChildren(...said.visible.map((key) => element("button", { type: "button", title: `${region(key)} is not visible`, onclick: () => drop(key) }, region(key))));
    examined.input.value = said.examined ? region(said.examined) : "";
    also.input.value = "";
    changed(own);
  }
  function choose(label) {
    own = true;
    said.label = label;
    if (label === "unclear") Object.assign(said, { examined: null, visible: [] });
    draw();
  }
  function examine(key) {
    own = true;
    const implied = known.regions.find((one) => one.key === key).router5;
    if (!(CHESTS.includes(implied) && CHESTS.includes(said.label))) said.label = implied;
    if (!said.visible.includes(key)) said.visible = said.examined && said.examined !== key ? [key] : [...said.visible, key];
    said.examined = key;
    draw();
    done();
  }
  function see(key) {
    own = true;
    if (said.label === "unclear") said.label = null;
    if (!said.visible.includes(key)) said.visible.push(key);
    draw();
    done();
  }
  function drop(key) {
    own = true;
    said.visible = said.visible.filter((one) => one !== key);
    if (said.examined === key) said.examined = null;
    draw();
  }
  // Back from the field to the film, where keys mean answers.
  function done() {
    document.activeElement?.blur();
  }
  for (const field of [examined, also]) {
    field.input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        draw();
        done();
      }
    });
    field.input.addEventListener("blur", () => draw());
  }

  const form = element("div", { class: "answer" }, labels,
    task === "body_part" ? [
      element("label", { class: "field" }, element("span", {}, "Region"), examined.element),
      element("div", { class: "field" }, element("span", {}, "Visible"), element("div", {}, chips, also.element)),
    ] : null);
  draw();
  return {
    element: form,
    isOwn: () => own,
    answer: () => ({ label: said.label, examined: said.examined, visible: [...said.visible] }),
    take: (answer) => {
      own = true;
      Object.assign(said, { label: answer.label, examined: answer.examined, visible: [...answer.visible] });
      draw();
    },
    reset: () => {
      own = false;
      Object.assign(said, { ...model, visible: [...model.visible] });
      draw();
    },
    // A key that was pressed beside all fields; whether it meant something here.
    key: (pressed) => {
      const label = pressed === "0" ? "unclear" : known.labels[Number(pressed) - 1];
      if (/^[0-9]$/.test(pressed) && label && known.labels.includes(label)) {
        choose(label);
        return true;
      }
      const field = pressed === "+" ? also : /^[a-z]$/i.test(pressed) ? examined : null;
      if (task !== "body_part" || !field) return false;
      field.input.focus();
      field.input.value = pressed === "+" ? "" : pressed;
      field.input.dispatchEvent(new Event("input"));
      return true;
    },
  };
}

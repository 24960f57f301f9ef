// The filter as rows: conditions with a field, an operator and values, in groups. Draws one tree; tells of each change.

import { chips } from "./chips.js";
import { ask, element } from "./dom.js";
import { bodyPart, condition, group, isComplete, nodesOf, prediction, quality } from "./filter.js";

const HOW = {
  all: "all of these hold", any: "any of these holds", none: "none of these holds",
  study_has: "its study has an instance where", series_has: "its series has an instance where",
  patient_has: "its patient has an instance where",
};
const OPERATOR = {
  is: "is", contains: "contains", starts_with: "starts with", word: "has the word", like: "looks like", all_of: "contains all of",
  min: "at least", max: "at most", above: "above", below: "below", from: "from", to: "until", year: "in the year",
  last_days: "in the last … days", missing: "is missing",
};
const HIDDEN = ["one_of", "between", "present"]; // other ways of saying the same
const SINGLE = ["min", "max", "above", "below", "from", "to", "last_days"];
const NUMBERS = ["year", "last_days"];
const SPECIAL = {
  body_part: { words: "body part, by header or by what the model sees", make: () => bodyPart() },
  quality: { words: "whether quality rules hold it", make: () => quality() },
  prediction: { words: "what a model said", make: () => prediction() },
};

export function builder(where, language, changed) {
  const fields = new Map(language.fields.map((field) => [field.name, field]));
  const known = new Map(); // field -> promise of values that occur
  let top = group();

  where.append(
    element("datalist", { id: "fields" },
      [...Object.entries(SPECIAL).map(([name, one]) => [name, one.words]), ...language.fields.map((field) => [field.name, field.words])]
        .map(([name, words]) => element("option", { value: name, label: `${name.replaceAll("_", " ")}: ${words}` }))),
  );
  const tree = element("div", { class: "tree" });
  where.append(tree);

  const occurring = (name) => {
    if (!fields.get(name)?.has_values) return [];
    if (!known.has(name)) known.set(name, ask(`cohorts/values/${name}`));
    return known.get(name);
  };

  function redraw(focus) {
    tree.replaceChildren(drawGroup(top, null));
    if (focus) tree.querySelector(`[data-key="${focus}"]`)?.focus();
  }
  const restructured = (focus) => {
    redraw(focus);
    changed();
  };

  const remove = (part, parent) => {
    const at = parent.parts.indexOf(part);
    parent.parts.splice(at, 1);
    const next = parent.parts[at] ?? parent.parts[at - 1];
    restructured(next ? `remove ${next.id}` : `add ${parent.id}`);
  };
  const removal = (part, parent) =>
    element("button", { type: "button", class: "remove", "data-key": `remove ${part.id}`, title: "Remove", "aria-label": `Remove ${nameOf(part)}`, onclick: () => remove(part, parent) }, "×");
  const nameOf = (part) => (part.kind === "group" ? "this group" : part.kind === "field" ? part.name || "this condition" : part.kind.replace("_", " "));

  function choice(label, options, value, picked, key) {
    const made = element("select", { "aria-label": label, "data-key": key },
      Object.entries(options).map(([name, words]) => element("option", { value: name, selected: name === value }, words)));
    made.addEventListener("change", () => picked(made.value));
    return made;
  }

  function drawGroup(part, parent) {
    const counts = Object.entries(part.extra).map(([name, asked]) => `${name.replace("_", " ")} ${JSON.stringify(asked).replaceAll(/["{}]/g, "").replaceAll(":", " ")}`);
    const add = (made, focus) => {
      part.parts.push(made);
      restructured(focus(made));
    };
    const allowed = parent ? HOW : { all: HOW.all, any: HOW.any };
    return element(
      "fieldset",
      { class: "group", "data-id": part.id },
      element("legend", { class: "unseen" }, `Group: ${HOW[part.how]}`),
      element("div", { class: "head" },
        choice("How the conditions count", allowed, part.how, (how) => { part.how = how; restructured(`how ${part.id}`); }, `how ${part.id}`),
        counts.length ? element("span", { class: "soft" }, counts.join(", ")) : null,
        parent ? removal(part, parent) : null),
      element("ul", {}, part.parts.map((one) => element("li", {}, one.kind === "group" ? drawGroup(one, part) : drawRow(one, part)))),
      element("div", { class: "add" },
        element("button", { type: "button", "data-key": `add ${part.id}`, onclick: () => add(condition(), (made) => `field ${made.id}`) }, "+ condition"),
        element("button", { type: "button", onclick: () => add(group(part.how === "any" ? "all" : "any", [condition()]), (made) => `field ${made.parts[0].id}`) }, "+ group")),
      element("p", { class: "fault", hidden: true }),
    );
  }

  function picker(part, parent) {
    const input = element("input", {
      list: "fields", "aria-label": "Field", placeholder: "field …", "data-key": `field ${part.id}`, autocomplete: "off", spellcheck: "false", class: "field",
      value: part.kind === "field" ? part.name : part.kind,
    });
    const pick = () => {
      const name = input.value.trim().replaceAll(" ", "_");
      if (name === (part.kind === "field" ? part.name : part.kind)) return;
      const at = parent.parts.indexOf(part);
      if (SPECIAL[name]) parent.parts[at] = SPECIAL[name].make();
      else if (fields.has(name)) parent.parts[at] = condition(name, [{ operator: first(fields.get(name).kind), values: [] }]);
      else return;
      const made = parent.parts[at];
      restructured(tree.querySelector(`[data-key="value ${made.id}"]`) ? `value ${made.id}` : `field ${made.id}`);
      tree.querySelector(`[data-id="${made.id}"] .value input, [data-id="${made.id}"] .value select`)?.focus();
    };
    input.addEventListener("change", pick);
    input.addEventListener("input", (event) => event.inputType === "insertReplacementText" && pick()); // chosen from the list
    return input;
  }
  const first = (kind) => language.operators[kind].find((name) => !HIDDEN.includes(name));

  function drawRow(part, parent) {
    const field = fields.get(part.name);
    let body;
    if (part.kind === "raw") body = [element("code", { class: "raw" }, JSON.stringify(part.value)), element("small", { class: "soft" }, "change it in the text")];
    else if (part.kind === "body_part") body = [picker(part, parent), choice("By", language.strategies, part.by, (by) => { part.by = by; changed(); }, `by ${part.id}`), asked(part.criteria, part, "region")];
    else if (part.kind === "quality") body = qualityRow(part, parent);
    else if (part.kind === "prediction") body = predictionRow(part, parent);
    else if (field) body = [picker(part, parent), asked(part.criteria, part, field.kind, field)];
    else if (part.name) body = [picker(part, parent), element("code", { class: "raw" }, JSON.stringify(part.criteria))];
    else body = [picker(part, parent)];
    const [head, ...rest] = body;
    return element("div", { class: `row of-${part.kind}`, "data-id": part.id },
      head, element("div", { class: "rest" }, rest), removal(part, parent), element("p", { class: "fault", hidden: true }));
  }

  const inList = (label, values, options) => chips({ label, values, changed, options, placeholder: "any" });

  const labelled = (words, made) => element("span", { class: "labelled" }, element("small", {}, words), made);

  function qualityRow(part, parent) {
    return [
      picker(part, parent),
      choice("Held", { false: "is not held", true: "is held" }, String(part.held), (held) => { part.held = held === "true"; changed(); }, `held ${part.id}`),
      element("div", { class: "value" }, labelled("severity", inList("Severity", part.severity, language.severities)), labelled("rule", inList("Rule", part.rule, language.rules))),
    ];
  }

  function predictionRow(part, parent) {
    const tasks = Object.fromEntries(Object.keys(language.tasks).map((name) => [name, name.replaceAll("_", " ")]));
    if (!tasks[part.task]) tasks[part.task] = part.task;
    const score = part.score.find((one) => one.operator === "min");
    return [
      picker(part, parent),
      choice("Task", tasks, part.task, (task) => { part.task = task; restructured(`task ${part.id}`); }, `task ${part.id}`),
      element("div", { class: "value" },
        labelled("says", inList("Label", part.label, language.tasks[part.task]?.length ? language.tasks[part.task] : language.parts)),
        labelled("score at least", single("number", "Score at least", score?.values[0], (value) => {
          part.score = part.score.filter((one) => one.operator !== "min");
          if (value !== undefined) part.score.push({ operator: "min", values: [value] });
          changed();
        }))),
    ];
  }

  // The operators of one field with their values; several all hold.
  function asked(criteria, part, kind, field) {
    if (!criteria.length) criteria.push({ operator: first(kind), values: [] });
    const names = language.operators[kind].filter((name) => !HIDDEN.includes(name));
    const left = names.filter((name) => !criteria.some((one) => one.operator === name));
    const last = criteria.length - 1;
    const extendable = left.some((name) => name !== "missing") && !["boolean", "region"].includes(kind);
    return element("div", { class: "asked" },
      criteria.map((one, at) => {
        const offered = Object.fromEntries(names.filter((name) => name === one.operator || left.includes(name)).map((name) => [name, OPERATOR[name] ?? name]));
        return element("div", { class: "criterion" },
          at ? element("small", { class: "soft" }, "and") : null,
          choice("Operator", offered, one.operator, (operator) => {
            if (shape(kind, operator) !== shape(kind, one.operator)) one.values = operator === "missing" ? [true] : [];
            one.operator = operator;
            restructured(`operator ${part.id} ${at}`);
          }, `operator ${part.id} ${at}`),
          element("div", { class: "value" }, value(one, kind, field), field?.unit ? element("small", { class: "soft" }, field.unit) : null),
          criteria.length > 1 ? element("button", { type: "button", class: "remove", "aria-label": `Remove ${OPERATOR[one.operator] ?? one.operator}`, onclick: () => { criteria.splice(at, 1); restructured(`operator ${part.id} 0`); } }, "×") : null,
          at === last && extendable ? also(criteria, left, part) : null);
      }));
  }

  function also(criteria, left, part) {
    const add = () => {
      criteria.push({ operator: more(left, criteria), values: [] });
      restructured(`operator ${part.id} ${criteria.length - 1}`);
    };
    return element("button", { type: "button", class: "also", title: "One more condition on the same value", "aria-label": `One more condition on ${part.name ?? part.kind}`, onclick: add }, "and …");
  }
  const PAIRS = { min: "max", max: "min", above: "below", below: "above", from: "to", to: "from" };
  const more = (left, criteria) => { const pair = PAIRS[criteria.at(-1).operator]; return left.includes(pair) ? pair : left[0]; };
  const shape = (kind, operator) => (operator === "missing" ? "yes" : SINGLE.includes(operator) ? `one ${NUMBERS.includes(operator) ? "number" : kind}` : NUMBERS.includes(operator) ? "numbers" : `many ${kind}`);

  function single(type, label, value, took) {
    const input = element("input", { type, "aria-label": label, value: value ?? "", ...(type === "number" ? { step: "any" } : {}) });
    input.addEventListener("input", () => took(input.value === "" ? undefined : type === "number" ? Number(input.value) : input.value));
    return input;
  }

  function value(one, kind, field) {
    const label = `Value of ${field?.name ?? "body part"}`;
    if (one.operator === "missing" || kind === "boolean") {
      if (!one.values.length) one.values.push(true);
      return choice(label, { true: "yes", false: "no" }, String(one.values[0]), (said) => { one.values[0] = said === "true"; changed(); });
    }
    const numeric = NUMBERS.includes(one.operator) || kind === "number";
    if (SINGLE.includes(one.operator)) {
      const type = numeric ? "number" : kind === "date" ? "date" : "text";
      return single(type, label, one.values[0], (said) => { one.values.splice(0, one.values.length, ...(said === undefined ? [] : [said])); changed(); });
    }
    const read = numeric ? (text) => (Number.isFinite(Number(text)) ? Number(text) : undefined) : (text) => text;
    const options = kind === "region" ? language.parts : field ? occurring(field.name) : [];
    return chips({ label, values: one.values, changed, options, read, type: numeric ? "number" : "text", placeholder: numeric ? "number" : "value, Enter" });
  }

  return {
    get top() { return top; },
    show(made) {
      top = made;
      redraw();
    },
    plain(name) {
      const kind = fields.get(name)?.kind;
      return kind === "list" ? ["contains"] : kind === "date" ? [] : ["is"];
    },
    // What is wrong, each where it is; gives back what has no row.
    faults(found) {
      for (const said of tree.querySelectorAll(".fault")) said.hidden = true;
      const places = [...nodesOf(top)].filter(isComplete);
      return found.filter((fault) => {
        const hit = places.filter((part) => part.place && (fault.place === part.place || fault.place.startsWith(`${part.place}.`) || fault.place.startsWith(`${part.place}[`)))
          .sort((a, b) => b.place.length - a.place.length)[0];
        const said = hit && tree.querySelector(`[data-id="${hit.id}"] > .fault`);
        if (!said) return true;
        said.textContent = fault.message;
        said.hidden = false;
        return false;
      });
    },
  };
}

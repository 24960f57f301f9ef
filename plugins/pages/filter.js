// A filter as the builder's rows hold it: read from the canonical JSON of sluice.cohorts.language, written as YAML.
// Every node learns its `place` when it is written, so that what is wrong can be shown where it is.

let made = 0;
const node = (kind, more) => ({ kind, id: `n${(made += 1)}`, place: "", ...more });
export const group = (how = "all", parts = []) => node("group", { how, parts, extra: {} });
export const condition = (name = "", criteria = []) => node("field", { name, criteria });
export const bodyPart = (by = "header", criteria = []) => node("body_part", { by, criteria });
export const quality = (held = false, rule = [], severity = []) => node("quality", { held, rule, severity });
export const prediction = (task = "ivc_filter", more = {}) => node("prediction", { task, label: [], model: [], score: [], view: [], ...more });
const raw = (value) => node("raw", { value });

const ORDER = ["is", "from", "min", "above", "to", "max", "below"]; // lower limits are read before upper ones
const COUNTS = ["studies", "series", "instances", "days_before"];
const listed = (value) => (value === undefined || value === null ? [] : Array.isArray(value) ? value : [value]);

function criteriaOf(asked) {
  if (asked === null || typeof asked !== "object" || Array.isArray(asked)) return [{ operator: "is", values: listed(asked) }];
  const rank = ([operator]) => (ORDER.includes(operator) ? ORDER.indexOf(operator) : ORDER.length);
  return Object.entries(asked).sort((a, b) => rank(a) - rank(b)).map(([operator, values]) => ({ operator, values: listed(values) }));
}

export function fromJson(value) {
  const keys = Object.keys(value);
  if ("tag" in value) return raw(value);
  if (keys.length !== 1) return group("all", keys.map((key) => fromJson({ [key]: value[key] })));
  const [key] = keys;
  const asked = value[key];
  if (key === "all" || key === "any") return group(key, asked.map(fromJson));
  if (key === "not") {
    const inner = Object.keys(asked).length === 1 && asked.any;
    return group("none", inner ? inner.map(fromJson) : [fromJson(asked)]);
  }
  if (key.endsWith("_has")) {
    const made = group(key);
    for (const name of COUNTS) if (name in asked) made.extra[name] = asked[name];
    const rest = Object.fromEntries(Object.entries(asked).filter(([name]) => !(name in made.extra)));
    const inner = fromJson(rest);
    made.parts = inner.kind === "group" && inner.how === "all" ? inner.parts : [inner];
    return made;
  }
  if (key === "body_part") {
    const { by, ...rest } = asked;
    return bodyPart(by, criteriaOf(rest));
  }
  if (key === "quality") return quality(asked.held, listed(asked.rule), listed(asked.severity));
  if (key === "prediction") {
    const score = asked.score ? criteriaOf(asked.score) : [];
    return prediction(asked.task, { label: listed(asked.label), model: listed(asked.model), view: listed(asked.view), score });
  }
  if (key.includes(",") || key.includes(".") || /^[A-Z]/.test(key)) return raw(value);
  return condition(key, criteriaOf(asked));
}

export function topOf(expression) {
  const read = fromJson(expression);
  return read.kind === "group" && ["all", "any"].includes(read.how) ? read : group("all", [read]);
}

// Whether a node says something already; one that does not yet is left out of the text.
export function isComplete(part) {
  if (part.kind === "group") return part.parts.some(isComplete) || Object.keys(part.extra).length > 0;
  if (part.kind === "field") return Boolean(part.name) && filled(part.criteria).length > 0;
  if (part.kind === "body_part") return filled(part.criteria).length > 0;
  return true;
}

const filled = (criteria) => criteria.filter((one) => one.values.length > 0);

const PLAIN = /^[A-Za-z_][A-Za-z0-9_.\- ]*[A-Za-z0-9_.]$|^[A-Za-z_]$/;
const WORDS = /^(true|false|null|yes|no|on|off|y|n)$/i;
const DAY = /^\d{4}-\d{2}-\d{2}$/;

function scalar(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  if (DAY.test(value)) return value;
  return PLAIN.test(value) && !WORDS.test(value) ? value : JSON.stringify(value);
}

// Flow style for values: short, and one line a condition.
function flow(value) {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([key, one]) => `${scalar(key)}: ${flow(one)}`).join(", ")}}`;
  }
  return scalar(value);
}

const single = (values) => (values.length === 1 ? values[0] : values);

function written(criteria, plain) {
  const asked = filled(criteria);
  if (asked.length === 1 && plain.includes(asked[0].operator)) return single(asked[0].values);
  return Object.fromEntries(asked.map((one) => [one.operator, single(one.values)]));
}

const KEYS = { all: "all", any: "any", none: "not" };
const keyOf = (part) =>
  part.kind === "group" ? (KEYS[part.how] ?? part.how) : part.kind === "raw" ? Object.keys(part.value)[0] : part.kind === "field" ? part.name : part.kind;

function lines(part, place, plainOf) {
  const key = keyOf(part);
  part.place = place ? `${place}.${key}` : key;
  switch (part.kind) {
    case "field":
      return [`${key}: ${flow(written(part.criteria, plainOf(part.name)))}`];
    case "body_part": {
      const asked = written(part.criteria, ["is"]);
      const value = part.by === "header" ? asked : { ...(typeof asked === "object" && !Array.isArray(asked) ? asked : { is: asked }), by: part.by };
      return [`body_part: ${flow(value)}`];
    }
    case "quality": {
      const more = Object.fromEntries([["rule", part.rule], ["severity", part.severity]].filter(([, values]) => values.length).map(([name, values]) => [name, single(values)]));
      return [`quality: ${flow({ held: part.held, ...more })}`];
    }
    case "prediction": {
      const asked = { task: part.task };
      if (part.label.length) asked.label = single(part.label);
      if (part.model.length) asked.model = single(part.model);
      if (filled(part.score).length) asked.score = written(part.score, []);
      if (part.view.length) asked.view = single(part.view);
      return [`prediction: ${flow(asked)}`];
    }
    case "raw":
      return Object.entries(part.value).map(([name, value]) => `${scalar(name)}: ${flow(value)}`);
  }
  return groupLines(part, plainOf);
}

function groupLines(part, plainOf) {
  const parts = part.parts.filter(isComplete);
  if (part.how.endsWith("_has")) {
    const counts = Object.entries(part.extra).map(([name, value]) => `${name}: ${flow(value)}`);
    const body = parts.length ? mapping(parts, part.place, plainOf) : [];
    const all = [...body, ...counts];
    return all.length ? [`${part.how}:`, ...indent(all)] : [`${part.how}: {}`];
  }
  if (part.how === "none") {
    if (parts.length === 1) return ["not:", ...indent(lines(parts[0], part.place, plainOf))];
    return ["not:", ...indent(["any:", ...items(parts, `${part.place}.any`, plainOf)])];
  }
  return [`${keyOf(part)}:`, ...items(parts, part.place, plainOf)];
}

function items(parts, place, plainOf) {
  return parts.flatMap((part, at) => {
    const [first, ...rest] = lines(part, `${place}[${at}]`, plainOf);
    return [`  - ${first}`, ...rest.map((line) => `    ${line}`)];
  });
}

const indent = (all) => all.map((line) => `  ${line}`);

// Conditions that all hold: one mapping where no key comes twice, else a list.
function mapping(parts, place, plainOf) {
  const keys = parts.flatMap((part) => (part.kind === "raw" ? Object.keys(part.value) : [keyOf(part)]));
  if (new Set(keys).size === keys.length && !parts.some((part) => part.kind === "raw" && parts.length > 1)) {
    return parts.flatMap((part) => lines(part, place, plainOf));
  }
  return ["all:", ...items(parts, place ? `${place}.all` : "all", plainOf)];
}

// `plainOf(field)`: the operators that need not be named, as `modality: CT` means `modality: {is: CT}`.
export function toYaml(top, plainOf) {
  const parts = top.parts.filter(isComplete);
  top.place = "";
  if (!parts.length) return "{}\n";
  const all = top.how === "all" ? mapping(parts, "", plainOf) : lines(top, "", plainOf);
  return `${all.join("\n")}\n`;
}

export function* nodesOf(part) {
  yield part;
  if (part.kind === "group") for (const one of part.parts) yield* nodesOf(one);
}

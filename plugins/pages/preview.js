// What a filter takes, before anything moves: what is here, what the PACS has of it, how long that would take.

import { bytes, element, moment, number, plural, region } from "./dom.js";

const CHARTS = { modality: "Modality", scanner: "Scanner", year: "Year", body_part: "Body part, by header" };
const SHOWN = 8;

export function drawPreview(answer) {
  const wanted = answer.to_fetch.reduce((sum, one) => sum + one.certain_studies + one.possible_studies, 0);
  return element(
    "div",
    { class: "preview" },
    element("ul", { class: "tiles" },
      tile(number(answer.here.patients), "patients"),
      tile(number(answer.here.studies), wanted ? `studies here, ${number(wanted)} more at the PACS` : "studies"),
      tile(number(answer.here.series), "series"),
      tile(number(answer.here.instances), "instances here"),
      tile(bytes(answer.here.bytes), "as they came")),
    answer.held
      ? element("p", { class: "soft held" },
          answer.held_are_taken
            ? `${plural(answer.held, "of these instances is", "of these instances are")} held by quality rules; a release leaves out what a rule stops.`
            : `${plural(answer.held, "more instance matches", "more instances match")} but for quality, which holds them.`)
      : null,
    element("div", { class: "charts" }, Object.entries(CHARTS).map(([name, title]) => chart(name, title, answer))),
    answer.to_fetch.map(fetching),
  );
}

const tile = (value, words) => element("li", {}, element("strong", {}, value), words);

function nameOf(dimension, value) {
  if (value === null) return "not said";
  return dimension === "body_part" ? region(value) : String(value);
}

function chart(name, title, answer) {
  const groups = answer.by[name] ?? [];
  const shown = groups.slice(0, SHOWN);
  const most = Math.max(1, ...shown.map((one) => one.counts.instances));
  const others = groups.length - shown.length + (answer.rest[name]?.groups ?? 0);
  return element(
    "section",
    {},
    element("h4", {}, title),
    shown.length ? null : element("p", { class: "soft" }, "Nothing is here."),
    shown.map((one) =>
      element("div", { class: "line", title: `${plural(one.counts.studies, "study", "studies")}, ${plural(one.counts.instances, "instance")}, ${bytes(one.counts.bytes)}` },
        element("span", {}, nameOf(name, one.value)),
        element("span", { class: "bar", "aria-hidden": "true" }, element("i", { class: "reached", style: { width: `${(100 * one.counts.instances) / most}%` } })),
        element("span", {}, number(one.counts.instances)))),
    others ? element("p", { class: "soft" }, `and ${number(others)} more`) : null,
  );
}

function hours(value) {
  if (value < 1) return `${Math.max(1, Math.round(value * 60))} min`;
  return value < 100 ? `${Math.round(value * 10) / 10} h` : `${Math.round(value / 24)} days`;
}

function fetching(one) {
  const studies = one.certain_studies + one.possible_studies;
  const instances = one.certain_instances + one.possible_instances;
  const parts = [`${plural(studies, "study", "studies")} with ${plural(instances, "instance")}, about ${bytes(one.bytes)}, are at ${one.pacs} and not here.`];
  if (one.possible_studies) parts.push(`Of ${plural(one.possible_studies, "study", "studies")} of these only the images can tell whether the filter takes them.`);
  parts.push(one.hours === null ? "How long that takes cannot be told yet." : `Fetching them takes about ${hours(one.hours)} of transfer; begun now, the last would come ${moment(one.ready_at)}.`);
  return element("div", { class: "fetching" },
    element("p", {}, parts.join(" ")),
    element("details", {}, element("summary", {}, "What that rests on"), element("ul", { class: "soft" }, one.rests_on.map((said) => element("li", {}, said)))));
}

// How far readers agree, how much was read, and films that are there twice.

import { element, moment, nothing, number, percent, region, table, tell } from "./dom.js";
import { labelled } from "./film.js";

const STANDING = { single: "one reader", agreed: "agreed", differing: "differ", adjudicated: "decided" };
const FIELDS = { label: "Class", examined: "Region examined" };
const kappa = (value) => (value === null ? "–" : value.toFixed(2));
const said = (value) => (value === "none" ? "none" : value === value.toUpperCase() ? region(value) : labelled(value));

function field(name, one) {
  if (!one.pairs.length) return [element("h3", {}, FIELDS[name]), nothing("No film was read by two yet.")];
  return [
    element("h3", {}, FIELDS[name]),
    table(`Agreement of readers, ${FIELDS[name]}`, [
      { title: "Readers", cell: (pair) => pair.readers.join(" and ") },
      { title: "Films", number: true, cell: (pair) => number(pair.films) },
      { title: "The same", number: true, cell: (pair) => percent(pair.agreed / pair.films) },
      { title: "Cohen's kappa", number: true, cell: (pair) => kappa(pair.kappa) },
    ], one.pairs),
    one.fleiss.films ? element("p", { class: "soft" }, `Fleiss' kappa of ${number(one.fleiss.films)} films with three readers or more: ${kappa(one.fleiss.kappa)}.`) : null,
    one.confused.length ? element("p", { class: "soft" }, "Taken for each other: ", one.confused.slice(0, 6).map(({ answers, times }) => `${said(answers[0])} and ${said(answers[1])} (${number(times)})`).join(", "), ".") : null,
  ];
}

export async function drawAgreement(task) {
  const found = await tell("POST", "annotation/agreement", { task });
  const films = Object.values(found.films).reduce((sum, count) => sum + count, 0);
  const bar = ([key, words]) => element("li", {}, element("span", {}, words), element("span", { class: "meter" }, element("i", { style: { width: `${(100 * (found.films[key] ?? 0)) / Math.max(1, films)}%` } })), element("span", { class: "number" }, number(found.films[key])));
  return {
    element: element("section", { class: "panel", "aria-labelledby": "agreement-title" },
      element("h2", { id: "agreement-title" }, "Agreement and progress"),
      element("p", { class: "lead" }, films ? `${number(films)} films were read. Training takes what is decided and agreed.` : "Nobody has read a film of this task yet."),
      element("ul", { class: "bars" }, Object.entries(STANDING).map(bar)),
      found.readers.length ? [element("h3", {}, "Readers"), table("Readers", [
        { title: "Reader", cell: (row) => row.reader },
        { title: "Films", number: true, cell: (row) => number(row.films) },
        { title: "Today", number: true, cell: (row) => number(row.lately) },
        { title: "As the model said", number: true, cell: (row) => percent(row.accepted) },
        { title: "Seconds, half of them below", number: true, cell: (row) => (row.seconds === null ? "–" : row.seconds.toFixed(1)) },
      ], found.readers)] : null,
      films ? Object.entries(found.fields).flatMap(([name, one]) => field(name, one)) : null,
      found.adjudicators.length ? [element("h3", {}, "Who decided"), table("Decisions", [
        { title: "By", cell: (row) => row.adjudicator }, { title: "Reader", cell: (row) => row.reader },
        { title: "Films", number: true, cell: (row) => number(row.films) },
        { title: "As the reader said", number: true, cell: (row) => percent(row.as_reader / row.films) },
      ], found.adjudicators)] : null),
  };
}

export async function drawTwice() {
  const { pairs } = await tell("POST", "annotation/duplicates", { most: 60 });
  const picture = (uid) => element("img", { src: `images/${uid}.png`, loading: "lazy", alt: "" });
  const one = (pair) => element("figure", { class: pair.belongs === "two patients" ? "differs" : null },
    element("div", { class: "two" }, picture(pair.first_uid), picture(pair.second_uid)),
    element("figcaption", {}, element("p", {}, element("span", { class: pair.belongs === "two patients" ? "badge bad" : "badge" }, pair.belongs), ` pictures alike by ${(100 * pair.correlation).toFixed(1)} %, ${moment(pair.found_at)}`),
      element("p", {}, element("code", {}, pair.first_uid)), element("p", {}, element("code", {}, pair.second_uid))));
  return {
    element: element("section", { class: "panel", "aria-labelledby": "twice-title" },
      element("h2", { id: "twice-title" }, "Films that are there twice"),
      element("p", { class: "lead" }, "One picture under two UIDs. Of two patients it is a mix-up of identities until somebody looked: find the studies by these UIDs on the page Find."),
      pairs.length ? element("div", { class: "pairs" }, pairs.map(one)) : nothing("No film is there twice, as far as the DAG annotate has looked.")),
  };
}

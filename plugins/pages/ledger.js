// The funnel: expected, received, indexed, checked, predicted, released, and a name for every gap.

import { ask, bytes, element, isCohort, moment, nothing, number, opens, pages, plural, table, words } from "./dom.js";
import { storyLink } from "./story.js";

const MEANING = {
  received: "their bytes are durable here",
  indexed: "their headers are in the database",
  checked: "the quality rules looked at them",
  predicted: "a model read their pixels",
  released: "they stand in a published release",
};

function sums(funnel) {
  const gaps = funnel.steps.flatMap((step) => step.gaps);
  const open = gaps.filter((gap) => !gap.nothing_to_do);
  return {
    unexplained: funnel.steps.reduce((sum, step) => sum + Math.abs(step.unexplained), 0),
    open,
    notReceived: funnel.members - funnel.received,
  };
}

export function drawVerdict(funnel) {
  const { unexplained, open, notReceived } = sums(funnel);
  const read = funnel.steps.find((step) => step.step === "predicted");
  const readable = read.of - read.gaps.filter((gap) => gap.nothing_to_do).reduce((sum, gap) => sum + gap.instances, 0);
  const good = !notReceived && !unexplained;
  const sentence = unexplained
    ? `${plural(unexplained, "instance")} without an explanation. Refresh; if it stays, tell the maintainers.`
    : notReceived
      ? `${plural(notReceived, "instance")} did not arrive; each has a reason below.`
      : `Everything that was expected arrived.`;
  const tile = (value, of, label, title) =>
    element(
      "li",
      { title },
      element("strong", {}, number(value), of === null ? "" : element("span", {}, ` / ${number(of)}`)),
      label,
    );
  return [
    element(
      "p",
      { class: `sentence ${unexplained ? "bad" : good ? "good" : "open"}` },
      element("span", { class: "mark", "aria-hidden": "true" }, unexplained ? "✗" : good ? "✓" : "!"),
      sentence,
      " ",
      element("span", { class: "soft" }, `${plural(open.length, "open reason")}, ${bytes(funnel.bytes)} received.`),
      notReceived && funnel.under_way ? element("strong", { class: "under-way" }, ` ${funnel.under_way}`) : "",
    ),
    element(
      "ul",
      { class: "tiles" },
      tile(funnel.complete_studies, funnel.studies, "studies complete"),
      tile(funnel.received, funnel.members, "instances received"),
      tile(funnel.checked, funnel.indexed, "headers checked"),
      tile(funnel.predicted, readable, "radiographs read", "Radiographs (CR, DX) that a model could read"),
      tile(funnel.released, funnel.indexed, "instances released"),
    ),
  ];
}

function bar(step, members) {
  const width = (count) => `${members ? (100 * count) / members : 0}%`;
  const segment = (kind, count) => (count > 0 ? element("i", { class: kind, style: { width: width(count) } }) : null);
  const idle = step.gaps.filter((gap) => gap.nothing_to_do).reduce((sum, gap) => sum + gap.instances, 0);
  const open = step.gaps.filter((gap) => !gap.nothing_to_do).reduce((sum, gap) => sum + gap.instances, 0);
  return element(
    "div",
    { class: "bar", "aria-hidden": "true" },
    segment("reached", step.reached),
    segment("gap", open),
    segment("idle", idle),
    segment("unexplained", Math.max(step.unexplained, 0)),
  );
}

const openFirst = (gaps) => [...gaps].sort((a, b) => Number(a.nothing_to_do) - Number(b.nothing_to_do));

function gapLine(gap, step, key) {
  const series = async (after) => {
    const { series: rows, next } = await ask("gap", { window: key, step: step.step, reason: gap.reason_code, after });
    const drawn = table(
      `Series with ${gap.reason_code}`,
      [
        { title: "Study", cell: (row) => storyLink(row.study_instance_uid) },
        { title: "Series", cell: (row) => element("code", {}, row.series_instance_uid ?? "unknown") },
        { title: "Modality", cell: (row) => row.modality },
        { title: "Scanner", cell: (row) => row.scanner },
        { title: "Instances", cell: (row) => number(row.instances), number: true },
        { title: "Detail", cell: (row) => row.detail },
      ],
      rows,
    );
    return [drawn, next];
  };
  const list = () => pages(series);
  return element(
    "li",
    { class: gap.nothing_to_do ? "idle" : "open" },
    element("span", { class: "count" }, number(gap.instances)),
    element(
      "div",
      { class: "why" },
      element("p", {}, element("strong", {}, words(gap.reason_code.replaceAll("-", " "))), ` — ${gap.meaning} `,
        gap.nothing_to_do ? null : element("span", { class: "advice" }, gap.advice)),
      opens(`Which (${plural(gap.studies, "study", "studies")})`, list),
    ),
  );
}

export function drawLedger(funnel, key) {
  if (!funnel.members && isCohort(key)) {
    return nothing("Nothing was fetched for this cohort so far. What of it was here already stands in the windows of its days; what left of it stands under Releases.");
  }
  if (!funnel.members) return nothing("The PACS listed nothing for this window, and nothing was pushed. Run sweep.");
  const expected = element(
    "li",
    { class: "step" },
    element("div", { class: "name" }, element("strong", {}, "expected"), element("small", {}, "listed by the PACS, or pushed")),
    element("div", { class: "bar", "aria-hidden": "true" }, element("i", { class: "reached", style: { width: "100%" } })),
    element("div", { class: "count" }, number(funnel.members)),
    element(
      "p",
      { class: "note" },
      `${plural(funnel.studies, "study", "studies")}, ${plural(funnel.series, "series", "series")}`,
      funnel.members > funnel.expected
        ? `; ${plural(funnel.members - funnel.expected, "instance")} came without being listed by the PACS.`
        : ".",
    ),
  );
  const steps = funnel.steps.map((step) =>
    element(
      "li",
      { class: "step" },
      element("div", { class: "name" }, element("strong", {}, step.step), element("small", {}, MEANING[step.step])),
      bar(step, funnel.members),
      element("div", { class: "count" }, number(step.reached)),
      step.gaps.length
        ? element("ul", { class: "gaps" }, openFirst(step.gaps).map((gap) => gapLine(gap, step, key)))
        : element("p", { class: "note" }, "No gap."),
    ),
  );
  return element(
    "div",
    {},
    element("ol", { class: "funnel" }, expected, ...steps),
    element(
      "p",
      { class: "legend" },
      element("i", { class: "reached" }), "passed",
      element("i", { class: "gap" }), "open, with a reason",
      element("i", { class: "idle" }), "nothing to do",
      funnel.checked_at ? element("span", { class: "soft" }, `Last checked ${moment(funnel.checked_at)}.`) : null,
    ),
  );
}

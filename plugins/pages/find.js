// Asks for one study, series, instance, accession number or patient and draws its whole story.

import { bytes, element, moment, nothing, number, opens, pages, plural, table, tell, words } from "./dom.js";
import { remembered, storyLink } from "./story.js";
import { followTheme } from "./theme.js";

const place = (id) => document.getElementById(id);
const KINDS = { study: "Study", series: "Series", instance: "Instance", accession: "Accession number", patient: "Patient" };
const reasonWords = (code) => words((code ?? "").replaceAll("-", " "));
const next = (when) => (when ? moment(when) : "not planned");
let asked = 0; // an answer that is overtaken by the next question is dropped

function verdict({ totals, reasons }) {
  const waiting = reasons.some((reason) => !reason.nothing_to_do);
  const kind = !totals.missing ? "good" : waiting ? "open" : "soft";
  const sentence = totals.missing
    ? `${plural(totals.missing, "instance")} of ${number(totals.expected)} expected did not arrive.`
    : totals.expected
      ? `All ${plural(totals.expected, "expected instance")} arrived.`
      : `${plural(totals.received, "instance")} arrived; no query had listed ${totals.received === 1 ? "it" : "them"}.`;
  return element(
    "p",
    { class: `sentence ${kind}` },
    element("span", { class: "mark", "aria-hidden": "true" }, totals.missing ? "!" : "✓"),
    sentence,
    totals.unexpected && totals.expected
      ? element("span", { class: "soft" }, ` ${plural(totals.unexpected, "instance")} came without being listed.`)
      : null,
  );
}

function reasonList(reasons) {
  return element(
    "ul",
    { class: "gaps reasons" },
    reasons.map((reason) =>
      element(
        "li",
        { class: reason.nothing_to_do ? "idle" : "open" },
        element("span", { class: "count" }, number(reason.instances)),
        element(
          "div",
          { class: "why" },
          element("p", {}, element("strong", {}, reasonWords(reason.reason_code)), ` — ${reason.meaning} `,
            reason.nothing_to_do ? null : element("span", { class: "advice" }, reason.advice)),
          element("p", { class: "soft" },
            `Last try: ${reason.last_attempt_at ? moment(reason.last_attempt_at) : "none"}. Next try: ${next(reason.next_attempt_at)}.`),
        ),
      ),
    ),
  );
}

function event(row, now) {
  const planned = new Date(row.at) > now;
  const open = Boolean(row.reason_code) || row.event === "quarantined" || row.event === "set aside";
  const query = Object.entries(row.query ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
  return element(
    "li",
    { class: planned ? "planned" : open ? "open" : null },
    element("time", { datetime: row.at }, moment(row.at)),
    element(
      "p",
      {},
      element("strong", {}, row.event),
      row.instances === null ? null : ` ${plural(row.instances, "instance")}`,
      row.who ? element("span", { class: "soft" }, ` · ${row.who}`) : null,
      row.window_key ? element("span", { class: "soft" }, ` · window ${row.window_key}`) : null,
      row.what ? element("span", { class: "soft" }, ` · ${row.what}`) : null,
      query ? element("span", { class: "soft" }, ` · by ${query}`) : null,
      row.reason_code ? ` · ${reasonWords(row.reason_code)}` : null,
    ),
  );
}

function instanceCell(row) {
  if (row.received_at) return `${moment(row.received_at)}, ${row.source} from ${row.calling_ae}`;
  return element("span", { class: "gone" }, reasonWords(row.reason_code ?? "not expected"));
}

function beside(row) {
  const told = [
    ...(row.quarantined ?? []).map((one) => `quarantined ${moment(one.at)}: ${one.detail ?? reasonWords(one.reason_code)}`),
    ...(row.other_contents ?? []).map((one) => `other content set aside ${moment(one.at)}, from ${one.calling_ae}`),
  ];
  if (!row.received_at && row.detail) told.unshift(row.detail);
  return told.join("; ") || null;
}

const instances = (kind, text) =>
  pages(async (after) => {
    const answer = await tell("POST", "find/rows", { kind, text, level: "instances", after, page_size: 100 });
    const drawn = table(
      "Instances",
      [
        { title: "SOP Instance UID", cell: (row) => element("code", {}, row.sop_instance_uid) },
        { title: "Arrived, or why not", cell: instanceCell },
        { title: "Size", cell: (row) => (row.received_at ? bytes(row.bytes) : null), number: true },
        { title: "SHA-256", cell: (row) => (row.sha256 ? element("code", { title: row.sha256 }, `${row.sha256.slice(0, 12)}…`) : null) },
        { title: "Tries", cell: (row) => (row.received_at ? null : number(row.attempts)), number: true },
        { title: "Next try", cell: (row) => (row.received_at ? null : next(row.next_attempt_at)) },
        { title: "Beside it", cell: beside },
      ],
      answer.rows,
    );
    drawn.classList.add("instances");
    return [drawn, answer.next];
  });

function seriesLine(row) {
  const reasons = Object.entries(row.reasons).map(([code, count]) => `${count} ${reasonWords(code)}`).join(", ");
  return element(
    "li",
    {},
    element(
      "div",
      { class: "title" },
      element("strong", {}, row.modality ?? "Series"),
      element("code", {}, row.series_instance_uid),
      row.missing
        ? element("span", { class: "badge bad" }, `${number(row.missing)} of ${number(row.expected)} missing`)
        : element("span", { class: "badge good" }, `${number(row.received)} arrived`),
      reasons ? element("span", { class: "soft" }, reasons) : null,
      row.missing ? element("span", { class: "soft" }, `next try ${next(row.next_attempt_at)}`) : null,
    ),
    opens(`Instances (${number(Math.max(row.expected, row.received))})`, () => instances("series", row.series_instance_uid)),
  );
}

function panel(title, lead, ...children) {
  return element("section", { class: "panel" }, element("h2", {}, title), element("p", { class: "lead" }, lead), ...children);
}

const studyTable = (rows) =>
  table(
    "Studies",
    [
      { title: "Study", cell: (row) => storyLink(row.study_instance_uid) },
      { title: "Expected", cell: (row) => number(row.expected), number: true },
      { title: "Arrived", cell: (row) => number(row.received), number: true },
      { title: "Missing", cell: (row) => number(row.missing), number: true },
      { title: "Why", cell: (row) => Object.keys(row.reasons).map(reasonWords).join(", ") || null },
      { title: "Next try", cell: (row) => (row.missing ? next(row.next_attempt_at) : null) },
    ],
    rows,
  );

function studies(answer, text) {
  const holder = pages(async (after) => {
    if (!after) return [studyTable(answer.studies), answer.next];
    const more = await tell("POST", "find/rows", { kind: answer.kind, text, level: "studies", after });
    return [studyTable(more.rows), more.next];
  });
  const body = element("div", {});
  holder.then((drawn) => body.append(drawn));
  return panel("Studies", "Everything that is known under it; a study opens its story.", body);
}

function story(answer, text) {
  const parts = [
    element(
      "section",
      { class: "panel story" },
      element("p", { class: "what" }, `${KINDS[answer.kind]} `, element("code", {}, text)),
      verdict(answer),
      reasonList(answer.reasons),
    ),
  ];
  if (!answer.timeline) return [...parts, studies(answer, text)];
  const now = new Date();
  if (answer.kind === "instance") {
    const body = element("div", {}, nothing("Asking …"));
    instances("instance", text).then((drawn) => body.replaceChildren(drawn), (problem) => body.replaceChildren(nothing(problem.message)));
    parts.push(panel("Instance", "As the ledger knows it.", body));
  }
  parts.push(
    panel("Timeline of its study", "What happened, and what is planned.",
      element("ol", { class: "timeline" }, answer.timeline.map((row) => event(row, now)))),
    panel("Series", "Each with its gaps.", element("ul", { class: "series" }, answer.series.map(seriesLine)),
      answer.next_series ? nothing("Only the first hundred series are shown; `sluice missing --study … --json` lists all.") : null),
  );
  return parts;
}

async function find(text) {
  asked += 1;
  const turn = asked;
  place("notice").hidden = true;
  place("text").value = text;
  document.body.dataset.state = "asking";
  try {
    const answer = await tell("POST", "find", { text });
    if (turn !== asked) return;
    place("story").replaceChildren(
      ...(answer.kind
        ? story(answer, text)
        : [nothing("The ledger knows nothing of it: no query listed it and it never came. Check how it is written; if it is right, run the DAG sweep for its day.")]),
    );
  } catch (problem) {
    if (turn !== asked) return;
    place("story").replaceChildren();
    place("notice").textContent = problem.message;
    place("notice").hidden = false;
  }
  document.body.dataset.state = "drawn";
}

followTheme();
place("find").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const text = place("text").value.trim();
  if (text) find(text);
});
document.addEventListener("click", (clicked) => {
  // a study's link on this very page asks here instead of loading the page again
  const link = clicked.target.closest?.('#story a[href="find"]');
  if (!link) return;
  clicked.preventDefault();
  remembered();
  find(link.textContent);
});
const first = remembered();
if (first) find(first);
else {
  document.body.dataset.state = "drawn";
  place("text").focus();
}

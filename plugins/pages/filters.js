// The page IVC filters: patients by how pressing they are, their pictures with boxes, and what people say.

import { element, moment, nothing, number, opens, percent, plural, sent, tell, whyNot } from "./dom.js";
import { begin, notice, place } from "./frame.js";
import { mark } from "./predictions.js";

const STATES = ["due", "dwelling", "seen after retrieval", "retrieved", "rejected"];
const BADGES = { due: "badge bad", "seen after retrieval": "badge bad", dwelling: "badge quarantine", retrieved: "badge good", rejected: "badge" };
const SAID = { confirmed: "confirmed", not_a_filter: "no filter", retrieved: "retrieved", withdrawn: "taken back" };
let chosen = null;

async function say(patient, kind, more, words) {
  try {
    await tell("POST", "filters/corrections", { patient, kind, ...more });
    notice(words, "good");
    await refresh();
  } catch (problem) {
    notice(problem.message);
  }
}

function picture(patient, one, mayCorrect) {
  const button = (kind, text) => element("button", { type: "button", onclick: () => say(patient, kind, { sop_instance_uid: one.sop_instance_uid }, "Kept.") }, text);
  return element("figure", { role: "listitem", class: one.said === "not_a_filter" ? null : "differs" },
    element("div", { class: "film" },
      one.has_image
        ? element("span", { class: "frame" }, element("img", { src: `images/${one.sop_instance_uid}.png`, loading: "lazy", alt: `Radiograph of ${one.seen_on}`, onload: (event) => mark(event.target, one.boxes) }))
        : element("span", { class: "soft" }, "no image kept"),
      one.said ? element("span", { class: "badge" }, SAID[one.said]) : null),
    element("figcaption", {}, element("p", { class: "class" }, element("strong", {}, one.seen_on ?? "no date"), one.score === null ? null : element("span", { class: "soft" }, percent(one.score)))),
    mayCorrect ? element("div", { class: "said" }, button("confirmed", "A filter"), button("not_a_filter", "No filter"), one.said ? button("withdrawn", "Undo") : null) : null);
}

function details(row, mayCorrect) {
  return opens(`${plural(row.images + row.rejected_images, "picture")}, what was said`, async () => {
    const { images, history } = await tell("POST", "filters/images", { patient: row.patient });
    return element("div", {},
      element("div", { class: "pictures", role: "list", "aria-label": "Pictures that show a filter" }, images.map((one) => picture(row.patient, one, mayCorrect))),
      history.length ? element("ul", { class: "why" }, history.map((one) => element("li", {}, `${moment(one.at)} ${one.by}: ${SAID[one.kind]}${one.retrieved_on ? ` on ${one.retrieved_on}` : ""}${one.sop_instance_uid ? " (a picture)" : ""}${one.note ? `, ${one.note}` : ""}`))) : null,
      mayCorrect ? retrieval(row) : null);
  });
}

function retrieval(row) {
  const day = element("input", { type: "date", name: "day", required: true, min: row.first_seen, "aria-label": "Day of the retrieval" });
  const note = element("input", { name: "note", maxlength: "1000", placeholder: "note; no patient's name", "aria-label": "Note", autocomplete: "off" });
  const form = element("form", { class: "move" }, element("label", {}, "Retrieved on ", day), note, element("button", { type: "submit" }, "Keep"), row.said ? element("button", { type: "button", onclick: () => say(row.patient, "withdrawn", {}, "Taken back.") }, "Undo what was said of the patient") : null);
  form.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    say(row.patient, "retrieved", { retrieved_on: day.value, note: note.value }, "Kept: the filter was retrieved.");
  });
  return form;
}

function drawn(row, mayCorrect) {
  const facts = [
    row.first_seen ? `first seen ${row.first_seen}` : null,
    row.last_seen && row.last_seen !== row.first_seen ? `last ${row.last_seen}` : null,
    row.dwell_days === null ? null : `${plural(row.dwell_days, "day")} in place`,
    row.retrieved_on ? `retrieved ${row.retrieved_on}` : row.due_on ? `retrieval due ${row.due_on}` : null,
    row.without_since ? `not seen on a later film of ${row.without_since}` : null,
  ];
  return element("li", { class: "patient", "data-patient": row.patient },
    element("div", { class: "title" }, element("strong", {}, row.patient_id ?? "no Patient ID"), element("span", { class: BADGES[row.state] }, row.state),
      row.is_confirmed ? element("span", { class: "badge good" }, "confirmed") : row.state === "rejected" ? null : element("span", { class: "badge" }, "by the model alone"),
      element("span", { class: "soft" }, row.best_score === null ? "" : `best score ${percent(row.best_score)}`)),
    element("p", { class: "soft" }, facts.filter(Boolean).join(" · ")),
    details(row, mayCorrect));
}

async function download() {
  const answer = await sent("api/filters/report", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ state: chosen }) });
  if (!answer.ok) return notice(whyNot(answer.status, (await answer.json().catch(() => ({}))).detail));
  const link = element("a", { href: URL.createObjectURL(await answer.blob()), download: "ivc-filters.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}

async function refresh() {
  const answer = await tell("POST", "filters/patients", { state: chosen });
  place("lead").textContent = `A research detector found these, and it errs: look at the pictures before you believe a row. Retrieval is due ${answer.due_days} days after a filter was first seen; when it was placed no picture tells.`;
  const button = (state, words, count) => element("button", { type: "button", "aria-pressed": String(chosen === state), onclick: () => { chosen = state; refresh().catch((problem) => notice(problem.message)); } }, words, " ", element("span", {}, number(count)));
  place("states").replaceChildren(
    button(null, "all", Object.values(answer.counts).reduce((sum, count) => sum + count, 0)),
    ...STATES.map((state) => button(state, state, answer.counts[state])),
    element("button", { type: "button", onclick: download }, "Download as CSV"));
  place("patients").replaceChildren(
    answer.patients.length ? element("ul", { "aria-label": "Patients" }, answer.patients.map((row) => drawn(row, answer.may_correct))) : nothing("Nobody here is like that."),
    answer.more ? element("p", { class: "soft" }, "There are more: the CSV has them all.") : "");
}

begin(refresh);

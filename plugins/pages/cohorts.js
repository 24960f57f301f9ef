// The page Cohorts. The filter stands twice, as rows and as text; whichever is changed, the other follows.

import { builder } from "./builder.js";
import { ask, element, nothing, plural, tell } from "./dom.js";
import { condition, group, topOf, toYaml } from "./filter.js";
import { frozenOf } from "./frozen.js";
import { listsOf } from "./lists.js";
import { drawPreview } from "./preview.js";
import { followTheme } from "./theme.js";

const READ_MS = 250; // after the last key before the filter is read
const PREVIEW_MS = 500; // and then before it is counted
const place = (id) => document.getElementById(id);
const text = place("text");
let rows = null;
let toRead = null; // timers
let toCount = null;
let counting = null; // what the preview that is under way can be stopped with

// What was written survives a reload, a look at its run and a new login. It may name patients, so it stays in this tab,
// and nobody else gets it who logs in there.
const DRAFT = "sluice-draft";
const draft = {
  by: null,
  keep() {
    try {
      sessionStorage.setItem(DRAFT, JSON.stringify({ by: draft.by, text: text.value }));
    } catch {
      // a browser that keeps nothing
    }
  },
  of(name) {
    draft.by = name;
    try {
      const kept = JSON.parse(sessionStorage.getItem(DRAFT));
      if (kept?.by === name) return kept.text;
      sessionStorage.removeItem(DRAFT);
    } catch {
      // as above
    }
    return null;
  },
};

export function notice(said, kind = "bad") {
  place("notice").replaceChildren(...[said ?? ""].flat());
  place("notice").className = `notice ${kind}`;
  place("notice").hidden = !said;
}

let reads = 0;

// The filter was changed: what was read or counted of it before says nothing any more, also an answer on its way.
function changed(redraw) {
  draft.keep();
  reads += 1;
  clearTimeout(toCount);
  clearTimeout(toRead);
  toRead = setTimeout(() => read(redraw), READ_MS);
}

function fromRows() {
  text.value = toYaml(rows.top, rows.plain);
  changed(false);
}

async function read(redraw) {
  const mine = (reads += 1);
  document.body.dataset.state = "asking";
  let answer;
  try {
    answer = await tell("POST", "cohorts/read", { text: text.value });
  } catch (problem) {
    if (mine !== reads) return;
    counting?.abort();
    place("preview").setAttribute("aria-busy", "true"); // it counts another filter
    const again = element("button", { type: "button", onclick: () => { notice(); read(redraw); } }, "Try again");
    notice([`${problem.message} `, again]);
    document.body.dataset.state = "drawn";
    return;
  }
  if (mine !== reads) return;
  const wrong = answer.faults.length > 0;
  if (!wrong && redraw) {
    rows.show(topOf(answer.expression));
    toYaml(rows.top, rows.plain); // every row learns its place
  }
  const left = rows.faults(answer.faults);
  // what the text says wrong has no row yet, so it stands below the text
  const below = redraw ? answer.faults : left;
  place("faults").replaceChildren(...below.map((fault) => element("li", {}, fault.place ? element("code", {}, `${fault.place}: `) : null, fault.message)));
  place("rows").classList.toggle("stale", wrong && redraw);
  if (!wrong) place("words").textContent = answer.words;
  place("freeze").querySelector("button").disabled = wrong;
  counting?.abort();
  if (wrong) {
    place("preview").setAttribute("aria-busy", "true");
    document.body.dataset.state = "drawn";
  } else toCount = setTimeout(preview, redraw === null ? 0 : PREVIEW_MS);
}

async function preview() {
  counting?.abort();
  const mine = (counting = new AbortController());
  const where = place("preview");
  where.setAttribute("aria-busy", "true");
  try {
    const answer = await tell("POST", "cohorts/preview", { text: text.value }, mine.signal);
    if (mine.signal.aborted) return;
    where.replaceChildren(drawPreview(answer));
  } catch (problem) {
    if (mine.signal.aborted) return;
    where.replaceChildren(nothing(problem.message));
  }
  where.removeAttribute("aria-busy");
  document.body.dataset.state = "drawn";
}

function freezing(language, frozen) {
  const form = place("freeze");
  form.hidden = !language.may_ask;
  if (!language.may_ask) form.after(nothing("You may look and count. Who may start runs of backfill_cohort in Airflow can freeze, upload lists and see their rows."));
  form.elements.project.replaceChildren(...language.projects.map((name) => element("option", {}, name)));
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    const said = Object.fromEntries(new FormData(form));
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const made = await tell("POST", "cohorts", { ...said, text: text.value });
      const held = made.instances
        ? `${plural(made.instances, "instance")} of ${plural(made.studies, "study", "studies")}`
        : "it holds nothing yet, because nothing that the filter takes is here";
      notice(`${said.project} / ${said.name} version ${made.version} ${made.is_new === false ? "stands already with the same members" : "is frozen"}: ${held}.`, "good");
      form.elements.why.value = "";
      await frozen.refresh();
    } catch (problem) {
      notice(problem.message);
    }
    button.disabled = false;
  });
}

// Take a filter that stands somewhere on the page into the editor.
export function edit(expression) {
  rows.show(topOf(expression));
  fromRows();
  place("h-filter").scrollIntoView();
}

async function begin() {
  followTheme();
  try {
    const language = await ask("cohorts/language");
    rows = builder(place("rows"), language, fromRows);
    rows.show(group("all", [condition()]));
    const kept = draft.of(language.who);
    text.value = kept ?? toYaml(rows.top, rows.plain);
    text.addEventListener("input", () => changed(true));
    const frozen = frozenOf(place("cohorts"), language, notice, edit);
    freezing(language, frozen);
    listsOf(place("upload"), place("lists"), language, notice);
    await read(kept === null ? null : true);
  } catch (problem) {
    notice(problem.message);
    document.body.dataset.state = "drawn";
  }
}

begin();

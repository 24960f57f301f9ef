// Starting runs of backfill_cohort by Airflow's own API, which decides who may: first the estimate, then the run.

import { airflowLink } from "./airflow.js";
import { bytes, element, moment, plural, sent, tell, whyNot } from "./dom.js";

const DAG = "backfill_cohort";

export async function startCohort(conf) {
  const response = await sent(`../api/v2/dags/${DAG}/dagRuns`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ logical_date: null, conf, note: "started on the page Cohorts" }),
  });
  if (response.ok) return { ...(await response.json()), waits: await isSwitchedOff() };
  const said = await response.json().catch(() => ({}));
  throw new Error(`${DAG} was not started. ${whyNot(response.status, said.detail)}`);
}

// Airflow takes runs of a DAG that is switched off, and begins none.
async function isSwitchedOff() {
  try {
    const dag = await (await sent(`../api/v2/dags/${DAG}`)).json();
    return dag.is_paused === true;
  } catch {
    return false;
  }
}

// What to say of a run that was started, for `notice`.
export const begun = (run, words) =>
  run.waits
    ? [[`The run waits: ${DAG} is switched off in Airflow. Ask who runs it to switch it on. See `, runLink(run), "."], "bad"]
    : [[`${words}. How far it is stands on the page `, element("a", { href: "requests" }, "Requests"), "; or see ", runLink(run), "."], "good"];

export const runLink = (run) => airflowLink(`dags/${DAG}/runs/${encodeURIComponent(run.dag_run_id)}`, "its run");

const PRIORITIES = ["routine", "urgent", "backfill"];

// A button that first says how much it is and how long it takes, with a choice of the priority where the PACS will be
// asked; `done(run)` is told once it is started.
export function starter(conf, word, done, failed, title = null, asksPacs = true) {
  const priority = element("select", { "aria-label": `Priority of ${conf.name}`, hidden: !asksPacs }, PRIORITIES.map((name) => element("option", { value: name }, name)));
  const button = element("button", { type: "button", class: asksPacs ? "primary" : null, title }, word);
  const place = element("div", { class: "asking" });
  const start = async (more) => {
    try {
      const run = await startCohort({ ...conf, ...more, priority: priority.value });
      place.replaceChildren();
      done(run);
    } catch (problem) {
      failed(problem);
    }
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    place.replaceChildren(element("p", { class: "nothing" }, "Counting …"));
    try {
      place.replaceChildren(estimated(await tell("POST", "requests/estimate", conf), start, () => place.replaceChildren()));
      place.querySelector("input, button").focus();
    } catch (problem) {
      place.replaceChildren();
      failed(problem);
    }
    button.disabled = false;
  });
  return element("span", { class: "starter" }, priority, button, place);
}

// Which of the project's profiles; one that has no choice says only what it is.
function profileOf(profile, profiles) {
  if (profiles.length < 2) return { choice: null, words: ` De-identified by the profile ${profile}.`, chosen: () => ({}) };
  const select = element("select", { "aria-label": "Profile" }, profiles.map((name) => element("option", { value: name, selected: name === profile }, name)));
  return { choice: element("label", {}, "De-identified by the profile ", select), words: "", chosen: () => ({ profile: select.value }) };
}

function estimated({ estimate, formats, profile, profiles, over, may_override: mayOverride }, start, leave) {
  const rules = profileOf(profile, profiles);
  const why = element("input", { placeholder: "why it may pass above the quota", "aria-label": "Why it may pass above the quota", maxlength: "1000", autocomplete: "off" });
  const refused = over.length > 0 && !mayOverride;
  const go = element("button", { type: "button", class: "primary", disabled: refused }, "Start now");
  go.addEventListener("click", async () => {
    if (over.length && !why.value.trim()) return why.focus();
    go.disabled = true;
    await start({ ...rules.chosen(), ...(over.length ? { override: why.value } : {}) });
    go.disabled = false;
  });
  return element("div", { class: over.length ? "estimate over" : "estimate", role: "group", "aria-label": "Estimate" },
    element("p", { class: "facts" }, `${plural(estimate.instances, "instance")}, ${bytes(estimate.bytes)}; ${estimate.to_fetch ? `${plural(estimate.to_fetch, "instance")} of it to be fetched` : "all of it is here"}. It comes as ${formats.join(", ")}.${rules.words}`),
    rules.choice ? element("p", {}, rules.choice) : null,
    element("p", {}, times(estimate)),
    element("ul", {}, estimate.rests_on.map((words) => element("li", {}, words))),
    over.map((words) => element("p", { class: "over" }, words)),
    refused ? element("p", {}, "Ask for less, or ask an engineer: they can let it pass here, saying why.") : null,
    element("div", { class: "doing" }, over.length && mayOverride ? why : null, go, element("button", { type: "button", onclick: leave }, "Leave it")));
}

function times(estimate) {
  const said = [];
  if (estimate.to_fetch) said.push(estimate.fetch_hours === null ? "How long fetching takes is not known yet." : `About ${hours(estimate.fetch_hours)} of fetching within the PACS's hours.`);
  if (estimate.release_hours !== null) said.push(`About ${hours(estimate.release_hours)} of de-identification and upload.`);
  said.push(estimate.ready_at ? `Ready about ${moment(estimate.ready_at)}, if it begins now and nobody has to be waited for.` : "When it is ready cannot be told yet.");
  return said.join(" ");
}

const hours = (value) => (value < 1 ? plural(Math.max(1, Math.round(value * 60)), "minute") : `${value.toFixed(1)} hours`);

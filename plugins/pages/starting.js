// Starting runs of backfill_cohort by Airflow's own API, which decides who may; and a link to its form.

import { airflowLink } from "./airflow.js";
import { element, sent, whyNot } from "./dom.js";

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
    : [[`${words}: see `, runLink(run), "."], "good"];

const runLink = (run) => airflowLink(`dags/${DAG}/runs/${encodeURIComponent(run.dag_run_id)}`, "its run");

const PRIORITIES = ["routine", "urgent", "backfill"];

// A button, with a choice of the priority where the PACS will be asked; `done(run)` is told.
export function starter(conf, word, done, failed, title = null, asksPacs = true) {
  const priority = element("select", { "aria-label": `Priority of ${conf.name}`, hidden: !asksPacs }, PRIORITIES.map((name) => element("option", { value: name }, name)));
  const button = element("button", { type: "button", class: asksPacs ? "primary" : null, title }, word);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      done(await startCohort({ ...conf, priority: priority.value }));
    } catch (problem) {
      failed(problem);
    }
    button.disabled = false;
  });
  return element("span", { class: "starter" }, priority, button);
}

// Starting runs of backfill_cohort by Airflow's own API, which decides who may; and a link to its form.

import { element, sent, whyNot } from "./dom.js";

const DAG = "backfill_cohort";

export async function startCohort(conf) {
  const response = await sent(`../api/v2/dags/${DAG}/dagRuns`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ logical_date: null, conf, note: "started on the page Cohorts" }),
  });
  if (response.ok) return response.json();
  const said = await response.json().catch(() => ({}));
  throw new Error(`${DAG} was not started. ${whyNot(response.status, said.detail)}`);
}

export function runLink(run) {
  const link = element("a", { href: `../dags/${DAG}/runs/${encodeURIComponent(run.dag_run_id)}` }, "its run");
  link.addEventListener("click", (event) => {
    if (parent === window) return; // framed by Airflow, no link may lead out of the frame
    event.preventDefault();
    parent.history.pushState({}, "", link.href);
    parent.dispatchEvent(new PopStateEvent("popstate"));
  });
  return link;
}

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

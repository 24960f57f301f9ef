// The page Routing: a dry run, the rules, the decisions, and reports that people ask for.

import { element, moment, nothing, plural, table, tell } from "./dom.js";
import { begin, notice, place } from "./frame.js";

let mayOrder = false;

const code = (text) => element("code", {}, text);
const why = (restsOn) => Object.entries(restsOn).sort().map(([task, said]) => `${task} ${said.label} ${said.score}`).join(", ");

async function drawRules() {
  const answer = await tell("POST", "routing/rules", {});
  mayOrder = answer.may_order;
  place("rules").replaceChildren(
    answer.faults.length ? element("ul", { class: "faults" }, answer.faults.map((fault) => element("li", {}, fault))) : "",
    answer.rules.length ? table("Rules", [
      { title: "Rule", cell: (rule) => element("strong", {}, rule.name) },
      { title: "Takes", cell: (rule) => rule.when },
      { title: "To", cell: (rule) => code(rule.destination) },
      { title: "Why", cell: (rule) => rule.about },
    ], answer.rules) : nothing("No rule is in force."));
}

async function drawDecisions() {
  const { decisions, more } = await tell("POST", "routing/decisions", {});
  place("decisions").replaceChildren(
    decisions.length ? table("Decisions", [
      { title: "When", cell: (row) => moment(row.decided_at) },
      { title: "Rule", cell: (row) => row.rule },
      { title: "Instance", cell: (row) => code(row.sop_instance_uid) },
      { title: "To", cell: (row) => code(row.destination) },
      { title: "Rests on", cell: (row) => why(row.rests_on) },
      { title: "What came of it", cell: (row) => element("span", { class: row.outcome === "failed" ? "fault" : null }, [row.outcome ?? "open", row.detail].filter(Boolean).join(": ")) },
    ], decisions) : nothing("Nothing was decided yet."),
    more ? element("p", { class: "soft" }, "Older ones: sluice route decisions STUDY.") : "");
}

async function tryStudy(submitted) {
  submitted.preventDefault();
  const study = place("study").value.trim();
  try {
    const { taken } = await tell("POST", "routing/dry-run", { study });
    notice();
    const instances = new Set(taken.map((one) => one.sop_instance_uid)).size;
    place("taken").replaceChildren(taken.length
      ? element("div", {}, element("p", {}, `${plural(instances, "instance")} would go on.`), table("Where it would go", [
        { title: "Instance", cell: (one) => code(one.sop_instance_uid) }, { title: "Rule", cell: (one) => one.rule },
        { title: "To", cell: (one) => code(one.destination) }, { title: "Rests on", cell: (one) => why(one.rests_on) },
      ], taken))
      : nothing("Nowhere: no rule takes an instance of it that a model has read."));
    place("report").hidden = !mayOrder;
  } catch (problem) {
    notice(problem.message);
  }
}

async function askForReport(submitted) {
  submitted.preventDefault();
  try {
    const asked = await tell("POST", "routing/reports", { study: place("study").value.trim(), node: place("node").value.trim() });
    notice(`Asked for: send_reports sends it to ${asked.node} within a quarter of an hour.`, "good");
  } catch (problem) {
    notice(problem.message);
  }
}

place("try").addEventListener("submit", tryStudy);
place("report").addEventListener("submit", askForReport);
begin(() => Promise.all([drawRules(), drawDecisions()]));

// The page Models: what reads, what would like to, how they were measured, and moves between stages.

import { confusions } from "./confusion.js";
import { ask, element, moment, nothing, number, opens, percent, plural, table, tell } from "./dom.js";
import { begin, notice, place } from "./frame.js";

const TASKS = { body_part: "Body part", ivc_filter: "IVC filter" };

function stage(model) {
  if (model.serves) return element("span", { class: "badge good" }, "production, reads");
  if (model.stage === "production") return element("span", { class: "badge" }, "production before");
  return element("span", { class: model.stage === "shadow" ? "badge quarantine" : "badge" }, model.stage);
}

const line = ([name, one]) => element("li", {}, name, element("strong", {}, one.value.toFixed(3), element("span", { class: "soft" }, ` ${one.ci95[0].toFixed(3)}–${one.ci95[1].toFixed(3)}`)));

// Figures of this site's own films, as far as there are enough of them.
function here(model) {
  if (model.site_films === null) return element("p", { class: "soft" }, "No confirmed film of this site measures it yet.");
  const found = Object.entries(model.site_metrics);
  const films = `${plural(model.site_films, "confirmed film")} of ${plural(model.site_patients, "patient")} of this site`;
  if (!found.length) return element("p", { class: "soft" }, `${films}: too few to measure on.`);
  return [element("ul", { class: "measures", "aria-label": "Measures on films of this site with 95 % intervals" }, found.map(line)),
    element("p", { class: "soft" }, `On ${films}, none of whom trains, ${moment(model.site_evaluated_at)}.`)];
}

function measures(model) {
  const all = Object.entries(model.metrics ?? {});
  if (!all.length) return element("p", { class: "soft" }, "Not measured yet: run train_models without architectures.");
  const main = all.filter(([name]) => !name.includes(","));
  const more = all.filter(([name]) => name.includes(","));
  return [
    element("ul", { class: "measures", "aria-label": "Measures with 95 % intervals" }, main.map(line)),
    element("p", { class: "soft" }, `On ${plural(model.films, "film")} of ${plural(model.patients, "patient")} (${model.set_name}), ${moment(model.evaluated_at)}.`),
    ...[here(model)].flat(),
    more.length ? opens("By source", async () => element("ul", { class: "measures" }, more.map(line))) : null,
  ];
}

function beside(model) {
  if (model.stage !== "shadow") return null;
  if (!model.both_read) return element("p", { class: "soft" }, "As a shadow it has read nothing yet.");
  return element("p", {}, `Calls ${number(model.agree)} of ${plural(model.both_read, "image")} as production does (${percent(model.agree / model.both_read)}).`);
}

const compared = (each, where) => element("li", {}, `${each.passes ? "✓" : "✗"} ${where}${each.measure}: ${each.candidate.toFixed(3)} beside ${each.serving.toFixed(3)}, difference ${each.difference.toFixed(3)} (${each.ci95[0].toFixed(3)} to ${each.ci95[1].toFixed(3)}, ${plural(each.films, "film")})`);

function more(model) {
  return opens("Gate, history, card", async () => {
    const one = await ask(`models/${encodeURIComponent(model.model_id)}`);
    const differ = one.pairs.filter((pair) => !pair.agree);
    return element("div", {},
      model.serves ? null : element("h3", {}, "What the gate would say of a promotion"),
      model.serves ? null : element("ul", { class: "why" },
        one.gate.compared.map((each) => compared(each, "")),
        one.gate.compared_here.map((each) => compared(each, "Of this site, ")),
        one.gate.site_films && !one.gate.compared_here.length ? element("li", {}, `Of this site: nothing to compare on ${plural(one.gate.site_films, "film")}.`) : null,
        one.gate.reasons.map((reason) => element("li", { class: "fault" }, reason)),
        one.gate.reasons.length ? null : element("li", {}, "It may pass.")),
      differ.length ? [element("h3", {}, "Where it and production differ"), table("Pairs of answers", [
        { title: "Production", cell: (pair) => pair.serving_label }, { title: "This one", cell: (pair) => pair.label },
        { title: "Images", number: true, cell: (pair) => number(pair.images) },
      ], differ)] : null,
      element("h3", {}, "History"),
      table("What happened to it", [
        { title: "When", cell: (row) => moment(row.at) }, { title: "What", cell: (row) => row.event },
        { title: "Who", cell: (row) => row.by }, { title: "Why", cell: (row) => row.reason },
      ], one.history),
      element("h3", {}, "Card"),
      element("ul", { class: "why" }, (one.card.limits ?? []).map((limit) => element("li", {}, limit))),
      confusions(one.card),
      element("pre", { class: "card", tabindex: "0", "aria-label": `Card of ${model.model_id}` }, JSON.stringify(one.card, null, 1)));
  });
}

function mover(model) {
  const steps = { candidate: [["shadow", "Read as a shadow"]], shadow: [["production", "Promote"], ["candidate", "Withdraw"]], production: model.serves ? [["back", "Roll back"]] : [] }[model.stage];
  if (!steps.length) return null;
  const why = element("input", { name: "why", required: true, maxlength: "1000", placeholder: "why; kept with your name", "aria-label": `Why ${model.model_id} is moved`, autocomplete: "off" });
  const form = element("form", { class: "move" }, why, steps.map(([to, words]) => element("button", { type: "submit", value: to }, words)));
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    const to = submitted.submitter?.value ?? steps[0][0];
    try {
      if (to === "back") await tell("POST", "models/rollbacks", { task: model.task, reason: why.value });
      else await tell("POST", "models/moves", { model: model.model_id, to, reason: why.value });
      notice(to === "back" ? `${model.model_id} is out of production.` : `${model.model_id} is now: ${to}.`, "good");
      await refresh();
    } catch (problem) {
      notice(problem.message);
    }
  });
  return form;
}

function drawn(model, mayPromote) {
  return element("li", { class: "model", "data-model": model.model_id },
    element("div", { class: "title" }, element("strong", {}, model.model_id), stage(model),
      element("span", { class: "soft" }, `${model.registered_by}, ${moment(model.registered_at)}`)),
    measures(model), beside(model), more(model), mayPromote ? mover(model) : null);
}

function training(run) {
  return element("li", { class: "model" },
    element("div", { class: "title" }, element("strong", {}, run.architecture), element("span", { class: run.state === "failed" ? "badge bad" : run.state === "done" ? "badge good" : "badge" }, run.state),
      element("span", { class: "soft" }, `${run.run_id}, ${moment(run.updated_at)}`)),
    element("div", { class: "share" }, element("progress", { max: run.steps, value: run.step, "aria-label": `Steps of ${run.architecture}` }), element("strong", {}, percent(run.step / run.steps))),
    element("p", { class: "soft" }, `${number(run.step)} of ${plural(run.steps, "step")}${run.loss === null ? "" : `, loss ${run.loss.toFixed(3)}`}${run.model_id ? `, ${run.model_id}` : ""}`));
}

async function refresh() {
  const answer = await ask("models");
  place("lead").textContent = `A candidate reads beside production as a shadow first; what it says counts for nothing. The gate asks for ${number(answer.shadow_films)} images that both read, and that it is at most ${answer.margin} worse on the same films, at 95 %.`;
  const byTask = Object.entries(TASKS).map(([task, words]) => {
    const models = answer.models.filter((model) => model.task === task);
    return models.length ? [element("h3", {}, words), element("ul", { "aria-label": words }, models.map((model) => drawn(model, answer.may_promote)))] : null;
  });
  place("models").replaceChildren(...(answer.models.length ? byTask.flat().filter(Boolean) : [nothing("No model is registered yet; the first inference enters those that ship.")]));
  place("trainings").replaceChildren(answer.trainings.length ? element("ul", { "aria-label": "Trainings" }, answer.trainings.map(training)) : nothing("Nothing was trained here yet. Trigger train_models."));
}

begin(refresh);

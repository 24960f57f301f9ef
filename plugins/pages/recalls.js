// The page Recalls: per release what was taken back, whether it is gone, and who did not yet answer.

import { ask, element, moment, nothing, number, plural, tell } from "./dom.js";
import { begin, notice, place } from "./frame.js";

const STATES = { tombstone: "tombstone written", manifest: "manifest written", deleted: "deleted, not proven yet", refused: "the bucket refused", returned: "came back, taken out again" };
const REASONS = { withdrawn: "consent ended or objection", error: "error in the release" };

function drawn(one) {
  const state = one.is_gone ? element("span", { class: "badge good" }, "gone") : element("span", { class: "badge bad" }, STATES[one.event] ?? "decided");
  return element("li", { class: "request", "data-recall": one.recall_id },
    element("div", { class: "title" },
      element("strong", {}, `${one.project}/v${one.version}`),
      state,
      one.is_overdue ? element("span", { class: "badge bad" }, "overdue") : null,
      element("span", { class: "soft" }, `recall ${one.recall_id}, ${moment(one.ordered_at)}, ${one.ordered_by}`)),
    element("p", {}, `${plural(one.objects, "object")}: ${REASONS[one.reason]}.`),
    one.event === "refused" ? element("p", { class: "notice" }, `${one.detail.said} It is tried again every hour.`) : null,
    one.who.length
      ? [element("p", { class: "soft" }, `To be deleted by ${one.due_on}; ${number(one.acknowledged)} of ${plural(one.recipients, "recipient")} did.`), element("ul", { class: "recipients" }, one.who.map((who) => recipient(one, who)))]
      : element("p", { class: "soft" }, one.was_published ? "The project's file names no recipient, and no access log was read: find out who has it." : "It was never published, so nobody has to be told."));
}

function recipient(one, who) {
  const name = element("span", { class: "name" }, element("strong", {}, who.recipient), who.contact ? ` ${who.contact}` : "", who.basis === "pulled" ? element("span", { class: "soft" }, " read it, by the access log") : "");
  if (who.acknowledged_at) return element("li", {}, name, element("span", { class: "badge good" }, "deleted"), element("span", { class: "soft" }, `${moment(who.acknowledged_at)}: ${who.note}`));
  const letter = element("div", {});
  const show = element("button", { type: "button", onclick: () => showLetter(one, who, letter) }, "Notice");
  const note = element("input", { name: "note", required: true, maxlength: "1000", placeholder: "what they answered, and when", "aria-label": `Answer of ${who.recipient}`, autocomplete: "off" });
  const form = element("form", {}, note, element("button", { type: "submit" }, "Deleted"));
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    try {
      await tell("POST", `recalls/${one.recall_id}/acknowledgements`, { recipient: who.recipient, note: note.value });
      notice(`Kept: ${who.recipient} deleted what recall ${one.recall_id} names.`, "good");
      await refresh();
    } catch (problem) {
      notice(problem.message);
    }
  });
  return element("li", {}, name, show, form, letter);
}

async function showLetter(one, who, where) {
  if (where.childElementCount) return where.replaceChildren();
  const response = await fetch(`api/recalls/${one.recall_id}/notice`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ recipient: who.recipient }) });
  const text = await response.text();
  if (!response.ok) return notice(text);
  const letter = element("textarea", { class: "letter", readonly: true, "aria-label": `Notice to ${who.recipient}` });
  letter.value = text;
  where.replaceChildren(letter);
  where.style.width = "100%";
  letter.select();
}

async function refresh() {
  const all = await ask("recalls");
  const missing = all.reduce((sum, one) => sum + one.recipients - one.acknowledged, 0);
  const tile = (value, words) => element("li", {}, element("strong", {}, number(value)), words);
  place("sums").replaceChildren(
    tile(all.length, "recalls"),
    tile(all.filter((one) => !one.is_gone).length, "not gone from the bucket yet"),
    tile(missing, "answers still to come"),
    tile(all.filter((one) => one.is_overdue).length, "overdue"));
  place("recalls").replaceChildren(all.length ? element("ul", {}, all.map(drawn)) : nothing("Nothing was recalled yet."));
}

begin(refresh);

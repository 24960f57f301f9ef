// Broken quality rules: how often, why it matters, what to do, which objects.

import { ask, element, isCohort, nothing, number, opens, plural, table, words } from "./dom.js";

export function drawQuality(answer, key) {
  const docs = answer.has_data_docs
    ? element("p", {}, element("a", { href: `quality?${new URLSearchParams({ window: key })}` }, "Data Docs of this window"),
        element("span", { class: "soft" }, " as Great Expectations reports them. "),
        element("a", { href: `trend${/^[0-9-]{10}$/.test(key) ? `?until=${key}` : ""}` }, "Trend and decisions"),
        answer.halted
          ? element("strong", { class: "notice" }, " The whole window is held, and nothing after check_quality begins: a rule that halts is broken. Repair what it says, or accept it under Trend and decisions; then clear the red task check_quality.")
          : null)
    : null;
  if (!answer.rules.length) {
    return element("div", {}, nothing(unbroken(answer, key)), docs ?? "");
  }
  return element(
    "div",
    {},
    docs ?? "",
    element("ul", { class: "rules" }, answer.rules.map((rule) => line(rule, key))),
    element("p", { class: "soft" }, `${answer.rules.length} of ${answer.known_rules} rules are broken. `,
      "Stop and quarantine hold the object back until it is repaired or accepted; a stop wants a person to look; ",
      "warn: recorded."),
  );
}

function unbroken(answer, key) {
  if (answer.checked) return `None of ${answer.known_rules} rules is broken by ${plural(answer.checked, "instance")}.`;
  if (isCohort(key)) return "Nothing that was fetched for this cohort was checked yet; what was here already is checked with its day.";
  return answer.known_rules ? "The window had nothing to check." : "Not checked yet. Run check_quality for this window.";
}

function line(rule, key) {
  const list = async () => {
    const rows = await ask("quality/findings", { window: key, rule: rule.rule });
    return table(
      `Objects that break ${rule.rule}`,
      [
        { title: words(rule.level), cell: (row) =>
            element("code", {}, row.object) },
        { title: "Scanner", cell: (row) => row.scanner },
        { title: "Observed", cell: (row) => row.observed },
      ],
      rows,
    );
  };
  return element(
    "li",
    {},
    element("span", { class: `badge ${rule.severity}` }, rule.severity),
    element("span", { class: "count" }, number(rule.findings)),
    element(
      "div",
      { class: "why" },
      element("p", {}, element("strong", {}, rule.rule.replaceAll("-", " ")), ` — ${rule.why} `,
        element("span", { class: "advice" }, rule.advice)),
      opens(rule.level === "window" ? "Which window" : `Which ${rule.level} (${plural(rule.studies, "study", "studies")})`, list),
    ),
  );
}

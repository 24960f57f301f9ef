// The page Quality trend: a heat map of rules by day, one of a rule's scanners, and the findings behind a number.

import { airflowLink } from "./airflow.js";
import { ask, element, moment, nothing, number, pages, plural, tell, words } from "./dom.js";
import { followTheme } from "./theme.js";

const place = (id) => document.getElementById(id);
const form = () => Object.fromEntries(new FormData(place("picker")));
let mayDecide = false;
let shown = 0; // answers to a question that is no longer asked are dropped

function notice(text, kind = "bad") {
  place("notice").replaceChildren(...[text ?? ""].flat());
  place("notice").className = `notice ${kind}`;
  place("notice").hidden = !text;
}

function daysBetween(since, until) {
  const days = [];
  for (let day = new Date(`${since}T12:00Z`); day <= new Date(`${until}T12:00Z`); day.setUTCDate(day.getUTCDate() + 1)) {
    days.push(day.toISOString().slice(0, 10));
  }
  return days;
}

const isWeekend = (day) => [0, 6].includes(new Date(`${day}T12:00Z`).getUTCDay());
// The month where one begins: a column is too narrow for more.
const shortDay = (day, first) => (first || day.endsWith("-01") ? `${Number(day.slice(8))}.${Number(day.slice(5, 7))}.` : `${Number(day.slice(8))}.`);
const short = (count) => (count >= 10000 ? `${Math.round(count / 1000)}k` : number(count));
const title = (rule) => rule.replaceAll("-", " ");

// A table of numbers by day; rows are {head, label, severity, days: {day: count}, open(day)}.
function heatMap(caption, days, rows, checked) {
  const most = Math.max(1, ...rows.flatMap((row) => Object.values(row.days)));
  const strength = (count) => 1 + Math.min(2, Math.floor((3 * Math.log1p(count)) / Math.log1p(most + 1)));
  const holder = element("div", { class: "scroll heat" });
  const table = element(
    "table",
    {},
    element("caption", { class: "unseen" }, caption),
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        element("th", {}),
        days.map((day) =>
          element("th", { scope: "col", class: isWeekend(day) && "weekend", title: day }, shortDay(day, day === days[0])),
        ),
        element("th", { scope: "col" }, "all"),
      ),
    ),
    element(
      "tbody",
      {},
      rows.map((row) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, row.head),
          days.map((day) => {
            const count = row.days[day];
            if (!count) return element("td", { class: `cell ${checked && !(day in checked) ? "unchecked" : ""}` });
            const button = element(
              "button",
              {
                type: "button", tabindex: "-1", class: `${row.severity}-${strength(count)}`, "aria-pressed": "false",
                "aria-label": `${row.label}, ${day}: ${plural(count, "finding")}`, title: row.title?.(day),
                onclick: () => {
                  for (const each of holder.querySelectorAll("[aria-pressed=true]")) each.setAttribute("aria-pressed", "false");
                  button.setAttribute("aria-pressed", "true");
                  row.open(day);
                },
              },
              short(count),
            );
            return element("td", { class: "cell" }, button);
          }),
          element("td", { class: "total" }, number(Object.values(row.days).reduce((sum, count) => sum + count, 0))),
        ),
      ),
    ),
  );
  byArrows(table);
  holder.append(table);
  requestAnimationFrame(() => (holder.scrollLeft = holder.scrollWidth)); // the newest days
  return holder;
}

// One stop of the Tab key; arrows go from number to number.
function byArrows(table) {
  const buttons = () => [...table.querySelectorAll(".cell button")];
  const first = buttons().at(-1);
  if (first) first.tabIndex = 0;
  table.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const cell = event.target.closest(".cell");
    if (!step || !cell) return;
    event.preventDefault();
    const rows = [...table.tBodies[0].rows];
    let [y, x] = [rows.indexOf(cell.parentElement), cell.cellIndex];
    for (;;) {
      [y, x] = [y + step[0], x + step[1]];
      const button = rows[y]?.cells[x]?.querySelector(".cell button");
      if (button) return focusOn(button);
      if (!rows[y]?.cells[x]) break;
    }
    // Nothing in that line: the nearest number of the next row in that direction.
    const next = step[0] ? rows[rows.indexOf(cell.parentElement) + step[0]] : null;
    const near = [...(next?.querySelectorAll(".cell button") ?? [])].sort(
      (a, b) => Math.abs(a.parentElement.cellIndex - cell.cellIndex) - Math.abs(b.parentElement.cellIndex - cell.cellIndex),
    );
    if (near[0]) focusOn(near[0]);
  });
  function focusOn(button) {
    for (const each of buttons()) each.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
  }
}

function drawRules(answer) {
  const days = daysBetween(answer.since, answer.until);
  const scanner = form().scanner;
  if (!answer.rules.length) {
    return nothing(
      Object.keys(answer.instances).length
        ? "No rule was broken in these days."
        : "No day was checked between these dates. Run check_quality, or choose other days.",
    );
  }
  return heatMap(
    "Findings by rule and day",
    days,
    answer.rules.map((rule) => ({
      label: title(rule.rule),
      severity: rule.severity,
      days: rule.days,
      head: [
        element("span", { class: `badge ${rule.severity}` }, rule.severity),
        element("button", { type: "button", title: rule.why, onclick: () => openScanners(rule, answer) }, title(rule.rule)),
      ],
      title: (day) => (answer.instances[day] ? `of ${plural(answer.instances[day], "instance")} that day` : null),
      open: (day) => openFindings(rule, { since: day, until: day, scanner: scanner || null }),
    })),
    answer.instances,
  );
}

async function openScanners(rule, answer) {
  const { since, until } = answer;
  place("scanners-panel").hidden = false;
  place("h-scanners").textContent = `${title(rule.rule)} by scanner`;
  place("scanners-lead").replaceChildren(`${rule.why} `, element("span", { class: "advice" }, rule.advice));
  place("scanners").replaceChildren(nothing("Asking …"));
  try {
    const days = daysBetween(since, until);
    const rows = await ask("trend/scanners", { rule: rule.rule, until, days: days.length });
    const byScanner = new Map();
    for (const row of rows) {
      if (!byScanner.has(row.scanner)) byScanner.set(row.scanner, { days: {}, objects: {} });
      byScanner.get(row.scanner).days[row.day] = row.findings;
      byScanner.get(row.scanner).objects[row.day] = row.objects;
    }
    place("scanners").replaceChildren(
      heatMap(
        `Findings of ${rule.rule} by scanner and day`,
        days,
        [...byScanner].map(([scanner, { days: counts, objects }]) => ({
          label: scanner || "no scanner known",
          severity: rule.severity,
          days: counts,
          head: [scanner || element("span", { class: "soft" }, "no scanner known")],
          title: (day) => (objects[day] ? `of ${number(objects[day])} (${rule.level})` : null),
          open: (day) => openFindings(rule, { since: day, until: day, scanner }),
        })),
        null,
      ),
    );
    openFindings(rule, { since, until, scanner: form().scanner || null }, false);
  } catch (problem) {
    place("scanners").replaceChildren(element("p", { class: "notice" }, problem.message));
  }
}

async function openFindings(rule, asked, goThere = true) {
  const key = { rule: rule.rule, ...asked };
  const days = asked.since === asked.until ? asked.since : `${asked.since} to ${asked.until}`;
  const where = asked.scanner === null ? "" : `, ${asked.scanner || "no scanner known"}`;
  place("findings-panel").hidden = false;
  place("h-findings").textContent = `${title(rule.rule)}, ${days}${where}`;
  place("findings-lead").replaceChildren(`${rule.why} `, element("span", { class: "advice" }, rule.advice));
  const query = new URLSearchParams(Object.entries(key).filter(([, value]) => value !== null));
  const tools = element(
    "p",
    { class: "tools" },
    element("a", { href: `api/trend/findings.csv?${query}`, download: "" }, "Download as CSV"),
    mayDecide ? null : element("span", { class: "soft" }, "Who may start runs of check_quality can decide about findings."),
  );
  place("findings").replaceChildren(nothing("Asking …"));
  try {
    const list = await pages(async (after) => {
      const answer = await ask("trend/findings", { ...key, after: after || 0 });
      const drawn = answer.findings.length
        ? element("ul", { class: "findings" }, answer.findings.map(finding))
        : nothing("No finding is left: what it was about was repaired since.");
      return [drawn, answer.next];
    });
    place("findings").replaceChildren(tools, list);
    if (goThere) place("findings-panel").focus({ preventScroll: false });
  } catch (problem) {
    place("findings").replaceChildren(element("p", { class: "notice" }, problem.message));
  }
}

const KNOWN_BY = { study: "study_instance_uid", series: "series_instance_uid", instance: "sop_instance_uid" };

function finding(row) {
  const state = element("div", { class: "decision" });
  drawDecision(state, row);
  return element(
    "li",
    { class: "finding", "data-object": row.object },
    element(
      "div",
      {},
      element("small", {}, words(row.level)),
      KNOWN_BY[row.level] ? element("code", {}, row.object) : element("strong", {}, row.object),
      element("small", {}, [row.scanner, row.level === "window" ? null : row.window_key].filter(Boolean).join(" · ")),
    ),
    element("div", { class: "observed" }, row.observed),
    state,
  );
}

// What a decision does, and what is left to do.
function told(row, decision) {
  if (decision !== "accept") return "Kept out until somebody accepts it.";
  if (row.level !== "window") return "Accepted: it no longer holds the object back.";
  return [
    `Accepted: it no longer holds the window ${row.object}. Now clear the red task check_quality of `,
    airflowLink(`dags/${row.object.startsWith("cohort/") ? "backfill_cohort" : "check_quality"}/runs`, "its run"),
    ": what comes after it goes on by itself.",
  ];
}

function drawDecision(holder, row) {
  const said = row.decision
    ? element(
        "p",
        {},
        element("span", { class: `badge ${row.decision}` }, row.decision === "accept" ? "accepted" : "kept out"),
        ` ${row.reason} `,
        element("small", {}, `${row.decided_by}, ${moment(row.decided_at)}`),
      )
    : element("p", { class: "soft" }, row.severity === "warn" ? "Recorded; holds nothing back." : "Held back; nobody has decided.");
  const offered = row.level === "scanner" ? [["accept", "Accept"]] : [["accept", "Accept"], ["keep-out", "Keep out"]];
  const reason = element("input", {
    name: "reason", required: true, minlength: "3", maxlength: "500", autocomplete: "off", placeholder: "Why",
    "aria-label": `Reason for ${row.object}`,
  });
  const decide = element(
    "form",
    {},
    reason,
    offered
      .filter(([decision]) => decision !== row.decision)
      .map(([decision, word]) => element("button", { type: "submit", value: decision, "aria-label": `${word} ${row.object}` }, word)),
  );
  decide.addEventListener("submit", async (event) => {
    event.preventDefault();
    const decision = event.submitter?.value ?? "accept";
    try {
      const taken = await tell("POST", "quality/decisions", {
        rule: row.rule, level: row.level, object: row.object, decision, reason: reason.value,
      });
      notice(told(row, decision), "good");
      drawDecision(holder, { ...row, ...taken });
      holder.querySelector("input")?.focus();
    } catch (problem) {
      notice(problem.message);
    }
  });
  holder.replaceChildren(said, ...(mayDecide ? [decide] : []));
}

async function show() {
  const turn = ++shown;
  const { scanner, days, until } = form();
  notice();
  try {
    const answer = await ask("trend", { scanner: scanner || null, days, until: until || null });
    if (turn !== shown) return;
    mayDecide = answer.may_decide;
    if (!until) place("until").value = answer.until;
    const picker = place("scanner");
    for (const name of answer.scanners) {
      if (![...picker.options].some((option) => option.value === name)) picker.append(element("option", { value: name }, name));
    }
    place("rules").replaceChildren(drawRules(answer));
    place("scanners-panel").hidden = true;
    place("findings-panel").hidden = true;
  } catch (problem) {
    if (turn === shown) notice(problem.message);
  }
  if (turn === shown) document.body.dataset.state = "drawn";
}

function start() {
  followTheme();
  const asked = new URLSearchParams(location.search);
  if (/^\d{4}-\d{2}-\d{2}$/.test(asked.get("until") ?? "")) place("until").value = asked.get("until");
  place("picker").addEventListener("change", show);
  place("picker").addEventListener("submit", (event) => event.preventDefault());
  show();
}

start();

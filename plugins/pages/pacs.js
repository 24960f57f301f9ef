// The page PACS: asks every two seconds what holds now and draws it; sends orders.

import { airflowLink } from "./airflow.js";
import { ask, bytes, element, moment, nothing, number, plural, table, tell } from "./dom.js";
import { notice, place } from "./frame.js";
import { followTheme } from "./theme.js";
import { editor } from "./hours.js";

const EVERY_MS = 2000;
const nodes = new Map(); // name of a PACS -> its panel
let drawn = "";

function since(text, now) {
  const seconds = Math.max(0, Math.round((new Date(now) - new Date(text)) / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

function runLink(row) {
  if (!row.dag_id || !row.run_id) return row.who;
  return airflowLink(`dags/${encodeURIComponent(row.dag_id)}/runs/${encodeURIComponent(row.run_id)}`, row.who);
}

const windowLink = (key) => (key ? element("a", { href: `./?${new URLSearchParams({ window: key })}` }, key) : null);

function slots(one) {
  const boxes = Math.max(one.allowed, one.holders.length);
  return element(
    "div",
    { class: "slots", "aria-hidden": "true" },
    Array.from({ length: boxes }, (_, at) =>
      element("i", { class: at < one.holders.length ? "used" : at < one.bears ? "free" : "withheld" }),
    ),
  );
}

function sentence(one, now) {
  if (!one.policy) return "No policy yet; it is made with the first use.";
  if (one.hours === "closed") {
    const opens = one.opens_at ? `They begin ${moment(one.opens_at)}.` : "The week has no open hour.";
    return `Outside the weekly hours. ${opens}`;
  }
  const words = [`${one.holders.length} of ${plural(one.bears, "association")} in use, ${one.hours} hours.`];
  const above = one.holders.length - one.bears;
  if (above > 0) words.push(`${above} of them ${above === 1 ? "gives" : "give"} way before the next request.`);
  if (one.bears < one.allowed) words.push(`Policy would allow ${one.allowed}; it has been slowed down.`);
  if (one.pause_s) words.push(`A pause of ${Math.round(one.pause_s * 10) / 10} s before each request.`);
  if (one.slowed_since && one.events[0]) {
    words.push(`Since ${since(one.slowed_since, now)}: ${one.events[0].reason}.`);
  }
  return words.join(" ");
}

function uses(caption, rows, now, waits) {
  return table(
    caption,
    [
      { title: "Who", cell: runLink },
      { title: "For", cell: (row) => row.purpose },
      { title: "Window", cell: (row) => windowLink(row.window_key) },
      { title: "Priority", cell: (row) => element("span", { class: `badge ${row.priority}` }, row.priority) },
      { title: waits ? "Waits" : "Since", cell: (row) => since(waits ? row.waiting_since : row.granted_at, now) },
      ...(waits
        ? []
        : [
            { title: "Requests", cell: (row) => number(row.requests), number: true },
            { title: "Brought", cell: (row) => bytes(row.bytes), number: true },
          ]),
      { title: "Process", cell: (row) => `${row.host}, ${row.process}` },
    ],
    rows,
  );
}

const KINDS = { "slow-down": "open", recovery: "good", probe: "" };

function events(one, now) {
  if (!one.events.length) return nothing("It never complained.");
  return element(
    "ol",
    { class: "events" },
    one.events.map((event) =>
      element(
        "li",
        {},
        element("time", { datetime: event.happened_at, title: moment(event.happened_at) }, `${since(event.happened_at, now)} ago`),
        element("span", { class: `badge ${KINDS[event.kind]}` }, event.kind),
        element("span", {}, event.reason),
        element(
          "span",
          { class: "soft" },
          `${event.in_use} in use → ${event.concurrency ?? "as policy allows"}`,
          event.pause_s ? `, ${Math.round(event.pause_s * 10) / 10} s pause` : "",
        ),
      ),
    ),
  );
}

function usual(one) {
  const known = one.latency.filter((row) => row.samples > 30);
  if (!known.length) return null;
  const said = known.map(
    (row) => `${row.service} ${Math.round(row.recent_ms)} ms (usually ${Math.round(row.usual_ms)} ms)`,
  );
  return element("p", { class: "soft" }, `Time for an answer or instance lately: ${said.join(", ")}.`);
}

function live(one, now) {
  return element(
    "div",
    {},
    element("p", { class: "state" }, slots(one), sentence(one, now)),
    element("h3", {}, "Using it now"),
    one.holders.length ? uses(`Who uses ${one.pacs}`, one.holders, now, false) : nothing("Nobody."),
    element("h3", {}, "Waiting"),
    one.waiters.length ? uses(`Who waits for ${one.pacs}`, one.waiters, now, true) : nothing("Nobody."),
    element("h3", {}, "Slow-downs and recoveries"),
    events(one, now),
    usual(one),
  );
}

function panel(one) {
  const body = element("div", { class: "live" });
  const hours = element("div", { class: "policy" });
  const made = element(
    "section",
    { class: "panel node", "aria-label": one.pacs },
    element("h2", {}, one.pacs),
    body,
    element("h3", {}, "Weekly hours and limits"),
    hours,
  );
  place("nodes").append(made);
  return { body, hours, editor: null };
}

function drawNode(one, now) {
  if (!nodes.has(one.pacs)) nodes.set(one.pacs, panel(one));
  const parts = nodes.get(one.pacs);
  keepingFocus(parts.body, live(one, now));
  if (!one.policy) return;
  if (!parts.editor) parts.editor = editor(parts.hours, one.pacs, one.may_change, refresh, notice);
  parts.editor.show(one.policy, one.changes);
}

const ORDERS = {
  active: [["paused", "Pause"], ["cancelled", "Cancel"]],
  paused: [["active", "Resume"], ["cancelled", "Cancel"]],
  cancelled: [["active", "Resume"]],
};

// Airflow's frame allows no dialogs, so the button itself asks whether a cancel is meant: window -> until when.
const asked = new Map();
const isAsked = (key) => (asked.get(key) ?? 0) > Date.now();
const wordOf = (state, word, key) => (state === "cancelled" && isAsked(key) ? "Really cancel?" : word);

function asksFirst(key, button) {
  if (isAsked(key)) return false;
  asked.set(key, Date.now() + 6000);
  button.textContent = "Really cancel?";
  setTimeout(() => (drawn = ""), 6100);
  return true;
}

async function order(row, change, button) {
  if (change.state === "cancelled" && asksFirst(row.window_key, button)) return;
  try {
    await tell("POST", "pacs/orders", { window: row.window_key, ...change });
    notice();
    if (row.state === "cancelled" && change.state === "active") await startAgain(row.window_key);
  } catch (problem) {
    notice(problem.message);
  }
  await refresh();
}

// A cancelled retrieval has ended; a new run of retrieve asks for what is missing. Airflow's own API decides who may.
async function startAgain(key) {
  const response = await fetch("../api/v2/dags/retrieve/dagRuns", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ logical_date: null, conf: { window_key: key }, note: "resumed on the page PACS" }),
  });
  if (response.ok) notice(`A new run of retrieve asks for what is missing in ${key}.`, "good");
  else notice(`It is resumed, but the DAG retrieve could not be started (${response.status}). Trigger it with the window ${key}.`);
}

const stateOf = (row) => (row.state !== "active" ? row.state : row.is_under_way ? "goes on" : "ended");

function retrieval(row, mayOrder) {
  const share = row.expected ? row.received / row.expected : 0;
  const choose = element(
    "select",
    { "aria-label": `Priority of ${row.window_key}`, disabled: !mayOrder, "data-key": `priority ${row.window_key}` },
    row.priority ? null : element("option", { value: "", selected: true }, "as its run says"),
    ["urgent", "routine", "backfill"].map((name) =>
      element("option", { value: name, selected: row.priority === name }, name),
    ),
  );
  choose.addEventListener("change", () => order(row, { priority: choose.value }));
  return element(
    "li",
    { class: `retrieval ${row.state}`, "data-window": row.window_key },
    element(
      "div",
      { class: "title" },
      windowLink(row.window_key),
      element("span", { class: `badge ${row.state === "active" && !row.is_under_way ? "" : row.state}` }, stateOf(row)),
    ),
    element(
      "div",
      { class: "progress" },
      element("div", { class: "bar", "aria-hidden": "true" }, element("i", { class: "reached", style: { width: `${100 * share}%` } })),
      element(
        "small",
        {},
        `${number(row.received)} of ${plural(row.expected, "instance")} here, ${bytes(row.bytes)}; `,
        `${number(row.received_lately)} in the last 5 minutes.`,
        row.ordered_by ? ` Last order by ${row.ordered_by}, ${moment(row.ordered_at)}.` : "",
      ),
    ),
    element(
      "div",
      { class: "orders" },
      choose,
      (row.state === "active" && !row.is_under_way ? [] : ORDERS[row.state]).map(([state, word]) =>
        element(
          "button",
          {
            type: "button", disabled: !mayOrder, onclick: (event) => order(row, { state }, event.currentTarget),
            "data-key": `${state} ${row.window_key}`, "aria-label": `${word} ${row.window_key}`,
          },
          wordOf(state, word, row.window_key),
        ),
      ),
    ),
  );
}

function drawRetrievals(answer) {
  const body = answer.retrievals.length
    ? element("ul", { class: "retrievals" }, answer.retrievals.map((row) => retrieval(row, answer.may_order)))
    : nothing("Nothing is being fetched, and nothing is paused.");
  keepingFocus(place("retrievals-body"), body);
}

// What is drawn anew must not throw the keyboard out of the button it stands on.
function keepingFocus(where, content) {
  const key = where.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  where.replaceChildren(content);
  if (key) [...where.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus();
}

// Answers that overtook each other: an older one must not be drawn over a newer.
let questions = 0;
let newest = 0;

async function refresh() {
  const mine = ++questions;
  try {
    const answer = await ask("pacs");
    if (mine < newest) return;
    newest = mine;
    const { at, ...rest } = answer;
    place("clock").textContent = `As of ${new Date(at).toLocaleTimeString("en-GB")}`;
    for (const one of answer.pacs) drawNode(one, at);
    const retrievals = JSON.stringify([rest.retrievals, rest.may_order]);
    if (retrievals !== drawn && !(document.activeElement?.tagName === "SELECT" && place("retrievals").contains(document.activeElement))) {
      drawRetrievals(answer);
      drawn = retrievals;
    }
    if (!answer.pacs.length) place("nodes").replaceChildren(nothing("No PACS was ever asked through the governor. Run sweep for a day."));
  } catch (problem) {
    notice(problem.message);
  }
  document.body.dataset.state = "drawn";
}

async function keepLooking() {
  if (!document.hidden) await refresh();
  setTimeout(keepLooking, EVERY_MS);
}

followTheme();
keepLooking();

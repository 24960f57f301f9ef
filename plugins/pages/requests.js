// The page Requests: each with a bar, its steps, what is held and why, its rows, and where the release is.

import { ask, bytes, element, moment, nothing, number, opens, pages, percent, plural, table } from "./dom.js";
import { runLink } from "./starting.js";
import { followTheme } from "./theme.js";

const LOOK_MS = 5000;
const REST = 10; // times as long as the last look took: a request of 100,000 instances is counted anew each time
const STEPS = { found: "found", received: "moved", extracted: "extracted", checked: "checked", exported: "released", held: "held" };
const GOOD = new Set(["released"]);
const where = document.getElementById("requests");
const under_way = new Map(); // request_id to its <li>

function notice(words) {
  const place = document.getElementById("notice");
  place.textContent = words ?? "";
  place.hidden = !words;
}

function drawn(one) {
  const made = element("li", { class: "request", "data-request": one.request_id },
    element("div", { class: "title" },
      element("strong", {}, `${one.project} / ${one.name}`),
      element("span", { class: "badge state" }, "…"),
      one.overridden_by ? element("span", { class: "badge quarantine", title: one.overridden_why }, `above quota, let pass by ${one.overridden_by}`) : null,
      element("span", { class: "soft" }, `${one.kind} as ${one.formats.join(", ")}, profile ${one.profile}; ${one.asked_by}, ${moment(one.asked_at)}`)),
    element("div", { class: "far" }),
    one.kind === "list" ? opens("Rows", () => rowsOf(one)) : null);
  return made;
}

function far(one) {
  const ready = one.ready_at ? `, ready about ${moment(one.ready_at)}` : "";
  return [
    element("div", { class: "share" },
      element("progress", { max: "1", value: String(one.share), "aria-label": `Progress of ${one.project} / ${one.name}` }),
      element("strong", {}, percent(one.share))),
    element("ul", { class: "steps" }, Object.entries(STEPS).map(([name, words]) => element("li", {}, element("strong", {}, number(one[name])), words))),
    element("p", { class: "soft" }, `Estimated: ${plural(one.instances, "instance")}, ${bytes(one.bytes)}${ready}. `, run(one)),
    one.why.length
      ? element("ul", { class: "why" }, one.why.map((why) => element("li", {}, `${plural(why.instances, "instance")} not released: ${why.meaning ?? "no reason noted yet."} `, element("span", { class: "soft" }, why.advice ?? ""))))
      : null,
    one.state === "released" ? taking(one) : null,
  ];
}

function run(one) {
  const newest = (one.runs ?? [])[0];
  return newest ? element("span", {}, "See ", runLink({ dag_run_id: newest }), ".") : element("span", {}, "No run of Airflow has begun it yet.");
}

const taking = (one) =>
  element("div", { class: "take" },
    element("span", {}, `Version ${one.release.version} is released, ${moment(one.release.published_at)}. It stands in`),
    element("code", {}, `s3://${one.prefix}`),
    one.pull ? [element("span", {}, "Fetch and verify it with"), element("code", {}, one.pull)] : null);

const rowsOf = (one) =>
  pages(async (after) => {
    const got = await ask(`requests/${one.request_id}/rows`, { after: after || 0 });
    return [
      table(`Rows of ${one.name}`, [
        { title: "Line", cell: (row) => number(row.line), number: true },
        { title: "State", cell: (row) => row.state },
        { title: "Moved", cell: (row) => number(row.received), number: true },
        { title: "Released", cell: (row) => number(row.released), number: true },
        { title: "Held", cell: (row) => (row.held ? `${number(row.held)} (${(row.why ?? []).join(", ")})` : "0"), number: true },
        { title: "Answer", cell: (row) => row.words },
      ], got.rows),
      got.next,
    ];
  });

async function look(id) {
  const made = under_way.get(id);
  const one = await ask(`requests/${id}`);
  const badge = made.querySelector(".state");
  badge.textContent = one.state;
  badge.classList.toggle("good", GOOD.has(one.state));
  made.querySelector(".far").replaceChildren(...far(one).flat().filter(Boolean));
  if (one.state === "released") under_way.delete(id);
}

async function lookAtAll() {
  if (document.hidden) return;
  try {
    for (const id of [...under_way.keys()]) await look(id);
    notice(null);
  } catch (problem) {
    notice(problem.message);
  }
}

async function begin() {
  followTheme();
  try {
    where.replaceChildren(await pages(async (before) => {
      const got = await ask("requests", { before: before || null });
      const list = element("ul", {}, got.requests.map((one) => {
        const made = drawn(one);
        under_way.set(one.request_id, made);
        return made;
      }));
      const empty = !got.requests.length && !before;
      return [empty ? nothing("Nothing was asked for yet.") : list, got.next];
    }));
  } catch (problem) {
    notice(problem.message);
  }
  await lookAtAll(); // each is counted in its ledger, which takes seconds for a large one: they stand there before that
  document.body.dataset.state = "drawn";
  const again = async () => {
    const began = performance.now();
    await lookAtAll();
    setTimeout(again, Math.max(LOOK_MS, REST * (performance.now() - began)));
  };
  setTimeout(again, LOOK_MS);
}

begin();

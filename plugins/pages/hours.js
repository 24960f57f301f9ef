// The policy of one PACS: a week of hours to paint, and the limits of its two classes of hours.

import { element, moment, opens, tell } from "./dom.js";

const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const CLASSES = { f: "full", g: "gentle", ".": "closed" };
const MB = 1e6;

// Draws into `where`; `show(policy, changes)` redraws it unless somebody is editing.
export function editor(where, pacs, mayChange, done, notice) {
  let stored = null;
  let week = null;
  let paint = "g";
  let dirty = false;
  let painting = false;
  const fields = {};
  addEventListener("pointerup", () => (painting = false));

  const touched = () => {
    dirty = true;
    for (const button of where.querySelectorAll("[data-when=dirty]")) button.disabled = false;
  };

  function cell(day, hour) {
    const kind = week[day][hour];
    const made = element("button", {
      type: "button",
      class: `hour ${CLASSES[kind]}`,
      disabled: !mayChange,
      tabindex: day === 0 && hour === 0 ? 0 : -1,
      "data-day": String(day),
      "data-hour": String(hour),
    });
    label(made, day, hour, kind);
    const set = () => {
      if (week[day][hour] === paint) return;
      week[day] = week[day].slice(0, hour) + paint + week[day].slice(hour + 1);
      made.className = `hour ${CLASSES[paint]}`;
      label(made, day, hour, paint);
      touched();
    };
    made.addEventListener("pointerdown", (event) => {
      painting = true;
      if (made.hasPointerCapture(event.pointerId)) made.releasePointerCapture(event.pointerId); // a finger
      set();
    });
    made.addEventListener("pointerenter", () => painting && set());
    made.addEventListener("click", set);
    made.addEventListener("keydown", (event) => step(event, day, hour));
    return made;
  }

  function label(made, day, hour, kind) {
    const words = `${DAYS[day]} ${String(hour).padStart(2, "0")}:00, ${CLASSES[kind]}`;
    made.setAttribute("aria-label", words);
    made.title = words;
  }

  function step(event, day, hour) {
    const by = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!by) return;
    event.preventDefault();
    const next = where.querySelector(`[data-day="${day + by[0]}"][data-hour="${hour + by[1]}"]`);
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  function grid() {
    const hours = Array.from({ length: 24 }, (_, hour) => element("span", { class: "when" }, hour % 3 ? "" : String(hour)));
    return element(
      "div",
      { class: "scroll week-frame" },
      element(
        "div",
        { class: "week", role: "group", "aria-label": `Weekly hours of ${pacs}` },
        element("span", {}), hours,
        DAYS.map((name, day) => [element("span", { class: "day-name" }, name), Array.from({ length: 24 }, (_, hour) => cell(day, hour))]).flat(2),
      ),
    );
  }

  function brushes() {
    const each = Object.entries(CLASSES).map(([kind, word]) =>
      element("button", { type: "button", "aria-pressed": String(kind === paint), onclick: (event) => choose(event, kind) },
        element("i", { class: `hour ${word}` }), word),
    );
    return element("div", { class: "filters", role: "group", "aria-label": "Paint hours as" }, mayChange ? each : null);
  }

  function choose(event, kind) {
    paint = kind;
    for (const each of event.currentTarget.parentElement.children) {
      each.setAttribute("aria-pressed", String(each === event.currentTarget));
    }
  }

  function limits(kind) {
    const of = stored[kind];
    const field = (name, title, value, attributes) => {
      const input = element("input", { type: "number", value: value ?? "", disabled: !mayChange, ...attributes });
      input.addEventListener("input", touched);
      fields[`${kind} ${name}`] = input;
      return element("label", {}, element("span", {}, title), input);
    };
    return element(
      "fieldset",
      {},
      element("legend", {}, element("i", { class: `hour ${kind}` }), `${kind} hours`),
      field("concurrency", "Associations at once", of.concurrency, { min: 1, max: 64, step: 1, required: true }),
      field("bytes", "MB per second", of.bytes_per_s === null ? null : of.bytes_per_s / MB, { min: 0, step: "any", placeholder: "any" }),
      field("queries", "Requests per second", of.queries_per_s, { min: 0, step: "any", placeholder: "any" }),
    );
  }

  const value = (name) => (fields[name].value === "" ? null : Number(fields[name].value));

  function read() {
    const of = (kind) => ({
      concurrency: value(`${kind} concurrency`),
      bytes_per_s: value(`${kind} bytes`) === null ? null : value(`${kind} bytes`) * MB,
      queries_per_s: value(`${kind} queries`),
    });
    return {
      time_zone: stored.time_zone, week, gentle: of("gentle"), full: of("full"),
      urgent_when_closed: fields.urgent.checked,
    };
  }

  async function save() {
    const wrong = [...where.querySelectorAll("input")].find((input) => !input.checkValidity());
    if (wrong) {
      notice(`${wrong.previousSibling?.textContent}: ${wrong.validationMessage}`);
      wrong.focus();
      return;
    }
    try {
      await tell("PUT", "pacs/policy", { pacs, policy: read() });
      dirty = false;
      await done();
      notice(`The policy of ${pacs} is changed; it holds from the next second on.`, "good");
    } catch (problem) {
      notice(problem.message);
    }
  }

  function history(changes) {
    return opens("Who changed it", async () =>
      element("ul", { class: "changes" }, changes.map((change) => element("li", {},
        element("time", {}, moment(change.changed_at)), " ", element("strong", {}, change.changed_by), ": ",
        differences(change.before, change.policy)))),
    );
  }

  function draw(changes) {
    week = [...stored.week];
    const who = history(changes);
    who.open = where.querySelector("details")?.open ?? false; // a change by somebody else does not close what is read
    fields.urgent = element("input", { type: "checkbox", checked: stored.urgent_when_closed, disabled: !mayChange });
    fields.urgent.addEventListener("change", touched);
    where.replaceChildren(
      element("p", { class: "soft" }, `Hours of ${stored.time_zone}, by the clock on the wall. `,
        mayChange ? "Choose a class and paint." : "Who may edit the connection in Airflow may change them."),
      brushes(), grid(),
      element("div", { class: "limits" }, limits("full"), limits("gentle")),
      element("label", { class: "check" }, fields.urgent, "Urgent work may go on at closed hours, within the gentle limits"),
      mayChange
        ? element("div", { class: "save" },
            element("button", { type: "button", class: "primary", disabled: true, "data-when": "dirty", onclick: save }, "Save policy"),
            element("button", { type: "button", disabled: true, "data-when": "dirty", onclick: () => { dirty = false; draw(changes); } }, "Discard"))
        : "",
      who,
    );
  }

  return {
    show(policy, changes) {
      if (dirty || JSON.stringify(policy) === JSON.stringify(stored)) return;
      stored = policy;
      draw(changes);
    },
  };
}

// What a change of policy changed, in words.
function differences(before, after) {
  if (!before) return "first policy, from the connection";
  const words = [];
  for (const kind of ["full", "gentle"]) {
    for (const [name, unit] of [["concurrency", "associations"], ["bytes_per_s", "bytes/s"], ["queries_per_s", "requests/s"]]) {
      const [old, now] = [before[kind][name], after[kind][name]];
      if (old !== now) words.push(`${kind} hours: ${old ?? "any"} → ${now ?? "any"} ${unit}`);
    }
  }
  const hours = after.week.reduce((sum, day, at) => sum + [...day].filter((kind, hour) => kind !== before.week[at][hour]).length, 0);
  if (hours) words.push(`${hours} hours of the week`);
  if (before.urgent_when_closed !== after.urgent_when_closed) words.push(`urgent at closed hours: ${after.urgent_when_closed ? "yes" : "no"}`);
  return words.join("; ") || "nothing";
}

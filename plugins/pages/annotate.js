// The page Annotate: which task, which of the four things to do, and the keys for it.

import { element, tell } from "./dom.js";
import { begin, notice, place } from "./frame.js";
import { drawAgreement, drawTwice } from "./agreement.js";
import { deciding } from "./deciding.js";
import { reading } from "./reading.js";

const TASKS = ["body_part", "ivc_filter"];
const MODES = { read: "Read", decide: "Decide between readers", agreement: "Agreement and progress", twice: "Films that are there twice" };
const PLAIN = "input, textarea, select, [contenteditable]"; // where keys are text
const where = new URLSearchParams(location.search);
let task = TASKS.includes(where.get("task")) ? where.get("task") : "body_part";
let mode = where.get("show") in MODES ? where.get("show") : "read";
let rights = null;
let desk = null; // what is on it: {element, key(pressed), leave()}

const DRAWN = {
  read: (first) => reading(task, first),
  decide: (first) => deciding(task, first),
  agreement: (first) => drawAgreement(task, first),
  twice: () => drawTwice(),
};

function drawModes() {
  const shown = Object.entries(MODES).filter(([key]) => (key !== "twice" || rights.may_look) && (key !== "decide" || rights.may_adjudicate));
  place("modes").replaceChildren(...shown.map(([key, text]) => element("button", { type: "button", "aria-pressed": String(key === mode), onclick: () => to(key) }, text)));
}

async function to(next) {
  mode = next;
  notice();
  await draw();
}

async function draw() {
  desk?.leave?.();
  desk = null;
  history.replaceState({}, "", `?${new URLSearchParams({ task, show: mode })}`);
  place("task").value = task;
  try {
    const first = await tell("POST", "annotation/queue", { task, most: mode === "read" ? 6 : 0 });
    rights = first;
    if ((mode === "decide" && !first.may_adjudicate) || (mode === "twice" && !first.may_look)) return void to("read");
    drawModes();
    desk = await DRAWN[mode](first);
    place("desk").replaceChildren(desk.element);
    desk.shown?.();
  } catch (problem) {
    notice(problem.message);
    place("desk").replaceChildren(element("p", {}, element("button", { type: "button", onclick: () => to(mode) }, "Try again")));
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !desk?.key || event.target.closest(PLAIN)) return;
  const pressing = event.target.closest("button, a, summary");
  if (pressing && (event.key === "Enter" || event.key === " ")) return; // it is that one which is meant
  // a key that is held down would answer films that nobody has looked at
  if (event.repeat || desk.key(event.key)) event.preventDefault();
});
addEventListener("beforeunload", (event) => desk?.busy?.() && event.preventDefault()); // answers are on their way
addEventListener("pagehide", () => desk?.leave?.());
addEventListener("pageshow", (event) => event.persisted && draw());
place("task").addEventListener("change", () => {
  task = place("task").value;
  place("task").blur();
  to(mode);
});
begin(draw);

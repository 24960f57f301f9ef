// Picks the window, asks for each section at once, follows Airflow's theme.

import { ask, element, nothing } from "./dom.js";
import { drawLedger, drawVerdict } from "./ledger.js";
import { drawClocks, drawScanners } from "./scanners.js";
import { drawPredictions } from "./predictions.js";
import { drawQuality } from "./quality.js";
import { drawReleases } from "./releases.js";
import { followTheme } from "./theme.js";

const SECTIONS = [
  ["scanners", "scanners", drawScanners],
  ["clocks", "clocks", drawClocks],
  ["predictions", "predictions", drawPredictions],
  ["quality", "quality", drawQuality],
  ["releases", "releases", drawReleases],
];
const place = (id) => document.getElementById(id);
let shown = 0; // answers for a window that is no longer chosen are dropped

function notice(text) {
  place("notice").textContent = text ?? "";
  place("notice").hidden = !text;
}

async function section(name, draw, key, turn) {
  const body = place(`${name}-body`);
  body.setAttribute("aria-busy", "true");
  try {
    const drawn = draw(await ask(name, { window: key }), key);
    if (turn === shown) body.replaceChildren(drawn);
  } catch (problem) {
    if (turn === shown) body.replaceChildren(element("p", { class: "notice" }, problem.message));
  } finally {
    if (turn === shown) body.removeAttribute("aria-busy");
  }
}

async function ledger(key, turn) {
  try {
    const funnel = await ask("funnel", { window: key });
    if (turn !== shown) return;
    place("verdict").replaceChildren(...(funnel.members ? drawVerdict(funnel) : []));
    place("ledger-body").replaceChildren(drawLedger(funnel, key));
  } catch (problem) {
    if (turn !== shown) return;
    place("verdict").replaceChildren();
    place("ledger-body").replaceChildren(nothing(problem.message));
  }
}

async function show(key) {
  shown += 1;
  const turn = shown;
  notice();
  const picker = place("window");
  if (![...picker.options].some((option) => option.value === key)) {
    picker.append(element("option", { value: key }, key));
  }
  picker.value = key;
  place("earlier").disabled = picker.selectedIndex >= picker.options.length - 1;
  place("later").disabled = picker.selectedIndex <= 0;
  document.title = `Sluice, ${key}`;
  history.replaceState({}, "", `?${new URLSearchParams({ window: key })}${location.hash}`);
  document.body.dataset.state = "asking";
  await Promise.all([ledger(key, turn), ...SECTIONS.map(([name, , draw]) => section(name, draw, key, turn))]);
  if (turn === shown) document.body.dataset.state = "drawn";
}

async function firstWindow(known) {
  const asked = new URLSearchParams(location.search);
  if (asked.get("window")) return asked.get("window");
  if (asked.get("dag_id") && asked.get("run_id")) {
    try {
      const run = await ask("run", { dag_id: asked.get("dag_id"), run_id: asked.get("run_id") });
      if (run.window) return run.window;
    } catch {
      // the newest window then
    }
  }
  return known[0]?.window_key;
}

async function start() {
  followTheme();
  const picker = place("window");
  picker.addEventListener("change", () => show(picker.value));
  const move = (step) => show(picker.options[picker.selectedIndex + step].value);
  place("earlier").addEventListener("click", () => move(1));
  place("later").addEventListener("click", () => move(-1));
  place("reload").addEventListener("click", () => show(picker.value));
  place("picker").addEventListener("submit", (event) => event.preventDefault());
  try {
    const known = await ask("windows");
    picker.replaceChildren(...known.map((each) => element("option", { value: each.window_key }, each.window_key)));
    const first = await firstWindow(known);
    if (first) return await show(first);
    notice("There is no window yet. Trigger the DAG sweep for a day, or run a backfill of it.");
  } catch (problem) {
    notice(problem.message);
  }
  document.body.dataset.state = "drawn";
}

start();

// When each scanner was at work, how much of the day it was in use, and how far its clock is off.

import { duration, element, isCohort, nothing, number, percent, plural } from "./dom.js";

const minutes = (text) => {
  const [hours, rest] = text.split(":");
  return Number(hours) * 60 + Number(rest);
};
const clock = (value) => `${String(Math.floor(value / 60)).padStart(2, "0")}:${String(Math.round(value % 60)).padStart(2, "0")}`;

export function drawScanners(answer, key) {
  const { utilization, exams } = answer;
  if (!utilization.length && !exams.length) {
    return nothing(isCohort(key) ? "How scanners are used is reported by day: choose the window of a day." : "No report yet. The DAG scanner_utilization writes it once the headers of this window stand.");
  }
  const opens = minutes(answer.opens_at);
  const closes = minutes(answer.closes_at);
  const byScanner = new Map(utilization.map((row) => [row.scanner, { ...row, blocks: [] }]));
  let first = opens;
  let last = closes;
  const days = exams.map((exam) => exam.first_image.slice(0, 10)).sort();
  const day = days[Math.floor(days.length / 2)];
  for (const exam of exams) {
    if (!byScanner.has(exam.scanner)) byScanner.set(exam.scanner, { ...exam, blocks: [] });
    if (exam.first_image.slice(0, 10) !== day || exam.last_image.slice(0, 10) !== day) continue;
    const block = { from: minutes(exam.first_image.slice(11, 16)), to: minutes(exam.last_image.slice(11, 16)), exam };
    byScanner.get(exam.scanner).blocks.push(block);
    first = Math.min(first, block.from);
    last = Math.max(last, block.to);
  }
  first = Math.floor(first / 60) * 60;
  last = Math.min(Math.ceil((last + 1) / 60) * 60, 24 * 60);
  const at = (minute) => `${(100 * (minute - first)) / (last - first)}%`;
  const hours = [];
  const every = last - first > 14 * 60 ? 120 : 60;
  for (let hour = first; hour <= last; hour += every) hours.push(hour);
  const axis = element(
    "div",
    { class: "lane axis", "aria-hidden": "true" },
    element("span", { class: "who" }),
    element("div", { class: "day" }, hours.map((hour) => element("span", { style: { left: at(hour) } }, clock(hour)))),
    element("span", { class: "use" }, "in use"),
    element("span", { class: "exams" }, "exams"),
  );
  const lanes = [...byScanner.values()]
    .sort((a, b) => (a.modality ?? "").localeCompare(b.modality ?? "") || a.scanner.localeCompare(b.scanner))
    .map((row) => lane(row, { at, opens, closes, hours }));
  return element(
    "div",
    { class: "lanes", role: "list", "aria-label": "Scanners" },
    axis,
    ...lanes,
    element("p", { class: "legend" }, element("i", { class: "reached" }), "exam, first to last image",
      element("i", { class: "opening" }), `opening hours ${answer.opens_at} to ${answer.closes_at}`),
  );
}

function lane(row, { at, opens, closes, hours }) {
  const known = row.utilization !== undefined;
  const share = known ? Math.min(row.utilization, 1) : 0;
  return element(
    "div",
    {
      class: "lane",
      role: "listitem",
      "aria-label": known
        ? `${row.scanner}, ${row.modality}: ${percent(row.utilization)} in use, ${plural(row.exams, "exam")}`
        : `${row.scanner}: not reported yet`,
    },
    element("span", { class: "who" }, element("strong", {}, row.scanner), element("small", {}, row.modality ?? "")),
    element(
      "div",
      { class: "day" },
      element("b", { class: "opening", style: { left: at(opens), width: `calc(${at(closes)} - ${at(opens)})` } }),
      hours.map((hour) => element("u", { style: { left: at(hour) } })),
      row.blocks.map((block) =>
        element("i", {
          class: "reached",
          style: { left: at(block.from), width: `max(3px, calc(${at(block.to)} - ${at(block.from)}))` },
          title: `${clock(block.from)} to ${clock(block.to)}, ${plural(block.exam.instances, "instance")}`,
        }),
      ),
    ),
    known
      ? element(
          "span",
          { class: "use", title: `${Math.round(row.busy_minutes)} of ${Math.round(row.open_minutes)} minutes` },
          element("b", { class: "meter" }, element("i", { class: row.utilization > 1 ? "gap" : "reached", style: { width: `${100 * share}%` } })),
          percent(row.utilization),
        )
      : element("span", { class: "use soft" }, "–"),
    element("span", { class: "exams" }, known ? number(row.exams) : "–"),
  );
}

const SUSPECTED = { dst: "summer time not changed", timezone: "wrong time zone" };

export function drawClocks(rows, key) {
  if (!rows.length) {
    return nothing(isCohort(key) ? "Clocks are reported by day: choose the window of a day." : "No report yet. The DAG clock_skew writes it once the headers of this window stand.");
  }
  // Seconds and hours on one line: a signed logarithm.
  const scaled = (seconds) => Math.sign(seconds) * Math.log10(1 + Math.abs(seconds));
  const widest = Math.max(scaled(3600), ...rows.map((row) => Math.abs(scaled(row.offset_s ?? 0))));
  const line = (row) => {
    const known = row.offset_s !== null;
    const suspected = SUSPECTED[row.suspected];
    const wide = known ? (50 * Math.abs(scaled(row.offset_s))) / widest : 0;
    const minute = known && Math.abs(row.offset_s) >= 60;
    return element(
      "div",
      { class: "clock", role: "listitem" },
      element("span", { class: "who" }, element("strong", {}, row.scanner), element("small", {}, row.modality ?? "")),
      element(
        "div",
        { class: "offset", "aria-hidden": "true" },
        known
          ? element("i", {
              class: suspected ? "bad" : minute ? "gap" : "reached",
              style: row.offset_s < 0 ? { right: "50%", width: `${wide}%` } : { left: "50%", width: `${wide}%` },
            })
          : null,
      ),
      element("span", { class: "value" }, known ? duration(row.offset_s) : "too few samples"),
      element(
        "span",
        { class: "facts" },
        suspected ? element("strong", { class: "badge bad" }, suspected) : null,
        element(
          "span",
          { class: "soft" },
          [
            row.spread_s === null ? null : `± ${Math.round(row.spread_s * 10) / 10} s`,
            row.drift_s_per_day === null ? null : `drift ${duration(row.drift_s_per_day)}/day`,
            plural(row.samples, "sample"),
            `against ${row.reference === "pacs" ? "the PACS" : row.reference === "receiver" ? "our receiver" : "nothing"}`,
          ]
            .filter(Boolean)
            .join(" · "),
        ),
      ),
    );
  };
  return element("div", { class: "clocks", role: "list", "aria-label": "Clock offsets" }, rows.map(line));
}

// The page Anatomy: texts that nobody taught Sluice yet, a choice for each, and what was taught.

import { element, moment, nothing, number, pages, plural, table, tell } from "./dom.js";
import { picker } from "./pick.js";
import { followTheme } from "./theme.js";

const KINDS = [["region", "Body region"], ["mr_sequence", "MR sequence"], ["ct_phase", "CT phase"]];
const SOURCES = {
  "(0008,2218)": "Anatomic Region", "(0018,0015)": "Body Part Examined", "(0020,4000)": "Image Comments",
  "(0008,103E)": "Series Description", "(0018,1030)": "Protocol Name", "(0040,0260)": "Performed Protocol Code",
  "(0040,0254)": "Procedure Step Description", "(0008,1032)": "Procedure Code", "(0008,1030)": "Study Description",
  "(0018,1400)": "Acquisition Device Processing", "(0032,1060)": "Requested Procedure", "(0018,0024)": "Sequence Name",
  "(0018,9005)": "Pulse Sequence Name",
};
const GROUPS = { HEADNECK: "Head and neck", SPINE: "Spine", TRUNK: "Trunk", UPPERLIMB: "Upper limb", LOWERLIMB: "Lower limb" };
const SIDES = [["", "any side"], ["R", "right"], ["L", "left"], ["B", "both"]];
const place = (id) => document.getElementById(id);
const source = (tag) => SOURCES[tag] ?? tag;
let kind = "region";
let known = null; // what can be chosen, for this kind
let turn = 0; // answers to an earlier question are dropped

function notice(text, good, ...more) {
  place("notice").replaceChildren(...(text ? [element("span", {}, text), ...more] : []));
  place("notice").className = `notice ${good ? "good" : "bad"}`;
  place("notice").hidden = !text;
}

async function trying(work) {
  try {
    return await work();
  } catch (problem) {
    notice(problem.message);
    return null;
  }
}

function select(label, entries, changed, value = "") {
  const made = element("select", { "aria-label": label || null }, entries.map(([key, name]) => element("option", { value: key, selected: key === value }, name)));
  made.addEventListener("change", () => changed(made.value));
  return { label: element("label", {}, label, made), made };
}

const nameOf = (value) => {
  if (value === null) return "says nothing";
  return known.regions[value]?.name ?? value;
};

function options() {
  if (kind !== "region") return known.values[kind].map((value) => ({ value, label: value, words: value.toLowerCase() }));
  const all = Object.entries(known.regions).map(([value, { name, group }]) => ({
    value, label: name, group: GROUPS[group] ?? group, words: `${name} ${value} ${GROUPS[group] ?? group}`.toLowerCase(),
  }));
  const order = Object.values(GROUPS);
  return all.sort((one, other) => order.indexOf(one.group) - order.indexOf(other.group));
}

// One text of the pile: what it is, and the choice that teaches it.
function textRow(row) {
  const asked = { kind, said: row.said, value: undefined, source_tag: null, laterality: null, view: null };
  const effect = element("p", { class: "effect", "aria-live": "polite" });
  const add = element("button", { type: "button", class: "primary", disabled: true }, "Add");
  const silent = element("button", { type: "button", title: `The text is no ${words()}` }, "Says nothing");
  const side = select("", SIDES, (value) => { asked.laterality = value || null; rehearse(); });
  side.made.setAttribute("aria-label", `Side of ${row.said}`);
  const choice = picker(`${kind === "region" ? "Region" : kind === "ct_phase" ? "Phase" : "Sequence"} of ${row.said}`, options(), (value) => {
    asked.value = value ?? undefined;
    add.disabled = asked.value === undefined;
    side.made.hidden = !known.regions[asked.value]?.paired;
    if (side.made.hidden) asked.laterality = null;
    rehearse();
  });
  choice.input.placeholder = "Type to search …";
  side.made.hidden = true;
  let question = 0;

  async function rehearse() {
    const mine = ++question;
    if (asked.value === undefined) return effect.replaceChildren();
    const answer = await trying(() => tell("POST", "anatomy/rehearse", asked));
    if (mine !== question || !answer) return null;
    effect.textContent = `${plural(answer.concerned, "series holds", "series hold")} this text, ${answer.estimated ? "about " : ""}${number(answer.changed)} would change.`;
    return answer;
  }

  async function teach(value) {
    asked.value = value;
    add.disabled = silent.disabled = true;
    const answer = await trying(() => tell("POST", "anatomy/teach", asked));
    if (!answer) {
      add.disabled = silent.disabled = false;
      return;
    }
    const undo = element("button", { type: "button" }, "Undo");
    undo.addEventListener("click", () => takeBack(answer.mapping_id, undo));
    notice(`“${row.said}”: ${nameOf(value)}. ${plural(answer.changed, "series changes", "series change")}.`, true, undo);
    const next = item.nextElementSibling?.querySelector(".pick input") ?? item.previousElementSibling?.querySelector(".pick input");
    await Promise.all([drawPile(), drawHistory(), drawCount()]);
    const again = next && [...document.querySelectorAll(".pick input")].find((each) => each.getAttribute("aria-label") === next.getAttribute("aria-label"));
    again?.focus({ preventScroll: true });
  }

  add.addEventListener("click", () => teach(asked.value));
  silent.addEventListener("click", () => teach(null));
  choice.input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.ctrlKey && !add.disabled) teach(asked.value);
  });
  const more = element("details", {}, element("summary", {}, "More: where it holds, view, scanners, pictures"));
  more.addEventListener("toggle", async () => {
    if (!more.open || more.childElementCount > 1) return;
    const answer = await trying(() => tell("POST", "anatomy/text", { kind, key: row.key, source_tag: row.source_tag }));
    if (answer) more.append(details(row, answer, asked, rehearse));
  });
  const item = element(
    "li",
    { "data-key": row.key },
    element(
      "div",
      {},
      element("p", { class: "said" }, row.said),
      element(
        "p",
        { class: "where" },
        element("span", { class: "series" }, plural(row.series, "series", "series")),
        ` · ${source(row.source_tag)} · ${row.modalities.filter(Boolean).join(", ") || "no modality"}`,
        ` · ${row.stations.filter(Boolean).slice(0, 3).join(", ") || "no station"}${row.scanners > 3 ? ` and ${number(row.scanners - 3)} more` : ""}`,
        row.last_seen ? [" · ", element("span", { class: "whole" }, `last ${row.last_seen}`)] : null,
      ),
    ),
    known.may_teach ? element("div", { class: "teach" }, choice.element, side.made, add, silent, effect) : nothing("You may look; teaching needs the right to start retrieve."),
    more,
  );
  return item;
}

const words = () => KINDS.find(([name]) => name === kind)[1].replace("Body", "body");

function details(row, answer, asked, rehearse) {
  const set = (name) => (value) => { asked[name] = value || null; rehearse(); };
  const one = (label, entries, name) => select(label, entries, set(name)).label;
  const listed = (values, any) => [["", any], ...values.map((value) => [value, value])];
  return element(
    "div",
    { class: "opened" },
    element("p", { class: "soft" }, `${plural(answer.series, "undecided series", "undecided series")}${answer.more ? " or more" : ""} of ${plural(answer.studies, "study", "studies")}.`),
    known.may_teach && element(
      "div",
      { class: "limits" },
      one("Holds in", [["", "any element"], [row.source_tag, `${source(row.source_tag)} only`]], "source_tag"),
      one("Of manufacturer", listed(answer.manufacturers, "any manufacturer"), "manufacturer"),
      one("From scanner", listed(answer.stations, "any scanner"), "station_name"),
      kind === "region" && one("View", listed(known.views, "not said"), "view"),
    ),
    besides(row, answer.headers ?? []),
    answer.pictures.length
      ? element("div", { class: "shots" }, answer.pictures.map((uid) => element("img", { src: `images/${uid}.png`, alt: "A picture of such a series", loading: "lazy" })))
      : nothing("No pictures of these were made."),
  );
}

// What else headers with this text say, which often tells what it means.
function besides(row, headers) {
  const lines = headers
    .map(({ tags, said }) => tags.map((tag, at) => [tag, said[at]]).filter(([tag]) => tag !== row.source_tag))
    .filter((others) => others.length)
    .map((others) => others.map(([tag, said]) => `${source(tag)}: ${said}`).join(" · "));
  const different = [...new Set(lines)];
  if (!different.length) return null;
  return element("div", { class: "beside" }, element("p", { class: "soft" }, "Beside it stands, for example:"), element("ul", {}, different.map((line) => element("li", {}, line))));
}

function narrowed() {
  const form = new FormData(place("narrow"));
  return Object.fromEntries(["modality", "station", "source_tag"].map((name) => [name, form.get(name) || null]));
}

function drawFilters() {
  const one = (name, label, values, show = (value) => value || "(none)") => {
    const made = select(label, [["", "all"], ...values.filter(Boolean).map((value) => [value, show(value)])], () => drawPile());
    made.made.name = name;
    return made.label;
  };
  place("narrow").replaceChildren(
    one("modality", "Modality", known.modalities), one("station", "Scanner", known.stations),
    one("source_tag", "Stands in", known.source_tags, source),
  );
}

async function drawPile() {
  const mine = ++turn;
  place("pile").setAttribute("aria-busy", "true");
  const asked = { kind, ...narrowed() };
  const drawn = await trying(() =>
    pages(async (last) => {
      const from = last ? { after_series: last.series, after_key: last.key, after_tag: last.source_tag } : {};
      const answer = await tell("POST", "anatomy/pile", { ...asked, ...from });
      if (!answer.rows.length && !last) return [nothing(`Nothing waits: every ${words()} that a header names is known.`), null];
      return [element("ul", { class: "texts" }, answer.rows.map(textRow)), answer.more ? answer.rows.at(-1) : null];
    }),
  );
  if (mine !== turn) return;
  if (drawn) place("pile").replaceChildren(drawn);
  place("pile").removeAttribute("aria-busy");
}

async function drawCount() {
  const now = await trying(() => tell("POST", "anatomy/choices", { kind }));
  if (now) place("count").textContent = `${plural(now.texts, "text waits", "texts wait")}.`;
}

async function takeBack(id, button) {
  button.disabled = true;
  const answer = await trying(() => tell("POST", "anatomy/withdraw", { mapping_id: id }));
  if (!answer) return;
  notice(`Withdrawn. ${plural(answer.changed, "series changes", "series change")}.`, true);
  await Promise.all([drawPile(), drawHistory(), drawCount()]);
}

function limits(row) {
  const where = [row.source_tag && source(row.source_tag), row.manufacturer, row.station_name].filter(Boolean);
  return where.length ? where.join(", ") : "everywhere";
}

async function drawHistory() {
  const drawn = await trying(() =>
    pages(async (last) => {
      const answer = await tell("POST", "anatomy/history", { before: last ? last.mapping_id : null });
      if (!answer.rows.length && !last) return [nothing("Nobody has taught anything yet.")];
      const shown = table(
        "Mappings",
        [
          { title: "Text", cell: (row) => row.said },
          { title: "Means", cell: (row) => [nameOf(row.value), SIDES.find(([key]) => key && key === row.laterality)?.[1], row.view].filter(Boolean).join(", ") },
          { title: "Holds", cell: limits },
          { title: "Decides", cell: (row) => plural(row.decides, "series", "series"), number: true },
          { title: "By", cell: (row) => `${row.added_by}, ${moment(row.added_at)}` },
          {
            title: "",
            cell: (row) => {
              if (row.withdrawn_at) return `withdrawn by ${row.withdrawn_by}, ${moment(row.withdrawn_at)}`;
              if (!known.may_teach) return "";
              const button = element("button", { type: "button", "aria-label": `Withdraw ${row.said}` }, "Withdraw");
              button.addEventListener("click", () => takeBack(row.mapping_id, button));
              return button;
            },
          },
        ],
        answer.rows,
      );
      shown.classList.add("history");
      return [shown, answer.more ? answer.rows.at(-1) : null];
    }),
  );
  if (drawn) place("history").replaceChildren(drawn);
}

async function show(chosen) {
  kind = chosen;
  notice(); // what was said was about another kind
  for (const button of place("kinds").children) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  known = await trying(() => tell("POST", "anatomy/choices", { kind }));
  if (known) {
    place("count").textContent = `${plural(known.texts, "text waits", "texts wait")}.`;
    drawFilters();
    await Promise.all([drawPile(), drawHistory()]);
  }
  document.body.dataset.state = "drawn";
}

followTheme();
place("narrow").addEventListener("submit", (event) => event.preventDefault());
place("kinds").append(
  ...KINDS.map(([name, label]) => element("button", { type: "button", "data-kind": name, onclick: () => show(name) }, label)),
);
show("region");

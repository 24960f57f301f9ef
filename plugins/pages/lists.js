// Researchers' lists: upload by dropping or choosing a file, and the answer of every row.

import { AWAY, ask, element, moment, nothing, number, opens, pages, plural, table, tell, whyNot } from "./dom.js";
import { drawReleases } from "./releases.js";
import { begun, starter } from "./starting.js";

const ANSWERS = {
  found: ["found", "good"], several: ["several", "open"], "not-yet": ["not yet", ""], "not-found": ["not found", "bad"], refused: ["refused", "bad"],
};
const KEYS = { accession: "accession number", patient_id: "patient id", study_uid: "study UID", date: "date", starts_on: "from", ends_on: "to" };
const MOST = 256 * 1024 * 1024;

export function listsOf(upload, where, language, notice) {
  let opened = null; // the list whose rows are shown

  async function refresh(open = opened) {
    opened = open;
    try {
      const all = await ask("cohorts/lists");
      where.replaceChildren(all.length ? element("ul", { class: "lists" }, all.map(drawn)) : nothing("No list was uploaded yet."));
    } catch (problem) {
      notice(problem.message);
    }
  }

  function columns(one) {
    const said = Object.entries(one.columns).map(([name, titles]) => `${titles.join(", ")} as ${KEYS[name]}`);
    return `${said.join("; ")}${one.ignored ? `; ${plural(one.ignored, "other column")} passed over` : ""}`;
  }

  function drawn(one) {
    const rows = element("div", { class: "rows" });
    const made = element(
      "li",
      { class: "list", "data-list": one.list_id },
      element("div", { class: "title" }, element("strong", {}, `${one.project} / ${one.name}`), element("span", { class: "soft" }, `${one.file_name ? `${one.file_name} · ` : ""}${plural(one.rows, "row")}${one.doubles ? `, ${plural(one.doubles, "of them asks", "of them ask")} the same as another` : ""} · ${one.uploaded_by}, ${moment(one.uploaded_at)}`)),
      element("p", { class: "soft columns" }, `Read: ${columns(one)}.`),
      bar(one),
      filters(one, rows),
      language.may_ask ? actions(one) : null,
      opens("Releases", () => releases(one)),
      rows,
    );
    if (opened === one.list_id && language.may_ask) show(one, rows, null);
    return made;
  }

  const releases = async (one) =>
    element("div", {},
      drawReleases(await ask("releases", { window: one.window_key }), one.window_key),
      element("p", {}, element("a", { href: `./?${new URLSearchParams({ window: one.window_key })}` }, `All about ${one.window_key}`)));

  const bar = (one) =>
    element("div", { class: "bar answers", "aria-hidden": "true" },
      Object.keys(ANSWERS).filter((name) => one.answers[name]).map((name) => element("i", { class: name, style: { width: `${(100 * one.answers[name]) / one.rows}%` } })));

  function filters(one, rows) {
    const buttons = [[null, "all rows", one.rows], ...Object.entries(ANSWERS).map(([name, [words]]) => [name, words, one.answers[name] ?? 0])]
      .filter(([, , count]) => count)
      .map(([name, words, count]) => {
        const button = element("button", { type: "button", "aria-pressed": "false", disabled: !language.may_ask, class: name ?? "all" }, words, element("span", {}, number(count)));
        button.addEventListener("click", () => {
          for (const each of button.parentNode.children) each.setAttribute("aria-pressed", String(each === button));
          opened = one.list_id;
          show(one, rows, name);
        });
        return button;
      });
    return element("div", { class: "filters" }, buttons);
  }

  async function show(one, rows, answer) {
    rows.replaceChildren(nothing("Asking …"));
    try {
      rows.replaceChildren(
        await pages(async (after) => {
          const got = await tell("POST", `cohorts/lists/${one.list_id}/rows`, { answer, after: Number(after) || 0 });
          return [rowTable(got.rows, one), got.next];
        }),
      );
    } catch (problem) {
      rows.replaceChildren(nothing(problem.message));
    }
  }

  function rowTable(rows, one) {
    const asked = ["accession", "patient_id", "study_uid"].filter((name) => one.columns[name]);
    return table(
      `Rows of ${one.name}`,
      [
        { title: "Line", cell: (row) => number(row.line), number: true },
        ...asked.map((name) => ({ title: KEYS[name], cell: (row) => row[name] && element("code", {}, row[name]) })),
        { title: "Dates", cell: (row) => dates(row) },
        { title: "Answer", cell: (row) => element("span", { class: `badge ${ANSWERS[row.answer][1]}` }, ANSWERS[row.answer][0]) },
        { title: "What that means", cell: (row) => row.words },
      ],
      rows,
    );
  }
  const dates = (row) => (row.starts_on === row.ends_on ? row.starts_on : `${row.starts_on ?? "…"} to ${row.ends_on ?? "…"}`);

  function actions(one) {
    const forget = element("button", { type: "button" }, "Delete");
    let sure = 0;
    forget.addEventListener("click", async () => {
      if (Date.now() > sure) {
        // Airflow's frame allows no dialogs, so the button itself asks
        sure = Date.now() + 6000;
        forget.textContent = "Really delete?";
        setTimeout(() => (forget.textContent = "Delete"), 6000);
        return;
      }
      await done(() => tell("DELETE", `cohorts/lists/${one.list_id}`, {}), `The list ${one.name} is forgotten. What was fetched for it stays.`);
    });
    return element(
      "div",
      { class: "actions" },
      starter({ project: one.project, name: one.name }, "Fetch and release", (run) => notice(...begun(run, "The list is asked of the PACS")), (problem) => notice(problem.message)),
      element("button", { type: "button", onclick: () => done(() => tell("POST", `cohorts/lists/${one.list_id}/answers`, {}), "Answered by what is known now.") }, "Answer again"),
      element("a", { class: "button", href: `api/cohorts/lists/${one.list_id}/answers.csv`, download: "" }, "Download answers"),
      forget,
    );
  }

  async function done(work, words) {
    try {
      await work();
      notice(words, "good");
    } catch (problem) {
      notice(problem.message);
    }
    await refresh();
  }

  if (language.may_ask) upload.replaceChildren(uploadForm(language, notice, refresh));
  refresh();
  return { refresh };
}

function uploadForm(language, notice, refresh) {
  const project = element("select", { name: "project", required: true }, language.projects.map((name) => element("option", {}, name)));
  const name = element("input", { name: "name", pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]{0,63}", maxlength: "64", title: "Letters, digits, dot, dash and underscore; a letter or digit first", placeholder: "from the file", autocomplete: "off" });
  const replace = element("input", { type: "checkbox", name: "replace" });
  const file = element("input", { type: "file", accept: ".csv,.tsv,.txt,.xlsx,.xlsb,.xls,.ods", class: "unseen", id: "file" });
  const progress = element("progress", { max: "1", value: "0", hidden: true });
  const said = element("span", { class: "soft" }, "or drop it here");
  const zone = element("div", { class: "drop" }, element("label", { for: "file", class: "button" }, "Choose a file …"), file, said, progress);

  async function take(chosen) {
    if (!chosen) return;
    if (!name.reportValidity()) {
      file.value = ""; // so that the same file can be chosen again
      return;
    }
    const called = name.value.trim() || chosen.name.replace(/\.[^.]*$/, "").replaceAll(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 64);
    if (chosen.size > MOST) return notice("The file is larger than 256 MB. Split it into several.");
    if (!called) return notice("Give the list a name.");
    progress.hidden = false;
    file.disabled = true;
    try {
      const kept = await send(chosen, { project: project.value, name: called, replace: replace.checked }, (share) => {
        progress.value = share;
        said.textContent = share < 1 ? `Sending ${chosen.name} …` : "Reading and answering its rows …";
      });
      notice(`${plural(kept.rows, "row")} of ${chosen.name} are kept as ${kept.project} / ${kept.name}, each with an answer.`, "good");
      name.value = "";
      await refresh(kept.list_id);
    } catch (problem) {
      notice(problem.message);
    }
    said.textContent = "or drop it here";
    progress.hidden = true;
    file.disabled = false;
    file.value = "";
  }

  file.addEventListener("change", () => take(file.files[0]));
  for (const kind of ["dragover", "dragenter"]) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });
  return element("div", { class: "upload" },
    element("label", {}, "Project ", project), element("label", {}, "Name ", name),
    element("label", { class: "check" }, replace, " replace a list of this name"), zone,
    element("p", { class: "soft" }, "The name is seen by all who may look here, and stands in Airflow; without one it is the file's. Name no patient in it."));
}

// XMLHttpRequest because fetch does not tell how far an upload is.
function send(file, asked, moved) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `api/cohorts/lists?${new URLSearchParams(asked)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-File-Name", encodeURIComponent(file.name));
    request.upload.addEventListener("progress", (event) => event.lengthComputable && moved(event.loaded / event.total));
    request.addEventListener("error", () => reject(new Error(`The file was not sent. ${AWAY}`)));
    request.addEventListener("load", () => {
      const answer = (() => { try { return JSON.parse(request.responseText); } catch { return {}; } })();
      if (request.status === 200) resolve(answer);
      else reject(new Error(whyNot(request.status, answer.detail)));
    });
    request.send(file);
  });
}

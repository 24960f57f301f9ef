// Frozen cohorts: their versions, what is in one, what changed from one to the next; and starting their release.

import { ask, bytes, element, moment, nothing, number, opens, pages, plural, table, tell } from "./dom.js";
import { begun, starter } from "./starting.js";
import { drawReleases } from "./releases.js";
import { storyLink } from "./story.js";

const MOST_ASKED = 10; // versions whose releases are shown

export function frozenOf(where, language, notice, edit) {
  const started = (run) => notice(...begun(run, "backfill_cohort is started"));
  const failed = (problem) => notice(problem.message);

  async function refresh() {
    try {
      const all = await ask("cohorts");
      where.replaceChildren(all.length ? element("ul", { class: "lists" }, all.map(drawn)) : nothing("No cohort was frozen yet."));
    } catch (problem) {
      where.replaceChildren(nothing(problem.message));
    }
  }

  function drawn(one) {
    return element(
      "li",
      { class: "list", "data-cohort": one.cohort_id },
      element("div", { class: "title" },
        element("strong", {}, `${one.project || "no project"} / ${one.name}`),
        element("span", { class: "badge" }, `v${one.version}`),
        element("span", { class: "soft" }, sizes(one))),
      one.words ? element("p", {}, one.words) : element("p", { class: "soft" }, "Its filter names patients."),
      element("p", { class: "soft" }, `${one.frozen_by}, ${moment(one.frozen_at)}${one.why ? `: ${one.why}` : ""}`),
      language.may_ask ? actions(one) : null,
      one.project ? opens("Releases", () => releases(one)) : null,
      opens("Versions", () => versions(one)),
      language.may_ask ? opens(`Studies of v${one.version}`, () => studies(one)) : null,
      language.may_ask && one.wanted_studies ? opens(`${plural(one.wanted_studies, "study", "studies")} not all here then`, () => wanted(one)) : null,
    );
  }

  const sizes = (one) =>
    `${plural(one.patients, "patient")}, ${plural(one.studies, "study", "studies")}, ${plural(one.instances, "instance")}, ${bytes(one.bytes)}` +
    (one.wanted_studies ? `; ${plural(one.wanted_studies, "study", "studies")} at the PACS` : "");

  function actions(one) {
    const of = { project: one.project, name: one.name };
    return element("div", { class: "actions" },
      one.project ? starter({ ...of, filter: JSON.stringify(one.expression) }, "Fetch the rest, freeze anew and release", started, failed, "Ask the PACS, fetch what is missing, freeze a new version, release it") : null,
      one.project ? release(of, one.version) : null,
      element("button", { type: "button", onclick: () => edit(one.expression) }, "Edit the filter"));
  }
  const release = (of, version) => starter({ ...of, version }, `Release v${version} as it is`, started, failed, "Release exactly the members of this version", false);

  // Of the cohort's own window, and of those of the newest versions, which have one each when released as they are.
  async function releases(one) {
    const key = `cohort/${one.project}/${one.name}`;
    const newest = Array.from({ length: Math.min(one.version, MOST_ASKED) }, (_, at) => `${key}/v${one.version - at}`);
    const found = await Promise.all([key, ...newest].map(async (window) => [window, await ask("releases", { window })]));
    const some = found.filter(([, rows]) => rows.length);
    if (!some.length) return drawReleases([], key);
    return element("div", {}, some.map(([window, rows]) =>
      element("div", {}, drawReleases(rows, window), element("p", {}, element("a", { href: `./?${new URLSearchParams({ window })}` }, `All about ${window}`)))));
  }

  async function versions(one) {
    const all = await ask(`cohorts/${one.cohort_id}/versions`);
    return table(
      `Versions of ${one.name}`,
      [
        { title: "Version", cell: (row) => `v${row.version}` },
        { title: "Frozen", cell: (row) => `${row.frozen_by}, ${moment(row.frozen_at)}` },
        { title: "Why", cell: (row) => row.why },
        { title: "Studies", cell: (row) => number(row.studies), number: true },
        { title: "Instances", cell: (row) => number(row.instances), number: true },
        { title: "Filter", cell: (row) => row.words },
        ...(language.may_ask
          ? [
              { title: "Against the one before", cell: (row) => compared(row, all[all.indexOf(row) + 1]) },
              { title: "", cell: (row) => (one.project ? release({ project: one.project, name: one.name }, row.version) : null) },
            ]
          : []),
      ],
      all,
    );
  }

  function compared(row, before) {
    if (!before) return null;
    return opens("What changed", async () => {
      const told = await ask("cohorts/difference", { older: before.version_id, newer: row.version_id });
      const reasons = (why) => why.map((one) => element("li", { class: "soft" }, `${number(one.instances)}: ${one.words}`));
      return element("div", {},
        element("p", {}, `${plural(told.added, "instance")} more`), element("ul", {}, reasons(told.added_why)),
        element("p", {}, `${plural(told.gone, "instance")} less`), element("ul", {}, reasons(told.gone_why)));
    });
  }

  const studies = (one) =>
    pages(async (after) => {
      const got = await tell("POST", `cohorts/versions/${one.version_id}/studies`, { after: after || null });
      return [
        table(`Studies of ${one.name}`, [
          { title: "Study", cell: (row) => storyLink(row.study_instance_uid) },
          { title: "Date", cell: (row) => row.study_date },
          { title: "Modalities", cell: (row) => (row.modalities ?? []).join(", ") },
          { title: "Description", cell: (row) => row.study_description },
          { title: "Instances", cell: (row) => number(row.instances), number: true },
        ], got.rows),
        got.next,
      ];
    });

  const wanted = (one) =>
    pages(async (after) => {
      const got = await tell("POST", `cohorts/versions/${one.version_id}/wanted`, { after: after || null });
      return [
        table(`Studies that ${one.name} wants besides`, [
          { title: "Study", cell: (row) => storyLink(row.study_instance_uid) },
          { title: "PACS", cell: (row) => row.pacs },
          { title: "Taken", cell: (row) => (row.is_certain ? "certainly" : "only the images can tell") },
          { title: "Instances not here then", cell: (row) => (row.instances === null ? "not said" : number(row.instances)), number: true },
          { title: "Came since", cell: (row) => number(row.came_since), number: true },
        ], got.rows),
        got.next,
      ];
    });

  refresh();
  return { refresh };
}

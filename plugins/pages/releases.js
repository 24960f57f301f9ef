// Releases of the window and what stands in their bucket, as the database knows it.

import { ask, bytes, element, isCohort, moment, nothing, number, opens, plural, table } from "./dom.js";

export function drawReleases(rows, key) {
  if (!rows.length) return nothing(isCohort(key) ? "Nothing of this cohort was released yet; its release is started on the page Cohorts." : "Nothing of this window was released yet. Run export_release for it.");
  return element("ul", { class: "releases" }, rows.map(release));
}

function release(row) {
  const published = Boolean(row.published_at);
  return element(
    "li",
    {},
    element(
      "p",
      { class: "title" },
      element("strong", {}, `${row.project} v${row.version}`),
      element("span", { class: `badge ${published ? "good" : "quarantine"}` }, published ? "published" : "not published"),
      element("span", { class: "soft" }, published ? moment(row.published_at) : `started ${moment(row.started_at)}`),
    ),
    element(
      "dl",
      { class: "facts" },
      element("dt", {}, "Instances"), element("dd", {}, `${number(row.objects)} of ${plural(row.members, "member")}, ${bytes(row.bytes)}`),
      row.held.length
        ? [element("dt", {}, "Kept here"), element("dd", {}, row.held.map((one) => element("div", {}, `${number(one.instances)}: ${one.meaning}`)))]
        : null,
      element("dt", {}, "Re-read"), element("dd", {}, `${number(row.verified)} passed the independent check`),
      element("dt", {}, "Bucket"), element("dd", {}, element("code", {}, `${row.bucket}/${row.prefix}`)),
      element("dt", {}, "Manifest"),
      element("dd", {}, row.manifest_sha256
        ? element("code", { title: row.manifest_sha256 }, `sha256 ${row.manifest_sha256.slice(0, 16)}…`)
        : "written last, so not there yet"),
    ),
    opens(`What stands in the bucket (${number(row.objects)})`, () => contents(row.release_id)),
  );
}

async function contents(id) {
  const holder = element("div", {});
  const page = async (after) => {
    const answer = await ask(`releases/${id}/objects`, { after });
    holder.append(
      table(
        "Objects of the release",
        [
          { title: "Object", cell: (row) => element("code", {}, row.object_key) },
          { title: "Size", cell: (row) => bytes(row.bytes), number: true },
          { title: "SHA-256", cell: (row) => element("code", { title: row.sha256 }, `${row.sha256.slice(0, 12)}…`) },
          { title: "Re-read", cell: (row) => moment(row.verified_at) },
        ],
        answer.objects,
      ),
    );
    if (answer.next) {
      const more = element("button", { type: "button", class: "more" }, "Show more");
      more.addEventListener("click", () => {
        more.remove();
        page(answer.next);
      });
      holder.append(more);
    }
  };
  await page("");
  return holder;
}

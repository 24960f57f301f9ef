// The page Review: one release's strings, pictures and counts; decisions about strings; its approval.

import { airflowLink } from "./airflow.js";
import { ask, bytes, element, moment, nothing, number, pages, plural, table, tell } from "./dom.js";
import { chosen, drawStrings, forgetChoice } from "./retained.js";
import { followTheme } from "./theme.js";

const place = (id) => document.getElementById(id);
const release = new URLSearchParams(location.search).get("release");
const SHOWS = { new: "New", rare: "Rare", text: "Texts", code: "Codes", number: "Numbers", decided: "Decided", all: "All" };
const STATES = {
  "not-needed": "No approval is asked for",
  waiting: "Waits for approval",
  approved: "Approved",
  rejected: "Rejected",
  published: "Published",
};
// A reason that speaks of all projects, said of this one.
const ELSEWHERE = { "not-released-yet": "Not of this release: another project takes it, or it came later.", "not-in-project": "This project does not select it." };
const MANY = 1000; // objects
let meant = null; // a decision about many that was asked about
let head = null;
let found = null; // what became of the images, of the state `drawnOf`
let drawnOf = null;
let show = "new";
let asking = 0;

function notice(text, kind = "bad") {
  place("notice").textContent = text ?? "";
  place("notice").className = `notice ${kind}`;
  place("notice").hidden = !text;
}

async function guarded(step) {
  try {
    await step();
  } catch (problem) {
    notice(problem.message);
  }
}

const badge = (word, text = word) => element("span", { class: `badge ${word}` }, text);

async function drawList() {
  place("list").hidden = false;
  const { releases } = await ask("review");
  const state = (row) =>
    row.published_at ? badge("published") : row.waiting_since ? badge("waiting", "waits for approval") : badge("", "in the making");
  place("releases").replaceChildren(
    releases.length
      ? table(
          "Releases to review",
          [
            { title: "Release", cell: (row) => element("a", { href: `review?release=${row.release_id}` }, `${row.project} v${row.version}`) },
            { title: "State", cell: state },
            { title: "Of", cell: (row) => row.window_key },
            { title: "Instances", cell: (row) => number(row.members), number: true },
            { title: "Persons asked", cell: (row) => number(row.approvals_needed), number: true },
            { title: "Since", cell: (row) => moment(row.waiting_since ?? row.started_at) },
          ],
          releases,
        )
      : nothing("There is no release yet."),
  );
}

function why() {
  const { standing, ready } = head;
  if (standing.state === "published") return "It is published, and so never changes.";
  if (!head.may_decide) return "You are not one of its approvers.";
  if (ready.redo) return "Objects have to be produced again first.";
  if (ready.open || !ready.verified) return "Its objects are not all in the bucket and read back yet.";
  return "";
}

function drawApproval() {
  const { standing, ready } = head;
  const facts = element(
    "dl",
    {},
    element("dt", {}, "Approved by"), element("dd", {}, standing.approved_by.join(", ") || "nobody yet"),
    element("dt", {}, "Asked for by"), element("dd", {}, head.release.requested_by.join(", ") || "nobody: it runs by itself"),
    element("dt", {}, "Who may approve"), element("dd", {}, head.release.approvers.join(", ") || "whoever may answer requests of export_release"),
    element("dt", {}, "Profile"), element("dd", {}, `${head.release.profile.name ?? head.release.profile.preset ?? ""} · tables ${head.release.profile.edition ?? "–"} · key ${head.release.profile.key_id ?? "–"}`),
    element("dt", {}, "Size"), element("dd", {}, `${plural(head.release.objects, "object")}, ${bytes(head.release.bytes)}`),
    ...(standing.state === "published" ? [element("dt", {}, "Stands in"), element("dd", {}, element("code", {}, `s3://${head.release.bucket}/${head.release.prefix}`))] : []),
    ...(head.task ? [element("dt", {}, "Waits in"), element("dd", {}, airflowLink(`dags/${head.task.dag_id}/runs/${encodeURIComponent(head.task.run_id)}`, `a run of ${head.task.dag_id}`))] : []),
    element("dt", {}, "Digest"), element("dd", {}, element("code", { id: "digest" }, standing.digest)),
  );
  const said = [standing.lacks];
  if (standing.state === "rejected") said.push(`By ${standing.rejected_by}: ${standing.reason}`);
  if (standing.void) said.push(`${plural(standing.void, "approval")} of an earlier state ${standing.void === 1 ? "is" : "are"} void: the release changed since.`);
  if (standing.state === "waiting" && !head.task) said.push("No task waits for it now; after approval, run export_release for its window again.");
  const again = ready.redo
    ? element("p", {}, element("button", { type: "button", id: "again", onclick: () => guarded(produceAgain) }, `Produce ${plural(ready.redo, "object")} again now`))
    : null;
  place("approval").replaceChildren(
    ...[
      element("p", { class: "sentence" }, badge(standing.state, STATES[standing.state]), " ", said.filter(Boolean).join(" ")),
      again,
      facts,
    ].filter(Boolean),
  );
  const reason = why();
  place("approve").disabled = Boolean(reason);
  place("reject").disabled = standing.state === "published" || !head.may_decide;
  place("cannot").textContent = reason;
  place("say").hidden = standing.state === "published";
  place("for-all").hidden = !head.may_decide_everywhere;
}

async function produceAgain() {
  const { told } = await tell("POST", `review/${release}/redo`, {});
  notice(
    told
      ? "The task produces them again, reads them back and asks anew. This page follows."
      : "No task waits at this moment. It looks by itself within a quarter of an hour; or run export_release again.",
    "good",
  );
}

async function say(verdict) {
  if (verdict === "rejected" && !place("reason").value.trim()) {
    notice("Say why it is rejected: who asked for it wants to know.");
    place("reason").focus();
    return;
  }
  let answer;
  try {
    answer = await tell("POST", `review/${release}/approval`, {
      verdict,
      digest: head.standing.digest,
      reason: place("reason").value,
    });
  } catch (problem) {
    if (problem.status !== 409) throw problem;
    await drawHead(); // it changed: what is looked at next is what there is
    await drawPage();
    throw problem;
  }
  const { state, lacks } = answer.standing;
  place("reason").value = "";
  notice(`${STATES[state]}. ${lacks} ${answer.told ? "The run goes on." : ""}`, "good");
  await drawHead();
}

function drawCounts() {
  const { counts, held } = found;
  const stages = [
    ["expected", "The PACS lists"], ["received", "Received"], ["indexed", "Header read"], ["checked", "Quality checked"],
    ["selected", "Selected by the project"], ["released", "To be released"],
  ];
  const left = Object.entries(counts.left_out ?? {});
  place("counts").replaceChildren(
    table(
      "Counts at every stage",
      [{ title: "Stage", cell: (row) => row[1] }, { title: "Instances", cell: (row) => (counts[row[0]] === null ? "–" : number(counts[row[0]])), number: true }],
      stages,
    ),
    element("h3", {}, "Left out before the release"),
    left.length
      ? table("Left out", [{ title: "Reason", cell: (row) => element("span", { title: row[0] }, ELSEWHERE[row[0]] ?? found.meanings[row[0]] ?? row[0]) }, { title: "Instances", cell: (row) => number(row[1]), number: true }], left)
      : nothing("Nothing."),
    element("h3", {}, "Held while it was made"),
    held.length
      ? table(
          "Held",
          [
            { title: "Reason", cell: (row) => element("span", { title: row.advice }, row.meaning) },
            { title: "Detail", cell: (row) => row.detail },
            { title: "Instances", cell: (row) => number(row.number), number: true },
          ],
          held,
        )
      : nothing("Nothing. No object got an error of form by de-identification, and the re-read found no identifier."),
  );
}

function drawTexts() {
  const { texts, searched } = found;
  place("texts").replaceChildren(
    element("p", { class: "soft" }, searched ? `${plural(searched, "object")} of the members ${searched === 1 ? "was" : "were"} searched.` : "The pixels of this release were not searched for text."),
    !searched
      ? nothing("Look at the pictures above.")
      : texts.length
        ? table(
            "Texts in pixels",
            [
              { title: "Says", cell: (row) => row.said ?? "(forgotten)" },
              { title: "", cell: (row) => (row.is_marker ? badge("", "marker") : badge("open", "text")) },
              { title: "Objects", cell: (row) => number(row.objects), number: true },
            ],
            texts,
          )
        : nothing("None was found in what is to be released."),
  );
}

function drawAnonymity() {
  const report = head.release.anonymity;
  if (!report) {
    place("anonymity").replaceChildren(nothing("Not computed for this release."));
    return;
  }
  const below = (one) => `${number(one.below_k.persons)} persons in ${number(one.below_k.classes)} ${one.below_k.classes === 1 ? "class" : "classes"}`;
  const coarser = Object.entries(report.levels).filter(([, steps]) => steps);
  const facts = [
    ["Persons", number(report.persons)],
    [`Fewer than ${report.k} share`, below(report)],
    ["Fewest that share", number(report.smallest)],
    ["Policy", report.policy],
    ...(report.files === "mask" ? [["Files of rare persons", "say nothing of the person"]] : []),
    ...(["generalise", "suppress"].includes(report.policy)
      ? [
          ["Headers say", `${below(report.before)} of fewer than ${report.k}`],
          ["Tables are coarser in", coarser.map(([name]) => name.replaceAll("_", " ")).join(", ") || "nothing"],
          ["Tables leave out values of", `${number(report.suppressed)} persons`],
        ]
      : []),
  ];
  place("anonymity").replaceChildren(
    element("dl", { class: "facts" }, facts.flatMap(([what, value]) => [element("dt", {}, what), element("dd", {}, value)])),
    ...headersOf(report),
    report.rare.length
      ? table(
          "The rarest classes",
          [
            ...report.quasi_identifiers.map((name) => ({ title: name.replaceAll("_", " "), cell: (row) => row.values[name] ?? "–" })),
            { title: "Persons", cell: (row) => number(row.persons), number: true },
          ],
          report.rare,
        )
      : nothing("No class is rarer than that."),
  );
}

/** Of what the DICOM headers tell more than the tables; nothing where there is no such attribute. */
function headersOf(report) {
  const said = report.headers;
  if (!said?.more.length) return [];
  return [
    table(
      "What the headers still say",
      [
        { title: "Attribute", cell: (row) => row.name.replaceAll("_", " ") },
        { title: "Persons", cell: (row) => number(row.persons), number: true },
        { title: `With a value of fewer than ${report.k}`, cell: (row) => number(row.rare), number: true },
        { title: "Tables say it", cell: (row) => row.tables },
      ],
      said.more.map((name) => ({ name, ...said.attributes[name] })),
    ),
  ];
}

function drawHistory() {
  const { decisions, history } = head;
  const takeBack = (row) =>
    element("button", {
      type: "button",
      onclick: () => guarded(() => decide({ strings: row.string_id ? [row.string_id] : [], path: row.string_id ? null : row.path, decision: "withdrawn", everywhere: row.project === null })),
    }, "Take back");
  place("history").replaceChildren(
    ...history.map((row) =>
      element("p", { class: "saying" }, badge(row.verdict), ` ${row.decided_by}, ${moment(row.decided_at)} `, element("code", { title: row.digest }, row.digest.slice(0, 12)), row.reason ? ` · ${row.reason}` : ""),
    ),
    decisions.length
      ? table(
          "Decisions that stand",
          [
            { title: "Element", cell: (row) => [row.element, element("small", { class: "soft" }, ` ${row.path}`)] },
            { title: "Value", cell: (row) => row.value ?? "every value" },
            { title: "Decision", cell: (row) => badge(row.decision) },
            { title: "For", cell: (row) => row.project ?? "all projects" },
            { title: "By", cell: (row) => `${row.decided_by}, ${moment(row.decided_at)}` },
            { title: "", cell: (row) => (head.standing.state === "published" ? null : takeBack(row)) },
          ],
          decisions,
        )
      : nothing("No string is removed or held by decision."),
  );
}

async function drawPictures() {
  place("pictures").replaceChildren(
    await pages(async (after) => {
      const answer = await ask(`review/${release}/pictures`, { first: after || 0 });
      if (!answer.pictures.length) return [nothing("No pictures were drawn."), null];
      const figures = answer.pictures.map((row) =>
        element(
          "figure",
          {},
          element(
            "div",
            { class: "film" },
            row.drawn
              ? element("img", { loading: "lazy", src: `api/review/${release}/pictures/${row.sop_instance_uid}.jpg`, alt: `${row.modality ?? "Image"} of ${row.patient}, ${["first", "middle", "last"][row.position - 1]} of its series` })
              : element("span", { class: "gone" }, "could not be drawn"),
          ),
          element("figcaption", {}, element("span", { class: "class" }, element("strong", {}, row.modality ?? "–"), element("span", { class: "soft" }, row.body_part ?? "")), element("code", {}, row.patient), element("small", {}, row.model_name ?? "")),
        ),
      );
      return [element("div", { class: "pictures" }, figures), answer.next];
    }),
  );
}

function drawShows() {
  place("shows").replaceChildren(
    ...Object.entries(SHOWS).map(([key, word]) =>
      element(
        "button",
        { type: "button", "aria-pressed": String(key === show), title: key === "rare" ? `Fewer than ${head.rare_below} patients` : null, onclick: () => { show = key; drawShows(); guarded(drawPage); } },
        word,
        element("span", {}, number(head.tallies[key])),
      ),
    ),
  );
}

async function drawPage() {
  const turn = (asking += 1);
  forgetChoice();
  chose();
  const words = place("words").value;
  const drawn = await pages(async (after) => {
    const answer = await ask(`review/${release}/strings`, { show, words, first: after || 0 });
    if (!answer.strings.length) return [nothing(words ? "None of these contains that." : show === "new" ? "Nothing that was not seen in an earlier version." : "None."), null];
    return [drawStrings(answer.strings, chose), answer.next];
  });
  if (turn === asking) place("strings").replaceChildren(drawn);
}

function chose() {
  const rows = [...chosen.values()];
  const onePath = rows.length > 0 && rows.every((row) => row.path === rows[0].path);
  place("chosen").textContent = rows.length ? `${plural(rows.length, "string")} chosen` : "Choose strings to decide about them.";
  place("whole").disabled = !onePath;
  if (!onePath) place("whole").checked = false;
  for (const button of place("decide").querySelectorAll("button")) {
    button.disabled = !rows.length || head.standing.state === "published";
  }
}

// A slip that makes thousands of objects anew costs an hour: it is asked about once.
function isMeant(decision, rows, whole) {
  const objects = whole ? head.release.objects : Math.max(...rows.map((row) => row.objects));
  const asked = JSON.stringify([decision, whole, rows.map((row) => row.string_id)]);
  if (!["remove", "hold"].includes(decision) || objects < MANY || asked === meant) return true;
  meant = asked;
  notice(`That is about ${whole ? "up to " : ""}${plural(objects, "object")} of ${number(head.release.objects)}, which would have to be produced again. Press it once more if you mean it.`);
  return false;
}

async function decide(asked) {
  const { redo } = await tell("POST", `review/${release}/decisions`, asked);
  notice(redo ? `${plural(redo, "object")} now ${redo === 1 ? "waits" : "wait"} to be produced again.` : "Remembered.", "good");
  await drawHead();
  await drawPage();
}

async function drawHead() {
  head = await ask(`review/${release}`);
  place("title").textContent = `${head.release.project} v${head.release.version}, of ${head.release.window_key}`;
  document.title = `Sluice, review of ${head.release.project} v${head.release.version}`;
  place("review").hidden = false;
  drawApproval();
  drawShows();
  drawAnonymity();
  drawHistory();
  guarded(drawFound); // nobody waits for it: counting a large release takes seconds
}

// What became of the images, once for each state of the release.
async function drawFound() {
  const { digest } = head.standing;
  if (drawnOf === digest) return;
  drawnOf = digest;
  if (!found) for (const id of ["texts", "counts"]) place(id).replaceChildren(nothing("Counting …"));
  try {
    found = await ask(`review/${release}/found`);
  } catch (problem) {
    drawnOf = null;
    throw problem;
  }
  drawTexts();
  drawCounts();
}

// While objects are produced again the page looks from time to time whether it is done.
function follow() {
  setInterval(() => {
    if (document.visibilityState === "visible" && head?.ready.redo) guarded(drawHead);
  }, 5000);
}

followTheme();
if (release) {
  place("say").addEventListener("submit", (event) => {
    event.preventDefault();
    guarded(() => say(event.submitter?.value ?? "approved"));
  });
  for (const button of place("decide").querySelectorAll("button")) {
    button.addEventListener("click", () =>
      guarded(() => {
        const rows = [...chosen.values()];
        const whole = place("whole").checked;
        if (!isMeant(button.value, rows, whole)) return undefined;
        return decide({
          strings: whole ? [] : rows.map((row) => row.string_id),
          path: whole ? rows[0].path : null,
          decision: button.value,
          everywhere: place("everywhere").checked,
        });
      }),
    );
  }
  let typed = 0;
  place("words").addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => guarded(drawPage), 250);
  });
  guarded(async () => {
    await drawHead();
    await Promise.all([drawPage(), drawPictures()]);
    follow();
  });
} else guarded(drawList);

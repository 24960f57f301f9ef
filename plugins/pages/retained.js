// The table of a release's strings, with what is chosen in it.

import { element, number, table } from "./dom.js";

export const chosen = new Map(); // id of a string -> its row

export function forgetChoice() {
  chosen.clear();
}

function decision(row) {
  if (!row.decision) return row.is_new ? element("span", { class: "badge new" }, "new") : element("span", { class: "soft" }, "seen before");
  const where = [row.for_path ? "every value" : null, row.for_all ? "all projects" : null].filter(Boolean).join(", ");
  return element("span", { class: `badge ${row.decision}`, title: `${row.decided_by}${row.reason ? `: ${row.reason}` : ""}` }, row.decision, where ? ` (${where})` : "");
}

export function drawStrings(rows, changed) {
  const choose = (row) => {
    const box = element("input", { type: "checkbox", "aria-label": `Choose ${row.element}: ${row.value}` });
    box.addEventListener("change", () => {
      if (box.checked) chosen.set(row.string_id, row);
      else chosen.delete(row.string_id);
      changed();
    });
    return box;
  };
  const drawn = table(
    "Strings of the release",
    [
      { title: "", cell: choose },
      { title: "Element", cell: (row) => [row.element, element("small", {}, element("code", {}, `${row.path} ${row.vr}`))] },
      { title: "Value", cell: (row) => row.value },
      { title: "Objects", cell: (row) => number(row.objects), number: true },
      { title: "Patients", cell: (row) => number(row.patients), number: true },
      { title: "Decision", cell: decision },
    ],
    rows,
  );
  const all = element("input", { type: "checkbox", "aria-label": "Choose all that are shown" });
  all.addEventListener("change", () => {
    for (const box of drawn.querySelectorAll("tbody input")) {
      if (box.checked !== all.checked) box.click();
    }
  });
  drawn.querySelector("thead th").append(all);
  drawn.querySelectorAll("tbody tr").forEach((line, at) => {
    line.classList.toggle("new", rows[at].is_new);
    line.classList.toggle("removed", rows[at].decision === "remove");
    line.children[2].classList.add("value");
  });
  return drawn;
}

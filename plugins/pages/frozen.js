// Frozen cohorts with their versions.

import { nothing } from "./dom.js";

export function frozenOf(where, language, notice, edit) {
  async function refresh() {
    where.replaceChildren(nothing("No cohort was frozen yet."));
  }
  refresh();
  return { refresh };
}

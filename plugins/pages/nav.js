// Links to pages that whoever looks may not see are taken away; the server refuses them in any case.

import { ask } from "./dom.js";

const ALL = ["./", "find", "cohorts", "requests", "anatomy", "models", "annotate", "filters", "routing", "trend", "pacs", "review", "recalls"];

try {
  const { pages } = await ask("me");
  for (const link of document.querySelectorAll("nav.jump a")) {
    const to = link.getAttribute("href");
    if (ALL.includes(to) && !pages.includes(to)) link.remove();
  }
} catch {
  // the page itself says what is wrong
}

// What every page is framed by: its theme, the line for what went wrong, and the sign that it is drawn.

import { followTheme } from "./theme.js";

export const place = (id) => document.getElementById(id);

export function notice(words, kind = "bad") {
  place("notice").textContent = words ?? "";
  place("notice").className = `notice ${kind}`;
  place("notice").hidden = !words;
}

// Draw the page for the first time; what went wrong is said on it.
export async function begin(draw) {
  followTheme();
  try {
    await draw();
  } catch (problem) {
    notice(problem.message);
  }
  document.body.dataset.state = "drawn";
}

// How one page asks for the story of a study: through the tab's own memory, because a URL would be logged.

import { element } from "./dom.js";

const WANTED = "sluice-find";

export function storyLink(uid) {
  if (!uid) return element("span", { class: "soft" }, "unknown");
  const link = element("a", { href: "find" }, element("code", {}, uid));
  link.addEventListener("click", () => remember(uid));
  return link;
}

export function remember(text) {
  try {
    sessionStorage.setItem(WANTED, text);
  } catch {
    // without storage the page opens empty, and the UID can be pasted
  }
}

export function remembered() {
  try {
    const text = sessionStorage.getItem(WANTED);
    sessionStorage.removeItem(WANTED);
    return text;
  } catch {
    return null;
  }
}

// Links to pages of the Airflow around us, whose frame lets no link lead out of it.

import { element } from "./dom.js";

// `path` is below Airflow's root, its parts encoded.
export function airflowLink(path, words) {
  const link = element("a", { href: `../${path}` }, words);
  link.addEventListener("click", (event) => {
    if (parent === window) return;
    event.preventDefault();
    parent.history.pushState({}, "", link.href);
    parent.dispatchEvent(new PopStateEvent("popstate"));
  });
  return link;
}

// Small helpers every section uses: elements from data (text only, never markup), numbers and times, the API.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else if (key === "style") Object.assign(made.style, value);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(
    Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined),
  );
  return answerOf(await sent(`api/${path}?${query}`, { headers: { Accept: "application/json" } }));
}

// Change something; the server wants JSON and our own origin, which no other site can send.
export async function tell(method, path, body, signal) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  return answerOf(await sent(`api/${path}`, { method, headers, body: JSON.stringify(body), signal }));
}

// What fetch answers; a browser's own words for "nobody is there" tell nobody what to do.
export async function sent(path, options) {
  try {
    return await fetch(path, options);
  } catch (problem) {
    throw problem.name === "AbortError" ? problem : new Error(AWAY);
  }
}

export const AWAY = "Airflow does not answer. Check the network, or ask who runs it; then try again: the page is kept.";
const LOGGED_OUT = "Your login has ended. Log in to Airflow in another tab, then try again here: the page is kept.";
// What an answer that is none says went wrong.
export const whyNot = (status, detail) =>
  status === 401
    ? LOGGED_OUT
    : typeof detail === "string"
      ? detail
      : Array.isArray(detail)
        ? `That was not taken. ${detail.map((one) => `${one.loc?.at(-1)}: ${one.msg}`).join("; ")}`
        : `Airflow could not answer (${status}). Try again; if that does not help, tell who runs it.`;

async function answerOf(response) {
  if (response.ok) return response.json();
  const said = await response.json().catch(() => ({}));
  const problem = new Error(whyNot(response.status, said.detail));
  problem.status = response.status;
  throw problem;
}

const whole = new Intl.NumberFormat("en");
export const number = (value) => whole.format(value ?? 0);
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
export const percent = (share) => `${Math.round(share * 100)} %`;

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  let left = value ?? 0;
  while (left >= 1000 && step < units.length - 1) {
    left /= 1000;
    step += 1;
  }
  return `${left >= 100 || step === 0 ? Math.round(left) : left.toFixed(1)} ${units[step]}`;
}

export function moment(text) {
  if (!text) return "–";
  const when = new Date(text);
  return when.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

// Seconds as a person says them, with a sign: "+1 h 0 min 12 s".
export function duration(seconds) {
  const sign = seconds < 0 ? "−" : "+";
  const total = Math.round(Math.abs(seconds) * 10) / 10;
  if (total < 60) return `${sign}${total} s`;
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  return `${sign}${hours ? `${hours} h ` : ""}${minutes} min ${Math.round(total % 60)} s`;
}

export const words = (key) => (key ?? "").replaceAll("_", " ").toLowerCase();
const REGIONS = {
  CSPINE: "cervical spine", TSPINE: "thoracic spine", LSPINE: "lumbar spine", SSPINE: "sacrum",
  SIJOINT: "sacroiliac joint", LOWERLEG: "lower leg", FACIALBONES: "facial bones", NASALBONE: "nasal bone",
};
export const region = (key) => REGIONS[key] ?? words(key);
// Cohorts have windows of their own, in which only what had to be fetched for them is expected.
export const isCohort = (key) => key.startsWith("cohort/");
export const nothing = (text) => element("p", { class: "nothing" }, text);

// A table; columns are {title, cell(row), number}.
export function table(caption, columns, rows) {
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      {},
      element("caption", { class: "unseen" }, caption),
      element(
        "thead",
        {},
        element("tr", {}, columns.map((c) => element("th", { scope: "col", class: c.number && "number" }, c.title))),
      ),
      element(
        "tbody",
        {},
        rows.map((row) =>
          element("tr", {}, columns.map((c) => element("td", { class: c.number && "number" }, c.cell(row) ?? "–"))),
        ),
      ),
    ),
  );
}

// Details that are asked for when they are opened, once; after a failure, once more when they are opened again.
export function opens(summary, load) {
  const body = element("div", { class: "opened" });
  const made = element("details", {}, element("summary", {}, summary), body);
  let asked = false;
  made.addEventListener("toggle", async () => {
    if (!made.open || asked) return;
    asked = true;
    body.replaceChildren(nothing("Asking …"));
    try {
      body.replaceChildren(await load());
    } catch (problem) {
      asked = false;
      body.replaceChildren(element("p", { class: "notice" }, problem.message));
    }
  });
  return made;
}

// Drawn pages one under the other, with a button for the next; load(after) gives [element, next or null].
export async function pages(load) {
  const holder = element("div", {});
  const add = async (after) => {
    const [drawn, next] = await load(after);
    holder.append(drawn);
    if (!next) return;
    const more = element("button", { type: "button", class: "more" }, "Show more");
    more.addEventListener("click", async () => {
      more.disabled = true;
      try {
        await add(next);
        more.remove();
      } catch (problem) {
        more.replaceWith(element("p", { class: "notice" }, problem.message));
      }
    });
    holder.append(more);
  };
  await add("");
  return holder;
}

// Reading: one film after the other. The next picture and its neighbours are fetched ahead, answers are sent behind, one
// after the other; what is refused comes back with the answer that was given.

import { element, nothing, plural, sent, tell } from "./dom.js";
import { drawFacts, drawNeighbours, drawStage, inWords, neighboursOf, pictureOf } from "./film.js";
import { notice } from "./frame.js";
import { saying } from "./saying.js";

const AHEAD = 6; // films that are held
const FEW = 3; // with fewer the next ones are asked for
const KEYS = {
  body_part: "Enter takes the answer shown · letters find a region · 0–5 the class · + one more visible region · → later · ← back · Esc as the model says",
  ivc_filter: "Enter takes the answer shown · 1 a filter · 2 none · 0 cannot tell · → later · ← back · Esc as the model says",
};

export function reading(task, known) {
  let films = known.films;
  const going = new Set(); // answered or put off, and perhaps not kept yet
  const taken = []; // what was answered here: {film, said}, the newest last
  let mine = [];
  let answered = 0;
  let since = 0;
  let form = null;
  let begun = null; // an answer that is taken up again
  let last = Promise.resolve();
  let over = false;
  const holder = element("div", {});
  const send = (route, body) => tell("POST", `annotation/${route}`, { task, ...body });
  let waiting = 0;
  let stale = known.may_annotate; // whether what is shown of the reader's last answers is old
  // One request after the other; when nothing is left to send, what is shown of the last answers is brought up to date.
  function line(work) {
    waiting += 1;
    last = last.then(work, work).finally(() => {
      waiting -= 1;
      if (!waiting && stale) look();
    });
    return last;
  }

  function ahead() {
    for (const film of films.slice(1, 4)) new Image().src = pictureOf(film.sop_instance_uid, task);
    if (films[1]) neighboursOf(films[1].sop_instance_uid, task).catch(() => {});
    if (films.length < FEW && !over) more();
  }

  const more = () => line(async () => {
    if (over || films.length >= FEW) return;
    try {
      const most = Math.min(200, AHEAD + films.length + going.size);
      const held = (await send("queue", { most })).films;
      const next = held.filter((film) => !going.has(film.sop_instance_uid) && !films.some((one) => one.sop_instance_uid === film.sop_instance_uid));
      over = !next.length && held.length < most;
      const nothingShown = !films.length;
      films.push(...next);
      if (nothingShown) draw();
      else ahead();
    } catch (problem) {
      notice(problem.message);
    }
  });

  // The reader's last answers; what others said is told of all but the newest.
  async function look() {
    stale = false;
    try {
      mine = (await send("mine", { most: 6 })).films;
      drawMine();
    } catch {
      stale = true; // with the next answer
    }
  }

  function refused(problem, film, said) {
    going.delete(film.sop_instance_uid);
    if (problem.status === 410) return notice(`${problem.message} It was left out; the next one is shown.`);
    if (problem.status === 409) {
      notice(`${problem.message} The films are asked for anew.`);
      films = films.slice(0, 1); // the one that is looked at just now stays
      over = false;
      return void more();
    }
    notice(problem.message);
    begun = said;
    films.unshift(film);
    return draw();
  }

  function answer() {
    const film = films[0];
    if (!film || !form) return;
    const said = form.answer();
    const seconds = Math.min(86400, Math.round((performance.now() - since) / 100) / 10);
    if (!said.label) return notice(film.label === "unknown" ? "The model is not sure here: say what you see, or 0 for what cannot be told." : "Say the class as well: a digit, or a region that has one.");
    const one = { sop_instance_uid: film.sop_instance_uid, seconds };
    const own = form.isOwn();
    notice();
    next();
    answered += 1;
    taken.push({ film, said: own ? said : null });
    stale = true;
    line(async () => {
      try {
        await (own ? send("answers", { ...one, ...said }) : send("accepted", { ...one, model_id: film.model_id }));
        going.delete(film.sop_instance_uid);
      } catch (problem) {
        answered -= 1;
        taken.splice(taken.findIndex((each) => each.film === film), 1);
        refused(problem, film, said);
      }
    });
  }

  function later() {
    const film = films[0];
    if (!film) return;
    notice();
    next();
    line(() => send("skips", { sop_instance_uid: film.sop_instance_uid }).then(() => going.delete(film.sop_instance_uid), (problem) => refused(problem, film, null)));
  }

  function back() {
    const one = taken.pop();
    if (!one) return notice("There is no answer of this page to take back; older ones stand below.", "good");
    takeBack(one.film.sop_instance_uid, () => {
      begun = one.said;
      films = [one.film, ...films.filter((film) => film !== one.film)];
      answered -= 1;
      draw();
    });
    return null;
  }

  const takeBack = (uid, then) => line(async () => {
    try {
      await send("withdrawals", { sop_instance_uid: uid });
      notice();
      going.delete(uid);
      over = false;
      then();
    } catch (problem) {
      notice(problem.message);
    }
    stale = true;
  });

  function next() {
    going.add(films[0].sop_instance_uid);
    films.shift();
    begun = null;
    draw();
  }

  async function gone() {
    const film = films[0];
    if (!film) return;
    const found = await sent(pictureOf(film.sop_instance_uid, task)).catch((problem) => problem);
    if (found instanceof Error) return void notice(found.message);
    if (found.status === 401) return void notice("Your login has ended. Log in to Airflow in another tab, then press F5 here.");
    if (found.ok || film !== films[0]) return void 0;
    notice("The picture of this film is not here any more, because somebody opted out or it was erased: the next one is shown.");
    next();
    line(() => send("releases", { films: [film.sop_instance_uid] })).catch(() => {});
  }

  const mineHolder = element("section", { class: "panel under", "aria-labelledby": "mine-title", hidden: true });
  function drawMine() {
    mineHolder.hidden = !mine.length;
    const one = (film) => element("div", { class: "thumb" },
      element("img", { src: pictureOf(film.sop_instance_uid, task), loading: "lazy", alt: "" }),
      element("span", { class: "words" }, element("strong", {}, inWords(film)),
        film.standing === null ? element("span", { class: "soft" }, "just now") : element("span", { class: film.standing === "differing" ? "unsure" : "soft" }, film.standing),
        film.others.map((other) => element("span", { class: "soft" }, ` ${other.reader}: ${inWords(other)}`)),
        film.may_withdraw ? element("button", { type: "button", onclick: () => { const at = taken.findIndex((each) => each.film.sop_instance_uid === film.sop_instance_uid); const [known_] = at < 0 ? [] : taken.splice(at, 1); takeBack(film.sop_instance_uid, () => { if (known_) { begun = known_.said; films.unshift(known_.film); } else films = []; draw(); }); } }, "Take back") : null));
    mineHolder.replaceChildren(element("h2", { id: "mine-title" }, "Your last answers"), element("div", { class: "near" }, mine.map(one)));
  }

  function empty() {
    const waits = over ? "Nothing waits for you: every film that is worth it has as many readers as it needs, or is before a colleague just now." : "Asking for films …";
    return element("section", { class: "panel under" }, nothing(waits), over ? element("button", { type: "button", onclick: () => { over = false; draw(); } }, "Look again") : null);
  }

  function draw() {
    const film = films[0];
    since = performance.now();
    form = null;
    if (!film) {
      holder.replaceChildren(element("div", { class: "desk" }, empty(), mineHolder));
      if (!over) more();
      return;
    }
    const stage = drawStage(film, task, gone);
    if (!known.may_annotate) {
      holder.replaceChildren(element("div", { class: "desk" }, element("div", { class: "left" }, stage, drawNeighbours(film, task, stage)), element("div", { class: "side" }, drawFacts(film, task), element("section", { class: "panel" }, element("p", {}, known.why_not), element("div", { class: "steps" }, element("button", { type: "button", onclick: () => { films.shift(); over = !films.length; draw(); } }, "Next film"))))));
      return;
    }
    const words = element("span", {});
    const first = element("button", { type: "button", class: "first", onclick: () => answer() }, words, element("kbd", {}, "Enter"));
    const changed = (own) => { words.textContent = own ? "Keep my answer" : film.label && known.labels.includes(film.label) ? "The model is right" : "Say what you see"; };
    form = saying(film, task, known, begun, changed);
    const steps = element("div", { class: "steps" }, first,
      element("button", { type: "button", title: "Take the last answer back", onclick: () => back() }, "Back ", element("kbd", {}, "←")),
      element("button", { type: "button", title: "Show it again after all others", onclick: () => later() }, "Later ", element("kbd", {}, "→")));
    const progress = answered ? `${plural(answered, "film")} read here. ` : "";
    holder.replaceChildren(element("div", { class: "desk" },
      element("div", { class: "left" }, stage, task === "body_part" ? drawNeighbours(film, task, stage) : null),
      element("div", { class: "side" }, drawFacts(film, task), element("section", { class: "panel", "aria-label": "Your answer" }, form.element, steps), element("p", { class: "keys" }, progress, KEYS[task])),
      mineHolder));
    stage.focus({ preventScroll: true });
    ahead();
  }

  over = known.may_annotate ? false : !films.length;
  draw();
  if (known.may_annotate) look();
  return {
    element: holder,
    shown: () => holder.querySelector(".stage")?.focus({ preventScroll: true }),
    busy: () => waiting > 0,
    leave: () => {
      if (known.may_annotate) sent("api/annotation/releases", { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ task }) }).catch(() => {});
    },
    key: (pressed) => {
      if (!known.may_annotate) return false;
      if (pressed === "Enter" || pressed === " ") answer();
      else if (pressed === "ArrowRight") later();
      else if (pressed === "ArrowLeft" || pressed === "Backspace") back();
      else if (pressed === "Escape") form?.reset();
      else return Boolean(form?.key(pressed));
      return true;
    },
  };
}


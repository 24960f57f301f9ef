// Deciding between readers who differ: a digit takes the answer of one of them, letters find another region.

import { element, nothing, plural, tell } from "./dom.js";
import { drawFacts, drawNeighbours, drawStage, inWords, pictureOf } from "./film.js";
import { notice } from "./frame.js";
import { saying } from "./saying.js";

const KEYS = "A digit takes a reader's answer · letters find a region · Enter decides · → next film";

export async function deciding(task, known) {
  const all = (await tell("POST", "annotation/differing", { task, most: 50 })).films;
  const films = all.filter((film) => film.may_decide);
  const own = all.length - films.length;
  let form = null;
  const holder = element("div", {});

  function decide() {
    const film = films[0];
    const said = form?.answer();
    if (!film) return;
    if (!form.isOwn() || !said.label) return void notice("Take a reader's answer, or say what you see, before you decide.");
    notice();
    films.shift();
    draw();
    tell("POST", "annotation/adjudications", { task, sop_instance_uid: film.sop_instance_uid, ...said }).catch((problem) => {
      if (problem.status === 410 || problem.status === 409) return notice(problem.message);
      notice(problem.message);
      if (problem.status !== 422) films.unshift(film);
      return draw();
    });
  }

  function later() {
    if (films.length > 1) films.push(films.shift());
    draw();
  }

  function draw() {
    const film = films[0];
    form = null;
    if (!film) {
      const words = own ? `Nothing is left for you to decide; of ${plural(own, "film")} you are one of the readers.` : "Readers differ on no film that nobody has decided.";
      holder.replaceChildren(element("div", { class: "desk" }, element("section", { class: "panel under" }, nothing(words))));
      return;
    }
    const stage = drawStage(film, task, () => { films.shift(); notice("The picture of this film is not here any more: the next one is shown."); draw(); });
    form = saying({ ...film, label: null }, task, known, null, () => {}, false);
    const takes = element("div", { class: "takes" }, film.answers.map((answer, at) =>
      element("button", { type: "button", onclick: () => form.take(answer) }, element("span", {}, `${answer.reader}: `, element("strong", {}, inWords(answer)), answer.visible?.length > 1 ? element("span", { class: "soft" }, ` also ${plural(answer.visible.length - 1, "region")}`) : null, answer.comment ? element("span", { class: "soft" }, ` “${answer.comment}”`) : null), element("kbd", {}, String(at + 1)))));
    const steps = element("div", { class: "steps" },
      element("button", { type: "button", class: "first", onclick: () => decide() }, "This is it", element("kbd", {}, "Enter")),
      element("button", { type: "button", onclick: () => later() }, "Later ", element("kbd", {}, "→")));
    holder.replaceChildren(element("div", { class: "desk" },
      element("div", { class: "left" }, stage, task === "body_part" ? drawNeighbours(film, task, stage) : null),
      element("div", { class: "side" }, drawFacts(film, task),
        element("section", { class: "panel", "aria-label": "Readers" }, takes),
        element("section", { class: "panel", "aria-label": "Your decision" }, form.element, steps),
        element("p", { class: "keys" }, `${plural(films.length, "film")} to decide. `, KEYS))));
    for (const next of films.slice(1, 3)) new Image().src = pictureOf(next.sop_instance_uid, task);
    stage.focus({ preventScroll: true });
  }

  draw();
  return {
    element: holder,
    shown: () => holder.querySelector(".stage")?.focus({ preventScroll: true }),
    key: (pressed) => {
      const taken = films[0]?.answers[Number(pressed) - 1];
      if (/^[1-9]$/.test(pressed)) {
        if (taken) form.take(taken);
        return Boolean(taken);
      }
      if (pressed === "Enter" || pressed === " ") decide();
      else if (pressed === "ArrowRight") later();
      else return Boolean(form?.key(pressed));
      return true;
    },
  };
}

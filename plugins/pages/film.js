// A film at the page Annotate: its picture, what header and model say, why it is shown, and films that look like it.

import { element, nothing, percent, region, tell, words } from "./dom.js";
import { mark } from "./predictions.js";

export const LABELS = {
  abdominal: "abdomen", adult_chest: "chest, adult", pediatric_chest: "chest, child", spine: "spine", others: "other part",
  present: "a filter", absent: "no filter", unclear: "cannot tell", unknown: "not sure",
};
export const labelled = (label) => LABELS[label] ?? words(label);
export const pictureOf = (uid, task) => `api/annotation/pictures/${uid}.png?task=${task}`;

const implied = (key) => (key === "ABDOMEN" ? "abdominal" : ["CHEST", "RIB", "STERNUM"].includes(key) ? "adult_chest" : key.endsWith("SPINE") ? "spine" : "others");

// An answer in words: "knee"; with its class where the region does not imply it.
export function inWords(said) {
  if (!said?.label) return "–";
  if (!said.examined) return labelled(said.label);
  if (said.examined === "CHEST" && said.label.endsWith("_chest")) return labelled(said.label);
  return said.label === implied(said.examined) ? region(said.examined) : `${region(said.examined)} (${labelled(said.label)})`;
}

// The picture with what the model marked on it; gone() is called when there is none any more.
export function drawStage(film, task, gone) {
  const image = element("img", { src: pictureOf(film.sop_instance_uid, task), alt: "The film to read", draggable: "false" });
  const frame = element("span", { class: "frame" }, image);
  image.addEventListener("load", () => task === "ivc_filter" && film.boxes?.length && mark(image, film.boxes), { once: true });
  image.addEventListener("error", gone);
  return element("div", { class: "stage", tabindex: "-1", "aria-label": "Film" }, frame);
}

// Show another picture in the place of the film, or the film again.
export function show(stage, uid, task, caption) {
  stage.querySelector(".other-film")?.remove();
  stage.querySelector(".frame").hidden = Boolean(uid);
  if (!uid) return;
  stage.append(element("div", { class: "frame other-film" }, element("img", { src: pictureOf(uid, task), alt: caption }), element("span", { class: "label" }, caption)));
}

function reasons(film) {
  const chip = (text, kind = "") => element("span", { class: `badge ${kind}` }, text);
  return element("div", { class: "reasons", "aria-label": "Why this film is shown" },
    film.put_off ? chip("put off before") : null,
    film.header_differs ? chip("header says otherwise", "quarantine") : null,
    film.shadow_differs ? chip("a shadow model says otherwise", "quarantine") : null,
    film.neighbours_differ > 0.2 ? chip(`its neighbours say ${region(film.neighbours_say)}`, "quarantine") : null,
    film.uncertainty > 0.5 ? chip("the model is unsure") : null,
    film.rarity > 0.8 ? chip("rare") : null);
}

export function drawFacts(film, task) {
  const model = film.label ? `${inWords(film)}${film.score === null ? "" : `, ${percent(film.score)}`}` : "has not read it";
  return element("section", { class: "panel", "aria-label": "What is said of it" },
    element("dl", { class: "said-of" },
      task === "body_part" ? [element("dt", {}, "Header"), element("dd", {}, film.header_region ? region(film.header_region) : "says nothing")] : null,
      element("dt", {}, "Model"), element("dd", { class: film.label === "unknown" ? "unsure" : null }, model),
      task === "body_part" && film.visible?.length ? [element("dt", {}, "Visible"), element("dd", {}, film.visible.map(region).join(", "))] : null,
      film.answers ? null : [element("dt", {}, "Readers"), element("dd", { class: "soft" }, "after you have answered")]),
    reasons(film));
}

const asked = new Map(); // neighbours of films, so that the next film's are there when it is shown

export function neighboursOf(uid, task) {
  const key = `${task} ${uid}`;
  if (!asked.has(key)) {
    if (asked.size > 50) asked.delete(asked.keys().next().value);
    const answer = tell("POST", "annotation/neighbours", { task, sop_instance_uid: uid });
    answer.catch(() => asked.delete(key));
    asked.set(key, answer);
  }
  return asked.get(key);
}

// Thumbnails of the films that look like this one; one that is pressed stands in the place of the film.
export function drawNeighbours(film, task, stage) {
  const holder = element("section", { class: "panel", "aria-labelledby": "near-title" }, element("h2", { id: "near-title" }, "Films that look like it"));
  const list = element("div", { class: "near" });
  const thumb = (one) => {
    const said = one.standing ? { label: one.said_label, examined: one.said_examined } : null;
    const shown = said ? inWords(said) : one.header_region ? region(one.header_region) : one.label ? inWords(one) : "–";
    const by = said ? `readers, ${one.standing}` : one.header_region ? "header" : "model";
    const mine = said ? said.examined : one.header_region;
    const other = mine && film.examined && mine !== film.examined;
    const caption = `${shown}, by ${by}; ${one.same_study ? "same study" : one.same_patient ? "same patient" : "another patient"}; ${percent(one.similarity)} alike`;
    const button = element("button", { type: "button", class: other ? "other" : null, "aria-pressed": "false", title: caption },
      one.has_picture ? element("img", { src: pictureOf(one.sop_instance_uid, task), loading: "lazy", alt: "" }) : element("span", { class: "soft" }, "no picture"),
      element("span", { class: "words" }, element("strong", {}, shown), element("span", { class: "soft" }, by)));
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const each of list.querySelectorAll("button")) each.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(on));
      show(stage, on ? one.sop_instance_uid : null, task, caption);
    });
    return button;
  };
  list.append(nothing("Looking …"));
  holder.append(list);
  neighboursOf(film.sop_instance_uid, task).then(
    ({ films, why }) => list.replaceChildren(...(films.length ? films.map(thumb) : [nothing(why)])),
    (problem) => list.replaceChildren(nothing(problem.message)),
  );
  return holder;
}

// What the models saw: counts to filter by, and a tile for each radiograph.

import { ask, element, isCohort, nothing, number, percent, region, words } from "./dom.js";

const TASKS = { body_part: "Router class", ivc_filter: "IVC filter" };

export function drawPredictions(answer, key) {
  if (!answer.counts.length) {
    return nothing(isCohort(key) ? "No radiograph that was fetched for this cohort was read yet; what was here already stands in the windows of its days." : "No radiograph of this window was read yet. Run infer_body_part for it.");
  }
  const chosen = { label: null, show: "all" };
  const tiles = element("div", { class: "pictures", role: "list", "aria-label": "Radiographs" });
  const more = element("button", { type: "button", class: "more", onclick: () => next() }, "Show more");
  const filters = element("div", { class: "filters", role: "group", "aria-label": "Show only" });
  let after = "";

  const put = (page, fresh) => {
    if (fresh) tiles.replaceChildren();
    tiles.append(...page.images.map(picture));
    if (fresh && !page.images.length) tiles.append(nothing("No radiograph here is like that."));
    after = page.next ?? "";
    more.hidden = !page.next;
  };
  const next = async () => put(await ask("predictions", { window: key, ...chosen, after }), false);
  const choose = async (label, show) => {
    Object.assign(chosen, { label, show });
    drawFilters();
    put(await ask("predictions", { window: key, ...chosen }), true);
  };
  const button = (text, count, label, show) =>
    element(
      "button",
      { type: "button", "aria-pressed": String(chosen.label === label && chosen.show === show), onclick: () => choose(label, show) },
      text,
      count === null ? null : " ",
      count === null ? null : element("span", {}, number(count)),
    );
  const drawFilters = () => {
    const bodyParts = answer.counts.filter((row) => row.task === "body_part");
    const filtersFound = answer.counts.find((row) => row.task === "ivc_filter" && row.label === "present");
    filters.replaceChildren(
      button("all", bodyParts.reduce((sum, row) => sum + row.instances, 0), null, "all"),
      ...bodyParts.map((row) => button(words(row.label), row.instances, row.label, "all")),
      button("header differs", null, null, "disagree"),
      button("IVC filter", filtersFound?.instances ?? 0, null, "ivc"),
    );
  };
  drawFilters();
  put(answer, true);
  const models = [...new Map(answer.counts.map((row) => [row.task, row.model_id]))];
  return element(
    "div",
    {},
    filters,
    tiles,
    more,
    element(
      "p",
      { class: "soft" },
      models.map(([task, model]) => `${TASKS[task]}: ${model}`).join(" · "),
    ),
  );
}

function picture(row) {
  const seen = row.examined ? region(row.examined) : "not said";
  const header = row.header_region ? region(row.header_region) : "says nothing";
  const filter = row.ivc_label === "present";
  return element(
    "figure",
    { role: "listitem", class: row.disagrees ? "differs" : null },
    element(
      "div",
      { class: "film" },
      row.has_image
        ? element("span", { class: "frame" }, element("img", {
            src: `images/${row.sop_instance_uid}.png`,
            loading: "lazy",
            alt: `Radiograph, read as ${words(row.label) || "unknown"}`,
            onload: (event) => mark(event.target, row.boxes),
          }))
        : element("span", { class: "soft" }, "no image kept"),
      filter ? element("span", { class: "badge bad" }, `IVC filter ${percent(row.ivc_score)}`) : null,
    ),
    element(
      "figcaption",
      {},
      element("p", { class: "class" }, element("strong", {}, words(row.label) || "not read"),
        row.score === null ? null : element("span", { class: "soft" }, percent(row.score))),
      row.confident ? null : element("p", { class: "unsure" }, "unsure: ask a person"),
      element(
        "dl",
        {},
        element("dt", {}, "Picture"), element("dd", {}, seen),
        element("dt", {}, "Header"), element("dd", { class: row.disagrees ? "other" : null }, header, row.disagrees ? " ≠" : ""),
      ),
    ),
  );
}

// Boxes are corners in pixels of the canonical image: x0, y0, x1, y1.
export function mark(image, boxes) {
  const frame = image.parentElement;
  frame.style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight}`;
  frame.classList.add(image.naturalWidth > image.naturalHeight ? "wide" : "tall");
  const share = (value, of) => `${(100 * value) / of}%`;
  for (const { box, score } of boxes) {
    const [x0, y0, x1, y1] = box;
    frame.append(
      element("i", {
        class: "box",
        title: `IVC filter, score ${percent(score)}`,
        style: {
          left: share(x0, image.naturalWidth),
          top: share(y0, image.naturalHeight),
          width: share(x1 - x0, image.naturalWidth),
          height: share(y1 - y0, image.naturalHeight),
        },
      }),
    );
  }
}

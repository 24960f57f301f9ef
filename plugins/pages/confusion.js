// Confusion matrices of a model's card, as tables shaded by the share of the row.

import { element, number, opens, plural, words } from "./dom.js";

const HEADS = { router5: "Router class", examined36: "Examined region", ivc_filter: "IVC filter" };

function cell(count, ofRow, right) {
  const share = ofRow ? Math.round((100 * count) / ofRow) : 0;
  const shade = share ? { background: `color-mix(in srgb, var(--heat) ${share}%, transparent)` } : undefined;
  return element("td", { class: right ? "number right" : "number", style: shade }, count ? number(count) : "");
}

function drawn(head, subset, matrix) {
  const films = matrix.counts.flat().reduce((sum, count) => sum + count, 0);
  const caption = `${HEADS[head] ?? head}, ${words(subset)}: ${plural(films, "film")}, rows what is shown, columns what was read`;
  const sums = matrix.counts.map((row) => row.reduce((sum, count) => sum + count, 0));
  return element("div", { class: "matrix", tabindex: "0", role: "group", "aria-label": caption },
    element("table", { class: "confusion" },
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, element("td", {}), element("th", { scope: "col", class: "number" }, "films"),
        matrix.said.map((name) => element("th", { scope: "col", class: "turned" }, element("span", {}, words(name)))))),
      element("tbody", {}, matrix.truth.map((name, row) => element("tr", {},
        element("th", { scope: "row" }, words(name)), element("td", { class: "number soft" }, number(sums[row])),
        matrix.said.map((answer, column) => cell(matrix.counts[row][column], sums[row], answer === name)))))));
}

// All that a card has, internal films before external ones; null for a card from before there were any.
export function confusions(card) {
  const heads = Object.entries(card.figures?.confusions ?? {});
  if (!heads.length) return null;
  return heads.map(([head, matrices]) =>
    opens(`Confusion: ${(HEADS[head] ?? head).toLowerCase()}`, async () =>
      element("div", {}, Object.entries(matrices).sort(([one], [other]) => other.localeCompare(one)).map(([subset, matrix]) => drawn(head, subset, matrix)))));
}

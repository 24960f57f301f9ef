"""Confusion matrices: counts for the card, and drawn as SVG for its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.scores import confusion

Matrix = dict[str, Any]
"""`truth` and `said`: names of rows and columns; `counts`: films, a list a row."""

CELL, LINE, GAP = 34, 16, 28  # pixels: a cell's side, a line of text, between matrices
LETTER = 7.4  # width of one at 11 pixels, at most about
# Filled by share of the row: one hue, light enough for the count in it. The paper is drawn, too: the page around may be
# dark without the browser saying so.
STYLE = """
.paper { fill: #ffffff }
text { font: 11px system-ui, sans-serif; fill: #1c2b33 }
.title { font-size: 13px; font-weight: 600 }
.soft { fill: #5a6b75 }
.cell { fill: #58b4d1; stroke: #c9d3d8; stroke-width: .5 }
.right { fill: none; stroke: #1c2b33; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  .paper { fill: #12181e }
  text { fill: #e4edf1 }
  .soft { fill: #9fb2bc }
  .cell { fill: #1d6a85; stroke: #41525b }
  .right { stroke: #e4edf1 }
}
"""


def matrix(truth: NDArray[np.int64], said: NDArray[np.int64], names: Sequence[str]) -> Matrix:
    """Films by truth and answer; rows of classes that films have, columns also of classes that were answered."""
    counts = confusion(truth, said, len(names))
    rows = np.flatnonzero(counts.sum(1)).tolist()
    columns = np.flatnonzero(counts.sum(0) + counts.sum(1)).tolist()
    return {
        "truth": [names[row] for row in rows],
        "said": [names[column] for column in columns],
        "counts": counts[np.ix_(rows, columns)].tolist(),
    }


def of_filter(figures: Mapping[str, Any]) -> dict[str, Matrix]:
    """The detector's matrix from its figures: films with a rendered filter, real films without one."""
    scenes = list(figures["sensitivity_synthetic"].values())
    with_one = sum(s["films"] for s in scenes)
    found = sum(round(s["sensitivity"] * s["films"]) for s in scenes)
    real = figures["false_positives_real_films"]["all"]
    return {
        "rendered filters, and real films without one": {
            "truth": ["present", "absent"],
            "said": ["present", "absent"],
            "counts": [
                [found, with_one - found],
                [real["false_positives"], real["films"] - real["false_positives"]],
            ],
        }
    }


def svg(title: str, matrices: Mapping[str, Matrix]) -> str:
    """Matrices below one another as one SVG image, legible on light and dark paper.

    A cell's fill is its share of the row's films; its number counts films; the answers that are right are framed.
    """
    body: list[str] = []
    top, width = 2.0 * LINE + 8, 8 + len(title) * 8.6
    for name, one in matrices.items():
        drawn, right, top = _drawn(name, one, top)
        body += drawn
        width = max(width, right)
        top += GAP
    height = round(top - GAP + 10)
    wide = round(width + 10)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{height}" viewBox="0 0 {wide} {height}" '
            f'role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{wide}" height="{height}"/>',
            f'<text class="title" x="8" y="20">{escape(title)}</text>',
            *body,
            "</svg>",
            "",
        ]
    )


def _drawn(name: str, one: Matrix, top: float) -> tuple[list[str], float, float]:
    """One matrix from `top` on: its elements, its right edge, its bottom."""
    truth, said, counts = one["truth"], one["said"], one["counts"]
    left = 8 + max(len(word) for word in [*truth, "shown"]) * LETTER + 44
    head = max(len(word) for word in said) * LETTER + 10
    first = top + LINE + head
    films = sum(map(sum, counts))
    lines = [f'<text x="8" y="{top + 4:.0f}">{escape(name.replace("_", " "))}: {films} films, rows what is shown, '
             "columns what was read</text>"]  # fmt: skip
    for place, word in enumerate(said):
        x = left + place * CELL + CELL / 2 + 4
        lines.append(
            f'<text class="soft" transform="translate({x:.0f} {first - 6:.0f}) rotate(-90)">{escape(word)}</text>'
        )
    for row, word in enumerate(truth):
        y, of_row = first + row * CELL, sum(counts[row])
        lines.append(f'<text x="{left - 44:.0f}" y="{y + 21:.0f}" text-anchor="end">{escape(word)}</text>')
        lines.append(f'<text class="soft" x="{left - 8:.0f}" y="{y + 21:.0f}" text-anchor="end">{of_row}</text>')
        for column, answer in enumerate(said):
            lines += _cell(left + column * CELL, y, counts[row][column], of_row, answer == word)
    right = max(left + len(said) * CELL, 8 + len(name) * LETTER + 330)
    return lines, right, first + len(truth) * CELL


def _cell(x: float, y: float, count: int, of_row: int, is_right: bool) -> list[str]:
    share = count / of_row if of_row else 0.0
    box = f'x="{x:.0f}" y="{y:.0f}" width="{CELL}" height="{CELL}"'
    lines = [f'<rect class="cell" {box} fill-opacity="{share:.3f}"/>']
    if is_right:
        inner = f'x="{x + 1.5:.1f}" y="{y + 1.5:.1f}" width="{CELL - 3}" height="{CELL - 3}"'
        lines.append(f'<rect class="right" {inner}/>')
    if count:
        lines.append(f'<text x="{x + CELL / 2:.0f}" y="{y + 21:.0f}" text-anchor="middle">{count}</text>')
    return lines

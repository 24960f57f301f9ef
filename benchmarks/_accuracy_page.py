"""The accuracy table of `benchmarks.models` as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from benchmarks.run import Row


@dataclass(frozen=True)
class Figure(Row):
    """A row of the accuracy table.

    Attributes:
        figure: what was measured.
        subset: films of which sources.
        films, patients: how many it rests on; 0 patients where they are not told apart.
        ci95: its interval.
        published: the figure of a paper, on other data.
        majority: of the answer that is likeliest among internal films, given for all.
        header: of the header alone, on the films that have one.
        gain, gain_ci95: how much better than the better alone, film by film.
    """

    figure: str = ""
    subset: str = ""
    films: int = 0
    patients: int = 0
    ci95: tuple[float, float] = (0.0, 1.0)
    published: float | None = None
    majority: float | None = None
    header: float | None = None
    gain: float | None = None
    gain_ci95: tuple[float, float] | None = None


def page_of(
    models: Sequence[str],
    body_part: Sequence[Figure],
    together: Sequence[Figure],
    with_header: int,
    films: int,
    filters: dict[str, Any],
) -> str:
    """Everything as Markdown.

    Args:
        models: ids of the network and of the detector.
        body_part, together: figures of the network alone, and with headers.
        with_header, films: films that have a header, and all.
        filters: the detector's figures as in its card.
    """
    lines = [
        "# Accuracy against the goals",
        "",
        f"Written by `make bench ONLY=models` on {date.today().isoformat()}, with `{models[0]}`",
        f"and `{models[1]}`, as they ship.",
        "Films of patients and sources that no training saw; recipes were chosen on validation films. Published",
        "figures are of other data: they say what is usual, no more. Intervals: 95 %, patients resampled. The same",
        "rows stand in `var/bench/models.json`, this page in `var/bench/models.md`.",
        "",
        "## Body part, from the picture alone",
        "",
        *_header("figure", "films of", "n", "measured", "95 % CI", "goal", "", "published (other data)",
                 "majority class", "header only"),
    ]  # fmt: skip
    for row in body_part:
        lines.append(
            _row(row.figure, row.subset, row.films, f"{row.ours:.3f}", _span(row.ci95), f"≥ {row.peer:.2f}",
                 "reached" if row.holds else "MISSED", _number(row.published), _number(row.majority),
                 _number(row.header))
        )  # fmt: skip
    lines += [
        "",
        "Macro F1 is over the classes that occur: one in each of `hannover`, `cadma` and `shoulder`, three in all",
        "`external` films. `visible36` is scored against what the sources name, mostly the examined part alone.",
        "Majority class: the answer that is likeliest among internal films, for all. Header only: see the next table;",
        "one that says `SPINE` has none of the segments that `cadma` names visible.",
        "",
        "## Header and picture together",
        "",
        f"{with_header} of the {films} films: those whose region the simulated hospital has words for. Pictures and",
        "labels are real; the headers are those that its CR rooms write (Body Part Examined wrong of 15 %, missing of",
        "15 %, words of five languages, ages mistyped), through import, extraction and fusion. Fused has to beat both",
        "header and picture.",
        "",
        *_header(
            "figure", "films of", "n", "header alone", "the better alone", "fused", "95 % CI", "gain, 95 % CI", ""
        ),
    ]
    for row in together:
        low, high = row.gain_ci95 or (0.0, 0.0)
        verdict = "–" if row.goal is None else "reached" if row.holds else "MISSED"
        lines.append(
            _row(row.figure, row.subset, row.films, _number(row.header), f"{row.peer:.3f} ({row.peer_name})",
                 f"{row.ours:.3f}", _span(row.ci95), f"{row.gain:+.3f} ({low:+.3f} to {high:+.3f})", verdict)
        )  # fmt: skip
    read_off = filters["at_99_specificity"]
    lines += [
        "",
        "## IVC filters",
        "",
        "No real film with a filter is in the data: sensitivity is of rendered filters, that of real ones is unknown.",
        f"Threshold read off the {read_off['films_without']} real films below, of which "
        f"{read_off['specificity']:.1%} stay under it; `unseen",
        "volume` is rendered from a CT volume that training never saw. Published (Mongan 2022, real films): 0.962 at",
        "a specificity of 98.9 %.",
        "",
        *_header(
            "pictures, synthetic", "n", "sensitivity at 99 % specificity", "95 % CI", "at the threshold that ships"
        ),
    ]
    for name, one in read_off["sensitivity"].items():
        shipped = filters["sensitivity_synthetic"][name]["sensitivity"]
        lines.append(
            _row(name.replace("_", " "), one["films"], f"{one['sensitivity']:.3f}", _span(one["sensitivity_ci95"]),
                 f"{shipped:.3f}")
        )  # fmt: skip
    lines += ["", *_header("real films of", "n", "false positives", "per 1,000", "95 % CI")]
    for source, one in filters["false_positives_real_films"].items():
        low, high = (1000 * (1 - edge) for edge in reversed(one["specificity_ci95"]))
        lines.append(
            _row(source.replace("_", " "), one["films"], one["false_positives"], f"{one['per_1000']:.1f}",
                 f"{low:.1f}–{high:.1f}")
        )  # fmt: skip
    asked = [row.holds for row in (*body_part, *together) if row.goal is not None]
    lines += ["", f"{sum(asked)} of {len(asked)} goals reached, {len(asked) - sum(asked)} missed.", ""]
    return "\n".join(lines)


def _header(*cells: str) -> list[str]:
    return [_row(*cells), _row(*("---" for _ in cells))]


def _row(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _span(interval: Sequence[float]) -> str:
    return f"{interval[0]:.3f}–{interval[1]:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

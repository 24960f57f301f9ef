"""How right the models that ship are, on films that no training saw, beside the goals, what was published, and what
takes no thought.

- *internal*: other patients of sources that were trained on; *external*: sources wholly unseen. Intervals are 95 %,
  patients resampled.
- *majority*: the answer that is likeliest among internal films, for all films. *Header only*: what the headers say
  that the simulated hospital writes for the same films (`benchmarks._hospital_headers`); *fused*: header and network
  together.
- IVC filters: every positive is rendered. Sensitivity where 99 % of the real films without a filter are below, and
  false positives among these at the threshold that ships.

The published figures are of other data: they say what is usual, not who is better. A page of Markdown is printed, and
kept as `var/bench/models.md`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._accuracy_page import Figure, page_of
from benchmarks.run import HERE, Row, results_folder

if TYPE_CHECKING:
    from benchmarks._hospital_headers import ByHeader
    from models.body_part import BodyPartReading
    from models.data import Film

SHARED = HERE.parents[1] / "shared" / "data"
GOALS = {
    ("router5", "internal"): 0.98,
    ("router5", "external"): 0.95,
    ("examined36", "internal"): 0.93,
    ("examined36", "external"): 0.93,
    ("visible36", "internal"): 0.90,
    ("visible36", "external"): 0.90,
}
FIGURES = {
    "router5": "router5, macro F1",
    "examined36": "examined36, accuracy",
    "visible36": "visible36, all regions right",
}
PUBLISHED = {"router5": 0.981, "examined36": 0.889, "visible36": 0.853}  # VinDr 2021; SNOMED body-part paper
MONGAN, FALSE_PER_1000 = 0.962, 11.0  # sensitivity and false positives of Mongan 2022, on real radiographs
NOBODY = "none"  # class of a film of which a reader says nothing


def run(work: Path) -> list[Row]:
    """Measure both models that ship; print the page."""
    if not (SHARED / "manifest.csv").is_file():
        print(f"models: no films in {SHARED}, nothing measured", file=sys.stderr)
        return []
    import torch

    from benchmarks._hospital_headers import by_header
    from models.body_part import BodyPartReader
    from models.data import images_of
    from models.evaluate import evaluate_body_part, figures_of, unseen_films
    from models.framing import SIZE
    from models.ivc_filter import IvcFilterReader

    torch.set_num_threads(2)
    reader, detector, selection = BodyPartReader.load(), IvcFilterReader.load(), unseen_films(SHARED)
    images = images_of(selection, results_folder().parent / "models", SIZE)
    readings = reader.read(list(images))
    headers = by_header(work, selection, readings, reader)
    together = _together(selection, readings, headers)
    body_part = _body_part(
        selection, evaluate_body_part(reader, selection, images), _alone(selection, headers, together)
    )
    filters = figures_of(detector, SHARED, results_folder().parent / "models")
    rows = [*body_part, *_filters(filters)]
    page = page_of([reader.model_id, detector.model_id], body_part, together, len(headers), len(selection), filters)
    (results_folder() / "models.md").write_text(page, encoding="utf-8")
    print(f"\n{page}", flush=True)
    return [*rows, *together]


def _alone(
    selection: Sequence[Film], headers: Sequence[ByHeader], together: Sequence[Figure]
) -> dict[tuple[str, str], float | None]:
    """Figures of the header alone by figure and subset; for the visible regions, all that it names are right."""
    from models.data import EXTERNAL_SOURCES

    found = {(row.figure, row.subset): row.header for row in together}
    for subset in ("internal", "external", *EXTERNAL_SOURCES):
        right = [
            one.named == set(visible)
            for one in headers
            if _is_of(selection[one.place], subset) and (visible := selection[one.place].visible) is not None
        ]
        if right:
            found[FIGURES["visible36"], subset] = round(sum(right) / len(right), 4)
    return found


def _body_part(
    selection: Sequence[Film], figures: dict[str, Any], alone: dict[tuple[str, str], float | None]
) -> list[Figure]:
    """Each head on internal films, external ones, and each source of these, beside the header alone."""
    from models.data import EXTERNAL_SOURCES

    likeliest = {head: _likeliest(head, [film for film in selection if _is_of(film, "internal")]) for head in FIGURES}
    rows = []
    for subset in ("internal", "external", *EXTERNAL_SOURCES):
        here = [film for film in selection if _is_of(film, subset)]
        for head in FIGURES:
            said = figures[head]["by_subset"] if head != "visible36" else figures[head]
            if subset not in said:
                continue
            value, interval, films, patients = _figure(head, said[subset])
            goal = GOALS.get((head, subset), GOALS[head, "external"])
            rows.append(
                Figure(
                    f"{FIGURES[head]}, {subset}",
                    round(value, 4),
                    goal,
                    "goal",
                    "",
                    round(value / goal, 4),
                    1.0,
                    value >= goal,
                    figure=FIGURES[head],
                    subset=subset,
                    films=films,
                    patients=patients,
                    ci95=interval,
                    published=PUBLISHED[head],
                    majority=_constant(head, here, likeliest[head]),
                    header=alone.get((FIGURES[head], subset)),
                )
            )
    return rows


def _is_of(film: Film, subset: str) -> bool:
    from models.data import EXTERNAL_SOURCES

    external = film.source in EXTERNAL_SOURCES
    return film.source == subset or subset == ("external" if external else "internal")


def _figure(head: str, figures: dict[str, Any]) -> tuple[float, tuple[float, float], int, int]:
    """Value, interval, films, patients."""
    name = {"router5": "macro_f1", "examined36": "accuracy", "visible36": "subset_accuracy"}[head]
    low, high = figures[f"{name}_ci95"]
    return figures[name], (round(low, 4), round(high, 4)), figures["films"], figures.get("patients", 0)


def _truth(head: str, film: Film) -> Any:
    """What is true of a film; None where it is not known."""
    return {"router5": film.router5, "examined36": film.examined, "visible36": film.visible}[head]


def _likeliest(head: str, films: Sequence[Film]) -> Any:
    return Counter(one for film in films if (one := _truth(head, film)) is not None).most_common(1)[0][0]


def _constant(head: str, films: Sequence[Film], answer: Any) -> float:
    """The figure of one answer for all films."""
    truth = [str(one) for film in films if (one := _truth(head, film)) is not None]
    patients = [str(number) for number in range(len(truth))]
    value, _ = _scored([str(answer)] * len(truth), truth, patients, "macro_f1" if head == "router5" else "accuracy")
    return round(value, 4)


def _scored(
    said: Sequence[str | None], truth: Sequence[str], patients: list[str], figure: str
) -> tuple[float, tuple[float, float]]:
    """`macro_f1` or `accuracy` with its interval; None is wrong whatever the truth."""
    import numpy as np

    from models.scores import summary

    names = [*sorted({*truth, *(one for one in said if one is not None)}), NOBODY]
    found = summary(
        np.array([names.index(one) for one in truth]),
        np.array([names.index(one or NOBODY) for one in said]),
        len(names),
        patients,
    )
    low, high = found[f"{figure}_ci95"]
    return found[figure], (round(low, 4), round(high, 4))


def _together(
    selection: Sequence[Film], readings: Sequence[BodyPartReading], headers: Sequence[ByHeader]
) -> list[Figure]:
    """Header and network together beside the better of either alone, on the films that have a header."""
    from models.data import EXTERNAL_SOURCES

    rows = []
    asked: tuple[tuple[str, str, Callable[[ByHeader], tuple[str | None, str | None, str | None]]], ...] = (
        ("router5", "macro_f1", lambda one: (one.header_class, readings[one.place].router5, one.fused_class)),
        ("examined36", "accuracy", lambda one: (one.header, readings[one.place].examined, one.fused)),
    )
    for head, figure, answers in asked:
        for subset in ("internal", "external", *EXTERNAL_SOURCES):
            here = [one for one in headers if _is_of(selection[one.place], subset)]
            if not here:
                continue
            films = [selection[one.place] for one in here]
            truth = [str(_truth(head, film)) for film in films]
            patients = [str(film.path) if film.source in EXTERNAL_SOURCES else film.group for film in films]
            header, picture, fused = zip(*map(answers, here), strict=True)
            (by_header, _), (by_picture, _) = (_scored(one, truth, patients, figure) for one in (header, picture))
            value, interval = _scored(fused, truth, patients, figure)
            best, other = max((by_header, header), (by_picture, picture), key=lambda one: one[0])
            gain, gain_ci95 = _gain(fused, other, truth, patients, figure)
            # One source has one class, which a reader may have right always: nothing beats that.
            goal = None if subset in EXTERNAL_SOURCES else 1.0
            rows.append(
                Figure(
                    f"{FIGURES[head]}, fused, {subset}",
                    round(value, 4),
                    round(best, 4),
                    "picture alone" if other is picture else "header alone",
                    "",
                    round(value / best, 4),
                    goal,
                    goal is None or value > best,
                    figure=FIGURES[head],
                    subset=subset,
                    films=len(here),
                    patients=len(set(patients)),
                    ci95=interval,
                    header=round(by_header, 4),
                    gain=gain,
                    gain_ci95=gain_ci95,
                )
            )
    return rows


def _gain(
    said: Sequence[str | None], other: Sequence[str | None], truth: Sequence[str], patients: list[str], figure: str
) -> tuple[float, tuple[float, float]]:
    """How much better `said` is than `other`, film by film, with its interval."""
    from sluice.registry.gate import compare

    names = [*sorted({*truth, *filter(None, said), *filter(None, other)}), NOBODY]
    numbers: dict[str, int] = {}

    def answers(of: Sequence[str | None]) -> dict[str, Any]:
        if figure == "accuracy":
            measure = {"kind": "share", "right": [int(one == known) for one, known in zip(of, truth, strict=True)]}
        else:
            places = [[names.index(one or NOBODY) for one in ones] for ones in (truth, of)]
            measure = {"kind": "macro_f1", "truth": places[0], "said": places[1]}
        return {"patients": [numbers.setdefault(one, len(numbers)) for one in patients], "measures": {"": measure}}

    (one,) = compare(answers(said), answers(other), 0.0)
    low, high = one.ci95
    return round(one.difference, 4), (round(low, 4), round(high, 4))


def _filters(figures: dict[str, Any]) -> list[Figure]:
    """The detector beside what was published; the issue sets no figure to reach."""
    rows = []
    for name, one in figures["at_99_specificity"]["sensitivity"].items():
        value, (low, high) = one["sensitivity"], one["sensitivity_ci95"]
        rows.append(
            Figure(
                f"IVC filter, sensitivity at 99 % specificity, {name.replace('_', ' ')}",
                round(value, 4),
                MONGAN,
                "published, real films",
                "",
                round(value / MONGAN, 4),
                None,
                True,
                subset="synthetic",
                films=one["films"],
                ci95=(round(low, 4), round(high, 4)),
                published=MONGAN,
            )
        )
    for source, one in figures["false_positives_real_films"].items():
        low, high = (1000 * (1 - edge) for edge in reversed(one["specificity_ci95"]))
        rows.append(
            Figure(
                f"IVC filter, false positives, {source.replace('_', ' ')}",
                round(one["per_1000"], 1),
                FALSE_PER_1000,
                "published, real films",
                "per 1,000",
                round((1000 - one["per_1000"]) / (1000 - FALSE_PER_1000), 4),  # of the specificities
                None,
                True,
                subset=source,
                films=one["films"],
                ci95=(round(low, 1), round(high, 1)),
                published=FALSE_PER_1000,
            )
        )
    return rows

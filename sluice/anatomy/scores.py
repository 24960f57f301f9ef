"""Precision, recall and F1 of the search strategies on films whose regions are known.

A film may truly show several regions, and a strategy may find it by several. Intervals are percentiles of a bootstrap
over patients (B. Efron, Ann. Statist. 7 (1979) 1-26), because the films of one patient are alike. What must hold for
any films whatsoever is checked each time: figures that break it are of a program with a fault, not of films.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sluice.anatomy.regions import REGIONS
from sluice.anatomy.strategies import Strategy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts: TypeAlias = NDArray[np.int64]
    Figures: TypeAlias = NDArray[np.float64]

Interval: TypeAlias = tuple[float, float]
MACRO, MICRO = "macro", "micro"
DRAWS = 1_000
SEED = 1


class ImpossibleFigures(RuntimeError):  # noqa: N818
    """Counts that no films can give: an intersection that finds what a part of it does not, or the like."""


@dataclass(frozen=True)
class Measure:
    """What one strategy is worth for one region, or over all.

    Attributes:
        region: a region, `macro` (mean over the regions that films truly show) or `micro` (films and regions pooled).
        positives, found, hits: films that truly show it, that the strategy finds, and that are both; for `macro` and
            `micro` summed over all regions.
        precision: hits of found; None where nothing was found. In `macro` such a region counts as 0.
        recall: hits of positives; None where there are none.
        f1: their harmonic mean; None where there are no positives.
        precision_ci, recall_ci, f1_ci: 95 %; None where the figure is.
    """

    strategy: Strategy
    region: str
    positives: int
    found: int
    hits: int
    precision: float | None
    recall: float | None
    f1: float | None
    precision_ci: Interval | None
    recall_ci: Interval | None
    f1_ci: Interval | None


def evaluate(
    answers: Mapping[str, Mapping[Strategy, frozenset[str]]],
    truth: Mapping[str, frozenset[str]],
    patients: Mapping[str, str],
    draws: int = DRAWS,
    seed: int = SEED,
) -> list[Measure]:
    """Measures of every strategy: for each region that occurs, then `macro` and `micro`. The same films give the same.

    Args:
        answers: SOP Instance UID → strategy → regions that it finds the instance by.
        truth: SOP Instance UID → regions that it truly shows; empty for none of the 36. These instances are counted.
        patients: SOP Instance UID → patient; an instance that is not in it is a patient of its own.

    Raises:
        ImpossibleFigures: the answers contradict each other.
    """
    import numpy as np

    uids = sorted(truth)
    nothing: Mapping[Strategy, frozenset[str]] = {}
    names, patient = np.unique([patients.get(uid, uid) for uid in uids], return_inverse=True)
    # (strategy, what, patient, region); what: positives, found, hits
    counts = np.zeros((len(Strategy), 3, len(names), len(REGIONS)), dtype=np.int64)
    for at, strategy in enumerate(Strategy):
        for who, uid in zip(patient, uids, strict=True):
            found = answers.get(uid, nothing).get(strategy, frozenset())
            for what, keys in enumerate((truth[uid], found, truth[uid] & found)):
                counts[at, what, who, _places(keys)] += 1
    total = counts.sum(2)
    _check(total)
    drawn = _drawn(counts, draws, seed)
    return [
        measure
        for at, strategy in enumerate(Strategy)
        for measure in _measures(strategy, total[at], drawn[:, at], total[0, 0] > 0)
    ]


_PLACES = {key: place for place, key in enumerate(REGIONS)}


def _places(keys: Iterable[str]) -> list[int]:
    return [_PLACES[key] for key in keys]


def _drawn(counts: Counts, draws: int, seed: int) -> Counts:
    """Totals of `draws` samples of patients with replacement, `(draws, strategies, 3, regions)`."""
    import numpy as np

    strategies, kinds, patients, regions = counts.shape
    if not patients or not draws:
        return np.zeros((draws, strategies, kinds, regions), dtype=np.int64)
    generator = np.random.default_rng(seed)
    times = generator.multinomial(patients, np.full(patients, 1 / patients), size=draws)
    by_patient = counts.transpose(2, 0, 1, 3).reshape(patients, -1)
    return np.asarray((times.astype(float) @ by_patient).round().astype(np.int64)).reshape(
        draws, strategies, kinds, regions
    )


def _measures(strategy: Strategy, total: Counts, drawn: Counts, occur: NDArray[np.bool_]) -> Iterable[Measure]:
    """Of one strategy; `total` is (3, regions), `drawn` (draws, 3, regions), `occur` says which regions are shown."""
    whole, sampled = _figures(total, 0), _figures(drawn, 1)
    for key, place in _PLACES.items():
        if total[0, place] or total[1, place]:
            yield _measure(strategy, key, total[:, place], whole[:, place], sampled[..., place])
    yield _measure(strategy, MACRO, total.sum(1), _macro(total, 0, occur), _macro(drawn, 1, occur))
    yield _measure(strategy, MICRO, total.sum(1), _figures(total.sum(1), 0), _figures(drawn.sum(2), 1))


def _figures(counts: Counts, axis: int) -> Figures:
    """Precision, recall, F1 where `counts` has positives, found, hits along `axis`; NaN where there is none."""
    import numpy as np

    positives, found, hits = (counts.take(place, axis) for place in range(3))
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(found > 0, hits / found, np.nan)
        recall = np.where(positives > 0, hits / positives, np.nan)
        f1 = np.where(positives > 0, 2 * hits / (positives + found), np.nan)
    return np.stack([precision, recall, f1], axis)


def _macro(counts: Counts, axis: int, occur: NDArray[np.bool_]) -> Figures:
    """Means over the regions that occur; in a sample without films of a region it is left out."""
    import numpy as np

    figures = _figures(counts, axis)[..., occur]
    there = counts[..., 0, :][..., occur] > 0
    figures[..., 0, :] = np.where(there, np.nan_to_num(figures[..., 0, :]), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.nansum(figures, -1) / there.sum(-1)[..., None])


def _measure(strategy: Strategy, region: str, counts: Counts, figures: Figures, sampled: Figures) -> Measure:
    values = [None if value != value else float(value) for value in figures]
    intervals = [None if value is None else _interval(sampled[..., place]) for place, value in enumerate(values)]
    return Measure(strategy, region, *(int(count) for count in counts), *values, *intervals)  # type: ignore[arg-type]


def _interval(sampled: Figures) -> Interval | None:
    import numpy as np

    known = sampled[~np.isnan(sampled)]
    if not known.size:
        return None
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def _check(total: Counts) -> None:
    """What holds for any films, region by region: of the films that a strategy finds, its hits, and its wrong ones.

    recall(intersection) <= both parts', recall(union) >= both parts', recall(examined) <= recall(visible); an
    intersection has no more wrong films than either part, hence precision(intersection) >= 1 - least wrong / found;
    found and hits of union and intersection sum to those of the parts.
    """
    import numpy as np

    of = dict(zip(Strategy, total, strict=True))

    def counted(strategy: Strategy) -> Counts:
        """Found, hits, wrong; `(3, regions)`."""
        _, found, hits = of[strategy]
        return np.stack([found, hits, found - hits])

    header, visible, examined = counted(Strategy.HEADER), counted(Strategy.VISIBLE), counted(Strategy.EXAMINED)
    union, both = counted(Strategy.UNION), counted(Strategy.INTERSECTION)
    held = {
        "hits are found and true": all((of[s][2] <= np.minimum(of[s][0], of[s][1])).all() for s in Strategy),
        "intersection within header": (both <= header).all(),
        "intersection within visible": (both <= visible).all(),
        "header within union": (header <= union).all(),
        "visible within union": (visible <= union).all(),
        "examined within visible": (examined <= visible).all(),
        "union and intersection sum to their parts": (union + both == header + visible).all(),
    }
    broken = [what for what, holds in held.items() if not holds]
    if broken:
        raise ImpossibleFigures(
            f"The strategies' answers contradict each other ({'; '.join(broken)}). This is a fault of Sluice itself: "
            "no figures were kept."
        )

"""What changed on a scanner: a day's distributions against its last 30 days.

Categories are compared by the Jensen-Shannon divergence in bits (Lin, IEEE Trans. Inf. Theory 37:145, 1991), less
what a sample of that size has by chance (Grosse et al., Phys. Rev. E 65:041905, 2002: (k-1)/8 (1/n + 1/m) nats).
Numbers are compared by the Wasserstein-1 distance of their quantile functions, in interquartile ranges of the history.
Every statistic comes with a robust z: how far it is from the same statistic of the history's own days, each against
the others. A rule asks for both, so that a change is large *and* unusual for this scanner. Working days and weekends
are compared among themselves. Where there are few days or few series, a statistic is missing and nothing is said.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from sluice.quality.columns import CATEGORIES, MISSING, NUMBERS, SCANNER
from sluice.quality.finding import shown
from sluice.quality.scanner_days import QUANTILES, ScannerDay

FEWEST_DAYS = 6
FEWEST_SERIES = 10
MAD = 1.4826  # of a normal distribution
Statistic = Callable[[Any, Sequence[Any]], float]


def frame_rows(
    days: Sequence[ScannerDay], history: Mapping[str, Sequence[ScannerDay]], new: set[str]
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], str]]:
    """Rows of level scanner, and for scanner and column a few words that say what changed."""
    rows: list[dict[str, Any]] = []
    said: dict[tuple[str, str], str] = {}
    for day in days:
        row, words = compared(day, history.get(day.scanner, ()))
        row["is_new"] = day.scanner in new
        rows.append(row)
        said |= {(day.scanner, column): text for column, text in words.items()}
    return rows, said


def compared(today: ScannerDay, history: Sequence[ScannerDay]) -> tuple[dict[str, Any], dict[str, str]]:
    """One row of level scanner, and what changed by column."""
    alike = [day for day in history if (day.day.weekday() < 5) == (today.day.weekday() < 5)]
    row: dict[str, Any] = dict.fromkeys(SCANNER)
    said: dict[str, str] = {}
    row |= dict(today.descriptors)
    row |= {"scanner": today.scanner, "days": len(alike), "exams": today.exams, "series": today.series}
    for kind, column in (("software", "new_software"), ("serials", "new_serials"), ("makes", "new_manufacturers")):
        known = {name for day in history for name in day.seen.get(kind, ())}
        fresh = [name for name in today.seen.get(kind, ()) if name not in known]
        row[column] = len(fresh) if known else None
        said[column] = ", ".join(fresh)
    if len(alike) >= FEWEST_DAYS:
        exams = [day.exams for day in alike]
        usual = float(numpy.median(exams))
        row["exams_z"] = _z(today.exams, exams, floor=max(2.0, math.sqrt(usual)))  # counts vary by their root
        said["exams_z"] = f"{today.exams} exams, usually {usual:g}"
    for feature in CATEGORIES:
        now, before = today.categories.get(feature, {}), _enough(alike, feature)
        if sum(now.values()) >= FEWEST_SERIES and len(before) >= FEWEST_DAYS:
            value, unusual = _against(divergence, now, before, floor=0.02)
            row |= {f"{feature}_divergence": value, f"{feature}_unusual": unusual}
            said[f"{feature}_divergence"] = _largest_change(now, _pooled(before), coded=feature == "protocols")
    for feature in NUMBERS:
        found = today.numbers.get(feature)
        past = [day.numbers[feature] for day in alike if day.numbers.get(feature, (0,))[0] >= FEWEST_SERIES]
        if found and found[0] >= FEWEST_SERIES and len(past) >= FEWEST_DAYS:
            value, unusual = _against(shift, found, past, floor=0.1)
            row |= {f"{feature}_shift": value, f"{feature}_unusual": unusual}
            medians = [quantiles[QUANTILES // 2] for _, quantiles in past]
            said[f"{feature}_shift"] = f"median {found[1][QUANTILES // 2]:g}, usually {numpy.median(medians):g}"
    for feature in MISSING:
        pair = today.missing.get(feature)
        pairs = [day.missing[feature] for day in alike if day.missing.get(feature, (0, 0))[1] >= FEWEST_SERIES]
        if pair and pair[1] >= FEWEST_SERIES and len(pairs) >= FEWEST_DAYS:
            value, unusual = _against(more_missing, pair, pairs, floor=0.05)
            row |= {f"{feature}_missing_more": value, f"{feature}_missing_unusual": unusual}
            usual = sum(lacking for lacking, _ in pairs) / sum(of for _, of in pairs)
            said[f"{feature}_missing_more"] = f"{100 * pair[0] / pair[1]:.0f} %, usually {100 * usual:.0f} %"
    return row, said


def _enough(days: Sequence[ScannerDay], feature: str) -> list[Mapping[str, int]]:
    counts = [day.categories.get(feature, {}) for day in days]
    return [count for count in counts if sum(count.values()) >= FEWEST_SERIES]


def _against(statistic: Statistic, today: Any, past: Sequence[Any], floor: float) -> tuple[float, float]:
    """A statistic of today against the past, and its robust z among the past days' own."""
    own = [statistic(day, [*past[:at], *past[at + 1 :]]) for at, day in enumerate(past)]
    value = statistic(today, past)
    return value, _z(value, own, floor)


def _z(value: float, past: Sequence[float], floor: float) -> float:
    middle = float(numpy.median(past))
    spread = MAD * float(numpy.median([abs(each - middle) for each in past]))
    return (value - middle) / max(spread, floor)


def _pooled(counts: Sequence[Mapping[str, int]]) -> Counter[str]:
    pooled: Counter[str] = Counter()
    for each in counts:
        pooled.update(each)
    return pooled


def divergence(today: Mapping[str, int], past: Sequence[Mapping[str, int]]) -> float:
    """Jensen-Shannon divergence of counts from pooled counts, bits (0 to 1), less its expectation by chance."""
    pooled = _pooled(past)
    names = sorted(today.keys() | pooled.keys())
    n, m = sum(today.values()), pooled.total()
    p = numpy.array([today.get(name, 0) / n for name in names])
    q = numpy.array([pooled[name] / m for name in names])
    mixed = (p + q) / 2
    found = (_entropy(mixed) - (_entropy(p) + _entropy(q)) / 2) / math.log(2)
    chance = (len(names) - 1) / 8 * (1 / n + 1 / m) / math.log(2)
    return float(min(max(found - chance, 0.0), 1.0))


def _entropy(shares: Any) -> float:
    some = shares[shares > 0]
    return float(-(some * numpy.log(some)).sum())


def shift(today: tuple[int, list[float]], past: Sequence[tuple[int, list[float]]]) -> float:
    """Wasserstein-1 distance of two quantile functions, in interquartile ranges of the past."""
    grid = numpy.linspace(0, 1, 101)
    own = numpy.linspace(0, 1, QUANTILES)
    pool = numpy.sort(numpy.concatenate([_sample(count, quantiles) for count, quantiles in past]))
    usual = numpy.quantile(pool, grid)
    now = numpy.interp(grid, own, today[1])
    scale = max(usual[75] - usual[25], 0.1 * abs(usual[50]), 1e-6)
    return float(numpy.abs(now - usual).mean() / scale)


def _sample(count: int, quantiles: Sequence[float]) -> Any:
    places = (numpy.arange(min(count, 50)) + 0.5) / min(count, 50)
    return numpy.interp(places, numpy.linspace(0, 1, QUANTILES), quantiles)


def more_missing(today: tuple[int, int], past: Sequence[tuple[int, int]]) -> float:
    """Share that lacks an element, minus the past's."""
    return today[0] / today[1] - sum(lacking for lacking, _ in past) / sum(of for _, of in past)


def _largest_change(now: Mapping[str, int], before: Mapping[str, int], coded: bool) -> str:
    """The two values whose shares changed most, as `CHEST 20 %, usually 62 %`; free text only where it is a code."""
    n, m = sum(now.values()), sum(before.values())
    shares = {name: (now.get(name, 0) / n, before.get(name, 0) / m) for name in now.keys() | before.keys()}
    most = sorted(shares.items(), key=lambda item: (-abs(item[1][0] - item[1][1]), item[0]))[:2]
    return "; ".join(
        f"{shown(name) if coded else name} {100 * today:.0f} %, usually {100 * usual:.0f} %"
        for name, (today, usual) in most
    )

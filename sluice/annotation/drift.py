"""Drift by station: what the model says of the last days' films against a reference period before, by station.

The population stability index, sum of (p - q) ln(p / q) over classes, with half a film added to each class so that an
empty one is no infinity. By habit 0.1 is worth a look and 0.25 a shift; without any drift samples of n and m films
reach about chi-squared(k - 1) (1/n + 1/m) by chance (Yurdakul and Naranjo, J Risk Model Validation 14(4), 2020), so an
index counts only above the 95th percentile of that. The same model made both periods, so a new model is no drift.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sluice.annotation.answers import AnnotationError, check_task
from sluice.database import Database

FEWEST_RECENT = 50
FEWEST_REFERENCE = 200
LOOK, SHIFT = 0.1, 0.25
UNKNOWN = "unknown"
UNKNOWN_MORE, UNKNOWN_Z = 0.05, 3.0  # by how much, and how far beyond chance, the share of unknown has to move
Counts = Counter[str]


@dataclass
class _Period:
    labels: Counts = field(default_factory=Counter)
    tenths: Counts = field(default_factory=Counter)

    @property
    def films(self) -> int:
        return self.labels.total()

    @property
    def unknown(self) -> float | None:
        return self.labels[UNKNOWN] / self.films if self.films else None


def stability_index(recent: Mapping[str, int], reference: Mapping[str, int]) -> tuple[float, float]:
    """Population stability index of two counts by class, and what it reaches by chance in one of 20 samples."""
    classes = sorted({*recent, *reference})
    n, m = sum(recent.values()), sum(reference.values())
    index = 0.0
    for name in classes:
        p = (recent.get(name, 0) + 0.5) / (n + 0.5 * len(classes))
        q = (reference.get(name, 0) + 0.5) / (m + 0.5 * len(classes))
        index += (p - q) * math.log(p / q)
    return index, _chi_squared_95(len(classes) - 1) * (1 / n + 1 / m)


def drift(
    database: Database, task: str, until: date | None = None, days: int = 14, reference_days: int = 90
) -> list[dict[str, Any]]:
    """A row a station that made films in either period, shifted ones first.

    Each has `recent` and `reference` (films), `labels` and `scores` (`psi` and `chance`, None where there are too few
    films), `unknown` and `unknown_before` (shares), and `state`: `shifted`, `look`, `steady` or `too few`.

    Args:
        until: the day after the last that counts; today without it.
        days: length of the recent period.
        reference_days: length of the one before.

    Raises:
        AnnotationError: there is no such task, or a period has no days.
    """
    check_task(task)
    if not (1 <= days <= 3650 and 1 <= reference_days <= 3650):
        raise AnnotationError("A period has between 1 and 3650 days.")
    end = until or date.today()
    recent_from = end - timedelta(days=days)
    asked = {"task": task, "until": end, "recent_from": recent_from}
    asked["reference_from"] = recent_from - timedelta(days=reference_days)
    stations: defaultdict[str, dict[bool, _Period]] = defaultdict(lambda: {True: _Period(), False: _Period()})
    for row in database.rows("prediction_drift", asked):
        period = stations[row["station"]][row["is_recent"]]
        period.labels[row["label"]] += row["films"]
        period.tenths[str(row["tenth"])] += row["films"]
    rows = [_compared(name, periods[True], periods[False]) for name, periods in stations.items()]
    order = ("shifted", "look", "steady", "too few")
    return sorted(rows, key=lambda row: (order.index(row["state"]), row["station"]))


def _compared(station: str, recent: _Period, reference: _Period) -> dict[str, Any]:
    row: dict[str, Any] = {
        "station": station,
        "recent": recent.films,
        "reference": reference.films,
        "unknown": recent.unknown,
        "unknown_before": reference.unknown,
        "unknown_moved": False,
        "labels": {"psi": None, "chance": None},
        "scores": {"psi": None, "chance": None},
        "state": "too few",
    }
    if recent.films < FEWEST_RECENT or reference.films < FEWEST_REFERENCE:
        return row
    worst = 0.0
    for name, now, before in (
        ("labels", recent.labels, reference.labels),
        ("scores", recent.tenths, reference.tenths),
    ):
        psi, chance = stability_index(now, before)
        row[name] = {"psi": psi, "chance": chance}
        if psi > chance:
            worst = max(worst, psi)
    row["unknown_moved"] = _moved(recent, reference)
    row["state"] = "shifted" if worst >= SHIFT else "look" if worst >= LOOK or row["unknown_moved"] else "steady"
    return row


def _moved(recent: _Period, reference: _Period) -> bool:
    """Whether the share of unknown moved by more than chance (two proportions, pooled) and by enough to matter."""
    n, m = recent.films, reference.films
    now, before = recent.labels[UNKNOWN] / n, reference.labels[UNKNOWN] / m
    pooled = (recent.labels[UNKNOWN] + reference.labels[UNKNOWN]) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return error > 0 and abs(now - before) >= UNKNOWN_MORE and abs(now - before) / error >= UNKNOWN_Z


def _chi_squared_95(freedom: int) -> float:
    """95th percentile of chi-squared (Wilson and Hilferty, PNAS 17 (1931) 684); 0 without a degree of freedom."""
    if freedom < 1:
        return 0.0
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + 1.6449 * math.sqrt(spread)) ** 3)

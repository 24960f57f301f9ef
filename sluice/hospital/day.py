"""The whole plan of a day: who comes when to which scanner, and what goes wrong."""

from __future__ import annotations

from datetime import date

from sluice.hospital.mishaps import place
from sluice.hospital.plan import DEFAULT_DAY, DEFAULT_SEED, Day, Planner, size_of


def plan_day(seed: int = DEFAULT_SEED, day: date = DEFAULT_DAY, scale: str | float = "day") -> Day:
    """The plan of one day, with its mishaps placed."""
    plan = Planner(seed, day, size_of(scale)).plan()
    place(plan)
    return plan

"""Windows: what one run works on, a hospital day or the studies of a cohort request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

from sluice.database import Database


@dataclass(frozen=True)
class Window:
    """A sweep's window.

    Attributes:
        key: `2026-10-26` for a day (Airflow's partition key), `cohort/<project>/<name>` for a cohort.
        kind: `day` or `cohort`.
        starts_on, ends_on: study dates, both inclusive.
    """

    key: str
    kind: str
    starts_on: date
    ends_on: date

    @classmethod
    def of_day(cls, day: date) -> Self:
        """The window of one hospital day."""
        return cls(day.isoformat(), "day", day, day)

    @classmethod
    def of_cohort(cls, project: str, name: str, starts_on: date, ends_on: date) -> Self:
        """The window of one cohort request."""
        return cls(f"cohort/{project}/{name}", "cohort", starts_on, ends_on)


def remember_window(database: Database, window: Window) -> None:
    """Write the window to the ledger; the same window again changes nothing."""
    database.execute(
        "insert into sweep_window (window_key, kind, starts_on, ends_on) "
        "values (%s, %s, %s, %s) on conflict do nothing",
        (window.key, window.kind, window.starts_on, window.ends_on),
    )

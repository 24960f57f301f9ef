"""Asking the PACS for the studies that a filter may take."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from sluice.cohorts.asking import asked_of_pacs
from sluice.cohorts.errors import CohortError
from sluice.cohorts.expressions import Expression
from sluice.cohorts.listed import lacking
from sluice.database import Database, named_query
from sluice.pacs.find.cohort import CohortFilter, CohortSweepSummary, sweep_cohort
from sluice.pacs.node import PacsNode
from sluice.windows import Window, remember_window

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor

LONG_AGO = timedelta(days=36_525)


@dataclass(frozen=True)
class FilterSweepSummary:
    """What a sweep for a filter found.

    Attributes:
        asked: what the PACS was asked for; None where the filter names no study dates, so that it was not asked.
        known: instances that other sweeps had listed and that are expected here, too.
    """

    window_key: str
    asked: CohortSweepSummary | None
    known: int

    def as_dict(self) -> dict[str, Any]:
        """Counts as XCom carries them."""
        return {**(self.asked.as_dict() if self.asked else {}), "window_key": self.window_key, "known": self.known,
                "pacs_was_asked": self.asked is not None}  # fmt: skip


def window_of_filter(project: str, name: str, expression: Expression, today: date) -> Window:
    """The window of a filter's cohort, with the study dates that it allows.

    Raises:
        CohortError: it allows none.
    """
    asked = asked_of_pacs(expression, today)
    if asked.is_impossible:
        raise CohortError("The filter allows no study date: its dates exclude each other.")
    ends_on = asked.ends_on or max(today, asked.starts_on or today)
    return Window.of_cohort(project, name, asked.starts_on or ends_on - LONG_AGO, ends_on)


def sweep_filter(
    database: Database,
    node: PacsNode,
    window: Window,
    expression: Expression,
    today: date,
    governor: Governor | None = None,
) -> FilterSweepSummary:
    """Make the studies that a filter may take the expectation of its cohort's window.

    The PACS is asked by study date, modality and description where the filter says when the first study was; without
    that it would be asked for everything it has, so only what sweeps have listed before is taken then.

    Raises:
        PacsError: the PACS cannot be asked; what was found before stays.
        GovernorStop: it must not be asked now; the same holds.
    """
    remember_window(database, window)
    part = asked_of_pacs(expression, today)
    asked = None
    if part.starts_on is not None:
        asked = sweep_cohort(database, node, window, CohortFilter(part.modalities, part.words), governor)
    return FilterSweepSummary(window.key, asked, _expect_known(database, window, expression, today))


def _expect_known(database: Database, window: Window, expression: Expression, today: date) -> int:
    statement = lacking(expression, "select distinct study_instance_uid from judged", today)
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(f"create temporary table standing on commit drop as {statement.sql}", statement.params)
        cursor.execute("analyze standing")
        cursor.execute(named_query("expect_standing"), {"window_key": window.key})
        return int(cursor.rowcount)

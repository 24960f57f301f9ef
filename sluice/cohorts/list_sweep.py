"""Asking the PACS for the rows of a list of which nothing is known yet, and what it answered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from psycopg2.extras import execute_values

from sluice.cohorts.lists import CohortList, answer_list
from sluice.database import Database, named_query
from sluice.pacs.find.cohort import CohortRow, CohortSweepSummary, RowAnswer, sweep_cohort
from sluice.pacs.node import PacsNode
from sluice.windows import Window, remember_window

if TYPE_CHECKING:
    from sluice.pacs.governor import Governor

PAGE = 500  # rows read ahead
WRITTEN_AT_ONCE = 25  # answers; so many rows are asked again when the process is killed
LONG_AGO = timedelta(days=36_525)


def sweep_list(
    database: Database, node: PacsNode, kept: CohortList, since: datetime, governor: Governor | None = None
) -> CohortSweepSummary:
    """Make the studies of a list the expectation of its cohort's window.

    What a sweep has listed before is taken from there; the PACS is asked only for the other rows, one C-FIND each, and
    each row's answer is kept at once. So a sweep that is stopped goes on where it was.

    Args:
        since: rows that the PACS did not know or refused are asked once more where that was before.

    Raises:
        PacsError: the PACS cannot be asked; what was found before stays.
        GovernorStop: it must not be asked now; the same holds.
    """
    window = window_of_list(database, kept, date.today())
    remember_window(database, window)
    answer_list(database, kept.list_id)
    _expect_known(database, kept.list_id, window)
    try:
        with _Answers(database, kept.list_id) as answers:
            rows = _to_ask(database, kept.list_id, since)
            return sweep_cohort(database, node, window, rows, governor, answers.note)
    finally:
        answer_list(database, kept.list_id)


def window_of_list(database: Database, kept: CohortList, today: date) -> Window:
    """The window that spans the rows' dates; where one has none, it reaches back a hundred years."""
    (dates,) = database.rows("list_dates", {"list_id": kept.list_id})
    starts_on = dates["first"] if dates["first"] and not dates["open_from"] else today - LONG_AGO
    ends_on = dates["last"] if dates["last"] and not dates["open_to"] else today
    return Window.of_cohort(kept.project, kept.name, starts_on, max(starts_on, ends_on))


def _expect_known(database: Database, list_id: int, window: Window) -> None:
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "create temporary table standing on commit drop as "
            "select distinct study_instance_uid from cohort_list_study where list_id = %s",
            (list_id,),
        )
        cursor.execute("analyze standing")
        cursor.execute(named_query("expect_standing"), {"window_key": window.key})


def _to_ask(database: Database, list_id: int, since: datetime) -> Iterator[CohortRow]:
    after = 0
    while True:
        asked = {"list_id": list_id, "since": since, "after": after, "size": PAGE}
        rows = database.rows("list_to_ask", asked)
        for row in rows:
            after = row.pop("line")
            yield CohortRow(after, **row)
        if len(rows) < PAGE:
            return


class _Answers:
    """Keeps what the PACS said of rows, some at a time, and the rest at the end."""

    def __init__(self, database: Database, list_id: int) -> None:
        self._database = database
        self._list_id = list_id
        self._held: list[RowAnswer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write()

    def note(self, answer: RowAnswer) -> None:
        self._held.append(answer)
        if len(self._held) >= WRITTEN_AT_ONCE:
            self._write()

    def _write(self) -> None:
        if not self._held:
            return
        with self._database.transaction() as connection, connection.cursor() as cursor:
            execute_values(
                cursor,
                "update cohort_list_row r set asked_at = now(), updated_at = now(), reason = v.reason, "
                "answer = case when v.outcome in ('not-found', 'refused') then v.outcome else r.answer end "
                "from (values %s) v (list_id, line, outcome, reason) "
                "where r.list_id = v.list_id and r.line = v.line",
                [(self._list_id, one.row_number, one.outcome, one.reason or None) for one in self._held],
            )
            matches = [(self._list_id, one.row_number, uid) for one in self._held for uid in one.study_uids]
            if matches:
                execute_values(
                    cursor,
                    # of a list that somebody deleted or replaced meanwhile nothing is kept
                    "insert into cohort_list_study (list_id, line, study_instance_uid, asked) "
                    "select list_id, line, v.uid, true from (values %s) v (list_id, line, uid) "
                    "join cohort_list_row using (list_id, line) "
                    "on conflict (list_id, line, study_instance_uid) do update set asked = true",
                    matches,
                )
        self._held.clear()

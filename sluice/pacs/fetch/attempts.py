"""What was tried to close a gap: the rows of `attempt`, `attempt_missing` and `planned_attempt`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import psycopg2
import psycopg2.extras
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, named_query, select
from sluice.pacs.errors import PacsBusy, PacsStatusError
from sluice.pacs.fetch.wanted import Request
from sluice.pacs.outcomes import Moved

SUCCESS = ("0000", "B000", "200")  # B000: sub-operations complete, one or more failures (PS3.4 table C.4-2)

INTERRUPTED = "interrupted"  # reason code: we ended the request ourselves


@dataclass
class Attempt:
    """A request with what came of it, and its row in the ledger.

    Attributes:
        attempt_id: the row.
        source: the PACS that was asked.
        request, moved: what was asked and answered.
        missing: of the wanted instances those that have no receipt yet.
        reasons: once it is finished, the reason code of each instance that is still missing.
        is_final: what comes from now on comes by another request, which asks for the rest of this one.
    """

    attempt_id: int
    source: str
    request: Request
    moved: Moved
    missing: list[str]
    reasons: dict[str, str] = field(default_factory=dict)
    is_final: bool = False

    @property
    def reported(self) -> int:
        """How many of the wanted instances the PACS says it has sent."""
        return min(self.moved.completed + self.moved.warnings, len(self.request.wanted))

    @property
    def failed_whole(self) -> bool:
        """Whether it was answered with a failure that is neither a lack of resources nor our doing, and nothing was
        sent."""
        if self.moved.interrupted:
            return False
        told = self.moved.completed + self.moved.warnings + self.moved.failed
        status = self.moved.status or "0000"
        return told == 0 and status not in SUCCESS and not status.startswith("A7")

    @property
    def unexplained(self) -> list[str]:
        """Missing instances of which the answer says nothing, though nobody interrupted it: neither sent nor failed."""
        if self.moved.error is not None or self.moved.status is None or self.moved.interrupted:
            return []
        told = self.moved.completed + self.moved.warnings + self.moved.failed
        if told >= len(self.request.wanted):
            return []
        return [uid for uid in self.missing if uid not in self.moved.instances and uid not in self.moved.failed_uids]


class AttemptLog:
    """Writes the attempts of one pass over one connection; a context manager.

    A connection that broke, because Postgres restarted, is opened again once for each step.
    """

    def __init__(self, database: Database, window_key: str) -> None:
        self.window_key = window_key
        self._database = database
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def missing(self, study_uids: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of the query `missing_instances` for these studies."""
        params = {"window_key": self.window_key, "study_uids": list(study_uids)}
        rows: list[dict[str, Any]] = self._do(
            lambda connection: select(connection, named_query("missing_instances"), params)
        )
        return rows

    def begin(
        self, source: str, kind: str, answered: Sequence[tuple[Request, Moved]], started: datetime
    ) -> list[Attempt]:
        """Write attempts as soon as the source has answered, so that a crash while waiting loses nothing of them."""

        def write(connection: Connection) -> list[Attempt]:
            return [self._written(connection, source, kind, *one, started) for one in answered]

        attempts: list[Attempt] = self._do(write) if answered else []
        return attempts

    def _written(
        self, connection: Connection, source: str, kind: str, request: Request, moved: Moved, started: datetime
    ) -> Attempt:
        if moved.interrupted and moved.status in ("0000", "200") and moved.completed >= len(request.wanted):
            moved.interrupted = False  # it had finished: its final answer and our word to stop crossed
        values = {
            "window_key": self.window_key, "pacs": source, "study": request.study, "kind": kind,
            "wanted": list(request.wanted), "completed": moved.completed, "failed": moved.failed,
            "warnings": moved.warnings, "status": status_of(moved), "reason_code": reason_of_all(moved),
            "detail": _detail(source, kind, request, moved), "started_at": started,
        }  # fmt: skip
        (row,) = select(connection, named_query("begin_attempt"), values)
        return Attempt(row["attempt_id"], source, request, moved, list(row["missing"] or ()))

    def finish(self, attempts: Sequence[Attempt]) -> None:
        """Count what arrived in the end and note what did not, with reasons. May be done again."""
        open_ones = [attempt for attempt in attempts if attempt.missing and not attempt.is_final]
        if not open_ones:
            return
        here = self.arrived([uid for attempt in open_ones for uid in attempt.missing])
        for attempt in open_ones:
            attempt.missing = [uid for uid in attempt.missing if uid not in here]
            attempt.reasons = reasons_of(attempt.moved, attempt.missing)
            attempt.is_final = attempt.moved.interrupted
        self._do(lambda connection: _write_ends(connection, open_ones))

    def arrived(self, sop_uids: Sequence[str]) -> set[str]:
        """Those of the SOP Instance UIDs that have a receipt."""
        statement = "select sop_instance_uid from receipt where sop_instance_uid = any (%s)"
        rows = self._do(lambda connection: select(connection, statement, (list(sop_uids),)))
        return {row["sop_instance_uid"] for row in rows}

    def series_of(self, sop_uids: Sequence[str]) -> dict[str, str]:
        """Series Instance UID by SOP Instance UID, as expected in this window."""
        statement = (
            "select sop_instance_uid, series_instance_uid from expectation "
            "where window_key = %s and sop_instance_uid = any (%s)"
        )
        rows = self._do(lambda connection: select(connection, statement, (self.window_key, list(sop_uids))))
        return {row["sop_instance_uid"]: row["series_instance_uid"] for row in rows}

    def _do(self, work: Callable[[Connection], Any]) -> Any:
        fresh = self._connection is None
        try:
            with self._transaction() as connection:
                return work(connection)
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self._close()
            if fresh:
                raise
        with self._transaction() as connection:
            return work(connection)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._connection is None:
            self._connection = self._database.connect()
        with self._connection:
            yield self._connection

    def _close(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except psycopg2.Error:
                pass
            self._connection = None


def _write_ends(connection: Connection, attempts: Sequence[Attempt]) -> None:
    ends = [
        (
            attempt.attempt_id,
            list(attempt.request.wanted),
            max(attempt.reasons.values(), key=list(attempt.reasons.values()).count, default=None),
        )
        for attempt in attempts
    ]
    missing = [
        (attempt.attempt_id, uid, reason, attempt.moved.instances.get(uid, ("", status_of(attempt.moved)))[1])
        for attempt in attempts
        for uid, reason in attempt.reasons.items()
    ]
    with connection.cursor() as cursor:
        psycopg2.extras.execute_batch(cursor, named_query("finish_attempt"), [_named(*end) for end in ends])
        cursor.execute("delete from attempt_missing where attempt_id = any (%s)", ([end[0] for end in ends],))
        psycopg2.extras.execute_values(
            cursor,
            "insert into attempt_missing (attempt_id, sop_instance_uid, reason_code, status) values %s",
            missing,
        )


def _named(attempt_id: int, wanted: list[str], reason_code: str | None) -> dict[str, Any]:
    return {"attempt_id": attempt_id, "wanted": wanted, "reason_code": reason_code}


def plan_attempt(database: Database, window_key: str, pacs: str, study_uids: Sequence[str], due_at: datetime) -> None:
    """Say when these studies will be asked for again."""
    with database.transaction() as connection, connection.cursor() as cursor:
        psycopg2.extras.execute_values(
            cursor,
            "insert into planned_attempt (window_key, study_instance_uid, pacs, due_at) values %s "
            "on conflict (window_key, study_instance_uid) do update set pacs = excluded.pacs, due_at = excluded.due_at",
            [(window_key, uid, pacs, due_at) for uid in study_uids],
        )


def planned_studies(database: Database, window_key: str) -> list[str]:
    """Study Instance UIDs of a window for which an attempt is planned."""
    with database.transaction() as connection:
        rows = select(connection, "select study_instance_uid from planned_attempt where window_key = %s", (window_key,))
    return [row["study_instance_uid"] for row in rows]


def unplan_attempt(database: Database, window_key: str, study_uids: Sequence[str]) -> None:
    """They are being asked for now, or will not be asked for again."""
    database.execute(
        "delete from planned_attempt where window_key = %s and study_instance_uid = any (%s)",
        (window_key, list(study_uids)),
    )


def reasons_of(moved: Moved, missing: Sequence[str]) -> dict[str, str]:
    """Why each instance is missing, as far as the answer shows: what we know of it ourselves, named as failed, covered
    by the failed count, or whatever holds for the whole request."""
    own = {uid: moved.instances[uid][0] for uid in missing if uid in moved.instances}
    if moved.interrupted:  # what a PACS then counts as failed may be what it did not get to
        return dict.fromkeys(missing, INTERRUPTED) | own
    whole = reason_of_all(moved) or "reported-not-arrived"
    if moved.failed_uids:
        failed = [uid for uid in missing if uid in moved.failed_uids]
    else:
        failed = list(missing) if moved.failed >= len(missing) else []
    if moved.failed and not failed and whole == "reported-not-arrived":
        whole = "failed-suboperation"  # some of them did; which ones is asked one by one
    return dict.fromkeys(missing, whole) | dict.fromkeys(failed, "failed-suboperation") | own


def reason_of_all(moved: Moved) -> str | None:
    """Reason code that holds for a whole request; None where it was served."""
    if moved.interrupted:
        return INTERRUPTED
    if moved.error is not None:
        return moved.error.reason_code
    if moved.status not in SUCCESS and not moved.failed:
        return "refused"
    return None


def status_of(moved: Moved) -> str | None:
    """The final status, also where it came as an error."""
    return moved.error.status if isinstance(moved.error, PacsStatusError | PacsBusy) else moved.status


def _detail(source: str, kind: str, request: Request, moved: Moved) -> str:
    """The request in words without an identifier."""
    asked = f"{kind} from {source}, {request.level} level"
    if moved.studies > 1:
        asked += f", {moved.studies} studies together"
    if moved.error is not None:
        return f"{asked}: {type(moved.error).__name__}"
    if moved.interrupted:
        asked += ", interrupted by us"
    return (
        f"{asked}, status {moved.status}: {moved.completed} completed, {moved.failed} failed, {moved.warnings} warnings"
    )

"""What was tried to close a gap: the rows of `attempt` and `attempt_missing`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg2.extras

from sluice.database import Database, select
from sluice.pacs.arrivals import arrived_of
from sluice.pacs.association import Moved

SUCCESS = ("0000", "B000")  # B000: sub-operations complete, one or more failures (PS3.4 table C.4-2)


@dataclass(frozen=True)
class MoveRequest:
    """One C-MOVE request.

    Attributes:
        level: `STUDY`, `SERIES` or `IMAGE`.
        study, series: UIDs; no series at STUDY level.
        wanted: SOP Instance UIDs that it should bring.
    """

    level: str
    study: str
    series: str | None
    wanted: tuple[str, ...]

    def keys(self) -> dict[str, str | list[str]]:
        """The unique keys of the identifier (PS3.4 C.4.2.2.1)."""
        keys: dict[str, str | list[str]] = {"StudyInstanceUID": self.study}
        if self.series is not None:
            keys["SeriesInstanceUID"] = self.series
        if self.level == "IMAGE":
            keys["SOPInstanceUID"] = list(self.wanted)
        return keys


@dataclass
class Attempt:
    """A request with what came of it, and its row in the ledger."""

    attempt_id: int
    request: MoveRequest
    moved: Moved

    @property
    def reported(self) -> int:
        """How many of the wanted instances the PACS says it has sent."""
        return min(self.moved.completed + self.moved.warnings, len(self.request.wanted))

    def series_of(self, database: Database) -> dict[str, str]:
        """Series Instance UID by SOP Instance UID of what was wanted."""
        with database.transaction() as connection:
            rows = select(
                connection,
                "select distinct on (sop_instance_uid) sop_instance_uid, series_instance_uid from expectation "
                "where sop_instance_uid = any (%s) order by sop_instance_uid, expected_at desc",
                (list(self.request.wanted),),
            )
        return {row["sop_instance_uid"]: row["series_instance_uid"] for row in rows}


def begin_attempt(
    database: Database, pacs: str, window_key: str, request: MoveRequest, moved: Moved, started: datetime
) -> Attempt:
    """Write the attempt as soon as the PACS has answered, so that a crash while waiting loses nothing of it."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into attempt (window_key, pacs, study_instance_uid, kind, wanted, completed, failed, warnings, "
            "status, reason_code, detail, started_at) values (%s, %s, %s, 'C-MOVE', %s, %s, %s, %s, %s, %s, %s, %s) "
            "returning attempt_id",
            (
                window_key, pacs, request.study, len(request.wanted), moved.completed, moved.failed, moved.warnings,
                moved.status, _reason_of_all(moved), _detail(request, moved), started,
            ),
        )  # fmt: skip
        (attempt_id,) = cursor.fetchone() or (0,)
    return Attempt(int(attempt_id), request, moved)


def finish_attempt(database: Database, attempt: Attempt) -> dict[str, str]:
    """Count what arrived and note what did not; return the reason codes by SOP Instance UID. Idempotent."""
    here = arrived_of(database, attempt.request.wanted)
    missing = [uid for uid in attempt.request.wanted if uid not in here]
    reasons = reasons_of(attempt.moved, missing)
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "update attempt set arrived = %s, reason_code = %s, finished_at = now() where attempt_id = %s",
            (len(here), max(reasons.values(), key=list(reasons.values()).count, default=None), attempt.attempt_id),
        )
        cursor.execute("delete from attempt_missing where attempt_id = %s", (attempt.attempt_id,))
        psycopg2.extras.execute_values(
            cursor,
            "insert into attempt_missing (attempt_id, sop_instance_uid, reason_code) values %s",
            [(attempt.attempt_id, uid, reason) for uid, reason in reasons.items()],
        )
    return reasons


def reasons_of(moved: Moved, missing: list[str]) -> dict[str, str]:
    """Why each instance is missing, as far as the answer shows: named as failed, covered by the failed count, or
    whatever holds for the whole request."""
    whole = _reason_of_all(moved) or "reported-not-arrived"
    if moved.failed_uids:
        failed = [uid for uid in missing if uid in moved.failed_uids]
    else:
        failed = missing if moved.failed >= len(missing) else []
    if moved.failed and not failed and whole == "reported-not-arrived":
        whole = "failed-suboperation"  # some of them did; which ones is asked one by one
    return dict.fromkeys(missing, whole) | dict.fromkeys(failed, "failed-suboperation")


def _reason_of_all(moved: Moved) -> str | None:
    if moved.error is not None:
        return moved.error.reason_code
    if moved.status not in SUCCESS and not moved.failed:
        return "refused"
    return None


def _detail(request: MoveRequest, moved: Moved) -> str:
    """The request in words without an identifier."""
    if moved.error is not None:
        return f"{request.level} level: {type(moved.error).__name__}"
    return (
        f"{request.level} level, status {moved.status}: "
        f"{moved.completed} completed, {moved.failed} failed, {moved.warnings} warnings"
    )

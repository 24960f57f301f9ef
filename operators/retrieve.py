"""Retrieval in Airflow: a task that asks, waits in the triggerer without a worker slot, looks, and asks again.

By C-MOVE a whole pass runs in the triggerer, which has only to wait: the instances go to the receiver. By C-GET and
DICOMweb they pass through who asks, so such a pass runs in the task. All pieces are asked for the first time before
any is asked again, because a piece that pauses holds no slot of the pool.

A batch of studies is named by number (piece 3 of 8), never by UIDs: XCom, trigger rows and logs carry no
identifier, and which studies of a piece still lack something is asked of the ledger each time.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Self

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from operators.governed import Standby, as_json, governor_of, in_turn, told, use_of
from operators.policies import PACS, is_permanent
from sluice.pacs.governor.stops import GovernorStop

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sluice.archive.storing import Storing
    from sluice.database import Database
    from sluice.pacs.node import PacsNode

STUDIES_PER_PIECE = 25
MOST_PIECES = 64
PASSES = 3
DELAY_GROWTH = 4.0


class RetrieveFailed(RuntimeError):  # noqa: N818
    """The PACS could not be asked at all; the message says why."""


class RetrieveRefused(RetrieveFailed):
    """The PACS refuses us, and asking again cannot change that."""

    permanent = True


@dataclass(frozen=True)
class StudyPiece:
    """One piece of the studies of a window that lack instances, by a stable hash of the study UID.

    Attributes:
        window_key: the window.
        piece, pieces: 0-based number of this piece, and how many there are.
    """

    window_key: str
    piece: int
    pieces: int

    def as_dict(self) -> dict[str, Any]:
        """The piece as XCom carries it."""
        return asdict(self)

    @classmethod
    def of(cls, value: dict[str, Any]) -> Self:
        """The piece that `as_dict` gave."""
        return cls(**value)

    def missing(self, database: Database) -> list[str]:
        """Study Instance UIDs of this piece with instances that have not arrived."""
        from sluice.pacs.fetch.retrieve import missing_studies

        return [uid for uid in missing_studies(database, self.window_key) if self.holds(uid)]

    def unplan(self, database: Database) -> None:
        """Take back what was planned for this piece."""
        from sluice.pacs.fetch.attempts import planned_studies, unplan_attempt

        unplan_attempt(
            database, self.window_key, [uid for uid in planned_studies(database, self.window_key) if self.holds(uid)]
        )

    def holds(self, study_uid: str) -> bool:
        """Whether a study belongs to this piece."""
        return zlib.crc32(study_uid.encode()) % self.pieces == self.piece


def plan_pieces(database: Database, window_key: str, size: int = STUDIES_PER_PIECE) -> list[StudyPiece]:
    """Cut the studies of a window that lack instances into pieces of about `size` studies, leaving out empty pieces."""
    from sluice.pacs.fetch.retrieve import missing_studies

    studies = missing_studies(database, window_key)
    count = min(MOST_PIECES, math.ceil(len(studies) / size))
    pieces = [StudyPiece(window_key, number, count) for number in range(count)]
    return [piece for piece in pieces if any(map(piece.holds, studies))]


class MoveTrigger(BaseTrigger):
    """One pass over a piece: wait, then C-MOVE what is missing, in a thread, because pynetdicom blocks.

    Args:
        piece: the piece, as a dict.
        number: which pass this is, from 1.
        before: sums of the passes before.
        not_before: ISO time with zone; the PACS gets time to recover. A time and no delay, so that a triggerer that
            is restarted does not wait anew.
        pacs_conn_id: connection of the PACS; secrets are looked up when the trigger runs, never stored with it.
        use: who asks, for the governor of the PACS (`operators.governed.as_json`).
    """

    def __init__(
        self,
        piece: dict[str, Any],
        number: int = 1,
        before: dict[str, int] | None = None,
        not_before: str | None = None,
        pacs_conn_id: str = PACS,
        use: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.use = use
        self.piece = piece
        self.number = number
        self.before = before or {}
        self.not_before = not_before
        self.pacs_conn_id = pacs_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, as the triggerer's row keeps them."""
        return (
            "operators.retrieve.MoveTrigger",
            {
                "piece": self.piece,
                "number": self.number,
                "before": self.before,
                "not_before": self.not_before,
                "pacs_conn_id": self.pacs_conn_id,
                "use": self.use,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the counts of the pass, what went wrong, or `carry` where a worker has to do it."""
        from operators.connections import adatabase
        from operators.pacs_hook import PacsHook

        if self.not_before:
            due = datetime.fromisoformat(self.not_before)
            await asyncio.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
        try:
            nodes = await PacsHook(self.pacs_conn_id).aget_sources()
            database = await adatabase()
            outcome = await in_turn(one_pass, database, nodes, StudyPiece.of(self.piece), self.use)
        except RuntimeError as error:
            outcome = _failure(error)
        yield TriggerEvent({"number": self.number, "before": self.before} | outcome)


def one_pass(
    database: Database,
    nodes: Sequence[PacsNode],
    piece: StudyPiece,
    use: dict[str, Any] | None,
    storing: Storing | None = None,
) -> dict[str, Any]:
    """Ask the sources once for what the piece lacks.

    Returns:
        The counts, or `{"carry": True}` where instances would pass through this process and there is no `storing`.

    Raises:
        GovernorStop: a PACS must not be asked now.
        RuntimeError: it could not be asked.
    """
    from sluice.pacs.fetch.retrieve import retrieve_missing
    from sluice.pacs.fetch.ways import MustCarry, Source, carries

    if storing is None and carries(database, nodes):
        return {"carry": True}
    piece.unplan(database)
    sources = [Source(node, governor_of(database, node, use)) for node in nodes]
    try:
        return retrieve_missing(database, sources, piece.window_key, piece.missing(database), storing).as_dict()
    except MustCarry:
        return {"carry": True}


def _failure(error: RuntimeError) -> dict[str, Any]:
    wait_s = getattr(error, "retry_after_s", 0.0)
    return {"error": str(error), "permanent": is_permanent(error)} | ({"retry_after_s": wait_s} if wait_s else {})


class RetrieveOperator(BaseOperator):
    """Retrieve one piece of a window: ask, wait, look, ask again for what is missing, and note what never came.

    A piece that stays incomplete is a success with a count: the gaps are facts with reasons in the ledger. It
    fails only where the PACS could not be asked.

    Args:
        piece: `StudyPiece.as_dict()`.
        passes: how often to ask; the delay between two grows from the setting `retrieve_pause_s` by `DELAY_GROWTH`.
        pacs_conn_id: connection of the PACS.
        pass_timeout: how long one pass may take.
    """

    template_fields = ("piece",)
    ui_color = "#dbe9f6"

    def __init__(
        self,
        *,
        piece: dict[str, Any],
        passes: int = PASSES,
        pacs_conn_id: str = PACS,
        pass_timeout: timedelta = timedelta(hours=2),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.piece = piece
        self.passes = passes
        self.pacs_conn_id = pacs_conn_id
        self.pass_timeout = pass_timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask for the first time, unless nothing is missing."""
        from operators.connections import database
        from sluice.pacs.fetch.retrieve import count_missing
        from sluice.pacs.fetch.ways import carries

        ledger = database()
        if studies := StudyPiece.of(self.piece).missing(ledger):
            before = {"wanted": count_missing(ledger, self.piece["window_key"], studies)}
            if carries(ledger, self._sources()):
                return self._carry(context, 1, before)
            self._ask(context, 1, before)
        return {"window_key": self.piece["window_key"], "wanted": 0, "arrived": 0, "missing": 0}

    def look_again(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """After a pass: done, ask again, or note the gaps.

        Raises:
            RetrieveFailed: the PACS could not be asked in the last pass either.
            RetrieveRefused: it never will.
        """
        from operators.connections import database
        from sluice.pacs.fetch.retrieve import note_gaps

        piece = StudyPiece.of(self.piece)
        number, before = event["number"], event["before"]
        if event.get("carry"):
            return self._carry(context, number, before)
        if event.get("stopped") == "cancelled":
            return self._cancelled(before)
        if event.get("stopped"):
            self.log.info("%s", event["words"])
            if event["until"]:
                self._plan(datetime.fromisoformat(event["until"]))
            self.defer(
                trigger=Standby(event["stopped"], event["until"], piece.window_key),
                method_name="after_standby",
                kwargs={"number": number, "before": before},
            )
        sums = {
            "wanted": before.get("wanted") or event.get("wanted", 0),
            "requests": before.get("requests", 0) + event.get("requests", 0),
        }
        ledger = database()
        missing = piece.missing(ledger)
        error = event.get("error")
        self.log.info(
            "Pass %d of %d: %s; %d studies are incomplete.", number, self.passes, error or event, len(missing)
        )
        if missing and number < self.passes and not event.get("permanent"):
            self._ask(context, number + 1, sums, event.get("retry_after_s", 0.0))
        piece.unplan(ledger)
        gaps = note_gaps(ledger, piece.window_key, missing) if missing else 0
        if error and missing:
            raise (RetrieveRefused if event.get("permanent") else RetrieveFailed)(error)
        return {
            "window_key": piece.window_key,
            **sums,
            "arrived": max(0, sums["wanted"] - gaps),  # also what came of a pass that was interrupted
            "repeated": number - 1,
            "incomplete_studies": len(missing),
            "missing": gaps,
        }

    def after_standby(self, context: Context, event: dict[str, Any], number: int, before: dict[str, int]) -> NoReturn:
        """Go on with the pass that the governor stopped."""
        self._defer(context, number, before)

    def _cancelled(self, before: dict[str, int]) -> dict[str, Any]:
        """A person cancelled the window: what is missing has that for a reason, and the chain goes on with the rest."""
        from operators.connections import database
        from sluice.pacs.fetch.retrieve import count_missing
        from sluice.pacs.governor.orders import note_cancelled, retrieval_state

        ledger, key = database(), self.piece["window_key"]
        note_cancelled(ledger, key, retrieval_state(ledger, key).ordered_by or "a person")
        StudyPiece.of(self.piece).unplan(ledger)
        left = StudyPiece.of(self.piece).missing(ledger)
        gaps = count_missing(ledger, key, left) if left else 0
        return {
            "window_key": key,
            **before,
            "arrived": max(0, before.get("wanted", 0) - gaps),
            "cancelled": 1,
            "incomplete_studies": len(left),
            "missing": gaps,
        }

    def _carry(self, context: Context, number: int, before: dict[str, int]) -> dict[str, Any]:
        """A pass in this task, because the instances pass through it."""
        from operators.connections import database
        from sluice.archive.storing import Storing
        from sluice.settings import settings

        ledger, piece = database(), StudyPiece.of(self.piece)
        try:
            with Storing.of(ledger, settings()) as storing:
                outcome = one_pass(ledger, self._sources(), piece, self._use(context), storing)
        except GovernorStop as stop:
            outcome = told(stop)
        except RuntimeError as error:
            outcome = _failure(error)
        return self.look_again(context, {"number": number, "before": before} | outcome)

    def _ask(self, context: Context, number: int, sums: dict[str, int], least_s: float = 0.0) -> NoReturn:
        """The next pass, after a pause that grows, and is at least as long as the PACS asked for."""
        from sluice.settings import settings

        pause_s = 0.0 if number == 1 else settings().retrieve_pause_s * DELAY_GROWTH ** (number - 2)
        pause_s = max(pause_s, least_s)
        if not pause_s:
            self._defer(context, number, sums)
        due = datetime.now(UTC) + timedelta(seconds=pause_s)
        self._plan(due)
        self._defer(context, number, sums, due)

    def _defer(self, context: Context, number: int, sums: dict[str, int], due: datetime | None = None) -> NoReturn:
        not_before = due.isoformat() if due else None
        pause = max(timedelta(), due - datetime.now(UTC)) if due else timedelta()
        self.defer(
            trigger=MoveTrigger(self.piece, number, sums, not_before, self.pacs_conn_id, self._use(context)),
            method_name="look_again",
            timeout=self.pass_timeout + pause,
        )

    def _plan(self, due: datetime) -> None:
        """Say in the ledger when the studies of this piece will be asked for again."""
        from operators.connections import database
        from sluice.pacs.fetch.attempts import plan_attempt

        ledger, piece = database(), StudyPiece.of(self.piece)
        plan_attempt(ledger, piece.window_key, self._sources()[0].name, piece.missing(ledger), due)

    def _sources(self) -> list[PacsNode]:
        from operators.pacs_hook import PacsHook

        return PacsHook(self.pacs_conn_id).get_sources()

    def _use(self, context: Context) -> dict[str, Any]:
        piece = StudyPiece.of(self.piece)
        what = f"studies, part {piece.piece + 1} of {piece.pieces}"
        return as_json(use_of(context["ti"], context["dag_run"], "retrieve", piece.window_key, what))

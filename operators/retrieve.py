"""C-MOVE in Airflow: a task that asks, waits in the triggerer without a worker slot, looks, and asks again.

A batch of studies is named by number (piece 3 of 8), never by UIDs: XCom, trigger rows and logs carry no
identifier, and which studies of a piece still lack something is asked of the ledger each time.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Self

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from operators.governed import Standby, as_json, governor_of, in_turn, use_of
from operators.policies import PACS, is_permanent

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sluice.database import Database

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
        from sluice.pacs.retrieve import missing_studies

        return [uid for uid in missing_studies(database, self.window_key) if self.holds(uid)]

    def holds(self, study_uid: str) -> bool:
        """Whether a study belongs to this piece."""
        return zlib.crc32(study_uid.encode()) % self.pieces == self.piece


def plan_pieces(database: Database, window_key: str, size: int = STUDIES_PER_PIECE) -> list[StudyPiece]:
    """Cut the studies of a window that lack instances into pieces of about `size` studies, leaving out empty pieces."""
    from sluice.pacs.retrieve import missing_studies

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
        delay_s: seconds to wait first; the PACS gets time to recover.
        pacs_conn_id: connection of the PACS; secrets are looked up when the trigger runs, never stored with it.
        use: who asks, for the governor of the PACS (`operators.governed.as_json`).
    """

    def __init__(
        self,
        piece: dict[str, Any],
        number: int = 1,
        before: dict[str, int] | None = None,
        delay_s: float = 0.0,
        pacs_conn_id: str = PACS,
        use: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.use = use
        self.piece = piece
        self.number = number
        self.before = before or {}
        self.delay_s = delay_s
        self.pacs_conn_id = pacs_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, as the triggerer's row keeps them."""
        return (
            "operators.retrieve.MoveTrigger",
            {
                "piece": self.piece,
                "number": self.number,
                "before": self.before,
                "delay_s": self.delay_s,
                "pacs_conn_id": self.pacs_conn_id,
                "use": self.use,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the counts of the pass, or what went wrong."""
        from operators.connections import adatabase
        from operators.pacs_hook import PacsHook

        await asyncio.sleep(self.delay_s)
        try:
            node = await PacsHook(self.pacs_conn_id).aget_node()
            database = await adatabase()
            outcome = await in_turn(_move, database, node, StudyPiece.of(self.piece), self.use)
        except RuntimeError as error:
            outcome = {"error": str(error), "permanent": is_permanent(error)}
        yield TriggerEvent({"number": self.number, "before": self.before} | outcome)


def _move(database: Database, node: Any, piece: StudyPiece, use: dict[str, Any] | None) -> dict[str, Any]:
    from sluice.pacs.retrieve import move_missing

    governor = governor_of(database, node, use)
    return move_missing(database, node, piece.window_key, piece.missing(database), governor).as_dict()


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

        if StudyPiece.of(self.piece).missing(database()):
            self._ask(context, 1, {})
        return {"window_key": self.piece["window_key"], "wanted": 0, "arrived": 0, "missing": 0}

    def look_again(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """After a pass: done, ask again, or note the gaps.

        Raises:
            RetrieveFailed: the PACS could not be asked in the last pass either.
            RetrieveRefused: it never will.
        """
        from operators.connections import database
        from sluice.pacs.retrieve import note_gaps

        piece = StudyPiece.of(self.piece)
        number, before = event["number"], event["before"]
        if event.get("stopped") == "cancelled":
            return self._cancelled(before)
        if event.get("stopped"):
            self.log.info("%s", event["words"])
            self.defer(
                trigger=Standby(event["stopped"], event["until"], piece.window_key),
                method_name="after_standby",
                kwargs={"number": number, "before": before},
            )
        sums = {
            "wanted": before.get("wanted") or event.get("wanted", 0),
            "arrived": before.get("arrived", 0) + event.get("arrived", 0),
            "requests": before.get("requests", 0) + event.get("requests", 0),
        }
        ledger = database()
        missing = piece.missing(ledger)
        error = event.get("error")
        self.log.info(
            "Pass %d of %d: %s; %d studies are incomplete.", number, self.passes, error or event, len(missing)
        )
        if missing and number < self.passes and not event.get("permanent"):
            self._ask(context, number + 1, sums)
        gaps = note_gaps(ledger, piece.window_key, missing) if missing else 0
        if error and missing:
            raise (RetrieveRefused if event.get("permanent") else RetrieveFailed)(error)
        return {
            "window_key": piece.window_key,
            **sums,
            "repeated": number - 1,
            "incomplete_studies": len(missing),
            "missing": gaps,
        }

    def after_standby(self, context: Context, event: dict[str, Any], number: int, before: dict[str, int]) -> NoReturn:
        """Go on with the pass that the governor stopped."""
        self._ask(context, number, before, at_once=True)

    def _cancelled(self, before: dict[str, int]) -> dict[str, Any]:
        """A person cancelled the window: what is missing has that for a reason, and the chain goes on with the rest."""
        from operators.connections import database
        from sluice.pacs.orders import note_cancelled, retrieval_state

        ledger, key = database(), self.piece["window_key"]
        note_cancelled(ledger, key, retrieval_state(ledger, key).ordered_by or "a person")
        left = StudyPiece.of(self.piece).missing(ledger)
        return {"window_key": key, **before, "cancelled": 1, "incomplete_studies": len(left)}

    def _ask(self, context: Context, number: int, sums: dict[str, int], at_once: bool = False) -> NoReturn:
        from sluice.settings import settings

        delay_s = 0.0 if number == 1 or at_once else settings().retrieve_pause_s * DELAY_GROWTH ** (number - 2)
        piece = StudyPiece.of(self.piece)
        what = f"studies, part {piece.piece + 1} of {piece.pieces}"
        use = as_json(use_of(context["ti"], context["dag_run"], "retrieve", piece.window_key, what))
        self.defer(
            trigger=MoveTrigger(self.piece, number, sums, delay_s, self.pacs_conn_id, use),
            method_name="look_again",
            timeout=self.pass_timeout,
        )

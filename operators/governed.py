"""Tasks ask a PACS through its governor: who they are to it, and how they wait without a worker when it says so.

What the governor may say (`sluice.pacs.governor.stops`) is no failure and costs no retry: outside the weekly hours,
while a person has paused the window, or while others use all slots, a task is deferred and `Standby` in the triggerer
looks now and then whether it is worth coming back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.triggers.base import BaseTrigger, TriggerEvent

from sluice.pacs.governor.stops import (
    GovernorStop,
    PacsClosed,
    PacsOccupied,
    RetrievalCancelled,
    RetrievalPaused,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sluice.database import Database
    from sluice.pacs.governor import Governor, Use
    from sluice.pacs.node import PacsNode

PATIENCE_S = 20.0  # how long a task waits for a slot before it lets others into its place
LOOK_S = 5.0  # between two looks of a paused window
REST_S = 60.0  # before coming back where nobody can say when
LONGEST = timedelta(minutes=10)  # before the hours are looked at again, which a person may have changed
OCCUPIED_S = 1200.0  # how long a trigger tries for a slot before the task looks at everything anew

# Waiting for a slot and C-MOVE block a thread. Triggers of others must not have to wait for ours.
_THREADS = ThreadPoolExecutor(32, "pacs")


def use_of(ti: Any, dag_run: Any, purpose: str, window: str, what: str) -> Use:
    """Who a task is to the governor. Backfills go last; a person's order on the window overrules that."""
    from sluice.pacs.governor import Priority, Use

    priority = Priority.BACKFILL if str(dag_run.run_type) == "backfill" else Priority.ROUTINE
    return Use(purpose, f"{ti.dag_id} {what}", priority, window, ti.dag_id, ti.run_id)


def as_json(use: Use) -> dict[str, Any]:
    """A use as a trigger's row keeps it."""
    return asdict(use) | {"priority": int(use.priority)}


def governor_of(database: Database, node: PacsNode, use: Use | dict[str, Any] | None) -> Governor | None:
    """The governor of a PACS for this use; its first policy comes from the connection."""
    from sluice.pacs.governor import Governor, Priority, Use
    from sluice.pacs.governor.policy import ensure_policy
    from sluice.settings import settings

    if use is None:
        return None
    if isinstance(use, dict):
        use = Use(**(use | {"priority": Priority(use["priority"])}))
    ensure_policy(database, node.name, node.max_associations, settings().time_zone)
    return Governor(database, node.name, use, patience_s=PATIENCE_S)


def told(stop: GovernorStop) -> dict[str, Any]:
    """A stop as an event or a trigger's argument carries it."""
    kinds = {
        PacsClosed: "closed",
        PacsOccupied: "occupied",
        RetrievalPaused: "paused",
        RetrievalCancelled: "cancelled",
    }
    until = stop.until.isoformat() if stop.until else None
    return {"stopped": kinds.get(type(stop), "lost"), "until": until, "words": str(stop)}


async def in_turn(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run blocking work that asks a PACS, again and again while all slots are in use.

    Returns what the work returned, or `told` of why it may not go on.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + OCCUPIED_S
    while True:
        try:
            return await loop.run_in_executor(_THREADS, lambda: work(*arguments))
        except PacsOccupied as stop:
            if loop.time() > deadline:
                return told(stop)
        except GovernorStop as stop:
            return told(stop)


class Standby(BaseTrigger):
    """Fires when it is worth asking the PACS again.

    Args:
        stopped: `closed`, `paused`, `occupied` or `lost`.
        until: ISO time with zone, where it is known.
        window: whose order is looked at while paused.
    """

    def __init__(self, stopped: str, until: str | None = None, window: str | None = None) -> None:
        super().__init__()
        self.stopped = stopped
        self.until = until
        self.window = window

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, as the triggerer's row keeps them."""
        return "operators.governed.Standby", {"stopped": self.stopped, "until": self.until, "window": self.window}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event when the time has come or the order has changed."""
        if self.stopped == "paused" and self.window:
            while await self._is_paused(self.window):
                await asyncio.sleep(LOOK_S)
        else:
            await asyncio.sleep(seconds_until(self.until, datetime.now(UTC)))
        yield TriggerEvent({"stopped": self.stopped})

    async def _is_paused(self, window: str) -> bool:
        from operators.connections import adatabase
        from sluice.database import DatabaseError
        from sluice.pacs.governor.orders import retrieval_state

        database = await adatabase()
        try:
            state = await asyncio.to_thread(retrieval_state, database, window)
        except DatabaseError:
            return True  # what was said last holds
        return state.state == "paused"


def seconds_until(until: str | None, now: datetime) -> float:
    """How long to wait: until then, but never so long that a changed policy goes unnoticed."""
    if until is None:
        return REST_S
    left = (datetime.fromisoformat(until) - now).total_seconds()
    return min(max(left, 1.0), LONGEST.total_seconds())


class StandsBy:
    """Makes an operator defer where the governor stops it, and begin again afterwards.

    Goes before the operator class that asks the PACS in `execute`.
    """

    def execute(self, context: Context) -> Any:
        """Ask, or stand by.

        Raises:
            AirflowSkipException: a person cancelled the retrieval of this window.
        """
        try:
            return super().execute(context)  # type: ignore[misc]
        except GovernorStop as stop:
            self._stand_by(stop)

    def after_standby(self, context: Context, event: dict[str, Any]) -> Any:
        """Begin again."""
        return self.execute(context)

    def _stand_by(self, stop: GovernorStop) -> NoReturn:
        from airflow.sdk.exceptions import AirflowSkipException

        if isinstance(stop, RetrievalCancelled):
            raise AirflowSkipException(str(stop)) from None
        self.log.info("%s", stop)  # type: ignore[attr-defined]
        said = told(stop)
        window = self.op_kwargs.get("window")  # type: ignore[attr-defined]
        self.defer(  # type: ignore[attr-defined]
            trigger=Standby(said["stopped"], said["until"], window), method_name="after_standby"
        )
        raise AssertionError("defer raises")

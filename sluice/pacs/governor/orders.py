"""What people order about the retrieval of a window: go on, pause, cancel, and how urgent it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, named_query, select
from sluice.pacs.governor.leases import Priority

STATES = ("active", "paused", "cancelled")


class OrderError(RuntimeError):
    """An order cannot be taken; the message says why."""

    permanent = True


@dataclass(frozen=True)
class RetrievalState:
    """The newest order about a window's retrieval.

    Attributes:
        state: `active`, `paused` or `cancelled`; active where nobody ordered anything.
        priority: None for what the run asks for.
        ordered_by, ordered_at: None where nobody ordered anything.
    """

    state: str = "active"
    priority: Priority | None = None
    ordered_by: str | None = None
    ordered_at: datetime | None = None


def retrieval_state(database: Database, window_key: str) -> RetrievalState:
    """What holds for the retrieval of a window now."""
    with database.transaction() as connection:
        return newest_order(connection, window_key)


def newest_order(connection: Connection, window_key: str) -> RetrievalState:
    """The newest order about a window, over an open connection."""
    rows = select(
        connection,
        "select state, priority, ordered_by, ordered_at from window_retrieval where window_key = %s",
        (window_key,),
    )
    if not rows:
        return RetrievalState()
    row = rows[0]
    priority = None if row["priority"] is None else Priority(row["priority"])
    return RetrievalState(row["state"], priority, row["ordered_by"], row["ordered_at"])


def order_retrieval(
    database: Database, window_key: str, by: str, state: str | None = None, priority: Priority | None = None
) -> RetrievalState:
    """Append an order; what it does not name stays as it was. It takes effect within seconds, also on
    what is under way.

    A cancelled window's missing instances get the reason `cancelled`; a later resume takes it back.

    Raises:
        OrderError: there is no such window or state.
    """
    if state is not None and state not in STATES:
        raise OrderError(f"There is no state {state!r}: use one of {', '.join(STATES)}.")
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("select from sweep_window where window_key = %s for key share", (window_key,))
        if cursor.rowcount == 0:
            raise OrderError("No such window was ever swept. The Sluice page lists the windows there are.")
        # two orders at once become one after the other
        cursor.execute("select pg_advisory_xact_lock(hashtext('window_order'), hashtext(%s))", (window_key,))
        before = newest_order(connection, window_key)
        after = state or before.state
        chosen = before.priority if priority is None else priority
        cursor.execute(
            "insert into window_order (window_key, state, priority, ordered_by) values (%s, %s, %s, %s)",
            (window_key, after, None if chosen is None else int(chosen), by),
        )
        if after != before.state and "cancelled" in (after, before.state):
            reason = "cancelled" if after == "cancelled" else "not-asked"
            cursor.execute(named_query("note_order"), {"window_key": window_key, "reason": reason, "by": by})
        cursor.execute("select pg_notify('sluice_pacs', '')")
        return newest_order(connection, window_key)


def prefer(database: Database, window_key: str, by: str, priority: Priority) -> None:
    """The priority that a run brings with it: kept where no person has chosen one."""
    if retrieval_state(database, window_key).priority is None:
        order_retrieval(database, window_key, by, priority=priority)


def note_cancelled(database: Database, window_key: str, by: str) -> int:
    """After a cancelled retrieval has stopped: the reason of everything that it left missing; how many were noted."""
    return database.execute(named_query("note_order"), {"window_key": window_key, "reason": "cancelled", "by": by})

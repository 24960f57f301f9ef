"""Who uses a PACS now and who waits for it: the rows of `pacs_use` and the turn they take.

A holder lives as long as its connection to Postgres holds the session lock of its lease, which Postgres frees when the
process dies (docs/decisions/0007-leases-of-the-governor.md). Whose turn it is, is decided by `entitled`, a pure
function over everybody who holds or waits.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import select

LOCK_CLASS = 4711  # of the session locks, one a lease; `pacs_use` in sql/migrations/0006_governor.sql
TURN_CLASS = 4712  # of the lock under which turns are given, one a PACS
AGEING_S = 300.0  # waiting as long as this counts like the next more urgent priority
TURN_S = 60.0  # who waited that long keeps its turn at least so long
STALLED_S = 120.0  # a holder that has said nothing for so long is held for dead even if its session is open
RESTART_S = 30.0  # after Postgres was restarted all session locks are gone: holders from before get so long to stop
ABSENT_S = 15.0  # a waiter that has not looked for so long does not stand in the way of others
RETURN_S = 900.0  # who gave up waiting and comes again within this goes on waiting, rather than starting anew


class Priority(IntEnum):
    """Who goes first."""

    URGENT = 0
    ROUTINE = 1
    BACKFILL = 2


@dataclass(frozen=True)
class Use:
    """Who wants the PACS and what for. Nothing in it may come from a patient's data.

    Attributes:
        purpose: `sweep`, `retrieve`, `cohort`, `send` or `test`.
        who: the task or the person, as the page names it.
        priority: what the run asks for; an order on the window's retrieval overrules it.
        window: key of the window; orders to pause or cancel concern `retrieve` and `cohort`.
        dag_id, run_id: the Airflow run, for a link.
    """

    purpose: str
    who: str
    priority: Priority = Priority.ROUTINE
    window: str | None = None
    dag_id: str | None = None
    run_id: str | None = None

    @property
    def obeys_orders(self) -> bool:
        """Whether it stops when its window's retrieval is paused or cancelled."""
        return self.window is not None and self.purpose in ("retrieve", "cohort")


@dataclass(frozen=True)
class Claim:
    """One live row of `pacs_use`, holding or waiting."""

    lease_id: int
    priority: int
    waiting_since: datetime
    granted_at: datetime | None
    granted_rank: int | None

    def rank(self, now: datetime) -> int:
        """Smaller goes first. Waiting ages a claim; a granted one keeps its rank for a turn, then only its priority.

        What waits long comes before urgent work that is new. And urgent work waits two turns at most, however much has
        waited long: it ages with each turn, to before all others. So only where there is always more urgent work than
        the PACS bears does the rest wait for its end.
        """
        if self.granted_at is None:
            is_urgent = self.priority == Priority.URGENT
            age = int((now - self.waiting_since).total_seconds() // (TURN_S if is_urgent else AGEING_S))
            return max(self.priority - age, -2 if is_urgent else -1)
        if self.granted_rank is not None and now - self.granted_at < timedelta(seconds=TURN_S):
            return min(self.priority, self.granted_rank)
        return self.priority


def entitled(claims: Sequence[Claim], slots: int, now: datetime) -> set[int]:
    """Lease ids of those whose turn it is: by rank, holders before waiters of the same rank, then by waiting time."""
    order = sorted(
        claims, key=lambda claim: (claim.rank(now), claim.granted_at is None, claim.waiting_since, claim.lease_id)
    )
    return {claim.lease_id for claim in order[:slots]}


def enqueue(connection: Connection, pacs: str, use: Use) -> int:
    """A new row, waiting, with its session lock held by `connection`; its lease id."""
    (row,) = select(
        connection,
        """
        with before as (
            select waiting_since from pacs_use
             where pacs = %(pacs)s and purpose = %(purpose)s and who = %(who)s and ended_by = 'gave-up'
               and ended_at > clock_timestamp() - %(return_s)s * interval '1 s'
             order by ended_at desc limit 1
        ), asked as (
            insert into pacs_use (pacs, purpose, who, dag_id, run_id, window_key, priority, host, process,
                                  waiting_since)
            select %(pacs)s, %(purpose)s, %(who)s, %(dag_id)s, %(run_id)s, %(window)s, %(priority)s, %(host)s,
                   %(process)s, coalesce((select waiting_since from before), clock_timestamp())
            returning lease_id
        )
        select lease_id, pg_advisory_lock(%(class)s, lease_id) from asked
        """,
        {
            "pacs": pacs,
            "purpose": use.purpose,
            "who": use.who,
            "dag_id": use.dag_id,
            "run_id": use.run_id,
            "window": use.window,
            "priority": int(use.priority),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "return_s": RETURN_S,
            "class": LOCK_CLASS,
        },
    )
    return int(row["lease_id"])


def live_rows(connection: Connection, pacs: str) -> list[dict[str, Any]]:
    """Open rows of a PACS with `alive`, the priority that counts, and the database's clock as `now`."""
    return select(connection, LIVE, {"pacs": pacs, "class": LOCK_CLASS} | TIMES)


TIMES = {"stalled_s": STALLED_S, "restart_s": RESTART_S, "absent_s": ABSENT_S}
LIVE = """
    select u.lease_id, u.purpose, u.who, u.dag_id, u.run_id, u.window_key, u.host, u.process,
           u.requests, u.bytes, u.asked_at, u.waiting_since, u.granted_at, u.granted_rank, u.heartbeat_at,
           coalesce(o.priority, u.priority) as priority,
           clock_timestamp() as now,
           (exists (select from pg_locks l
                     where l.locktype = 'advisory' and l.objsubid = 2 and l.granted
                       and l.database = (select oid from pg_database where datname = current_database())
                       and l.classid = %(class)s::oid and l.objid = u.lease_id::bigint::oid)
            and u.heartbeat_at > clock_timestamp()
                - case when u.granted_at is null then %(absent_s)s else %(stalled_s)s end * interval '1 s')
           or (u.granted_at is not null and u.asked_at < pg_postmaster_start_time()
               and u.heartbeat_at > clock_timestamp() - %(restart_s)s * interval '1 s') as alive
      from pacs_use u
      left join window_retrieval o on o.window_key = u.window_key and u.purpose in ('retrieve', 'cohort')
     where u.pacs = %(pacs)s and u.ended_at is null
     order by u.lease_id
"""


def claims_of(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """The live rows as claims."""
    return [
        Claim(row["lease_id"], row["priority"], row["waiting_since"], row["granted_at"], row["granted_rank"])
        for row in rows
        if row["alive"]
    ]


def bury(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """End the rows whose holder died; a waiter that is only absent may come back."""
    dead = [row["lease_id"] for row in rows if not row["alive"] and row["granted_at"] is not None]
    dead += [
        row["lease_id"]
        for row in rows
        if not row["alive"]
        and row["granted_at"] is None
        and row["now"] - row["heartbeat_at"] > timedelta(seconds=STALLED_S)
    ]
    if dead:
        with connection.cursor() as cursor:
            cursor.execute(
                "update pacs_use set ended_at = clock_timestamp(), ended_by = 'died' "
                "where lease_id = any (%s) and ended_at is null",  # it may have been given back since we looked
                (dead,),
            )


def grant(connection: Connection, lease_id: int, rank: int) -> None:
    """The turn has come."""
    with connection.cursor() as cursor:
        cursor.execute(
            "update pacs_use set granted_at = clock_timestamp(), granted_rank = %s, heartbeat_at = clock_timestamp() "
            "where lease_id = %s",
            (rank, lease_id),
        )


def beat(connection: Connection, lease_id: int, requests: int = 0, size: int = 0) -> bool:
    """Say that we live and what we did since; False when others have ended the lease."""
    with connection.cursor() as cursor:
        cursor.execute(
            "update pacs_use set heartbeat_at = clock_timestamp(), requests = requests + %s, bytes = bytes + %s "
            "where lease_id = %s and ended_at is null",
            (requests, size, lease_id),
        )
        return int(cursor.rowcount) == 1


def end(connection: Connection, pacs: str, lease_id: int, ended_by: str, requests: int = 0, size: int = 0) -> None:
    """Give the slot back, free the session lock, and wake those who wait."""
    with connection.cursor() as cursor:
        cursor.execute(
            "update pacs_use set ended_at = clock_timestamp(), ended_by = %s, requests = requests + %s, "
            "bytes = bytes + %s where lease_id = %s and ended_at is null",
            (ended_by, requests, size, lease_id),
        )
        cursor.execute("select pg_advisory_unlock(%s, %s), pg_notify('sluice_pacs', %s)", (LOCK_CLASS, lease_id, pacs))


@contextmanager
def turn(connection: Connection, pacs: str) -> Iterator[None]:
    """A transaction in which nobody else gives or takes a turn at this PACS."""
    with connection.cursor() as cursor:
        cursor.execute("begin; set local synchronous_commit to on")
        try:
            cursor.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (TURN_CLASS, pacs))
            yield
        except BaseException:
            if not connection.closed:
                cursor.execute("rollback")
            raise
        cursor.execute("commit")

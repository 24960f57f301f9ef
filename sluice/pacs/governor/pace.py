"""Pace and pressure of one PACS as the database keeps them, shared by everybody who asks it.

Pace is a token bucket kept as one instant (the generic cell rate algorithm): until when everything so far is paid
for. Bytes are paid after they came, because nobody knows before how many a request will bring.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import select
from sluice.pacs.governor.policy import Limits
from sluice.pacs.governor.pressure import Bearing, Tempo, Usual, recovered, slowed


class Clock:
    """The clock of pace: the database's, so that all hosts agree; tests bring one of their own."""

    def now(self) -> datetime | None:
        """The present, None for the database's clock."""
        return None

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Sample:
    """How long one answer or instance took, milliseconds, by service."""

    service: str
    ms: float


def wait_for_pace(connection: Connection, pacs: str, limits: Limits, at: datetime | None) -> float:
    """Take the next place in the shared pace; seconds to wait before asking.

    Args:
        at: the present; None for the database's clock, which everybody shares.
    """
    spacing = 1 / limits.queries_per_s if limits.queries_per_s else 0.0
    (row,) = select(
        connection,
        """
        with present as (select coalesce(%(at)s, clock_timestamp()) as now)
        update pacs_pace
           set query_at = greatest(query_at, present.now) + %(spacing)s * interval '1 s'
          from present
         where pacs = %(pacs)s
        returning extract(epoch from query_at - %(spacing)s * interval '1 s' - present.now) as for_queries,
                  case when byte_at > present.now then extract(epoch from byte_at - present.now) else 0 end as for_bytes
        """,
        {"pacs": pacs, "spacing": spacing, "at": at},
    )
    return max(0.0, float(row["for_queries"]), float(row["for_bytes"]) if limits.bytes_per_s else 0.0)


def pay_bytes(
    connection: Connection, pacs: str, size: int, took_s: float, bytes_per_s: float, at: datetime | None
) -> None:
    """Charge what a request brought; the time that it took counts towards it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            update pacs_pace
               set byte_at = greatest(byte_at, coalesce(%(at)s, clock_timestamp()) - %(took)s * interval '1 s')
                             + %(owed)s * interval '1 s'
             where pacs = %(pacs)s
            """,
            {"pacs": pacs, "owed": size / bytes_per_s, "took": took_s, "at": at},
        )


def ensure_pace(connection: Connection, pacs: str) -> None:
    """A row to keep the pace in."""
    with connection.cursor() as cursor:
        cursor.execute("insert into pacs_pace (pacs) values (%s) on conflict do nothing", (pacs,))


def current_bearing(connection: Connection, pacs: str) -> Bearing:
    """What the PACS is believed to bear, by the newest event."""
    rows = select(connection, "select * from pacs_event where pacs = %s order by event_id desc limit 1", (pacs,))
    return Bearing.of(rows[0]) if rows else Bearing()


def note_complaint(
    connection: Connection, pacs: str, reason: str, took_s: float, in_use: int, now: datetime, tempo: Tempo
) -> bool:
    """Slow down; False where the request began before the last slow-down, which has answered this already.

    Called within `leases.turn`.
    """
    (last,) = select(
        connection,
        "select max(happened_at) as at from pacs_event where pacs = %s and kind = 'slow-down'",
        (pacs,),
    )
    if last["at"] is not None and now - timedelta(seconds=took_s) < last["at"]:
        return False
    _write(connection, pacs, "slow-down", reason, in_use, slowed(current_bearing(connection, pacs), in_use, tempo))
    return True


def note_good(
    connection: Connection,
    pacs: str,
    samples: Sequence[Sample],
    in_use: int,
    policy: int,
    now: datetime,
    tempo: Tempo,
) -> None:
    """Good answers: learn what is usual, recover a step, or slow down where they take far longer than usual.

    Called within `leases.turn`.
    """
    with connection.cursor() as cursor:
        cursor.execute("update pacs_pace set good = good + %s where pacs = %s returning good", (len(samples), pacs))
        (good,) = cursor.fetchone() or (0,)
    for service in sorted({sample.service for sample in samples}):
        slow = _learn(connection, pacs, service, [one.ms for one in samples if one.service == service], tempo)
        if slow and note_complaint(connection, pacs, slow, 0.0, in_use, now, tempo):
            return
    step = recovered(current_bearing(connection, pacs), in_use, int(good), policy, now, tempo)
    if step:
        _write(connection, pacs, step[0], step[1], in_use, step[2])


def _learn(connection: Connection, pacs: str, service: str, samples_ms: Sequence[float], tempo: Tempo) -> str | None:
    """Remember how long a service takes; the reason to slow down where it got far slower."""
    rows = select(connection, "select * from pacs_latency where pacs = %s and service = %s", (pacs, service))
    usual = Usual(rows[0]["usual_ms"], rows[0]["recent_ms"], rows[0]["samples"]) if rows else Usual(0.0, 0.0, 0)
    for sample_ms in samples_ms:
        usual = usual.after(sample_ms, tempo)
    slow = None
    if usual.is_slow(tempo):
        slow = f"{service} takes {usual.recent_ms:.0f} ms an answer, usually {usual.usual_ms:.0f} ms"
        usual = usual.forgiven()
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into pacs_latency (pacs, service, usual_ms, recent_ms, samples) values (%s, %s, %s, %s, %s) "
            "on conflict (pacs, service) do update set usual_ms = excluded.usual_ms, recent_ms = excluded.recent_ms, "
            "samples = excluded.samples, learned_at = clock_timestamp()",
            (pacs, service, usual.usual_ms, usual.recent_ms, usual.samples),
        )
    return slow


def _write(connection: Connection, pacs: str, kind: str, reason: str, in_use: int, bearing: Bearing) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into pacs_event (pacs, kind, reason, in_use, concurrency, ceiling, probes, pause_s) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s)",
            (pacs, kind, reason, in_use, bearing.concurrency, bearing.ceiling, bearing.probes, bearing.pause_s),
        )
        cursor.execute("update pacs_pace set good = 0 where pacs = %s", (pacs,))
        cursor.execute("select pg_notify('sluice_pacs', %s)", (pacs,))

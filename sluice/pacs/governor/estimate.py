"""How long a retrieval will take at a PACS: by its weekly hours and limits, by what it bears, and by what its requests
brought so far. Pure arithmetic but for `experience`, which reads the attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import select
from sluice.pacs.governor.policy import STEP, Limits, Policy
from sluice.pacs.governor.pressure import Bearing

LATEST_REQUESTS = 1_000
LONGEST = timedelta(days=5 * 365)


@dataclass(frozen=True)
class Experience:
    """What the latest requests at a PACS brought.

    Attributes:
        requests: how many there were.
        bytes: that arrived.
        seconds: that they took, one after another.
        since: when the first of them began.
    """

    requests: int
    bytes: int
    seconds: float
    since: datetime

    @property
    def bytes_per_s(self) -> float:
        """Pace of one association."""
        return self.bytes / self.seconds


@dataclass(frozen=True)
class TimeNeeded:
    """Attributes:
    hours: of transfer, closed hours not counted.
    ready_at: when the last byte would come, beginning now.
    """

    hours: float
    ready_at: datetime


def experience(connection: Connection, pacs: str) -> Experience | None:
    """What the latest requests brought, None where none brought anything yet."""
    (row,) = select(
        connection,
        """
        select count(*) as requests, coalesce(sum(bytes), 0)::bigint as bytes, min(started_at) as since,
               coalesce(extract(epoch from sum(finished_at - started_at)), 0)::double precision as seconds
          from (select bytes, started_at, finished_at from attempt
                 where pacs = %s and bytes > 0 and finished_at > started_at
                 order by attempt_id desc limit %s) latest
        """,
        (pacs, LATEST_REQUESTS),
    )
    if not row["requests"] or row["seconds"] <= 0:
        return None
    return Experience(row["requests"], row["bytes"], row["seconds"], row["since"])


def time_needed(policy: Policy, bearing: Bearing, bytes_per_s: float, size: int, now: datetime) -> TimeNeeded | None:
    """How long `size` bytes take; None where the PACS never opens, or it would be years.

    Args:
        bytes_per_s: pace of one association.
        now: with time zone.
    """
    if size <= 0:
        return TimeNeeded(0.0, now)
    week = timedelta(days=7)
    of_a_week = sum(_carried(policy, bearing, bytes_per_s, now + step * STEP) for step in range(week // STEP))
    if not of_a_week or size / of_a_week * week > LONGEST:
        return None
    weeks = int(size // of_a_week)
    open_steps = sum(_carried(policy, bearing, bytes_per_s, now + step * STEP) > 0 for step in range(week // STEP))
    hours, left, at = weeks * open_steps * STEP / timedelta(hours=1), size - weeks * of_a_week, now + weeks * week
    while left > 0:
        carried = _carried(policy, bearing, bytes_per_s, at)
        part = min(1.0, left / carried) if carried else 1.0
        hours += part * STEP / timedelta(hours=1) if carried else 0.0
        left -= carried
        at += part * STEP
        if at - now > LONGEST + week:  # a clock change took the only open hour of a week
            return None
    return TimeNeeded(hours, at)


def _carried(policy: Policy, bearing: Bearing, bytes_per_s: float, at: datetime) -> float:
    limits = policy.limits(at, urgent=False)
    return pace(limits, bearing, bytes_per_s) * STEP.total_seconds() if limits else 0.0


def pace(limits: Limits, bearing: Bearing, bytes_per_s: float) -> float:
    """Bytes per second within limits, by as many associations as the PACS bears."""
    together = bearing.within(limits.concurrency) * bytes_per_s
    return min(together, limits.bytes_per_s) if limits.bytes_per_s else together

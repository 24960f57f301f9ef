"""What a look at the database shows somebody who holds a slot at a PACS, or waits for one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.pacs.governor import leases
from sluice.pacs.governor.leases import Use
from sluice.pacs.governor.orders import newest_order
from sluice.pacs.governor.pace import current_bearing
from sluice.pacs.governor.policy import Limits, Policy, current_policy
from sluice.pacs.governor.pressure import Bearing
from sluice.pacs.governor.stops import GovernorStop, PacsClosed, RetrievalCancelled, RetrievalPaused


@dataclass(frozen=True)
class Situation:
    """What a look at the database shows.

    Attributes:
        now: the database's clock.
        limits: what policy allows now, None when closed.
        slots: associations at once that policy and the PACS allow.
        in_use: associations that are held.
        is_our_turn: whether we are among those who may hold one.
        is_outranked: whether it is not, and somebody of a more urgent priority waits. Where those who go first are so
            only by having waited long, or because fewer slots are left, they wait for the end of a request.
        stop: why nothing may be asked, None when it may.
    """

    now: datetime
    limits: Limits | None
    bearing: Bearing
    slots: int
    in_use: int
    is_our_turn: bool
    is_outranked: bool
    rank: int
    stop: GovernorStop | None


def look(connection: Connection, pacs: str, use: Use, lease_id: int, fallback: Policy) -> Situation:
    """How things are for the lease `lease_id` at a PACS now.

    Args:
        fallback: the policy where nobody has set one.
    """
    policy = current_policy(connection, pacs) or fallback
    bearing = current_bearing(connection, pacs)
    rows = leases.live_rows(connection, pacs)
    claims = leases.claims_of(rows)
    ours = next((claim for claim in claims if claim.lease_id == lease_id), None)
    now = rows[0]["now"] if rows else datetime.now(UTC)
    priority = ours.priority if ours else int(use.priority)
    limits = policy.limits(now, urgent=priority == leases.Priority.URGENT)
    slots = bearing.within(limits.concurrency) if limits else 0
    entitled = leases.entitled(claims, slots, now)
    waiting = [claim.priority for claim in claims if claim.granted_at is None]
    return Situation(
        now=now,
        limits=limits,
        bearing=bearing,
        slots=slots,
        in_use=sum(claim.granted_at is not None for claim in claims),
        is_our_turn=lease_id in entitled,
        is_outranked=lease_id not in entitled and min(waiting, default=priority) < priority,
        rank=ours.rank(now) if ours else int(use.priority),
        stop=_ordered(connection, use) or (_closed(pacs, policy, now) if limits is None else None),
    )


def _ordered(connection: Connection, use: Use) -> GovernorStop | None:
    if not use.obeys_orders or use.window is None:
        return None
    order = newest_order(connection, use.window)
    if order.state == "paused":
        return RetrievalPaused("The retrieval of this window was paused. Resume it on the page PACS.")
    if order.state == "cancelled":
        return RetrievalCancelled("The retrieval of this window was cancelled. It can be resumed on the page PACS.")
    return None


def _closed(pacs: str, policy: Policy, now: datetime) -> PacsClosed:
    opens_at = policy.opens_at(now)
    if opens_at is None:
        return PacsClosed(f"The weekly hours of {pacs} are closed at all times. Change them on the page PACS.")
    return PacsClosed(
        f"It is outside the weekly hours of {pacs}. They begin {opens_at:%Y-%m-%d %H:%M} UTC; work goes on then.",
        opens_at,
    )

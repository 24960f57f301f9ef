"""Who is using each PACS now, what it bears, and which retrievals are under way: for the page and the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, named_query, select
from sluice.pacs.governor.leases import Priority, live_rows
from sluice.pacs.governor.pace import current_bearing
from sluice.pacs.governor.policy import CLOSED, FULL, GENTLE, current_policy

EVENTS_SHOWN = 20
CHANGES_SHOWN = 10
CLASSES = {CLOSED: "closed", GENTLE: "gentle", FULL: "full"}
SHOWN = (
    "lease_id", "purpose", "who", "dag_id", "run_id", "window_key", "host", "process", "requests", "bytes",
    "granted_at", "waiting_since", "heartbeat_at",
)  # fmt: skip


def pacs_now(database: Database) -> dict[str, Any]:
    """What holds now, as plain values: `pacs` (one a PACS), `retrievals` (one a window), `at` (the database's clock).

    Each PACS has its policy, what of it holds at this hour, what it bears by experience, who holds slots and who
    waits (in the order of their turn), and the latest events and changes of policy.
    """
    with database.transaction() as connection:
        names = select(
            connection,
            "select pacs from pacs_policy union select pacs from pacs_use where ended_at is null order by pacs",
        )
        (clock,) = select(connection, "select clock_timestamp() as now")
        return {
            "at": clock["now"],
            "pacs": [_one(connection, str(row["pacs"]), clock["now"]) for row in names],
            "retrievals": [
                row | {"priority": _name(row["priority"])} for row in select(connection, named_query("pacs_retrievals"))
            ],
        }


def _one(connection: Connection, pacs: str, now: datetime) -> dict[str, Any]:
    policy = current_policy(connection, pacs)
    bearing = current_bearing(connection, pacs)
    alive = [row for row in live_rows(connection, pacs) if row["alive"]]
    holders = [row for row in alive if row["granted_at"] is not None]
    waiters = [row for row in alive if row["granted_at"] is None]
    limits = policy.limits(now, urgent=False) if policy else None
    return {
        "pacs": pacs,
        "policy": policy.as_dict() if policy else None,
        "hours": CLASSES[policy.hour_class(now)] if policy else None,
        "opens_at": policy.opens_at(now) if policy and limits is None else None,
        "allowed": limits.concurrency if limits else 0,
        "bears": bearing.within(limits.concurrency) if limits else 0,
        "pause_s": bearing.pause_s,
        "slowed_since": bearing.since if bearing.concurrency is not None or bearing.pause_s else None,
        "holders": [_use(row) for row in holders],
        "waiters": [_use(row) for row in sorted(waiters, key=lambda row: (row["priority"], row["waiting_since"]))],
        "events": select(
            connection,
            "select kind, reason, in_use, concurrency, pause_s, happened_at from pacs_event where pacs = %s "
            "order by event_id desc limit %s",
            (pacs, EVENTS_SHOWN),
        ),
        "latency": select(
            connection,
            "select service, usual_ms, recent_ms, samples from pacs_latency where pacs = %s order by service",
            (pacs,),
        ),
        "changes": select(
            connection,
            "select changed_by, changed_at, policy, lag(policy) over (order by change_id) as before "
            "from pacs_policy_change where pacs = %s order by change_id desc limit %s",
            (pacs, CHANGES_SHOWN),
        ),
    }


def _use(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in SHOWN} | {"priority": _name(row["priority"])}


def _name(priority: int | None) -> str | None:
    return None if priority is None else Priority(priority).name.lower()


def lines(now: dict[str, Any]) -> list[str]:
    """The same as text, for a terminal."""
    said: list[str] = []
    for one in now["pacs"]:
        hours = f"{one['hours']} hours" if one["hours"] else "no policy yet"
        said.append(f"{one['pacs']}: {hours}, {len(one['holders'])} of {one['bears']} associations in use")
        if one["bears"] < one["allowed"]:
            said[-1] += f" (policy allows {one['allowed']})"
        if one["opens_at"]:
            said[-1] += f", opens {one['opens_at'].astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        if one["pause_s"]:
            said[-1] += f", {one['pause_s']:g} s pause before each request"
        for word, rows in (("uses", one["holders"]), ("waits", one["waiters"])):
            for row in rows:
                since = row["granted_at"] or row["waiting_since"]
                said.append(
                    f"  {word:<5} {row['priority']:<8} {row['purpose']:<8} {row['who']} since {since:%H:%M:%S %Z}, "
                    f"{row['requests']} requests, {row['bytes'] / 1e6:.1f} MB"
                )
        for event in one["events"][:3]:
            said.append(f"  {event['happened_at']:%Y-%m-%d %H:%M:%S} {event['kind']}: {event['reason']}")
    for row in now["retrievals"]:
        order = f", {row['state']} by {row['ordered_by']}" if row["state"] != "active" else ""
        priority = f", {row['priority']}" if row["priority"] else ""
        said.append(f"{row['window_key']}: {row['received']} of {row['expected']} instances here{order}{priority}")
    return said or ["No PACS was ever asked through the governor."]

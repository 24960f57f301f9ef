"""What a hospital allows us at its PACS: at which hours, how many associations at once, and at which pace.

A policy is a week of 7 x 24 hours in the hospital's own time zone. Each hour belongs to a class: closed, gentle (the
wards are working) or full. An interval over midnight is simply hours of two days, and on the days when summer time
begins or ends an hour is skipped or comes twice, as on the hospital's wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self
from zoneinfo import ZoneInfo

import psycopg2.extras
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, select

CLOSED, GENTLE, FULL = ".", "g", "f"
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
STEP = timedelta(minutes=15)  # zones differ from UTC by whole quarters of an hour
MOST_ASSOCIATIONS = 64


class PolicyError(RuntimeError):
    """A policy cannot be used; the message says what to write instead."""

    permanent = True


@dataclass(frozen=True)
class Limits:
    """What is allowed within one class of hours.

    Attributes:
        concurrency: associations at once.
        bytes_per_s: pace of what arrives; None for any.
        queries_per_s: pace of requests; None for any.
    """

    concurrency: int
    bytes_per_s: float | None = None
    queries_per_s: float | None = None

    @classmethod
    def of(cls, value: Any, name: str) -> Self:
        """Limits from JSON.

        Raises:
            PolicyError: a number is missing or out of range.
        """
        if not isinstance(value, Mapping):
            raise PolicyError(f"The limits of the {name} hours are missing.")
        concurrency = value.get("concurrency")
        if not isinstance(concurrency, int) or isinstance(concurrency, bool):
            raise PolicyError(f"Associations at once in the {name} hours: write a whole number.")
        if not 1 <= concurrency <= MOST_ASSOCIATIONS:
            raise PolicyError(f"Associations at once in the {name} hours: write 1 to {MOST_ASSOCIATIONS}.")
        return cls(
            concurrency,
            _pace(value.get("bytes_per_s"), f"Bytes per second in the {name} hours"),
            _pace(value.get("queries_per_s"), f"Queries per second in the {name} hours"),
        )


@dataclass(frozen=True)
class Policy:
    """The policy of one PACS.

    Attributes:
        time_zone: IANA name.
        week: 7 strings, Monday first, of 24 characters, one an hour: `.` closed, `g` gentle, `f` full.
        gentle, full: limits of the two classes.
        urgent_when_closed: whether urgent work may go on at closed hours, within the gentle limits.
    """

    time_zone: str
    week: tuple[str, ...]
    gentle: Limits
    full: Limits
    urgent_when_closed: bool = False

    @classmethod
    def first(cls, associations: int, time_zone: str) -> Self:
        """Open at all hours with as many associations as the connection names."""
        limits = Limits(max(1, min(associations, MOST_ASSOCIATIONS)))
        return cls(time_zone, (FULL * 24,) * 7, limits, limits)

    @classmethod
    def of(cls, value: Any) -> Self:
        """A policy from JSON.

        Raises:
            PolicyError: something is missing or makes no sense; the message says what.
        """
        if not isinstance(value, Mapping):
            raise PolicyError("A policy is a JSON object with time_zone, week, gentle, full.")
        week = value.get("week")
        if not isinstance(week, list | tuple) or len(week) != 7:
            raise PolicyError("The week has to be 7 strings, Monday first.")
        for day, hours in zip(DAYS, week, strict=True):
            if not isinstance(hours, str) or len(hours) != 24 or set(hours) - {CLOSED, GENTLE, FULL}:
                raise PolicyError(f"The hours of {day} have to be 24 characters: . closed, g gentle, f full.")
        zone = str(value.get("time_zone") or "")
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):  # unknown, empty, or no name at all
            raise PolicyError("The time zone is not known. Write one like Europe/Berlin.") from None
        return cls(
            zone,
            tuple(week),
            Limits.of(value.get("gentle"), "gentle"),
            Limits.of(value.get("full"), "full"),
            value.get("urgent_when_closed") is True,
        )

    def as_dict(self) -> dict[str, Any]:
        """The policy as JSON keeps it."""
        return {
            "time_zone": self.time_zone,
            "week": list(self.week),
            "gentle": vars(self.gentle),
            "full": vars(self.full),
            "urgent_when_closed": self.urgent_when_closed,
        }

    def hour_class(self, at: datetime) -> str:
        """Class of the hour at an instant (with time zone): `.`, `g` or `f`."""
        local = at.astimezone(_zone(self.time_zone))
        return self.week[local.weekday()][local.hour]

    def limits(self, at: datetime, urgent: bool) -> Limits | None:
        """What is allowed at an instant, None when closed."""
        match self.hour_class(at):
            case "f":
                return self.full
            case "g":
                return self.gentle
        return self.gentle if urgent and self.urgent_when_closed else None

    def opens_at(self, at: datetime) -> datetime | None:
        """The first instant from `at` on that is not closed; None when all hours of the week are."""
        if self.hour_class(at) != CLOSED:
            return at
        # in UTC, so that no hour of a day on which clocks change is skipped or counted twice
        exact = at.astimezone(UTC)
        quarter = exact - timedelta(minutes=exact.minute % 15, seconds=exact.second, microseconds=exact.microsecond)
        for step in range(1, 8 * 24 * 4):
            instant = quarter + step * STEP
            if self.hour_class(instant) != CLOSED:
                return instant
        return None


def current_policy(connection: Connection, pacs: str) -> Policy | None:
    """The policy that holds for a PACS; None when it has none yet."""
    rows = select(connection, "select policy from pacs_policy where pacs = %s", (pacs,))
    return Policy.of(rows[0]["policy"]) if rows else None


def ensure_policy(database: Database, pacs: str, associations: int, time_zone: str) -> None:
    """Give a PACS without a policy its first one."""
    first = Policy.first(associations, time_zone)
    database.execute(
        "insert into pacs_policy_change (pacs, policy, changed_by) select %(pacs)s, %(policy)s, %(by)s "
        "where not exists (select from pacs_policy_change where pacs = %(pacs)s)",
        {"pacs": pacs, "policy": psycopg2.extras.Json(first.as_dict()), "by": "connection"},
    )


def change_policy(database: Database, pacs: str, policy: Policy, by: str) -> None:
    """Set the policy of a PACS; it holds from the next second on, and the change is kept with its author."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into pacs_policy_change (pacs, policy, changed_by) values (%s, %s, %s)",
            (pacs, psycopg2.extras.Json(policy.as_dict()), by),
        )
        cursor.execute("select pg_notify('sluice_pacs', %s)", (pacs,))


def _pace(value: Any, what: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        raise PolicyError(f"{what}: write a number above 0, or nothing for any pace.")
    return float(value)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)

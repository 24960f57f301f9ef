"""Weekly hours on the hospital's wall clock, and policies that make no sense."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sluice.database import Database
from sluice.pacs.governor.policy import (
    Limits,
    Policy,
    PolicyError,
    change_policy,
    current_policy,
    ensure_policy,
)
from tests.pacs.sending import rows

BERLIN = ZoneInfo("Europe/Berlin")
# Closed in the day, gentle from 18:00, full from 22:00 to 06:00, which crosses midnight; all of the weekend is full.
WEEKDAY = "ffffff............ggggff"
NIGHTS = Policy("Europe/Berlin", (WEEKDAY,) * 5 + ("f" * 24,) * 2, Limits(1), Limits(4))


def at(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).astimezone(ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("moment", "kind"),
    [
        ("2026-10-26T21:59:59", "g"),
        ("2026-10-26T22:00:00", "f"),
        ("2026-10-26T23:59:59", "f"),
        ("2026-10-27T00:00:00", "f"),
        ("2026-10-27T05:59:59", "f"),
        ("2026-10-27T06:00:00", "."),
        ("2026-10-31T12:00:00", "f"),
    ],
)
def test_an_hour_belongs_to_its_class_also_over_midnight(moment: str, kind: str) -> None:
    assert NIGHTS.hour_class(at(moment)) == kind


def test_limits_are_those_of_the_hour() -> None:
    assert NIGHTS.limits(at("2026-10-26T19:00"), urgent=False) == Limits(1)
    assert NIGHTS.limits(at("2026-10-26T23:00"), urgent=False) == Limits(4)
    assert NIGHTS.limits(at("2026-10-26T12:00"), urgent=False) is None
    assert NIGHTS.limits(at("2026-10-26T12:00"), urgent=True) is None
    kind = Policy(NIGHTS.time_zone, NIGHTS.week, NIGHTS.gentle, NIGHTS.full, urgent_when_closed=True)
    assert kind.limits(at("2026-10-26T12:00"), urgent=True) == Limits(1)
    assert kind.limits(at("2026-10-26T12:00"), urgent=False) is None


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-10-26T12:34:56", "2026-10-26T18:00"),
        ("2026-10-26T17:59:59", "2026-10-26T18:00"),
        ("2026-10-26T23:00:00", "2026-10-26T23:00"),
        ("2026-10-30T06:00:00", "2026-10-30T18:00"),
    ],
)
def test_it_says_when_the_hours_begin(moment: str, opens: str) -> None:
    assert NIGHTS.opens_at(at(moment)) == at(opens)


def test_the_hours_begin_next_week_or_never() -> None:
    only_monday = Policy("Europe/Berlin", ("f" + "." * 23, *("." * 24,) * 6), Limits(1), Limits(1))
    assert only_monday.opens_at(at("2026-10-26T01:00")) == at("2026-11-02T00:00")
    never = Policy("Europe/Berlin", ("." * 24,) * 7, Limits(1), Limits(1))
    assert never.opens_at(at("2026-10-26T01:00")) is None


def test_days_on_which_clocks_change() -> None:
    two_to_three = ".." + "f" + "." * 21
    policy = Policy("Europe/Berlin", (two_to_three,) * 7, Limits(1), Limits(1))
    # 29 March 2026 has no hour 2: 01:59 CET is followed by 03:00 CEST
    assert policy.hour_class(at("2026-03-29T01:59:59")) == "."
    assert policy.hour_class(at("2026-03-29T03:00:00")) == "."
    assert policy.opens_at(at("2026-03-28T03:00")) == at("2026-03-30T02:00")
    # 25 October 2026 has it twice, and both are open: two hours by the clock that only grows
    first, second, after = at("2026-10-25T02:30"), at("2026-10-25T02:30", fold=1), at("2026-10-25T03:00")
    assert (policy.hour_class(first), policy.hour_class(second), policy.hour_class(after)) == ("f", "f", ".")
    assert (second - first).total_seconds() == 3600
    assert policy.opens_at(at("2026-10-25T01:10")) == at("2026-10-25T02:00")
    assert policy.opens_at(after) == at("2026-10-26T02:00")


def test_zones_that_differ_by_parts_of_an_hour() -> None:
    policy = Policy("Asia/Kathmandu", ("f" + "." * 23,) * 7, Limits(1), Limits(1))
    noon = datetime(2026, 10, 26, 12, 0, tzinfo=ZoneInfo("Asia/Kathmandu"))
    assert policy.opens_at(noon) == datetime(2026, 10, 27, 0, 0, tzinfo=ZoneInfo("Asia/Kathmandu"))


GOOD: dict[str, Any] = NIGHTS.as_dict()


def test_a_policy_survives_json() -> None:
    assert Policy.of(GOOD) == NIGHTS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"week": ["f" * 24] * 6}, "7 strings"),
        ({"week": ["f" * 23] * 7}, "hours of Mon"),
        ({"week": ["x" * 24] * 7}, "closed, g gentle"),
        ({"week": None}, "7 strings"),
        ({"time_zone": "Mars/Olympus"}, "time zone"),
        ({"time_zone": "../../etc/passwd"}, "time zone"),
        ({"time_zone": ""}, "time zone"),
        ({"gentle": {"concurrency": 0}}, "gentle hours: write 1 to 64"),
        ({"gentle": {"concurrency": True}}, "whole number"),
        ({"full": {"concurrency": 2.5}}, "whole number"),
        ({"full": {"concurrency": 2, "bytes_per_s": -1}}, "above 0"),
        ({"full": {"concurrency": 2, "queries_per_s": "fast"}}, "above 0"),
        ({"full": None}, "limits of the full hours"),
    ],
)
def test_a_policy_that_makes_no_sense_says_what_to_write(change: dict[str, Any], words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        Policy.of(GOOD | change)
    with pytest.raises(PolicyError, match="JSON object"):
        Policy.of([])


def test_the_first_policy_comes_from_the_connection_and_changes_are_kept(database: Database) -> None:
    ensure_policy(database, "p", 3, "Europe/Berlin")
    ensure_policy(database, "p", 5, "Europe/Berlin")
    change_policy(database, "p", NIGHTS, "vera")
    ensure_policy(database, "p", 7, "Europe/Berlin")
    with database.transaction() as connection:
        assert current_policy(connection, "p") == NIGHTS
        assert current_policy(connection, "other") is None
    kept = rows(database, "select changed_by, policy->'full'->>'concurrency' as n from pacs_policy_change order by 1")
    assert kept == [{"changed_by": "connection", "n": "3"}, {"changed_by": "vera", "n": "4"}]

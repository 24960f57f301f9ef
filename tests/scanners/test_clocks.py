from __future__ import annotations

import random
from datetime import datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.database import Database
from sluice.scanners.acquisitions import Acquisition
from sluice.scanners.clocks import drift, envelope, estimate, measure, report, suspicion
from sluice.settings import settings
from tests.scanners.day import DAY, add_exam

FLOOR = 15.0


def differences(offset: float, seed: int, count: int, minimum: float = 15.0, scale: float = 60.0) -> list[float]:
    """Synthetic transfers: a fixed minimum and an exponential tail."""
    chance = random.Random(seed)
    return [offset - minimum - chance.expovariate(1 / scale) for _ in range(count)]


@given(st.floats(-40_000, 40_000), st.integers(0, 2**32), st.integers(8, 200))
def test_the_estimate_is_never_above_the_truth_when_the_floor_holds(offset: float, seed: int, count: int) -> None:
    found = estimate(differences(offset, seed, count), FLOOR, "pacs").offset_s
    assert found is not None
    assert found <= offset + 0.1


def test_ten_series_find_the_offset_within_half_a_minute_most_days() -> None:
    errors = [(estimate(differences(500, seed, 10), FLOOR, "pacs").offset_s or 0) - 500 for seed in range(400)]
    assert median(abs(error) for error in errors) < 10
    assert sorted(abs(error) for error in errors)[int(0.95 * len(errors))] < 30


@given(st.floats(-5_000, 5_000), st.integers(0, 1000), st.floats(-300, 300))
def test_moving_the_clock_moves_the_estimate_by_as_much(offset: float, seed: int, shift: float) -> None:
    first = estimate(differences(offset, seed, 20), FLOOR, "pacs")
    second = estimate(differences(offset + shift, seed, 20), FLOOR, "pacs")
    assert first.offset_s is not None
    assert second.offset_s == pytest.approx(first.offset_s + shift, abs=0.2)
    assert second.spread_s == pytest.approx(first.spread_s, abs=0.2)


@given(st.integers(0, 1000), st.floats(500, 20_000))
def test_one_wrong_entry_does_not_lead(seed: int, by: float) -> None:
    honest = differences(100, seed, 20)
    assert envelope([*honest, max(honest) + by]) == max(honest)


@given(st.integers(0, 1000))
def test_slow_transfers_and_late_ones_do_not_matter(seed: int) -> None:
    honest = differences(100, seed, 12)
    assert envelope([*honest, -30_000.0, -7_000.0]) == max(honest)


def test_a_minimum_delay_that_all_share_is_taken_for_a_slow_clock() -> None:
    """What the docstring says cannot be known."""
    slow = estimate(differences(0, 7, 50, minimum=75), FLOOR, "pacs").offset_s
    wrong = estimate(differences(-60, 7, 50, minimum=15), FLOOR, "pacs").offset_s
    assert slow == wrong


@pytest.mark.parametrize(
    ("offset", "suspected"),
    [
        (3600, "dst"),
        (-3600, "dst"),
        (3520, "dst"),
        (3400, "none"),
        (7200, "timezone"),
        (-1800, "timezone"),
        (19800, "timezone"),
        (0, "none"),
        (45, "none"),
        (900, "none"),
    ],
)
def test_whole_and_half_hours_are_suspicious(offset: float, suspected: str) -> None:
    assert suspicion(offset) == suspected


def test_drift_is_the_slope_of_days_and_needs_some() -> None:
    chance = random.Random(1)
    days = [(float(day), 50 + 2.5 * day + chance.gauss(0, 1)) for day in range(14)]
    assert drift(days) == pytest.approx(2.5, abs=0.2)
    assert drift([*days, (5.0, 9_000.0)]) == pytest.approx(2.5, abs=0.3)
    assert drift(days[:3]) is None


def image(series: str, acquired: datetime, stored: datetime | None, pushed: datetime | None) -> Acquisition:
    return Acquisition("CT1", "CT", "1", series, "P", acquired, stored, pushed)


def test_the_pacs_is_asked_before_the_receiver_and_a_late_push_counts_for_nothing() -> None:
    zone = ZoneInfo(settings().time_zone)
    start = datetime(2026, 10, 26, 9)
    instants = [(start + timedelta(minutes=10 * n)).replace(tzinfo=zone) for n in range(5)]
    shown = [start + timedelta(minutes=10 * n, seconds=300) for n in range(5)]
    late = timedelta(seconds=20)
    by_pacs = [image(str(n), at, true + late, true) for n, (at, true) in enumerate(zip(shown, instants, strict=True))]
    by_push = [image(str(n), at, None, true + late) for n, (at, true) in enumerate(zip(shown, instants, strict=True))]
    days_later = [
        image(str(n), at, None, true + timedelta(days=20))
        for n, (at, true) in enumerate(zip(shown, instants, strict=True))
    ]
    found = measure({"a": by_pacs, "b": by_push, "c": days_later, "d": by_pacs[:2]})
    floor = settings().transfer_floor_s
    assert (found["a"].reference, found["a"].offset_s) == ("pacs", pytest.approx(280 + floor))
    assert (found["b"].reference, found["b"].offset_s) == ("receiver", pytest.approx(280 + floor))
    assert (found["c"].reference, found["c"].offset_s) == ("none", None)
    assert (found["d"].samples, found["d"].offset_s) == (2, None)


def test_a_clock_that_missed_the_end_of_summer_time_is_written_once_and_again(database: Database) -> None:
    for exam in range(6):
        start = datetime(2026, 10, 26, 8 + exam)
        add_exam(
            database, "CT7", "CT", exam, [start + timedelta(seconds=30 * n) for n in range(4)], clock_s=3600, delay_s=25
        )
    (row,) = report(database, DAY.isoformat())
    assert (row["scanner"], row["samples"], row["suspected"], row["reference"]) == ("CT7", 6, "dst", "pacs")
    assert row["offset_s"] == pytest.approx(3600 - 25 + settings().transfer_floor_s)
    assert row["drift_s_per_day"] is None
    assert report(database, DAY.isoformat()) == [row]
    assert database.execute("select from clock_offset") == 1

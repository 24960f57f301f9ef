from __future__ import annotations

from datetime import datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.database import Database, select
from sluice.scanners.acquisitions import Acquisition, Day
from sluice.scanners.utilization import ALLOWANCES, Span, merge, opening_minutes, report, utilization
from sluice.windows import Window, remember_window
from tests.scanners.day import DAY, add_exam

TODAY = Day(DAY, DAY)
NINE = datetime(2026, 10, 26, 9)
CT_ALLOWANCE = sum(ALLOWANCES["CT"])


def exam(study: str, times: list[datetime], patient: str = "P") -> list[Acquisition]:
    return [Acquisition("CT1", "CT", study, f"{study}.1", patient, moment, None, None) for moment in times]


def minutes(*after_nine: float) -> list[datetime]:
    return [NINE + timedelta(minutes=value) for value in after_nine]


spans = st.lists(
    st.builds(lambda start, length: Span(*minutes(start, start + length)), st.integers(0, 600), st.integers(1, 60)),
    max_size=30,
)


@given(spans)
def test_merged_spans_are_apart_and_cover_what_was_covered(given_spans: list[Span]) -> None:
    merged = merge(given_spans)
    assert all(earlier.end < later.start for earlier, later in pairwise(merged))
    for minute in range(0, 700, 7):
        moment = NINE + timedelta(minutes=minute, seconds=30)
        covered = any(span.start <= moment < span.end for span in given_spans)
        assert covered == any(span.start <= moment < span.end for span in merged)
    assert sum(span.minutes for span in merged) <= sum(span.minutes for span in given_spans) + 1e-6


def test_a_single_image_is_an_exam_of_the_allowance() -> None:
    found = utilization(exam("1", minutes(0)), 0, 720, TODAY)
    assert found["busy_minutes"] == CT_ALLOWANCE
    assert (found["exams"], found["patients"], found["largest_gap_minutes"]) == (1, 1, None)


def test_overlapping_patients_share_their_minutes() -> None:
    images = exam("1", minutes(0, 20), "A") + exam("2", minutes(10, 30), "B")
    found = utilization(images, 0, 720, TODAY)
    assert found["busy_minutes"] == 30 + CT_ALLOWANCE
    assert (found["exams"], found["patients"]) == (2, 2)


def test_gaps_lie_between_encounters() -> None:
    found = utilization(exam("1", minutes(0)) + exam("2", minutes(60)) + exam("3", minutes(90)), 0, 720, TODAY)
    assert found["largest_gap_minutes"] == 60 - CT_ALLOWANCE
    assert found["utilization"] == pytest.approx(3 * CT_ALLOWANCE / 720, abs=1e-4)


def test_an_exam_across_midnight_counts_in_full() -> None:
    late = datetime(2026, 10, 26, 23, 50)
    found = utilization(exam("1", [late, late + timedelta(minutes=25)]), 0, 720, TODAY)
    assert found["busy_minutes"] == 25 + CT_ALLOWANCE
    assert found["last_end"].date() == datetime(2026, 10, 27).date()


def test_a_stray_time_does_not_stretch_the_exam_and_a_stray_day_is_no_exam_time() -> None:
    images = exam("1", [*minutes(0, 5, 10), datetime(2026, 10, 26, 23)]) + exam("2", [datetime(1990, 1, 1, 9)])
    found = utilization(images, 0, 720, TODAY)
    assert found["exams"] == 2
    assert found["busy_minutes"] == 10 + CT_ALLOWANCE


def test_the_clock_is_corrected_before_anything_is_counted(database: Database) -> None:
    for number in range(4):
        add_exam(
            database, "CT7", "CT", number, [NINE + timedelta(hours=number, minutes=m) for m in (0, 10)], clock_s=3600
        )
    (row,) = report(database, DAY.isoformat())
    before, _ = ALLOWANCES["CT"]
    assert abs(row["first_start"] - (NINE - timedelta(minutes=before))) < timedelta(minutes=1)
    assert row["busy_minutes"] == pytest.approx(4 * (10 + CT_ALLOWANCE))
    assert report(database, DAY.isoformat()) == [row]
    with database.transaction() as connection:
        (stored,) = select(connection, "select exams, patients, busy_minutes from scanner_utilization")
    assert stored == {"exams": 4, "patients": 4, "busy_minutes": row["busy_minutes"]}


def test_a_cohort_has_no_scanner_day(database: Database) -> None:
    remember_window(database, Window.of_cohort("lungs", "first", DAY, DAY))
    assert report(database, "cohort/lungs/first") == []


@pytest.mark.parametrize(
    ("opens", "closes", "expected"), [((7, 0), (19, 0), 720), ((22, 0), (6, 0), 480), ((0, 0), (0, 0), 1440)]
)
def test_opening_hours(opens: tuple[int, int], closes: tuple[int, int], expected: float) -> None:
    assert opening_minutes(time(*opens), time(*closes)) == expected

"""The closing table: it holds for a day that went as the truth says, and one wrong fact makes its line fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest

from sluice.hospital.truth import TrueInstance, TrueScanner, TrueSeries, TrueStudy, Truth
from sluice.stack.facts import Clock, Facts
from sluice.stack.table import WIDTH, render
from sluice.stack.verdict import Line, Section, all_hold, judge, judge_runs

AT = datetime(2026, 10, 26, 9)
PROJECTS = {"DX", "CT"}


def instance(uid: str, **gaps: str) -> TrueInstance:
    return TrueInstance(sop_instance_uid=uid, acquired_at=AT, gaps=gaps)


def study(uid: str, station: str, series: TrueSeries, **more: Any) -> TrueStudy:
    return TrueStudy(
        study_instance_uid=uid, patient_id="P-" + uid, accession_number="A-" + uid, station_name=station,
        begins_at=AT, ends_at=AT, series=[series], **more,
    )  # fmt: skip


def scanner(station: str, **more: Any) -> TrueScanner:
    fields: dict[str, Any] = {
        "modality": "CT", "manufacturer": "Maker", "model_name": "Model", "device_serial_number": "1",
        "department": "Radiology", "room": "R1", "offset_s": 12.0, "drift_s_per_day": 1.0, "dst_slip": False,
        "busy_minutes": 72.0,
    }  # fmt: skip
    return TrueScanner(station_name=station, **fields | more)


TRUTH = Truth(
    seed=1,
    day=date(2026, 10, 26),
    scanners=[scanner("CT01"), scanner("DX01", offset_s=3_600.0, dst_slip=True), scanner("US01")],
    studies=[
        study(
            "ct",
            "CT01",
            TrueSeries(
                series_instance_uid="ct.1",
                modality="CT",
                picture="phantom",
                instances=[
                    instance("ct.good"),
                    instance("ct.never", received="reported-not-arrived"),
                    instance("ct.cut", indexed="truncated"),
                    instance("ct.screen", released="held-class"),
                ],
            ),
        ),
        study(
            "dx",
            "DX01",
            TrueSeries(
                series_instance_uid="dx.1",
                modality="DX",
                router5="adult_chest",
                ivc_filter=False,
                picture="phantom",
                instances=[instance("dx.good"), instance("dx.broken", predicted="pixels-unreadable")],
            ),
            in_pacs=False,
            pushed=True,
        ),
        study(
            "us",
            "US01",
            TrueSeries(
                series_instance_uid="us.1",
                modality="US",
                picture="phantom",
                instances=[instance("us.any", released="held-class")],
            ),
        ),
    ],
)
ALL = ["ct.good", "ct.never", "ct.cut", "ct.screen", "dx.good", "dx.broken", "us.any"]
INDEXED = {"ct.good", "ct.screen", "dx.good", "dx.broken", "us.any"}


def facts() -> Facts:
    """A day that went exactly as the truth says it must."""
    return Facts(
        study_of={uid: uid[:2] for uid in ALL},
        series_of={uid: uid[:2] + ".1" for uid in ALL},
        at={
            "expected": {"ct.good", "ct.never", "ct.cut", "ct.screen", "us.any"},
            "received": set(ALL) - {"ct.never"},
            "indexed": set(INDEXED),
            "checked": set(INDEXED),
            "predicted": {"dx.good"},
            "released": {"ct.good", "dx.good", "dx.broken"},
        },
        gaps={
            ("ct.never", "received"): "reported-not-arrived",
            ("ct.cut", "indexed"): "truncated",
            ("ct.good", "predicted"): "not-a-radiograph",
            ("ct.screen", "predicted"): "not-a-radiograph",
            ("us.any", "predicted"): "not-a-radiograph",
            ("dx.broken", "predicted"): "pixels-unreadable",
            ("ct.screen", "released"): "held-class",
            ("us.any", "released"): "not-in-project",
        },
        body_part={"dx.good": "adult_chest"},
        ivc_filter={"dx.good": "absent"},
        utilization={"CT01": 0.11, "DX01": 0.1, "US01": 0.08},
        clocks={"CT01": Clock(9, 15.0, "none"), "DX01": Clock(9, 3_580.0, "dst"), "US01": Clock(9, 12.0, None)},
    )


def failing(found: Facts) -> list[str]:
    sections = judge(TRUTH, found, PROJECTS)
    return [line.what for section in sections for line in section.lines if line.holds is False]


def test_a_day_that_went_as_it_must_holds() -> None:
    sections = judge(TRUTH, facts(), PROJECTS)
    assert failing(facts()) == []
    assert all_hold(sections)
    (released,) = (line for line in sections[0].lines if line.what == "released")
    assert released.expected.split() == ["2", "2", "3"]


def wrong(change: Callable[[Facts], object]) -> Facts:
    found = facts()
    change(found)
    return found


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (lambda f: f.at["expected"].discard("us.any"), ["expected"]),
        (lambda f: f.at["received"].discard("dx.good"), ["received"]),
        (lambda f: f.at["received"].add("ct.never"), ["received"]),
        (lambda f: f.at["indexed"].discard("ct.good"), ["indexed"]),
        (lambda f: f.at["checked"].discard("ct.good"), ["checked"]),
        (lambda f: f.at["predicted"].add("dx.broken"), ["predicted"]),
        (lambda f: f.at["released"].add("ct.screen"), ["released"]),
        (lambda f: (f.at["released"].discard("ct.good"), f.at["released"].add("us.any")), ["released"]),
        (
            lambda f: f.gaps.update({("ct.never", "received"): "timed-out"}),
            ["received: reported-not-arrived", "received: timed-out"],
        ),
        (lambda f: f.gaps.pop(("ct.cut", "indexed")), ["indexed: truncated"]),
        (lambda f: f.gaps.update({("ct.good", "released"): "held-class"}), ["released: held-class"]),
        (lambda f: f.body_part.update({"dx.good": "spine"}), ["body part, all classes"]),
        (lambda f: f.body_part.clear(), ["body part, all classes"]),
        (lambda f: f.utilization.update({"CT01": 0.2}), ["CT01 Maker Model"]),
        (lambda f: f.utilization.pop("CT01"), ["CT01 Maker Model"]),
        (lambda f: f.clocks.update({"CT01": Clock(9, 80.0, "none")}), ["CT01 Maker Model"]),
        (lambda f: f.clocks.update({"CT01": Clock(9, None, None)}), ["CT01 Maker Model"]),
        (lambda f: f.clocks.pop("US01"), ["US01 Maker Model"]),
        (lambda f: f.clocks.update({"CT01": Clock(9, 12.0, "dst")}), ["CT01 Maker Model"]),
        (lambda f: f.clocks.update({"DX01": Clock(9, 3_600.0, "none")}), ["DX01 Maker Model"]),
    ],
)
def test_one_wrong_fact_makes_its_line_fail(change: Callable[[Facts], object], lines: list[str]) -> None:
    assert failing(wrong(change)) == lines


def test_a_filter_that_was_missed_is_reported_and_fails_nothing() -> None:
    found = wrong(lambda f: f.ivc_filter.update({"dx.good": "present"}))
    line = next(line for section in judge(TRUTH, found, PROJECTS) for line in section.lines if "absent" in line.what)
    assert (line.found, line.holds) == ("0 right", None)


def test_a_clock_of_too_few_pictures_is_nobodys_fault() -> None:
    assert failing(wrong(lambda f: f.clocks.update({"CT01": Clock(2, None, "none")}))) == []


def test_a_run_that_failed_or_never_began_does_not_hold() -> None:
    section = judge_runs({"sweep": "success", "retrieve": "failed"}, ("sweep", "retrieve", "extract_headers"))
    assert [line.holds for line in section.lines] == [True, False, False]
    assert not all_hold([section])


def test_the_table_fits_and_shows_why_a_line_fails() -> None:
    found = wrong(lambda f: f.at["received"].discard("dx.good"))
    text = render(judge(TRUTH, found, PROJECTS))
    assert max(map(len, text.splitlines())) <= 120
    assert "1 missing" in text
    long = Section("Any", [Line("x" * 90, "y" * 90, "z" * 90, False, "word " * 60)])
    assert max(map(len, render([long]).splitlines())) <= 120 >= WIDTH
    assert dataclasses.replace(long.lines[0], holds=True).note not in render([Section("Any", [])])

"""Drift of scanners: planted changes are found, ordinary days are not, and only the new day is summed up."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy
import pytest

from sluice.database import Database, select
from sluice.quality.check import check
from sluice.quality.drift import compared, divergence, frame_rows, shift
from sluice.quality.evaluation import Evaluation
from sluice.quality.frames import frame_of
from sluice.quality.scanner_days import QUANTILES, ScannerDay
from sluice.quality.suites import load_suites
from sluice.windows import Window
from tests.ledger_rows import LedgerRows
from tests.quality.blocks import block
from tests.quality.test_check import findings

FIRST = date(2026, 9, 21)  # a Monday
SUITES = load_suites()


class Site:
    """Days of a made-up scanner: fewer exams at weekends, other regions then, and chance."""

    def __init__(self, seed: int, exams: int = 30) -> None:
        self.random = random.Random(seed)
        self.exams = exams

    def day(self, number: int, **change: Any) -> ScannerDay:
        day = FIRST + timedelta(number)
        weekend = day.weekday() >= 5
        exams = max(1, round(self.random.gauss(self.exams * (0.4 if weekend else 1), self.exams**0.5)))
        exams = round(exams * change.get("busier", 1))
        regions = {"CHEST": 5, "ABDOMEN": 3, "HEAD": 8 if weekend else 2, "KNEE": 1} | change.get("regions", {})
        picked = self.random.choices([*regions], [*regions.values()], k=2 * exams)
        kvp = [self.random.choice([100, 120, 120, 120, 140]) + change.get("kvp", 0) for _ in picked]
        exposure = [self.random.lognormvariate(4, 0.4) * change.get("exposure", 1) for _ in picked]
        without = sum(self.random.random() < change.get("missing", 0.05) for _ in picked)
        return ScannerDay(
            scanner="CT1",
            day=day,
            modality="CT",
            exams=exams,
            series=len(picked),
            instances=100 * len(picked),
            categories={
                "modality_mix": {"CT": len(picked)},
                "regions": Counter(picked),
                "protocols": Counter(f"{region} ROUTINE {self.random.randint(1, 3)}" for region in picked),
                "matrix": Counter(self.random.choices(["512x512", "768x768"], [9, 1], k=len(picked))),
                "hours": Counter(self.random.choices(["06-12", "12-18", "18-24"], [5, 4, 1], k=exams)),
            },
            numbers={"kvp": quantiles(kvp), "exposure_mas": quantiles(exposure)},
            missing={"body_part_examined": (without, len(picked))},
            seen={"software": change.get("software", ["VB10"]), "serials": ["4711"], "makes": ["ACME CT"]},
            descriptors={"modality": "CT", "manufacturer": "ACME", "model_name": "CT", "software_versions": "VB10",
                         "station_name": "CT1"},
        )  # fmt: skip


def quantiles(values: list[float]) -> tuple[int, list[float]]:
    return len(values), numpy.quantile(values, numpy.linspace(0, 1, QUANTILES)).tolist()


@pytest.fixture(scope="module")
def alarms() -> Any:
    """What the rules that ship say about many scanner days, evaluated by the library once."""
    days: dict[str, tuple[ScannerDay, list[ScannerDay]]] = {}
    for seed in range(60):  # ordinary working days and weekends, of busy scanners and of quiet ones
        site = Site(seed, exams=(60, 30, 12, 4)[seed % 4])
        history = [site.day(number) for number in range(30)]
        for later in (30, 33, 34):
            days[f"ordinary {seed} {later}"] = site.day(later), history
    changes: dict[str, dict[str, Any]] = {
        "regions": {"regions": {"KNEE": 20}}, "kvp": {"kvp": -20}, "exposure": {"exposure": 2},
        "missing": {"missing": 0.6}, "busier": {"busier": 3}, "idle": {"busier": 0.1},
        "software": {"software": ["VB20"]},
    }  # fmt: skip
    for name, change in changes.items():
        site = Site(99)
        days[name] = site.day(31, **change), [site.day(number) for number in range(1, 31)]
    rows = []
    for name, (day, history) in days.items():
        row, _ = compared(day, history)
        rows.append(row | {"scanner": name})
    found: dict[str, set[str]] = {name: set() for name in days}
    for finding in Evaluation("scanner", SUITES).check(frame_of("scanner", rows, SUITES)):
        found[finding.object].add(finding.rule.name)
    return found


def test_ordinary_days_are_hardly_ever_alarmed(alarms: dict[str, set[str]]) -> None:
    wrong = {name: rules for name, rules in alarms.items() if name.startswith("ordinary") and rules}
    assert len(wrong) <= 2, f"false alarms on {len(wrong)} of 180 days: {wrong}"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("regions", "drift-of-regions"),
        ("kvp", "drift-of-kvp"),
        ("exposure", "drift-of-exposure"),
        ("missing", "drift-of-missing-body-part"),
        ("busier", "drift-of-exams"),
        ("idle", "drift-of-exams"),
        ("software", "scanner-has-new-software"),
    ],
)
def test_a_planted_change_is_found_by_its_rule(change: str, rule: str, alarms: dict[str, set[str]]) -> None:
    assert rule in alarms[change]
    assert alarms[change] <= {rule, "drift-of-protocols"}


def test_little_data_says_nothing() -> None:
    site = Site(5)
    row, _ = compared(site.day(31, regions={"KNEE": 500}), [site.day(number) for number in (28, 29, 30)])
    assert (row["regions_divergence"], row["exams_z"]) == (None, None)
    quiet = Site(5, exams=2)
    row, _ = compared(quiet.day(31, regions={"KNEE": 500}), [quiet.day(number) for number in range(30)])
    assert row["regions_divergence"] is None


def test_what_changed_is_said_in_words() -> None:
    site = Site(7)
    history = [site.day(number) for number in range(1, 31)]
    _, said = frame_rows([site.day(31, regions={"KNEE": 20}, software=["VB20"])], {"CT1": history}, set())
    assert said["CT1", "regions_divergence"].startswith("KNEE 7")
    assert "usually" in said["CT1", "regions_divergence"]
    assert said["CT1", "new_software"] == "VB20"


def test_the_statistics_have_their_known_values() -> None:
    assert divergence({"A": 500}, [{"B": 500}]) == pytest.approx(1, abs=0.002)
    assert divergence({"A": 50, "B": 50}, [{"A": 5000, "B": 5000}]) == 0
    # p = (1, 0), q = (1/2, 1/2): H(3/4, 1/4) - 1/2 = 0.3113 bits
    assert divergence({"A": 10000}, [{"A": 5000, "B": 5000}]) == pytest.approx(0.3113, abs=0.001)
    even = (100, numpy.linspace(0, 10, QUANTILES).tolist())
    moved = (100, numpy.linspace(5, 15, QUANTILES).tolist())
    assert shift(even, [even] * 6) == pytest.approx(0, abs=0.02)
    assert shift(moved, [even] * 6) == pytest.approx(1, abs=0.02)  # by 5, of an interquartile range of 5


def test_a_scanners_days_are_kept_and_compared_in_the_database(database: Database, tmp_path: Path) -> None:
    def day(number: int, kvp: int, software: str) -> str:
        rows = LedgerRows(database, Window.of_day(FIRST + timedelta(number)))
        for exam in range(12):
            series = rows.series(rows.study(100 * number + exam + 1), software_versions=software)
            uid = rows.instance(series, 1, image_type=["ORIGINAL", "PRIMARY"], photometric_interpretation="MONOCHROME2")
            block(rows, series, [uid], {"00180060": ("DS", [kvp + exam % 3]), "00281052": ("DS", [-1024])})
        rows.connection.close()
        return rows.window.key

    assert check(database, day(0, 120, "VB10"), tmp_path).findings == 0
    database.execute(  # days like it: what is summed up is read again by every later day
        "insert into scanner_day select scanner, day + n, modality, exams, series, instances, facts "
        "from scanner_day, unnest(array[1, 2, 3, 4, 7]) n"
    )
    key = day(8, 80, "VB20")
    for _ in range(2):
        check(database, key, tmp_path)
        assert {rule for rule, _ in findings(database, key)} == {"drift-of-kvp", "scanner-has-new-software"}
    with database.transaction() as connection:
        kept = select(connection, "select count(*) as days, sum(exams) as exams from scanner_day")
        said = {row["observed"] for row in select(connection, "select observed from quality_finding")}
        levels = select(connection, "select distinct level, scanner, object from quality_finding")
    assert kept == [{"days": 7, "exams": 84}]
    assert "new_software: 1 (VB20)" in said
    assert any("median 81, usually 121" in words for words in said)
    assert levels == [{"level": "scanner", "scanner": "CT1", "object": "CT1"}]

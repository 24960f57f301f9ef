"""The simulated hospital's day: what it planted is found by UID, and nothing is said about what is sound."""

from __future__ import annotations

from pathlib import Path

from sluice.archive.imports import import_files, import_window
from sluice.batches import plan_batches
from sluice.database import Database, select
from sluice.headers.extract import extract
from sluice.hospital.build import build
from sluice.hospital.truth import Truth
from sluice.quality.check import check
from sluice.settings import Settings
from sluice.windows import Window, remember_window

# What the hospital does wrong besides its mishaps: words nobody knows, a clock that runs ahead, numbers not given.
TRUE_OF_THE_DAY = {"accession-number-missing", "body-part-unmapped", "stored-before-acquired"}
# A file that cannot be read leaves a hole in its series; two patients in one study contradict each other in age.
FOLLOWS = {
    "truncated": {"instance-numbers-missing", "slices-missing"},
    "two-patients": {"study-with-two-patients", "age-contradicts-birth-date", "side-missing"},
    "no-patient-id": {"patient-id-missing"},
}


def studies_with(truth: Truth, mishap: str) -> set[str]:
    return {
        study.study_instance_uid
        for study in truth.studies
        for series in study.series
        for instance in series.instances
        if instance.mishap == mishap
    }


def test_what_the_hospital_planted_is_found_and_the_rest_is_not_accused(database: Database, tmp_path: Path) -> None:
    truth = build(tmp_path / "hospital", None, scale="tiny")
    site = Settings(home=tmp_path / "site")
    day = truth.day.isoformat()
    remember_window(database, Window.of_day(truth.day))
    roots = [tmp_path / "hospital" / "pacs", tmp_path / "hospital" / "scanners"]
    import_files(database, site, import_window(roots, "day"), roots)
    for batch in plan_batches(database, day, 10_000):
        extract(database, site.archive, batch)
    summary = check(database, day, tmp_path / "docs", archive=site.archive)
    with database.transaction() as connection:
        rows = select(connection, "select rule, study_instance_uid as study from quality_finding")
        held = {row["study"] for row in select(connection, "select object as study from quality_held")}
    found = {(row["rule"], row["study"]) for row in rows}
    for mishap, rule in (
        ("two-patients", "study-with-two-patients"),
        ("no-patient-id", "patient-id-missing"),
        ("truncated", "instance-numbers-missing"),
    ):
        assert studies_with(truth, mishap), f"the hospital no longer plants {mishap}"
        assert {study for each, study in found if each == rule} == studies_with(truth, mishap)
    for rule, study in found:
        explained = {
            each for mishap, rules in FOLLOWS.items() if study in studies_with(truth, mishap) for each in rules
        }
        assert rule in TRUE_OF_THE_DAY | explained, f"{rule} accuses a study of which nothing is wrong"
    assert held == studies_with(truth, "two-patients"), "only the study of two patients is held back"
    assert summary.stops == 1

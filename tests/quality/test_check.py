"""The quality check on a real database with the rules that ship."""

from __future__ import annotations

import re
import threading
from datetime import date
from pathlib import Path

import pytest
import yaml

from sluice.database import Database, select
from sluice.quality.check import check
from sluice.quality.suites import QualityError, load_suites
from sluice.windows import Window
from tests.ledger_rows import DAY, LedgerRows

WINDOW = DAY.isoformat()


def findings(database: Database, window_key: str = WINDOW) -> set[tuple[str, str | None]]:
    """(rule, UID of the object at the rule's level) of a window."""
    with database.transaction() as connection:
        rows = select(
            connection,
            "select rule, coalesce(sop_instance_uid, series_instance_uid, study_instance_uid) as uid "
            "from quality_finding where window_key = %s",
            (window_key,),
        )
    assert len(rows) == len({(row["rule"], row["uid"]) for row in rows}), "a finding stands twice"
    return {(row["rule"], row["uid"]) for row in rows}


def test_a_healthy_day_has_no_findings(database: Database, tmp_path: Path) -> None:
    rows = LedgerRows(database)
    rows.healthy_study(1)
    rows.healthy_study(2)
    summary = check(database, WINDOW, tmp_path)
    assert findings(database) == set()
    assert summary.checked == 6
    assert summary.rules == len(load_suites().rules) >= 30
    assert summary.findings_by_severity == {"warn": 0, "quarantine": 0, "stop": 0}
    with database.transaction() as connection:
        assert select(connection, "select checked from window_funnel") == [{"checked": 6}]


def test_each_fault_is_found_by_rule_and_uid(database: Database, tmp_path: Path) -> None:
    rows = LedgerRows(database)
    rows.healthy_study(1)

    two_patients, series, _ = rows.healthy_study(2)
    rows.instance(series, 4, patient_id="PAT-9999")

    nameless = rows.study(3, patient_id=None, accession_number=" ")
    rows.instance(rows.series(nameless), 1, patient_id=None)

    partly, series, _ = rows.healthy_study(4)
    rows.instance(series, 4, patient_id="")

    incomplete, incomplete_series, _ = rows.healthy_study(5)
    rows.expected(incomplete_series, 40)

    _, flat_series, _ = rows.healthy_study(6)
    flat = rows.instance(flat_series, 4, rows=None, columns=0, pixel_spacing=[0.0, 0.5], slice_thickness=-1)

    old = rows.study(7, patient_birth_date=date(1890, 1, 1), patient_sex="7")
    rows.instance(rows.series(old), 1)

    unborn = rows.study(8, patient_birth_date=date(2026, 12, 1))
    rows.instance(rows.series(unborn), 1, patient_age_years=None)

    words = rows.study(9)
    unmapped = rows.series(words, 1, region=None, body_part_examined="OBERBAUCH")
    silent = rows.series(words, 2, region=None, body_part_examined=None, modality="DX")
    invented = rows.series(words, 3, modality="XRAY", station_name=None, device_serial_number=None, laterality="X")
    for each in (unmapped, silent, invented):
        rows.instance(each, 1)

    _, displaced_series, _ = rows.healthy_study(10)
    displaced = rows.instance(displaced_series, 4, study_instance_uid=two_patients)

    ahead = rows.study(11)
    ahead_series = rows.series(ahead)
    future = rows.instance(ahead_series, 1, acquired_at="2031-01-01 10:00")

    leading_zero = "1.2.0345.6"
    rows.study(12, study_instance_uid=leading_zero)
    rows.instance(rows.series(leading_zero), 1, patient_id="PAT-12")

    summary = check(database, WINDOW, tmp_path)
    found = findings(database)
    assert found == {
        ("study-with-two-patients", two_patients),
        ("patient-id-missing", nameless),
        ("accession-number-missing", nameless),
        ("patient-id-partly-missing", partly),
        ("study-incomplete", incomplete),
        ("series-incomplete", incomplete_series),
        ("rows-missing", flat),
        ("matrix-mixed", flat_series),
        ("columns-implausible", flat),
        ("row-spacing-implausible", flat),
        ("slice-thickness-implausible", flat),
        ("age-implausible", old),
        ("age-contradicts-birth-date", old),
        ("patient-sex-unknown", old),
        ("birth-date-after-study", unborn),
        ("body-part-unmapped", unmapped),
        ("body-part-missing", silent),
        ("modality-unknown", invented),
        ("modality-contradicts-class", f"{silent}.1"),
        ("modality-contradicts-class", f"{invented}.1"),
        ("laterality-unknown", invented),
        ("hierarchy-differs-from-series", displaced),
        ("hierarchy-differs-from-receipt", displaced),
        ("hierarchy-differs-from-pacs", displaced),
        ("series-in-two-studies", displaced_series),
        ("study-date-contradicts-acquisition", future),
        ("received-before-acquired", future),
        ("stored-before-acquired", ahead_series),
        ("study-uid-invalid", leading_zero),
        ("series-uid-invalid", f"{leading_zero}.1"),
        ("instance-uid-invalid", f"{leading_zero}.1.1"),
    }
    assert summary.findings == len(found)
    assert summary.findings_by_severity["stop"] == 4
    assert summary.docs_index == tmp_path / WINDOW / "index.html"


def test_neither_findings_nor_documents_show_a_patient(database: Database, tmp_path: Path) -> None:
    rows = LedgerRows(database)
    study = rows.study(1, patient_sex="Geheim 5550123", patient_birth_date=date(1888, 3, 14))
    series = rows.series(study, region=None, body_part_examined="MUELLER 5550123", laterality="5550123")
    rows.instance(series, 1, patient_id="MRN5550123")
    rows.instance(series, 2, patient_id="MRN5550124", rows=None)
    check(database, WINDOW, tmp_path)
    with database.transaction() as connection:
        seen = " ".join(str(row) for row in select(connection, "select rule, observed from quality_finding"))
    pages = {path.name: path.read_text() for path in (tmp_path / WINDOW).iterdir()}
    assert {"index.html", "study.html", "series.html", "instance.html"} <= set(pages)
    assert "study-with-two-patients" in seen
    for secret in ("555012", "Geheim", "MUELLER", "PAT-", "ACC0", "1888"):
        assert secret not in seen
        for name, page in pages.items():
            assert secret not in page, f"{name} shows {secret}"
    for name, page in pages.items():
        assert study not in page, f"{name} shows a UID"
        assert not re.search(r"<script|<link(?! rel=.icon. href=.data:)|https?://|\son[a-z]+=", page), name
        assert 'href="../' not in page or name == "index.html", name
    assert "study-with-two-patients" in pages["index.html"]
    assert "patient_ids" in pages["study.html"]


def test_running_again_replaces_and_a_repair_closes_findings_everywhere(database: Database, tmp_path: Path) -> None:
    rows = LedgerRows(database)
    study, series, _ = rows.healthy_study(1)
    rows.instance(series, 4, patient_id="PAT-9999")
    check(database, WINDOW, tmp_path)
    first = findings(database)
    check(database, WINDOW, tmp_path)
    assert findings(database) == first == {("study-with-two-patients", study)}

    cohort = LedgerRows(database, Window.of_cohort("lung", "first", DAY, DAY))
    cohort.expected(series, 4)
    check(database, cohort.window.key, tmp_path)
    assert findings(database, cohort.window.key) == first
    assert findings(database) == first
    assert (tmp_path / "cohort" / "lung" / "first" / "index.html").is_file()

    database.execute("update instance set patient_id = 'PAT-0001'")
    check(database, cohort.window.key, tmp_path)
    assert findings(database, cohort.window.key) == set()
    assert findings(database) == set()


def test_two_checks_at_once_leave_one_set_of_findings(database: Database, tmp_path: Path) -> None:
    rows = LedgerRows(database)
    study, series, _ = rows.healthy_study(1)
    rows.instance(series, 4, patient_id="PAT-9999")
    errors: list[BaseException] = []

    def run() -> None:
        try:
            check(database, WINDOW, tmp_path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    assert findings(database) == {("study-with-two-patients", study)}


def test_an_empty_window_is_checked_too(database: Database, tmp_path: Path) -> None:
    LedgerRows(database)
    summary = check(database, WINDOW, tmp_path)
    assert (summary.checked, summary.findings) == (0, 0)
    assert "nothing to check" in summary.docs_index.read_text()


def test_no_page_can_be_written_outside_the_documents(database: Database, tmp_path: Path) -> None:
    LedgerRows(database)
    with pytest.raises(QualityError, match="cannot name a folder"):
        check(database, "../elsewhere", tmp_path / "docs")
    assert not (tmp_path / "elsewhere").exists()


def write_suite(folder: Path, **changes: object) -> Path:
    rule = {
        "name": "some-rule",
        "level": "instance",
        "severity": "warn",
        "expectation": "expect_column_values_to_not_be_null",
        "kwargs": {"column": "rows"},
        "why": "A reason that is long enough.",
        "advice": "Do something.",
    } | changes
    (folder / "site.yaml").write_text(yaml.safe_dump({"about": "A site's own rules.", "rules": [rule]}))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"severity": "fatal"}, "site.yaml, rule some-rule, field severity"),
        ({"name": "Some Rule"}, "field name"),
        ({"why": ""}, "field why"),
        ({"kwargs": {"min_value": 1}}, "no column"),
        ({"kwargs": {"column": "rows", "row_condition": "True"}}, "use `where`"),
        ({"colour": "red"}, "field colour"),
    ],
)
def test_a_wrong_suite_is_refused_with_file_rule_and_field(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(QualityError, match=re.escape(message)):
        load_suites(write_suite(tmp_path, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kwargs": {"column": "colour"}}, "no column of level instance"),
        ({"kwargs": {"column": "rows", "colour": 1}}, "no valid expect_column_values_to_not_be_null"),
        ({"expectation": "expect_column_values_to_be_lovely"}, "expect_column_values_to_be_lovely"),
        ({"where": "colour == 1"}, "could not be evaluated"),
        (
            {"expectation": "expect_column_max_to_be_between", "kwargs": {"column": "rows", "max_value": 1}},
            "which rows",
        ),
    ],
)
def test_a_rule_that_cannot_work_is_named(
    database: Database, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    LedgerRows(database).healthy_study(1)
    with pytest.raises(QualityError, match=re.escape(message)):
        check(database, WINDOW, tmp_path / "docs", write_suite(tmp_path, **changes))


def test_the_version_follows_the_text(tmp_path: Path) -> None:
    first = load_suites(write_suite(tmp_path)).version
    assert load_suites(write_suite(tmp_path)).version == first
    assert load_suites(write_suite(tmp_path, severity="stop")).version != first

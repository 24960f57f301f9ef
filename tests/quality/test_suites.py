"""Suites as people write them: a hospital's own over those that ship, selectors, tags, and the commands about them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml

from sluice.__main__ import main
from sluice.database import Database
from sluice.headers.paths import Step
from sluice.quality.check import check
from sluice.quality.columns import COLUMNS
from sluice.quality.evaluation import Evaluation
from sluice.quality.frames import Frames, frame_of
from sluice.quality.suites import LEVELS, SUITES, Applies, QualityError, load_suites
from tests.ledger_rows import DAY, LedgerRows
from tests.quality.cases import SOUND

OWN = {
    "name": "our-ct-is-thin",
    "level": "instance",
    "severity": "quarantine",
    "expectation": "expect_column_values_to_be_between",
    "kwargs": {"column": "slice_thickness_mm", "max_value": 5},
    "for": {"station": "CT[12]", "manufacturer": ["*acme*", "*other*"]},
    "why": "Thick slices are no use to us.",
    "advice": "Send the thin ones.",
}


def write(folder: Path, *rules: dict[str, Any], **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "ours.yaml").write_text(yaml.safe_dump({"about": "Ours.", "rules": list(rules)} | more))
    return folder


def test_a_hospitals_own_rules_add_change_and_switch_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = write(
        tmp_path / "site",
        OWN,
        {"name": "slices-missing", "severity": "quarantine"},
        {"name": "patient-sex-unknown", "enabled": False},
        {"name": "kvp-implausible", "kwargs": {"column": "kvp", "min_value": 50, "max_value": 150}},
    )
    shipped, own = load_suites(), load_suites(SUITES, site)
    assert own.by_name["slices-missing"].severity == "quarantine"
    assert own.by_name["slices-missing"].why == shipped.by_name["slices-missing"].why
    assert "patient-sex-unknown" not in own.by_name
    assert len(own.rules) == len(shipped.rules)
    assert own.version != shipped.version
    assert main(["quality", "check-suites", str(site)]) == 0
    said = capsys.readouterr().out
    assert "new      our-ct-is-thin (instance, quarantine)" in said
    assert "changed  slices-missing: warn -> quarantine" in said
    assert "changed  kvp-implausible" in said
    assert "off      patient-sex-unknown" in said


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"name": "slices-missing", "severity": "loud"}, "ours.yaml, rule slices-missing, field severity"),
        ({"name": "unheard-of", "enabled": False}, "ours.yaml, rule unheard-of, field level"),
        (OWN | {"level": "study"}, "`for` does not go with level study"),
        (OWN | {"for": {"vendor": "x"}}, "rule our-ct-is-thin, field for.vendor"),
        (OWN | {"for": {}}, "field for: says nothing"),
        (OWN | {"halts": True}, "only a rule of level window and severity stop"),
        (OWN | {"level": "scanner", "for": None, "kwargs": {"column": "exams"}}, "level scanner is a warn"),
        (OWN | {"where": "rows >"}, "SyntaxError in `where`"),
        (OWN | {"where": "colour == 1"}, "UndefinedVariableError in `where`"),
        (OWN | {"kwargs": {"column": "colour", "max_value": 1}}, "no column of level instance"),
        (OWN | {"expectation": "expect_column_values_to_be_fine"}, "expect_column_values_to_be_fine"),
    ],
)
def test_what_cannot_work_is_named_before_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: dict[str, Any], message: str
) -> None:
    assert main(["quality", "check-suites", str(write(tmp_path, rule))]) == 1
    said = capsys.readouterr().err
    assert re.search(re.escape(message), said), said


def test_tags_are_columns_and_must_be_tags(tmp_path: Path) -> None:
    tag = {"mode": {"tag": "(0040,0275)/(0040,0007)", "as": "text"}}
    found = load_suites(SUITES, write(tmp_path, tags=tag)).tags["mode"].path
    assert found.steps == (Step(0x00400275), Step(0x00400007))
    load_suites(SUITES, write(tmp_path, tags={"kvp": {"tag": "KVP", "as": "number"}}))  # the same as (0018,0060)
    with pytest.raises(QualityError, match=r"ours.yaml, field tags.mode.tag: there is no element 'KVB'"):
        load_suites(SUITES, write(tmp_path, tags={"mode": {"tag": "KVB", "as": "text"}}))
    with pytest.raises(QualityError, match=r"private, and its block differs from file to file\. Name its creator"):
        load_suites(SUITES, write(tmp_path, tags={"mode": {"tag": "(2005,100E)", "as": "text"}}))
    with pytest.raises(QualityError, match="'kvp' is another tag elsewhere"):
        load_suites(SUITES, write(tmp_path, tags={"kvp": {"tag": "(0018,0061)", "as": "number"}}))


def test_a_selector_says_for_which_scanners(tmp_path: Path) -> None:
    suites = load_suites(write(tmp_path, OWN))
    rows = [
        SOUND["instance"] | {"sop_instance_uid": f"1.2.{number}", "slice_thickness_mm": 8, "station_name": station,
                             "manufacturer": maker}
        for number, (station, maker) in enumerate(
            [("CT1", "ACME Inc."), ("ct2", "Other"), ("CT3", "ACME"), ("CT1", "Third"), (None, "ACME")])
    ]  # fmt: skip
    found = [finding.object for finding in Evaluation("instance", suites).check(frame_of("instance", rows, suites))]
    assert found == ["1.2.0", "1.2.1"]
    assert Applies(modality="*").matches(dict.fromkeys(("modality",)))


def test_a_selection_narrows_a_rule_and_must_be_a_filter(tmp_path: Path) -> None:
    filtered = OWN | {"select": {"modality": "CT"}, "for": None}
    suites = load_suites(write(tmp_path, filtered))
    rows = [SOUND["instance"] | {"sop_instance_uid": uid, "slice_thickness_mm": 8} for uid in ("1.2", "1.3")]
    frame = frame_of("instance", rows, suites)
    evaluation = Evaluation("instance", suites, lambda rule: {"1.3"})
    assert [finding.object for finding in evaluation.check(frame)] == ["1.3"]
    assert [finding.object for finding in Evaluation("instance", suites).check(frame)] == []
    wrong = load_suites(write(tmp_path, filtered | {"select": {"modalty": "CT"}}))
    with pytest.raises(QualityError, match=r"in ours.yaml: select.modalty: .* Did you mean modality"):
        Evaluation("instance", wrong)
    with pytest.raises(QualityError, match="does not go with level scanner"):
        load_suites(write(tmp_path, filtered | {"level": "scanner", "severity": "warn"}))


def test_frames_have_the_columns_that_are_documented(database: Database) -> None:
    rows = LedgerRows(database)
    rows.healthy_study(1)
    suites = load_suites()
    with database.transaction() as connection:
        connection.set_session(isolation_level="REPEATABLE READ")
        frames = Frames(connection, DAY.isoformat(), "Europe/Berlin", suites)
        filled = {"window": set(), "study": set(), "series": set(), "instance": set(), "scanner": set()}
        for level in ("window", "instance", "study", "series", "scanner"):
            for query_rows in [] if level == "scanner" else frames._read(level):
                filled[level] |= set(query_rows[0])
    derived = {"is_paired_region", "is_localizer", "orientations", "frames_of_reference", "slices", "slice_distance_mm",
               "slices_missing", "slice_distance_varies"}  # fmt: skip
    assert set(COLUMNS["window"]) == filled["window"]
    assert set(COLUMNS["study"]) == filled["study"]
    assert set(COLUMNS["series"]) == filled["series"] | derived
    computed = {"is_image", "is_original", "is_localizer", "sop_class_fits_modality", "samples_fit_photometric",
                "bits_fit", "pixel_bytes_off", "compression_ratio", "unreadable_dates"}  # fmt: skip
    assert set(COLUMNS["instance"]) == (filled["instance"] | computed) - {
        "block_id",
        "block_position",
        "same_pixels_uids",
    }


def test_the_commands_list_rules_and_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quality", "rules"]) == 0
    listed = capsys.readouterr().out
    assert all(rule.name in listed for rule in load_suites().rules)
    assert "pixels-of-another-patient" in "".join(listed.split("INSTANCE")[1].split("\n")[1:3])
    assert main(["quality", "rules", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rules"]) == len(load_suites().rules)
    assert main(["quality", "columns", "series"]) == 0
    assert "slice_distance_mm" in capsys.readouterr().out
    assert main(["quality", "columns"]) == 0
    columns = capsys.readouterr().out
    assert all(f"{level.upper()}\n" in columns for level in LEVELS)


def test_a_large_window_is_added_up_over_its_frames(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = LedgerRows(database)
    for study in range(1, 5):
        rows.healthy_study(study, 5)
    _, series, _ = rows.healthy_study(9)
    broken = rows.instance(series, 4, rows=0)
    whole = check(database, DAY.isoformat(), tmp_path / "whole")
    monkeypatch.setattr("sluice.quality.frames.CHUNK", 4)
    parts = check(database, DAY.isoformat(), tmp_path / "parts")
    assert (parts.checked, parts.findings) == (whole.checked, whole.findings) == (24, 2)
    pages = [(tmp_path / name / DAY.isoformat() / "instance.html").read_text() for name in ("whole", "parts")]
    assert re.findall(r"\d+ unexpected value", pages[0]) == re.findall(r"\d+ unexpected value", pages[1]) != []
    assert broken not in pages[1]


def test_a_finding_does_not_repeat_what_names_a_patient(tmp_path: Path) -> None:
    rule = {
        "level": "instance",
        "severity": "warn",
        "expectation": "expect_column_values_to_match_regex",
        "why": "Ours are letters only.",
        "advice": "Ask at the desk.",
    }
    tags = {"given_id": {"tag": "(0010,0020)", "as": "text"}, "mode": {"tag": "(0018,0060)", "as": "text"}}
    rules = [
        rule | {"name": f"our-{name.replace('_', '-')}", "kwargs": {"column": name, "regex": "^[a-z]+$"}}
        for name in tags
    ]
    suites = load_suites(write(tmp_path, *rules, tags=tags))
    frame = pandas.DataFrame([{"sop_instance_uid": "1.2", "given_id": "PAT-77", "mode": "120"}])
    found = {one.rule.name: one.observed for one in Evaluation("instance", suites).check(frame)}
    assert found == {
        "our-given-id": "given_id: not shown, it may name a patient",
        "our-mode": "mode: 120",
    }


def test_a_key_twice_is_refused_not_lost(tmp_path: Path) -> None:
    folder = write(tmp_path, OWN)
    path = folder / "ours.yaml"
    path.write_text(path.read_text().replace("  severity: quarantine\n", "  severity: quarantine\n  severity: warn\n"))
    with pytest.raises(QualityError, match=r"ours.yaml is not valid YAML: the same key a second time"):
        load_suites(folder)

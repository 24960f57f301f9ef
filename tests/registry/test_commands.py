"""The commands of models, filters, routing and reports: what they print, and the exit code."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread

from sluice.__main__ import main
from sluice.database import Database
from sluice.settings import settings
from tests.registry.test_registry import measured, weights
from tests.reports.scene import BODY, ReadStudy
from tests.routing.test_deciding import TEXT

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def read(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReadStudy:
    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    settings.cache_clear()
    return ReadStudy(database, tmp_path / "archive")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def of(*arguments: object) -> tuple[int, str, str]:
        code = main([str(one) for one in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield of
    settings.cache_clear()


def test_a_model_from_elsewhere_is_registered_shown_and_refused(read: ReadStudy, run: Run, tmp_path: Path) -> None:
    new = weights(tmp_path / "new", b"new")
    model = json.loads(new.with_suffix(".card.json").read_text())["model_id"]
    assert run("models", "register", new, "--why", "from the university")[1] == f"{model} is a candidate.\n"
    assert (tmp_path / "weights" / f"{model}.pt").read_bytes() == b"new"
    assert run("models", "shadow", model, "--why", "to see it here")[0] == 0
    for name, wrong in ((BODY, 5), (model, 40)):
        measured(read.database, name, wrong)
    measured(read.database, model, 0, "few", films_of="site", films=12, metrics={}, answers={})
    measured(read.database, BODY, 2, "here", films_of="site", films=40, patients=20)
    code, out, err = run("models", "promote", model, "--why", "I like it")
    assert (code, out) == (1, "")
    assert "does not pass" in err
    assert "read 0 images" in err
    out = run("models", "list")[1]
    assert f"{BODY}  production, reads" in out
    assert "router5 macro F1: 0.867 (0.900 to 1.000)" in out
    assert "of this site: 12 confirmed films measure, too few" in out
    assert "on 40 films of 20 patients of this site:\n        router5 macro F1: 0.993 (0.900 to 1.000)" in out
    assert "12 films of this site were measured on: nothing to compare by." in run("models", "gate", model)[1]
    assert "refused by" in run("models", "show", model)[1]
    assert run("models", "rollback", "body_part", "--why", "x")[0] == 1
    assert run("models", "show", "nothing")[2] == "sluice: There is no model 'nothing'. `sluice models` lists them.\n"


def test_filters_are_listed_and_corrected_without_an_identifier_in_the_arguments(
    read: ReadStudy, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run("ivc-filters", "list")
    assert (code, out.splitlines()[1].split(",")[0]) == (0, "PID-4711-77")
    monkeypatch.setattr("sys.stdin", io.StringIO("PID-4711-77\n"))
    assert run("ivc-filters", "say", "retrieved", "--on", "2026-11-01")[0] == 0
    code, out, _ = run("ivc-filters", "list", "--due")
    assert (code, len(out.splitlines())) == (0, 1), "a heading and nobody"
    assert "retrieved" in run("ivc-filters", "list")[1]
    code, _, err = run("ivc-filters", "say", "not_a_filter", "--image", read.films[0])
    assert (code, err) == (1, "sluice: Nobody said that this image shows a filter.\n")


def test_rules_are_checked_and_tried(read: ReadStudy, run: Run, tmp_path: Path) -> None:
    rules = tmp_path / "routing.yaml"
    rules.write_text(TEXT)
    assert run("route", "check", rules)[1].endswith("3 rules are right.\n")
    assert run("route", "dry-run", read.study)[0] == 2
    out = run("route", "dry-run", read.study, "--rules", rules)[1]
    assert f"{read.films[1]} to dag read_filters by filters; body_part abdominal 0.95, ivc_filter present 0.88" in out
    rules.write_text(TEXT.replace("age", "agee"))
    code, _, err = run("route", "check", rules)
    assert (code, err.count("routing.yaml, line")) == (1, 2)


def test_a_report_is_written(read: ReadStudy, run: Run, tmp_path: Path) -> None:
    code, out, _ = run("report", read.study, "--out", tmp_path / "report.dcm")
    report = dcmread(tmp_path / "report.dcm")
    assert (code, out) == (0, f"{report.SOPInstanceUID}, made now.\n")
    assert "Asked for" in run("report", read.study, "--send", "pacs_main")[1]
    assert run("report", "1.2.3", "--send", "pacs_main")[0] == 1

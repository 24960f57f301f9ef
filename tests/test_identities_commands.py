"""The commands for keys, the way back, merged patients and canaries, as a person runs them."""

from __future__ import annotations

import csv
import io
import stat
from pathlib import Path

import pytest

from sluice.__main__ import main
from sluice.database import Database
from sluice.release.export import prepare
from sluice.release.projects import Project
from sluice.settings import settings
from tests.deid.planted import image
from tests.release.hospital_day import DAY, store_day

WHY = "incidental finding, ethics vote 12/26"


@pytest.fixture
def home(database: Database, owner: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    monkeypatch.setenv("SLUICE_DATABASE_OWNER_URL", owner.url)
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    settings.cache_clear()
    store_day(database, tmp_path / "archive", [image()])
    chosen = Project.model_validate(
        {"name": "radiographs", "title": "Test", "profile": "basic", "selection": {"modality": "CT"}, "bucket": "test",
         "pseudonym_prefix": "RAD"}
    )  # fmt: skip
    prepare(database, chosen, DAY)
    yield tmp_path  # type: ignore[misc]
    settings.cache_clear()


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_there_and_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "pseudonym", "radiographs", "--patient-id", "PID-4711-77", "--why", WHY)
    (row,) = csv.DictReader(io.StringIO(out))
    assert code == 0
    asked = home / "asked.csv"
    asked.write_text(f"pseudonym,finding\n{row['pseudonyms']},nodule\nRAD-AAAAAAAAAA,none\n")
    told = home / "told.csv"
    code, out, _ = said(capsys, "reidentify", "radiographs", "--from", str(asked), "--why", WHY, "--to", str(told))
    assert (code, "PID-4711" in out) == (3, False)  # one was nobody's
    assert stat.S_IMODE(told.stat().st_mode) == 0o600
    first, second = csv.DictReader(told.open())
    assert (first["kind"], first["value"], second["value"]) == ("patient", "PID-4711-77", "")
    code, out, _ = said(capsys, "reidentify", "radiographs", "--log")
    assert code == 0
    assert out.count(WHY) == 2
    assert row["pseudonyms"] in out
    assert "PID-4711" not in out


def test_no_reason_and_no_key_are_one_clear_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "reidentify", "radiographs", "RAD-1") == (2, "", "sluice: Say why, with --why.\n")
    (home / "keys" / "radiographs.key").rename(home / "away.key")
    code, out, err = said(capsys, "reidentify", "radiographs", "RAD-1", "--why", WHY)
    assert (code, out) == (1, "")
    assert "Without a key" in err
    code, out, _ = said(capsys, "key", "list")
    assert (code, "MISSING: restore it" in out) == (3, True)
    code, _, _ = said(capsys, "reidentify", "radiographs", "RAD-1", "--why", WHY, "--key-file", str(home / "away.key"))
    assert code == 3


def test_keys_are_listed_rotated_compared_and_made_elsewhere(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "key", "rotate", "radiographs")[0] == 0
    code, out, _ = said(capsys, "key", "list")
    assert (code, out.count("at hand"), out.count("no copy compared")) == (0, 2, 2)
    copy = home / "copy"
    copy.mkdir()
    (copy / "radiographs.key").write_bytes((home / "keys" / "radiographs.key").read_bytes())
    (copy / "radiographs.key").chmod(0o600)
    code, out, _ = said(capsys, "key", "check", "radiographs", "--backup", str(copy))
    assert (code, "lacks key 2" in out) == (3, True)
    secret = home / "secret"
    code, out, _ = said(capsys, "key", "make", "other", "--to", str(secret))
    line = secret.read_text().splitlines()[-1]
    assert (code, line.startswith("sluice-key 1 other 1 ")) == (0, True)
    assert line.split()[5] not in out
    assert said(capsys, "key", "make", "other", "--to", str(secret))[0] == 2


def test_merges_and_canaries(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merges = home / "merges.csv"
    merges.write_text("prior_id,surviving_id\nPID-4711-77,PID-1\n")
    assert "1 merges read, 1 new" in said(capsys, "merge", str(merges))[1]
    code, out, _ = said(capsys, "canary", "add", "radiographs")
    assert (code, "is in the archive" in out) == (0, True)
    name = out.split()[3]
    code, out, _ = said(capsys, "canary", "list", "radiographs")
    assert f"{name}: added" in out
    assert "4 of 4 files" in out
    logs = home / "logs"
    logs.mkdir()
    (logs / "one.log").write_text(f"a line with {name}\n")
    assert said(capsys, "canary", "check", "radiographs", "--logs", str(logs))[0] == 3
    assert said(capsys, "canary", "add", "radiographs", "--to", str(home / "files"))[0] == 0
    assert len(list((home / "files").iterdir())) == 4
    assert "2 retired" in said(capsys, "canary", "retire", "radiographs")[1]

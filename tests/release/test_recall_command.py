"""Opt-outs and recalls at a terminal: identifiers come by standard input and are not repeated."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from sluice.__main__ import main
from sluice.database import Database
from sluice.objects import ObjectStore
from sluice.release.projects import Project, Recipient
from sluice.release.recall.access import note_accesses
from sluice.settings import Settings
from tests.deid.planted import DX, image
from tests.release.hospital_day import store_day
from tests.release.test_export import project, run

GET = 'own {bucket} [26/Nov/2026:1{hour}:00:00 +0000] 10.0.0.1 {who} R1 REST.{verb}.OBJECT {key} "GET /x" {status} -\n'
ANA = "arn:aws:iam::1:user/ana"


@pytest.fixture
def released(database: Database, bucket: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A published release of two patients, whose project names a recipient."""
    archive = tmp_path / "archive"
    store_day(database, archive, [image(1), image(1, "PID-88", "Larkspur^Bo", DX, study=2, modality="DX")])
    chosen = project(bucket).model_copy(update={"recipients": (Recipient(name="Uni X", contact="x@uni.example"),)})
    run(database, archive, bucket, tmp_path / "keys", chosen)
    monkeypatch.setattr("sluice.commands.installation.database_of", lambda home: database)
    monkeypatch.setattr("sluice.commands.installation.stores_of", lambda home: lambda name: bucket)
    monkeypatch.setattr("sluice.release.recall.recalls.load_project", lambda name: chosen)
    site = Settings(home=tmp_path)
    for module in ("sluice.release.recall.recalls", "sluice.release.recall.tombstones", "sluice.release.publishing"):
        monkeypatch.setattr(f"{module}.settings", lambda: site)
    return chosen


def test_a_patient_is_opted_out_recipients_are_told_and_answer(
    database: Database,
    bucket: ObjectStore,
    released: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    owner: Database,
) -> None:
    key = next(entry.key for entry in bucket.list() if entry.key.endswith(".dcm"))
    asked = (("GET", ANA, 200), ("GET", ANA, 404), ("PUT", "eve", 200), ("HEAD", "eve", 200))
    log = [
        GET.format(bucket=bucket.bucket, key=key, hour=hour, who=who, verb=verb, status=status)
        for hour, (verb, who, status) in enumerate(asked)
    ]
    assert note_accesses(database, log) == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("patient_id\nPID-88\n"))
    assert main(["opt-out", "add", "--why", "objection"]) == 0
    said = capsys.readouterr().out
    assert "1 of 1 objects of 1 releases are taken back" in said
    assert "PID-88" not in said
    assert main(["opt-out", "list"]) == 0
    assert "PID-88" not in capsys.readouterr().out
    assert main(["opt-out", "list", "--identifiers"]) == 0
    assert "patient PID-88" in capsys.readouterr().out
    assert main(["recall", "list"]) == 0
    listed = capsys.readouterr().out
    assert "Uni X <x@uni.example>: has not answered" in listed
    assert f"{ANA}: has not answered" in listed
    assert main(["recall", "notice", "1", "--recipient", "Uni X"]) == 0
    told = capsys.readouterr().out
    assert "radiographs/v1/dicom/RAD-" in told
    assert "PID-88" not in told
    assert "objection" not in told
    assert main(["recall", "notice", "1", "--recipient", "eve"]) == 1
    assert f"Uni X, {ANA}" in capsys.readouterr().err
    assert main(["recall", "ack", "1", "--recipient", "Uni X", "--note", "mail of today"]) == 0
    assert main(["recall", "ack", "1", "--recipient", "Uni X", "--note", "again"]) == 1
    assert "before" in capsys.readouterr().err
    assert main(["recall", "overdue"]) == 0
    with owner.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("alter table recall disable trigger append_only")
        cursor.execute("update recall set due_on = current_date - 1")
        cursor.execute("alter table recall enable trigger append_only")
    assert main(["recall", "overdue"]) == 3


def test_a_release_is_recalled_by_its_name(
    bucket: ObjectStore, released: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recall", "radiographs/v1"]) == 2
    assert main(["recall", "radiographs/v2", "--why", "x"]) == 1
    assert "Nothing was ever released as radiographs/v2" in capsys.readouterr().err
    assert main(["recall", "radiographs", "--why", "the contract ended"]) == 0
    assert not [entry for entry in bucket.list() if entry.key.endswith(".dcm")]
    assert main(["opt-out", "withdraw", "1", "--why", "a new contract"]) == 0
    assert main(["opt-out", "withdraw", "1", "--why", "again"]) == 1

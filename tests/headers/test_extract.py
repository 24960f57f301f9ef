from __future__ import annotations

import time
from pathlib import Path

import pytest

from sluice.database import Database, select
from sluice.headers.extract import extract
from tests.headers.archive import receive


def dicom_files(shared_data: Path) -> list[Path]:
    return sorted(path for path in (shared_data / "dicom").rglob("*") if path.is_file())


def test_every_sample_file_is_indexed_or_refused_with_a_reason(
    database: Database, tmp_path: Path, shared_data: Path
) -> None:
    files = dicom_files(shared_data)
    assert len(files) > 400
    (batch,) = receive(database, tmp_path, [(f"2.25.{n}", path) for n, path in enumerate(files)])
    started = time.monotonic()
    summary = extract(database, tmp_path, batch, workers=0)
    assert time.monotonic() - started < 60
    assert summary.read == len(files)
    assert summary.indexed + summary.quarantined == len(files)
    assert summary.indexed > 350
    with database.transaction() as connection:
        reasons = select(connection, "select reason_code, count(*) from quarantine group by 1")
        assert {row["reason_code"] for row in reasons} <= {"unreadable", "truncated"}
        assert sum(row["count"] for row in reasons) == summary.quarantined
        open_gaps = select(connection, "select reason_code from open_gap where step = 'indexed'")
        assert sorted(row["reason_code"] for row in open_gaps) == sorted(
            row["reason_code"] for row in reasons for _ in range(row["count"])
        )
    again = extract(database, tmp_path, batch, workers=0)
    assert (again.read, again.indexed, again.quarantined) == (summary.quarantined, 0, summary.quarantined)
    with database.transaction() as connection:
        (count,) = select(
            connection, "select (select count(*) from gap) as gaps, (select count(*) from quarantine) as files"
        )
    assert count == {"gaps": summary.quarantined, "files": summary.quarantined}


def test_a_missing_archive_is_an_error_not_a_quarantine(database: Database, tmp_path: Path) -> None:
    (batch,) = receive(database, tmp_path, [("2.25.1", b"no dicom")])
    with pytest.raises(RuntimeError, match="SLUICE_HOME"):
        extract(database, tmp_path / "elsewhere", batch)

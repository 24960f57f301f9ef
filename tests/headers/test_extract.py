from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest

from sluice.database import Database, select
from sluice.headers.blocks import header_of
from sluice.headers.extract import extract
from tests.headers.archive import receive
from tests.headers.test_parser import data_set, encoded


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


def ct(uid: str, **elements: object) -> bytes:
    defaults = {"StudyInstanceUID": "2.25.7", "SeriesInstanceUID": "2.25.7.1", "Modality": "CT", "PatientID": "P1"}
    return encoded(data_set(**(defaults | {"SOPInstanceUID": uid} | elements)))


def rows(database: Database, statement: str) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return select(connection, statement)


def test_columns_and_json_stand_in_the_database(database: Database, tmp_path: Path) -> None:
    data = ct(
        "2.25.1",
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        PatientBirthDate="19700230",  # no such day
        PatientAge="045Y",
        StudyDate="20261026",
        AcquisitionDateTime="20261026101530.25+0100",
        AcquisitionDate="20261026",
        AcquisitionTime="110000",
        InstanceCreationDate="20261026",
        PixelSpacing=["0.5", "0.25"],
        SliceThickness="1.50",
        StationName="CT 7",
        BodyPartExamined="THORAX",
        ImageType=["ORIGINAL", "PRIMARY", ""],
        InstanceNumber="99999999999",
        InstanceCoercionDateTime="20261026101600",
        TimezoneOffsetFromUTC="+0100",
    )
    (batch,) = receive(database, tmp_path, [("2.25.1", data)])
    assert extract(database, tmp_path, batch).indexed == 1
    (study,) = rows(database, "select * from study")
    assert (study["patient_name"], study["patient_birth_date"]) == ("Yamada^Tarou=山田^太郎=やまだ^たろう", None)
    assert study["study_date"] == date(2026, 10, 26)
    (series,) = rows(database, "select * from series")
    assert (series["station_name"], series["body_part_examined"]) == ("CT 7", "THORAX")
    (found,) = rows(database, "select * from instance")
    assert found["acquired_at"] == datetime(2026, 10, 26, 10, 15, 30, 250_000)
    assert found["stored_in_pacs_at"] == datetime(2026, 10, 26, 9, 16, tzinfo=UTC)  # Berlin after summer time
    assert (found["patient_age_years"], found["timezone_offset"]) == (45, "+0100")
    assert (found["pixel_spacing"], found["slice_thickness"]) == ([0.5, 0.25], 1.5)
    assert (found["image_type"], found["instance_number"]) == (["ORIGINAL", "PRIMARY", ""], None)
    header = header_of(database, "2.25.1")
    assert header["00100010"]["Value"][0]["Ideographic"] == "山田^太郎"
    assert header["00100030"]["Value"] == ["19700230"]
    (text,) = rows(
        database,
        "select header_element(block_id, block_position, '00180050') #>> '{Value,0}' as thickness from instance",
    )
    assert text["thickness"] == "1.50"
    (anatomy,) = rows(database, "select * from header_anatomy")
    assert (anatomy["region_key"], anatomy["source_tag"]) == ("CHEST", "(0018,0015)")


def test_a_series_that_claims_two_studies_and_patients_is_indexed_and_counted(
    database: Database, tmp_path: Path
) -> None:
    (batch,) = receive(
        database,
        tmp_path,
        [("2.25.1", ct("2.25.1")), ("2.25.2", ct("2.25.2", StudyInstanceUID="2.25.8", PatientID="P2"))],
    )
    summary = extract(database, tmp_path, batch)
    assert (summary.indexed, summary.conflicts) == (2, 1)
    assert [row["study_instance_uid"] for row in rows(database, "select * from series")] == ["2.25.7"]
    found = rows(database, "select study_instance_uid, patient_id from instance order by sop_instance_uid")
    assert [tuple(row.values()) for row in found] == [("2.25.7", "P1"), ("2.25.8", "P2")]


def test_short_pixels_and_missing_files_are_refused_and_come_right_later(database: Database, tmp_path: Path) -> None:
    image = {"Rows": 4, "Columns": 4, "BitsAllocated": 16, "SamplesPerPixel": 1, "NumberOfFrames": 2}
    short, whole = (ct(f"2.25.{n}", PixelData=b"\0" * n, **image) for n in (60, 64))
    (batch,) = receive(database, tmp_path, [("2.25.60", short), ("2.25.64", whole), ("2.25.9", ct("2.25.9"))])
    (path,) = (row["path"] for row in rows(database, "select path from receipt where sop_instance_uid = '2.25.9'"))
    (tmp_path / path).rename(tmp_path / "away")
    assert extract(database, tmp_path, batch).quarantined == 2
    found = rows(
        database, "select sop_instance_uid, reason_code, detail from open_gap where step = 'indexed' order by 1"
    )
    assert [tuple(row.values()) for row in found] == [
        ("2.25.60", "truncated", "pixel data holds 60 of 64 bytes"),
        ("2.25.9", "unreadable", "the file cannot be opened (No such file or directory)"),
    ]
    (tmp_path / "away").rename(tmp_path / path)
    assert extract(database, tmp_path, batch).indexed == 1
    assert len(rows(database, "select from open_gap where step = 'indexed'")) == 1


def test_two_at_once_write_everything_once(database: Database, tmp_path: Path) -> None:
    files = [(f"2.25.{n}", ct(f"2.25.{n}", SeriesInstanceUID=f"2.25.7.{n % 3}")) for n in range(1, 61)]
    files.append(("2.25.99", b"no dicom at all"))
    (batch,) = receive(database, tmp_path, files)
    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(extract, database, tmp_path, batch, 0) for _ in range(2)]
        assert sum(task.result().indexed for task in done) == 60
    (counts,) = rows(
        database,
        "select (select count(*) from instance) as instances, (select count(*) from series) as series, "
        "(select count(*) from header_anatomy) as anatomy, (select count(*) from gap) as gaps, "
        "(select count(*) from quarantine) as files",
    )
    assert counts == {"instances": 60, "series": 3, "anatomy": 3, "gaps": 1, "files": 1}
    assert_consistent(database)


def test_worker_processes_give_the_same_rows(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.headers.extract.CHUNK", 7)
    (batch,) = receive(database, tmp_path, [(f"2.25.{n}", ct(f"2.25.{n}")) for n in range(1, 31)])
    assert extract(database, tmp_path, batch, workers=2).indexed == 30


def test_a_header_that_the_database_cannot_hold_keeps_no_other_out(database: Database, tmp_path: Path) -> None:
    too_long_for_an_index = "".join(random.Random(1).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=20_000))
    files = [(f"2.25.{n}", ct(f"2.25.{n}")) for n in range(1, 9)]
    with pydicom.config.disable_value_validation():
        files[2] = (
            "2.25.3",
            ct(
                "2.25.3", StudyInstanceUID="2.25.8", SeriesInstanceUID="2.25.8.1", AccessionNumber=too_long_for_an_index
            ),
        )
    (batch,) = receive(database, tmp_path, files)
    summary = extract(database, tmp_path, batch)
    assert (summary.indexed, summary.quarantined) == (7, 1)
    assert [row["sop_instance_uid"] for row in rows(database, "select * from quarantine")] == ["2.25.3"]
    assert_consistent(database)


def assert_consistent(database: Database) -> None:
    """Every instance with a header is in exactly one block, and every block has the instances that it says."""
    assert not rows(
        database,
        "select from header_block b left join (select block_id, count(*) as members, count(distinct block_position) "
        "as places, max(block_position) as last from instance group by 1) i using (block_id) "
        "where members is distinct from b.instances or places <> b.instances or last <> b.instances - 1",
    )
    assert not rows(database, "select from instance where block_id is null")

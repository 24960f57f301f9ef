"""Bringing in folders and ZIPs: everything is taken once or named with a reason, whatever lies there."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sluice.__main__ import main
from sluice.archive.import_report import report
from sluice.archive.imports import ImportStopped, ImportSummary, import_files, import_window
from sluice.batches import plan_batches
from sluice.database import Database
from sluice.headers.extract import extract
from sluice.settings import Settings, settings
from tests.ledger_rows import CT_IMAGE, ROOT, LedgerRows
from tests.pacs.sending import rows


def image(number: int, pixels: bytes = b"\7" * 512, day: str = "20261026") -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CT_IMAGE
    dataset.SOPInstanceUID = f"{ROOT}.9.1.{number}"
    dataset.StudyDate = day
    dataset.Modality = "CT"
    dataset.PatientID = "SECRET-ID"
    dataset.StudyInstanceUID = f"{ROOT}.9"
    dataset.SeriesInstanceUID = f"{ROOT}.9.1"
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.Rows, dataset.Columns = 1, 8, len(pixels) // 512 or 1, 512
    dataset.add_new(0x7FE00010, "OB", pixels)
    return dataset


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A whole file (PS3.10)."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    out = io.BytesIO()
    dcmwrite(
        out, dataset, enforce_file_format=True, little_endian=syntax != ExplicitVRBigEndian,
        implicit_vr=syntax == ImplicitVRLittleEndian,
    )  # fmt: skip
    return out.getvalue()


def bare(file: bytes) -> bytes:
    """The dataset alone, without preamble, prefix and meta information."""
    length = int.from_bytes(file[140:144], "little")
    return file[144 + length :]


def brought(database: Database, home: Path, *roots: Path, name: str = "try") -> ImportSummary:
    return import_files(database, Settings(home=home), import_window(roots, name), roots)


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    folder = tmp_path / "disc"
    folder.mkdir()
    return folder


def test_every_encoding_of_a_file_is_understood(database: Database, tmp_path: Path, disc: Path) -> None:
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
    for number, syntax in enumerate(syntaxes):
        (disc / f"whole{number}").write_bytes(encoded(image(number), syntax))
    (disc / "no preamble").write_bytes(encoded(image(10))[128:])
    (disc / "no prefix").write_bytes(encoded(image(11))[132:])
    for number, syntax in enumerate(syntaxes[:3]):
        (disc / f"bare{number}").write_bytes(bare(encoded(image(20 + number), syntax)))
    (disc / "padded").write_bytes(encoded(image(30), ImplicitVRLittleEndian) + bytes(5))
    summary = brought(database, tmp_path / "home", disc)
    assert summary.not_taken == {}
    assert (summary.received, summary.taken, summary.is_complete) == (10, 10, True)
    found = {
        int(str(row["sop_instance_uid"]).rsplit(".", 1)[1]): row for row in rows(database, "select * from receipt")
    }
    expected = dict(enumerate(syntaxes)) | {10: syntaxes[0], 11: syntaxes[0], 20: syntaxes[0], 21: syntaxes[1]}
    expected |= {22: syntaxes[2], 30: syntaxes[1]}
    assert {number: row["transfer_syntax_uid"] for number, row in found.items()} == expected
    assert {(row["source"], row["calling_ae"]) for row in found.values()} == {("import", "IMPORT")}
    assert len({row["association"] for row in found.values()}) == 1
    assert (
        extract(database, tmp_path / "home" / "archive", *plan_batches(database, "import/try"), workers=0).indexed == 10
    )


def test_what_is_not_taken_is_named_and_left_alone(database: Database, tmp_path: Path, disc: Path) -> None:
    whole = encoded(image(1))
    no_uid = image(2)
    no_uid.StudyInstanceUID = "../../etc"
    files = {
        "readme.txt": (b"Viewer for Windows", "not-dicom"),
        "empty": (b"", "not-dicom"),
        "cut": (whole[:-10], "truncated"),
        "cut header": (whole[:300], "truncated"),
        "cut meta": (whole[:180], "truncated"),
        "bad uid": (encoded(no_uid), "unusable-uids"),
        "deflated and cut": (encoded(image(3), DeflatedExplicitVRLittleEndian)[:-20], "truncated"),
        "like a dataset": (b"\x08\0\x16\0" + bytes(200), "not-dicom"),
        "a\udcff\n\x1b[31m": (b"odd name", "not-dicom"),
    }
    for name, (data, _) in files.items():
        (disc / name).write_bytes(data)
    os.mkfifo(disc / "pipe")
    (disc / "dangling").symlink_to(disc / "nowhere")
    summary = brought(database, tmp_path / "home", disc)
    assert summary.taken == 0
    assert summary.not_taken == {"not-dicom": 5, "truncated": 4, "unusable-uids": 1, "unreadable-file": 1}
    told = {str(row["path"]).removeprefix("import/try/"): row for row in rows(database, "select * from quarantine")}
    for name, (_, reason) in files.items():
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        assert told[shown]["reason_code"] == reason, name
    assert told["cut"]["sop_instance_uid"] == f"{ROOT}.9.1.1"
    assert not any(path.is_file() for path in (tmp_path / "home" / "archive").rglob("*"))
    again = brought(database, tmp_path / "home", disc)
    assert again.not_taken == summary.not_taken
    assert len(rows(database, "select from quarantine")) == len(told)


def test_again_takes_nothing_twice_and_other_content_is_set_aside(
    database: Database, tmp_path: Path, disc: Path
) -> None:
    for number in range(5):
        (disc / str(number)).write_bytes(encoded(image(number)))
    assert brought(database, tmp_path / "home", disc).received == 5
    (disc / "6").write_bytes(encoded(image(6)))
    (disc / "other").write_bytes(encoded(image(2, b"\1" * 512)))
    (disc / "DICOMDIR").write_bytes(directory())
    summary = brought(database, tmp_path / "home", disc)
    assert (summary.received, summary.again, summary.set_aside, summary.directories) == (1, 5, 1, 1)
    assert not summary.is_complete
    assert len(rows(database, "select from receipt")) == 6
    assert len(rows(database, "select from receipt_conflict")) == 1
    assert len(rows(database, "select from imported")) == 6
    assert len(rows(database, "select from import_run where finished_at is not null")) == 2


def directory() -> bytes:
    dataset = image(99)
    dataset.SOPClassUID = "1.2.840.10008.1.3.10"
    return encoded(dataset)


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def encrypted(archive: bytes) -> bytes:
    """The same ZIP with the flag that its first member is encrypted, in both of its headers (APPNOTE 4.4.4)."""
    data = bytearray(archive)
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(magic) + at] |= 1
    return bytes(data)


def test_zips_are_read_without_being_unpacked(database: Database, tmp_path: Path, disc: Path) -> None:
    inner = zipped({"deep.dcm": encoded(image(3)), "deeper.zip": zipped({"x": encoded(image(4))})})
    (disc / "a.zip").write_bytes(
        zipped({"../../../evil.dcm": encoded(image(1)), "/abs": encoded(image(2)), "in.zip": inner, "note": b"hello"})
    )
    (disc / "locked").write_bytes(encrypted(zipped({"y": encoded(image(5))})))
    (disc / "damaged.zip").write_bytes(zipped({"z": encoded(image(6))})[:-30])
    crc = bytearray(zipped({"wrong": encoded(image(7))}))
    crc[60] ^= 0xFF
    (disc / "crc.zip").write_bytes(crc)
    (disc / "bomb.zip").write_bytes(bomb())
    summary = brought(database, tmp_path / "home", disc)
    assert summary.received == 3
    assert summary.not_taken == {"not-dicom": 2, "encrypted": 1, "damaged-zip": 2, "zip-bomb": 1}
    told = {row["path"] for row in rows(database, "select path from quarantine")}
    assert "import/try/a.zip!/in.zip!/deeper.zip" in told
    assert not list(tmp_path.rglob("evil*"))
    assert {path.name for path in tmp_path.iterdir()} == {"disc", "home"}


def bomb() -> bytes:
    """A ZIP that says it unpacks to two thousand gigabytes."""
    data = bytearray(zipped({"zeros": b"\x08\0" + bytes(1 << 20)}))
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    return bytes(data)


def test_large_members_are_streamed(database: Database, tmp_path: Path, disc: Path) -> None:
    large = encoded(image(1, os.urandom(1 << 20) * 20))
    (disc / "large.zip").write_bytes(zipped({"large": large}))
    (disc / "large.dcm").write_bytes(large)
    summary = brought(database, tmp_path / "home", disc)
    assert (summary.received, summary.again) == (1, 1)
    (row,) = rows(database, "select bytes, path from receipt")
    assert (tmp_path / "home" / "archive" / str(row["path"])).read_bytes()[-len(bare(large)) :] == bare(large)


def test_links_are_followed_once(database: Database, tmp_path: Path, disc: Path) -> None:
    (disc / "sub").mkdir()
    (disc / "sub" / "one").write_bytes(encoded(image(1)))
    (disc / "sub" / "up").symlink_to(disc)
    (disc / "outside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "two").write_bytes(encoded(image(2)))
    summary = brought(database, tmp_path / "home", disc)
    assert (summary.files, summary.received) == (2, 2)


def test_imports_belong_to_swept_days_and_close_their_gaps(database: Database, tmp_path: Path, disc: Path) -> None:
    ledger = LedgerRows(database)
    for number in (1, 2):
        ledger.expected(f"{ROOT}.9.1", number)
    (disc / "1").write_bytes(encoded(image(1)))
    (disc / "3").write_bytes(encoded(image(3)))
    (disc / "old").write_bytes(encoded(image(4, day="19990101")))
    (disc / "cut").write_bytes(encoded(image(2))[:-8])
    summary = brought(database, tmp_path / "home", disc)
    assert summary.days == {"2026-10-26": 2}
    funnel = {row["window_key"]: row for row in rows(database, "select * from window_funnel")}
    day = funnel["2026-10-26"]
    assert (day["members"], day["expected"], day["received"], day["expected_and_received"]) == (3, 2, 2, 1)
    assert (funnel["import/try"]["members"], funnel["import/try"]["received"]) == (3, 3)
    (gap,) = rows(database, "select reason_code from open_gap where step = 'received'")
    assert gap["reason_code"] == "truncated"  # it came, but not whole


def test_the_same_paths_are_the_same_window(tmp_path: Path, disc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert import_window([disc]).key == import_window([Path("disc")]).key
    assert import_window([disc]).key != import_window([tmp_path]).key
    for wrong in ("", "../x", "a/b", "x" * 61, " "):
        with pytest.raises(ImportStopped):
            import_window([disc], wrong)


def test_a_full_disk_stops_it_with_advice(database: Database, tmp_path: Path, disc: Path) -> None:
    (disc / "1").write_bytes(encoded(image(1)))
    full = Settings(home=tmp_path / "home", receiver_min_free_bytes=1 << 60)
    with pytest.raises(ImportStopped, match="Free space"):
        import_files(database, full, import_window([disc], "full"), [disc])
    assert not rows(database, "select from receipt")


def test_the_command_says_what_was_not_taken(
    database: Database, tmp_path: Path, disc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    try:
        (disc / "1").write_bytes(encoded(image(1)))
        assert main(["import", str(disc), "--name", "cd-1"]) == 0
        said = capsys.readouterr().out
        assert "window import/cd-1" in said
        assert "extract_headers" in said
        (disc / "setup.exe").write_bytes(b"MZ")
        assert main(["import", str(disc), "--name", "cd-1"]) == 3
        said = capsys.readouterr().out
        assert "setup.exe" in said
        assert "not-dicom" in said
        assert max(map(len, said.splitlines())) <= 100
        assert main(["import", str(tmp_path / "nowhere")]) == 1
    finally:
        settings.cache_clear()


def test_nothing_identifying_is_logged(
    database: Database, tmp_path: Path, disc: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    (disc / "SECRET^NAME.dcm").write_bytes(encoded(image(1)))
    (disc / "SECRET^NAME.txt").write_bytes(b"x")
    brought(database, tmp_path / "home", disc)
    assert "SECRET" not in caplog.text
    assert ROOT not in caplog.text


def test_real_oddities_are_judged_as_the_header_reader_does(
    database: Database, tmp_path: Path, shared_data: Path
) -> None:
    folder = shared_data / "dicom" / "pydicom-data"
    summary = brought(database, tmp_path / "home", folder)
    assert summary.received > 20
    assert summary.files == summary.taken + summary.directories + sum(summary.not_taken.values())


def test_an_empty_folder_is_not_all_well(database: Database, tmp_path: Path, disc: Path) -> None:
    summary = brought(database, tmp_path / "home", disc)
    assert not summary.is_complete
    assert "Is it the right folder" in report(summary, {})


def test_a_folder_that_holds_the_archive_is_refused(database: Database, tmp_path: Path, disc: Path) -> None:
    (disc / "one").write_bytes(encoded(image(1)))
    for root in (tmp_path, tmp_path / "home", tmp_path / "home" / "archive"):
        root.mkdir(parents=True, exist_ok=True)
        with pytest.raises(ImportStopped, match="holds the archive"):
            brought(database, tmp_path / "home", root)
    assert brought(database, tmp_path / "home", disc).received == 1

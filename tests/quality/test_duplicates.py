"""The same pixels under another UID: proven by whole files, in any window, told apart by patient; blanks left out."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import numpy
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from sluice.database import Database, select
from sluice.quality.check import check
from sluice.quality.duplicates import confirm, prove
from sluice.windows import Window
from tests.ledger_rows import CT_IMAGE, DAY, LedgerRows
from tests.quality.test_check import findings

LITTLE = "1.2.840.10008.1.2.1"


def pixels(seed: int) -> bytes:
    return numpy.random.default_rng(seed).integers(0, 4096, (32, 32), dtype="uint16").tobytes()


def write(path: Path, content: bytes, encapsulated: bytes | None = None) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = LITTLE if encapsulated is None else RLELossless
    dataset.file_meta.MediaStorageSOPClassUID = CT_IMAGE
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT_IMAGE, "1.2.3"
    dataset.Rows = dataset.Columns = 32
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.SamplesPerPixel = 16, 12, 11, 1
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = 0, "MONOCHROME2"
    dataset.PixelData = content if encapsulated is None else encapsulated
    dataset["PixelData"].is_undefined_length = encapsulated is not None
    dcmwrite(path, dataset, enforce_file_format=True)


def test_twins_are_found_in_every_window_and_told_apart_by_patient(database: Database, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()

    def image(rows: LedgerRows, study: int, content: bytes, patient: str | None = None, digest: str = "same") -> str:
        patient = patient or f"PAT-{study:04}"
        series = rows.series(rows.study(study, patient_id=patient))
        uid = rows.instance(series, 1, patient_id=patient, pixel_digest=digest.encode())
        write(archive / f"{uid}.dcm", content)
        return uid

    before = LedgerRows(database, Window.of_day(DAY - timedelta(1)))
    rows = LedgerRows(database)
    earlier, later = image(before, 1, pixels(1)), image(rows, 2, pixels(1))
    copied, copy = image(rows, 3, pixels(2), "P", "two"), image(rows, 4, pixels(2), "P", "two")
    for study in (5, 6):
        image(rows, study, bytes(2048), digest="blank")  # empty slices
    image(rows, 7, pixels(3), digest="alike")  # partial digests are alike, the pixels are not
    image(rows, 8, pixels(4), digest="alike")
    lost, _ = image(rows, 9, pixels(5), digest="lost"), image(rows, 10, pixels(5), digest="lost")
    (archive / f"{lost}.dcm").unlink()

    for _ in range(2):
        summary = check(database, rows.window.key, tmp_path / "docs", archive=archive)
        assert findings(database) == {
            ("pixels-of-another-patient", later),
            ("pixels-of-another-patient", earlier),
            ("pixels-twice", copied),
            ("pixels-twice", copy),
        }
    assert summary.findings_by_severity["stop"] == 2
    with database.transaction() as connection:
        said = {
            row["sop_instance_uid"]: row["observed"]
            for row in select(connection, "select sop_instance_uid, observed from quality_finding")
        }
        held = {row["sop_instance_uid"] for row in select(connection, "select sop_instance_uid from quality_hold")}
        read = select(connection, "select count(*) as files, count(digest) as read from pixel_proof")
    assert earlier in said[later]
    assert later in said[earlier]
    assert copy in said[copied]
    assert held == {earlier, later}
    assert read == [{"files": 10, "read": 9}]
    assert prove(database, archive, rows.window.key) == 0, "what was read is read again"

    database.execute("delete from pixel_proof where sop_instance_uid = %s", (later,))
    database.execute("update instance set pixel_digest = null where sop_instance_uid = %s", (later,))
    check(database, before.window.key, tmp_path / "docs", archive=archive)
    assert ("pixels-of-another-patient", earlier) not in findings(database)


@pytest.mark.parametrize(
    ("content", "blank"),
    [
        (bytes(2048), True),
        (b"\x07\x01" * 1024, True),
        (b"\x07\x01" * (2 << 20), True),
        (b"\x07\x01" * (1 << 20) + b"\x08\x01" * 1024, False),
        (pixels(1), False),
        (bytes(2040) + pixels(1)[:8], False),
    ],
)
def test_a_picture_of_one_value_is_blank(tmp_path: Path, content: bytes, blank: bool) -> None:
    write(tmp_path / "a.dcm", content)
    (proof,) = confirm(tmp_path, [("1.2.3", "a.dcm")])
    assert proof.digest == hashlib.sha256(content).digest()
    assert proof.is_blank is blank


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_file_is_read_once(tmp_path: Path, is_compressed: bool) -> None:
    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    content = numpy.random.default_rng(1).integers(0, 256, 3 << 20, dtype="uint8").tobytes()
    write(tmp_path / "a.dcm", content, encapsulate([content]) if is_compressed else None)
    list(confirm(tmp_path, [("1.2.3", "a.dcm")]))  # what is imported on the way
    before = bytes_read()
    (proof,) = confirm(tmp_path, [("1.2.3", "a.dcm")])
    assert proof == ("1.2.3", hashlib.sha256(content).digest(), False)
    assert bytes_read() - before < 1.2 * len(content)

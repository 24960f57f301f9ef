from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from sluice.database import Database
from sluice.headers.extract import extract
from sluice.headers.whole_pixels import WholePixels, whole_pixels
from tests.headers.archive import receive
from tests.headers.test_extract import ct, rows
from tests.headers.test_parser import data_set, encoded

PIXELS = bytes(range(256)) * 1024


def digest_of(tmp_path: Path, data: bytes) -> str | None:
    path = tmp_path / "pixels.dcm"
    path.write_bytes(data)
    return _digest(whole_pixels(path))


def _digest(found: WholePixels | None) -> str | None:
    return found and found.digest.hex()


def with_pixels(syntax: str, pixels: bytes, **elements: Any) -> bytes:
    ds = data_set(syntax, **elements)
    ds.PixelData = pixels
    ds["PixelData"].VR = "OW" if syntax != JPEG2000Lossless else "OB"
    ds["PixelData"].is_undefined_length = syntax == JPEG2000Lossless
    return encoded(ds)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian],
)
def test_whole_native_pixels_are_digested_alike_whatever_is_around_them(tmp_path: Path, syntax: str) -> None:
    wanted = hashlib.sha256(PIXELS).hexdigest()
    assert digest_of(tmp_path, with_pixels(syntax, PIXELS, PatientID="1")) == wanted
    assert digest_of(tmp_path, with_pixels(syntax, PIXELS, PatientID="another")) == wanted
    assert digest_of(tmp_path, with_pixels(syntax, PIXELS[:-1] + b"\0")) != wanted
    assert digest_of(tmp_path, encoded(data_set(syntax))) is None


def test_fragments_count_without_what_is_around_them(tmp_path: Path) -> None:
    frames = [b"\1" * 70_000, b"\2" * 3_000]
    wanted = hashlib.sha256(b"".join(frames)).hexdigest()
    assert digest_of(tmp_path, with_pixels(JPEG2000Lossless, encapsulate(frames))) == wanted
    assert digest_of(tmp_path, with_pixels(JPEG2000Lossless, encapsulate(frames, has_bot=False))) == wanted
    cut = encapsulate(frames, fragments_per_frame=3)
    assert digest_of(tmp_path, with_pixels(JPEG2000Lossless, cut)) == wanted


def test_of_samples_the_digest_is_that_of_the_value_pydicom_reads(shared_data: Path) -> None:
    compared = 0
    for path in sorted((shared_data / "dicom" / "pydicom-data").rglob("*.dcm"))[:80]:
        try:
            found = _digest(whole_pixels(path))
            dataset = pydicom.dcmread(path, force=True)
        except Exception:  # damaged ones are others' tests
            continue
        if found is None or "PixelData" not in dataset or dataset["PixelData"].is_undefined_length:
            continue
        assert found == hashlib.sha256(dataset.PixelData).hexdigest(), path.name
        compared += 1
    assert compared > 20


def test_equal_pixels_have_equal_digests_in_the_database_and_others_have_not(
    database: Database, tmp_path: Path
) -> None:
    image = {"Rows": 512, "Columns": 256, "BitsAllocated": 16, "BitsStored": 12, "SamplesPerPixel": 1}
    changed = bytearray(PIXELS)
    changed[len(PIXELS) - 3] ^= 1  # in the last piece
    files = {
        "2.25.1": ct("2.25.1", PixelData=PIXELS, **image),
        "2.25.2": ct("2.25.2", PixelData=PIXELS, PatientID="another", SeriesInstanceUID="2.25.9", **image),
        "2.25.3": ct("2.25.3", PixelData=bytes(changed), **image),
        "2.25.4": ct("2.25.4", PixelData=PIXELS, **(image | {"Rows": 256, "Columns": 512})),
        "2.25.5": ct("2.25.5"),
    }
    (batch,) = receive(database, tmp_path, files.items())
    extract(database, tmp_path, batch)
    found = rows(database, "select pixel_bytes, pixel_digest from instance order by sop_instance_uid")
    assert [row["pixel_bytes"] for row in found] == [len(PIXELS)] * 4 + [None]
    digests = [row["pixel_digest"] and bytes(row["pixel_digest"]) for row in found]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert digests[4] is None
    assert len(digests[0]) == 16

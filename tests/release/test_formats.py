"""Other forms of released images: what they show is what the file means, by numbers that were worked out by hand."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from sluice.database import select
from sluice.release.export import verify
from sluice.release.formats import png
from sluice.release.formats.made import NotMade
from sluice.release.formats.png import pictures
from sluice.release.review import open_review, remember
from sluice.release.tables import dictionary, split_of
from tests.deid.planted import CT, DX, encoded, image
from tests.release.hospital_day import store_day
from tests.release.scene import Scene

ABOUT = {"patient": "RAD-X"}


def made(dataset: Dataset) -> list[tuple[NDArray[Any], dict[str, Any]]]:
    files = pictures(encoded(dataset), "png/x", ABOUT)
    return [(np.asarray(Image.open(io.BytesIO(one.data))), one.columns) for one in files]


def film(values: list[int], bits: int = 12, signed: bool = False, **fields: Any) -> Dataset:
    """A DX of one row."""
    dataset = image(1, sop_class=DX, modality=str(fields.pop("Modality", "DX")))
    dataset.Rows, dataset.Columns = 1, len(values)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    dataset.PixelData = np.array(values, "<i2" if signed else "<u2").tobytes()
    for name, value in fields.items():
        setattr(dataset, name, value)
    return dataset


def table(first: int, values: list[int], bits: int = 16) -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(values), first, bits])
    item.add_new(0x00283006, "OW", np.array(values, "<u2").tobytes())
    return Sequence([item])


def test_values_of_ct_are_hounsfield_units_by_slope_and_intercept() -> None:
    for signed, stored in ((False, [0, 1024, 4095]), (True, [-1024, 0, 2047])):
        (grey, said), = made(film(stored, signed=signed, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024,
                                  WindowCenter=40, WindowWidth=400))  # fmt: skip
        assert grey.dtype == np.uint16
        assert (said["meaning"], said["units"], said["window"]) == ("values", "HU", None)
        measured = said["slope"] * grey[0].astype(float) + said["intercept"]
        assert measured.tolist() == [value - 1024 for value in stored]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [0, 2048 / 4095, 1]),  # all that 12 bits can hold
        ({"PhotometricInterpretation": "MONOCHROME1"}, [1, 1 - 2048 / 4095, 0]),
        ({"WindowCenter": 2048, "WindowWidth": 1024, "VOILUTFunction": "LINEAR_EXACT"}, [0, 0.5, 1]),
        ({"WindowCenter": [2048, 1], "WindowWidth": [1024, 1], "VOILUTFunction": "LINEAR_EXACT",
          "PhotometricInterpretation": "MONOCHROME1"}, [1, 0.5, 0]),
        ({"RescaleSlope": 2, "RescaleIntercept": 100, "RescaleType": "US", "WindowCenter": 4196, "WindowWidth": 2048,
          "VOILUTFunction": "LINEAR_EXACT"}, [0, 0.5, 1]),
        ({"PixelPaddingValue": 0, "PhotometricInterpretation": "MONOCHROME1"}, [0, 1 - 2048 / 4095, 0]),
    ],
)  # fmt: skip
def test_films_are_shown_as_they_are_to_be_seen(fields: dict[str, Any], expected: list[float]) -> None:
    ((grey, said),) = made(film([0, 2048, 4095], **fields))
    assert said["meaning"] == "display"
    assert grey[0].tolist() == pytest.approx([share * 65535 for share in expected], abs=9)
    assert said["inverted"] == (fields.get("PhotometricInterpretation") == "MONOCHROME1")


def test_a_table_goes_before_a_window() -> None:
    dataset = film([0, 1, 2, 3], VOILUTSequence=table(0, [0, 65535, 100, 40000]), WindowCenter=1, WindowWidth=2)
    ((grey, said),) = made(dataset)
    assert said["window"] == "LUT"
    assert grey[0].tolist() == [0, 65535, 100, 40000]


def test_each_frame_is_a_picture_and_colour_has_eight_bits() -> None:
    frames = made(film([1, 2, 3, 4, 5, 6], Columns=2, NumberOfFrames=3, Modality="CT"))
    assert [grey[0].tolist() for grey, _ in frames] == [[1, 2], [3, 4], [5, 6]]
    assert [said["frame"] for _, said in frames] == [1, 2, 3]
    colour = film([0], SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    colour.BitsAllocated = colour.BitsStored = 8
    colour.HighBit = 7
    colour.PixelData = bytes([255, 128, 7, 0])
    ((shown, said),) = made(colour)
    assert (shown.dtype, shown[0, 0].tolist(), said["meaning"]) == (np.uint8, [255, 128, 7], "colour")


def test_the_size_of_a_pixel_goes_along() -> None:
    (one,) = pictures(encoded(film([1, 2], PixelSpacing=[0.25, 0.5])), "png/x", ABOUT)
    opened = Image.open(io.BytesIO(one.data))
    assert opened.info["dpi"] == pytest.approx((25.4 / 0.5, 25.4 / 0.25), rel=1e-3)
    said = json.loads(opened.info["Description"])
    assert (said["row_spacing_mm"], said["column_spacing_mm"], said["spacing_of"]) == (0.25, 0.5, "patient")


def test_what_has_no_pixels_is_a_reason() -> None:
    broken = film([1, 2])
    del broken.PixelData
    with pytest.raises(NotMade, match="pixels-unreadable"):
        made(broken)


def slices(count: int, study: int, modality: str = "CT", sop_class: str = CT) -> list[Dataset]:
    """A small volume of axial slices, 2 mm apart."""
    rng = np.random.default_rng(study)

    def edit(number: int) -> Any:
        def place(dataset: Dataset) -> None:
            dataset.ImagePositionPatient = [0, 0, 2.0 * number]
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.SliceThickness = 2
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
            dataset.ContrastBolusAgent = "Gravelbottom"
            dataset.PixelData = rng.integers(0, 4096, 256, dtype=np.uint16).tobytes()

        return place

    return [image(n, "PID-88", "Larkspur^Bo", sop_class, study, modality, edit(n)) for n in range(1, count + 1)]


def test_a_release_in_every_format(scene: Scene) -> None:
    films = [image(n, sop_class=DX, study=1, modality="DX") for n in (1, 2)]
    store_day(scene.database, scene.archive, [*films, *slices(6, 2), *slices(2, 3)])
    project = scene.project(formats=["dicom", "png", "nifti", "tables", "labels"])
    published = scene.release(project)
    said = json.loads(scene.bucket.get(published.manifest_key))
    assert said["counts"]["formats"] == {
        "png": {"made": 10, "not": {}},
        "nifti": {"made": 1, "not": {"no-volume": 2}},
    }
    assert {kind: one["objects"] for kind, one in said["objects"].items()} == {"dicom": 10, "png": 10, "nifti": 2}
    names = {file["name"] for file in said["files"]}
    tables = ["headers", "predictions", "labels", "reports", "images", "volumes"]
    assert names == {f"tables/{name}.parquet" for name in tables} | {
        "tables/labels.csv", "tables/labels.schema.json", "tables/dictionary.csv", "tables/dictionary.json",
        "manifest.parquet",
    }  # fmt: skip
    prefix = "radiographs/v1/"

    def read(name: str) -> list[dict[str, Any]]:
        return pq.read_table(io.BytesIO(scene.bucket.get(f"{prefix}tables/{name}.parquet"))).to_pylist()

    assert len(read("headers")) == len(read("labels")) == len(read("images")) == 10
    (volume,) = read("volumes")
    assert volume["shape"] == [16, 16, 6]
    assert volume["spacing_mm"] == [0.5, 0.5, 2.0]
    for name in tables:
        described = {row["name"] for row in dictionary() if row["table"] == name}
        assert set(pq.read_schema(io.BytesIO(scene.bucket.get(f"{prefix}tables/{name}.parquet"))).names) == described
    rows = list(csv.DictReader(io.StringIO(scene.bucket.get(f"{prefix}tables/labels.csv").decode())))
    assert {row["patient"]: row["split"] for row in rows} == {
        row["patient"]: split_of(row["patient"]) for row in read("headers")
    }
    raw = gzip.decompress(scene.bucket.get(volume["key"]))
    everything = raw + b"".join(scene.bucket.get(entry.key) for entry in scene.bucket.list(prefix)).lower()
    for needle in (b"larkspur", b"quillfeather", b"pid-88", b"gravelbottom", b"1.2.826.0.1.3680043.9.9999"):
        assert needle not in everything
    sidecar = json.loads(scene.bucket.get(volume["key"].replace(".nii.gz", ".json")))
    assert sidecar["Modality"] == "CT"
    assert not {"SeriesDescription", "PatientID", "SeriesInstanceUID", "AcquisitionTime"} & set(sidecar)


def test_derived_files_of_an_earlier_version_are_named_again(scene: Scene) -> None:
    store_day(scene.database, scene.archive, slices(4, 2))
    project = scene.project(formats=["dicom", "png", "nifti"])
    scene.release(project, part_size=100)
    store_day(scene.database, scene.archive, [image(1, "PID-99", sop_class=DX, study=5, modality="DX")])
    second = scene.release(project, part_size=100)
    (derived,) = scene.derived
    assert (second.version, derived.reused, derived.made, derived.failed) == (2, 6, 1, {"no-volume": 1})
    assert {entry.key.split("/")[2] for entry in scene.bucket.list("radiographs/v2/")} == {
        "dicom", "png", "tables", "manifest.json", "manifest.json.sig", "manifest.parquet", "SHA256SUMS",
    }  # fmt: skip


def kinds(scene: Scene, version: int) -> Counter[str]:
    """Files of a version's own folder, by kind."""
    keys = [entry.key.split("/")[2] for entry in scene.bucket.list(f"radiographs/v{version}/")]
    return Counter(name for name in keys if name in ("dicom", "png", "nifti"))


def decided(scene: Scene, release_id: int, value: str, decision: str) -> int:
    open_review(scene.database, release_id)
    with scene.database.transaction() as connection:
        found = select(connection, "select string_id from retained_string where value = %s", (value,))
    return remember(scene.database, release_id, [row["string_id"] for row in found], decision, "anna")


def test_what_was_derived_of_objects_that_are_held_later_goes(scene: Scene) -> None:
    partly, wholly = slices(3, 2), slices(3, 3)
    for one in (partly[2], *wholly):
        one.BodyPartExamined = "PELVIS"
    store_day(scene.database, scene.archive, [*partly, *wholly, *slices(3, 4)])
    project = scene.project(formats=["dicom", "png", "nifti"])
    release_id = scene.exported_release(project, part_size=100)
    verify(scene.database, scene.bucket, release_id)
    assert kinds(scene, 1) == {"dicom": 9, "png": 9, "nifti": 6}
    assert decided(scene, release_id, "PELVIS", "hold") == 4
    published = scene.release(project, part_size=100)
    assert published.release_id == release_id
    # of two slices no volume is made: the one that showed all three must not stay
    assert kinds(scene, 1) == {"dicom": 5, "png": 5, "nifti": 2}
    said = json.loads(scene.bucket.get(published.manifest_key))
    assert said["counts"]["formats"]["nifti"] == {"made": 1, "not": {"no-volume": 1}}
    assert {kind: one["objects"] for kind, one in said["objects"].items()} == {"dicom": 5, "png": 5, "nifti": 2}


def test_what_cannot_be_made_again_after_a_decision_does_not_stay(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_day(scene.database, scene.archive, [image(1, edit=lambda one: setattr(one, "BodyPartExamined", "PELVIS"))])
    project = scene.project(formats=["dicom", "png"])
    release_id = scene.exported_release(project)
    verify(scene.database, scene.bucket, release_id)
    assert decided(scene, release_id, "PELVIS", "remove") == 1

    def fails(*given: Any) -> Any:
        raise NotMade("pixels-unreadable")

    monkeypatch.setattr(png, "pictures", fails)
    scene.release(project)
    assert kinds(scene, 1) == {"dicom": 1}


def test_a_decision_about_what_an_earlier_version_holds_makes_it_anew_and_leaves_that_one(scene: Scene) -> None:
    days = slices(4, 2)
    days[0].BodyPartExamined = "PELVIS"
    store_day(scene.database, scene.archive, days)
    project = scene.project(formats=["dicom", "png", "nifti"])
    scene.release(project, part_size=100)
    first = {entry.key for entry in scene.bucket.list("radiographs/v1/")}
    store_day(scene.database, scene.archive, [image(1, "PID-99", sop_class=DX, study=5, modality="DX")])
    second = scene.exported_release(project, part_size=100)
    assert (sum(part.reused for part in scene.exported), sum(part.reused for part in scene.derived)) == (4, 6)
    verify(scene.database, scene.bucket, second)
    assert decided(scene, second, "PELVIS", "remove") == 1
    published = scene.release(project, part_size=100)
    assert published.release_id == second
    assert kinds(scene, 2) == {"dicom": 2, "png": 2, "nifti": 2}  # the film, and what the decision concerns
    assert {entry.key for entry in scene.bucket.list("radiographs/v1/")} == first
    index = pq.read_table(io.BytesIO(scene.bucket.get("radiographs/v2/manifest.parquet"))).to_pylist()
    assert Counter((one["kind"], one["key"].split("/")[1]) for one in index) == {
        ("dicom", "v1"): 3, ("png", "v1"): 3, ("dicom", "v2"): 2, ("png", "v2"): 2, ("nifti", "v2"): 2,
    }  # fmt: skip
    for one in index:
        if one["kind"] == "dicom":
            assert "BodyPartExamined" not in pydicom.dcmread(io.BytesIO(scene.bucket.get(one["key"])))


def test_a_converter_that_fails_is_a_reason(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluice.release.formats import nifti

    store_day(scene.database, scene.archive, slices(4, 2))
    monkeypatch.setattr(nifti.dcm2niix, "bin", "/bin/false")
    published = scene.release(scene.project(formats=["dicom", "nifti"]))
    said = json.loads(scene.bucket.get(published.manifest_key))
    assert said["counts"]["formats"]["nifti"] == {"made": 0, "not": {"converter-failed": 1}}


def test_splits_are_by_patient_and_about_as_large_as_said() -> None:
    splits = [split_of(f"RAD-{n:010}") for n in range(2000)]
    for name, share in (("train", 0.70), ("val", 0.15), ("test", 0.15)):
        assert splits.count(name) / 2000 == pytest.approx(share, abs=0.03)

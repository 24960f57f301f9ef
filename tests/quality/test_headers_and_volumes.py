"""What rules see of header blocks, slices, other studies of a patient, and whole windows; on a real database."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from sluice.database import Database, select
from sluice.headers.extract import extract
from sluice.headers.reading import read_header
from sluice.quality.check import WindowHalted, check
from sluice.quality.decisions import decide
from sluice.quality.volumes import distances, places
from tests.headers.archive import receive
from tests.ledger_rows import DAY, LedgerRows
from tests.quality.blocks import block
from tests.quality.test_check import findings

WINDOW = DAY.isoformat()
AXIAL = ("DS", [1, 0, 0, 0, 1, 0])
PIXELS = {"00280002": ("US", [1]), "00280100": ("US", [16]), "00281052": ("DS", [-1024]), "00281053": ("DS", [1])}


def positions(*heights: float) -> dict[str, tuple[str, list[Any]]]:
    return {"00200032": ("DS", [[-170, -170, height] for height in heights])}


def test_rules_read_what_blocks_hold_alike_and_apart(database: Database, tmp_path: Path) -> None:
    rows = LedgerRows(database)
    sound: dict[str, Any] = {
        "image_type": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "bits_stored": 12,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_bytes": 512 * 512 * 2,
    }

    def stack(study: int, heights: tuple[float, ...], shared: Any = None, apart: Any = None, **more: Any) -> Any:
        series = rows.series(rows.study(study))
        uids = [rows.instance(series, number + 1, **sound | more) for number in range(len(heights))]
        common = PIXELS | {"00200037": AXIAL, "00200052": ("UI", ["1.2.9"]), "00180060": ("DS", [120])}
        block(rows, series, uids, common | (shared or {}), positions(*heights) | (apart or {}))
        return series, uids

    even = (0.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0)
    stack(1, even)
    holed, _ = stack(2, (*even[:4], *even[6:]))
    uneven, _ = stack(3, (0.0, 2.5, 5.0, 8.1, 10.0, 12.5, 15.9, 17.5, 20.0))
    stack(4, (*even, *even), apart={"00200012": ("IS", [[1]] * 9 + [[2]] * 9)})  # two phases of one place
    moved, _ = stack(5, even, apart={"00200052": ("UI", [["1.2.9"]] * 8 + [["1.2.8"]])})
    turned, _ = stack(
        6, even, {"00200037": ("DS", None)}, {"00200037": ("DS", [[1, 0, 0, 0, 0, -1]] + [[1, 0, 0, 0, 1, 0]] * 8)}
    )
    stack(7, (0.0, 2.5, 5.0, 40.0), {"00200037": AXIAL}, image_type=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    _, (_, zero, *_) = stack(8, even, {"00180060": ("DS", None)}, {"00180060": ("DS", [[120], [0], *[[120]] * 7])})
    _, (undated, *_) = stack(
        9, even, {"00080020": ("DA", ["20261026"])}, {"00080032": ("TM", [["256161"], *[["101500.12"]] * 8])}
    )
    _, (short, padded, *_) = stack(10, even, {"00280010": ("US", [512])})
    database.execute("update instance set pixel_bytes = pixel_bytes - 512 where sop_instance_uid = %s", (short,))
    database.execute("update instance set pixel_bytes = pixel_bytes + 4 where sop_instance_uid = %s", (padded,))
    _, coloured = stack(11, (0.0,), {"00280002": ("US", [3])}, pixel_bytes=512 * 512 * 6)
    _, packed = stack(12, (0.0,), transfer_syntax_uid="1.2.840.10008.1.2.4.70", pixel_bytes=600_000)

    check(database, WINDOW, tmp_path)
    assert findings(database) == {
        ("slices-missing", holed),
        ("slice-distance-uneven", uneven),
        ("frame-of-reference-mixed", moved),
        ("orientation-mixed", turned),
        ("kvp-implausible", zero),
        ("dates-unreadable", undated),
        ("pixels-too-short", short),
        ("pixels-too-long", padded),
        ("samples-contradict-photometric", coloured[0]),
    }
    assert packed


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([0, 1, 2, 3, 4], (5, 1.0, 0, 0.0)),
        ([0, 1, 2, 5, 6, 8], (6, 1.0, 3, 0.0)),
        ([0, 0, 1, 1, 2, 2, 3, 3], (4, 1.0, 0, 0.0)),
        ([3, 1, 0, 2], (4, 1.0, 0, 0.0)),
        ([0, 1, 2, 3, 4.4, 5.4], (6, 1.0, 0, 0.2)),
        ([0, 1, 2], (3, None, None, None)),
    ],
)
def test_distances_of_slices(heights: list[float], expected: tuple[Any, ...]) -> None:
    oblique = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0)  # its normal is the z axis as well
    found = distances([(7.0, -3.0, height) for height in heights], oblique)
    names = ("slices", "slice_distance_mm", "slices_missing", "slice_distance_varies")
    assert tuple(found.get(name) for name in names) == pytest.approx(expected)


def enhanced(number: int, stacks: dict[str, tuple[list[float], list[float]]], spacing_in: str = "shared") -> bytes:
    """An Enhanced CT of one frame a position, with stacks of heights (mm) and their orientation (PS3.3 A.38)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = EnhancedCTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"2.25.{number}"
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.Modality = f"2.25.{number}.1", f"2.25.{number}.2", "CT"
    ds.StudyDate, ds.PatientID, ds.AccessionNumber, ds.StationName = f"{DAY:%Y%m%d}", f"P{number}", f"A{number}", "CT1"
    ds.BodyPartExamined, ds.FrameOfReferenceUID, ds.InstanceNumber = "CHEST", "2.25.9", 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.7], 2.5
    shared, frames = Dataset(), []
    for stack, (heights, orientation) in stacks.items():
        for within, height in enumerate(heights, 1):
            frame, content, position, plane = Dataset(), Dataset(), Dataset(), Dataset()
            content.StackID, content.InStackPositionNumber = stack, within
            position.ImagePositionPatient = [-170, height, -170] if orientation[5] else [-170, -170, height]
            plane.ImageOrientationPatient = orientation
            frame.FrameContentSequence, frame.PlanePositionSequence = [content], [position]
            if len(stacks) == 1:
                shared.PlaneOrientationSequence = [plane]
            else:
                frame.PlaneOrientationSequence = [plane]
            if spacing_in == "frames":
                frame.PixelMeasuresSequence = [measures]
            frames.append(frame)
    if spacing_in == "shared":
        shared.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    ds.NumberOfFrames, ds.Rows, ds.Columns, ds.SamplesPerPixel = len(frames), 2, 2, 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PhotometricInterpretation, ds.PixelData = "MONOCHROME2", number.to_bytes(8, "little") * len(frames)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_frames_of_enhanced_objects_are_slices(database: Database, tmp_path: Path) -> None:
    flat, upright = [1.0, 0, 0, 0, 1, 0], [1.0, 0, 0, 0, 0, -1]
    even = [2.5 * n for n in range(300)]  # more than 64 KiB of functional groups
    files = {
        f"2.25.{number}": enhanced(number, stacks, spacing_in)
        for number, (stacks, spacing_in) in enumerate(
            [
                ({"1": (even, flat)}, "shared"),
                ({"1": (even[:20] + even[22:40], flat)}, "frames"),
                ({"1": ([0, 2.5, 5.0, 8.1, 10.0, 12.5, 15.9, 17.5, 20.0], flat)}, "shared"),
                # two slabs, the second in two phases
                ({"1": (even[:20], flat), "2": ([*even[50:60], *even[50:60]], flat)}, "shared"),
                ({"1": (even[:20], flat), "2": (even[:9], upright)}, "shared"),
                ({"1": (even[:20], flat), "2": (even[:5] + even[6:12], upright)}, "shared"),
            ],
            1,
        )
    }
    archive = tmp_path / "archive"
    archive.mkdir()
    (batch,) = receive(database, archive, files.items())
    assert extract(database, archive, batch).indexed == len(files)
    check(database, batch.window_key, tmp_path / "docs")
    geometry = {"slices-missing", "slice-distance-uneven", "orientation-mixed", "spacing-implausible-in-ct"}
    assert {found for found in findings(database) if found[0] in geometry} == {
        ("slices-missing", "2.25.2.1"),
        ("slice-distance-uneven", "2.25.3.1"),
        ("slices-missing", "2.25.6.1"),
    }
    with database.transaction() as connection:
        spacings = select(connection, "select distinct pixel_spacing, slice_thickness from instance")
    assert spacings == [{"pixel_spacing": [0.7, 0.7], "slice_thickness": 2.5}]


def test_positions_of_a_real_enhanced_object(shared_data: Path) -> None:
    path = shared_data / "dicom" / "pydicom-data" / "data_store_data_eCT_Supplemental.dcm"
    header = json.loads(read_header(path).json)
    groups = dcmread(path).PerFrameFunctionalGroupsSequence
    assert [place.position for place in places(header)] == [
        tuple(map(float, group.PlanePositionSequence[0].ImagePositionPatient)) for group in groups
    ]
    assert all(place.orientation is not None for place in places(header))


def test_another_person_under_the_same_patient_id(database: Database, tmp_path: Path) -> None:
    rows = LedgerRows(database)

    def study(number: int, patient: str, name: str, born: date = date(1970, 5, 17), sex: str = "F") -> str:
        uid = rows.study(number, patient_id=patient, patient_name=name, patient_birth_date=born, patient_sex=sex)
        rows.instance(rows.series(uid), 1, patient_id=patient)
        return uid

    married = [study(1, "P1", "MUELLER^ANNA"), study(2, "P1", "Schmidt^Anna")]
    mistyped = [study(3, "P2", "Weiss^Karl"), study(4, "P2", "Weiss^Karl", born=date(1971, 5, 17))]
    mixed = [study(5, "P3", "Weber^Ida"), study(6, "P3", "Krause^Otto", born=date(1950, 1, 1), sex="M")]
    study(7, "P3", "Weber^Ida", sex="O")
    damaged = study(8, "P4", "M\ufffdller^Eva")
    encoded_twice = study(9, "P5", "MÃ¼ller^Eva")
    database.execute("update study set patient_birth_date = '1970-05-18' where study_instance_uid = %s", (married[0],))
    database.execute("update study set patient_birth_date = '1970-05-18' where study_instance_uid = %s", (married[1],))
    check(database, WINDOW, tmp_path)
    found = findings(database)
    assert {uid for rule, uid in found if rule == "patient-id-with-two-birth-dates"} == set(mistyped)
    assert {uid for rule, uid in found if rule == "patient-id-of-two-people"} >= set(mixed)
    assert {uid for rule, uid in found if rule == "patient-id-with-two-sexes"} >= set(mixed)
    assert {uid for rule, uid in found if rule == "text-damaged-in-study"} == {damaged, encoded_twice}
    assert not {uid for _, uid in found} & set(married)
    with database.transaction() as connection:
        seen = str(select(connection, "select observed from quality_finding"))
    assert not any(secret in seen for secret in ("Weiss", "Krause", "1950", "P3"))


def test_a_day_of_which_much_is_missing_is_held_until_a_person_accepts_it(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rows = LedgerRows(database)
    rows.healthy_study(1, 100)
    database.execute(
        "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
        "select %s, '1.9.' || n, '1.9', '1.8', 'pacs' from generate_series(1, 150) n",
        (WINDOW,),
    )
    summary = check(database, WINDOW, tmp_path)
    said = {record.name.partition(".")[0] for record in caplog.records}
    assert "great_expectations" not in said, "the library's talk hides in the task's log why it is red"
    assert ("window-mostly-missing", WINDOW) in {(rule, uid or WINDOW) for rule, uid in findings(database)}
    assert (summary.halted_by, summary.stops, summary.held) == (["window-mostly-missing"], 1, 100)
    with pytest.raises(WindowHalted, match="window-mostly-missing"):
        summary.raise_if_halted()
    with database.transaction() as connection:
        assert select(connection, "select count(*) as n from quality_hold") == [{"n": 250}]
        assert select(connection, "select halted, stops from quality_run") == [{"halted": True, "stops": 1}]
    decide(database, "window-mostly-missing", "window", WINDOW, "accept", "the rest is not wanted", "vera")
    again = check(database, WINDOW, tmp_path)
    assert (again.halted_by, again.stops, again.held, again.findings) == ([], 0, 0, summary.findings)
    again.raise_if_halted()
    page = (tmp_path / "index.html").read_text()
    assert page.count(f'href="{WINDOW}/index.html"') == 1
    assert "held" not in page

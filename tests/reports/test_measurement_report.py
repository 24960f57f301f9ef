"""Reports against dciodvfy, which shares no code with us, and what they say against the answers they rest on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from sluice.database import Database, select
from sluice.ivc_filters.registry import Correction, correct, patient_of_image
from sluice.predictions import Prediction, register_model, store
from sluice.reports.making import ReportError, report_of
from sluice.reports.measurement_report import _in_frame
from tests.reports.scene import BODY, ReadStudy


@pytest.fixture
def read(database: Database, tmp_path: Path) -> ReadStudy:
    return ReadStudy(database, tmp_path / "archive")


def faults(file: bytes, folder: Path) -> list[str]:
    """What dciodvfy calls an error."""
    path = folder / "report.dcm"
    path.write_bytes(file)
    done = subprocess.run(["/usr/bin/dciodvfy", str(path)], capture_output=True, text=True, timeout=60, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def walk(item: Dataset) -> Iterator[Dataset]:
    yield item
    for child in item.get("ContentSequence", ()):
        yield from walk(child)


def meaning(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning) if "ConceptNameCodeSequence" in item else ""


def groups(report: Dataset) -> list[dict[str, Any]]:
    """Each measurement group: meanings of codes, numbers, texts, referenced images, coordinates."""
    found = []
    for item in walk(report):
        if meaning(item) != "Measurement Group":
            continue
        said: dict[str, Any] = {"template": item.ContentTemplateSequence[0].TemplateIdentifier, "images": []}
        for child in list(walk(item))[1:]:
            name = meaning(child)
            if child.ValueType == "CODE":
                said.setdefault(name, []).append(child.ConceptCodeSequence[0].CodeValue)
            elif child.ValueType == "NUM":
                said[name] = float(child.MeasuredValueSequence[0].NumericValue)
            elif child.ValueType == "TEXT":
                said[name] = child.TextValue
            elif child.ValueType == "IMAGE":
                said["images"].append(child.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            elif child.ValueType == "SCOORD":
                said["place"] = list(child.GraphicData)
        found.append(said)
    return found


def placed(database: Database, uid: str, **crop: int) -> None:
    """The canonical image of an instance, with its place in the frame."""
    with database.transaction() as connection:
        (shard,) = select(connection, "insert into canonical_shard default values returning shard_id")
    database.execute(
        "insert into canonical_image (sop_instance_uid, recipe, shard_id, offset_bytes, length_bytes, digest, "
        "source_rows, source_columns, crop_row, crop_column, crop_rows, crop_columns) "
        "values (%(uid)s, 1, %(shard)s, 0, 1, '', 3000, 2500, %(row)s, %(column)s, %(rows)s, %(columns)s)",
        {"uid": uid, "shard": shard["shard_id"], **crop},
    )


def test_a_report_says_what_the_models_said_and_is_a_conformant_object(read: ReadStudy, tmp_path: Path) -> None:
    placed(read.database, read.films[1], row=100, column=50, rows=2048, columns=1024)
    made = report_of(read.database, read.study, "ada")
    assert faults(made.file, tmp_path) == []
    report = dcmread(BytesIO(made.file))
    assert (report.StudyInstanceUID, report.PatientID, report.Modality) == (read.study, "PID-4711-77", "SR")
    first, second, third = groups(report)
    for film, group in zip(read.films, (first, second), strict=False):
        assert group["images"] == [film] or film == read.films[1]
        assert group["Target Region"] == ["818981001"], "abdominal structure, as CID 4009 has it"
        assert group["Certainty of Finding"] == 93
        assert group["Algorithm Version"] == "81ddf3b1cca2"
    assert third["template"] == "1410" or second["template"] == "1410"


def test_the_box_stands_in_pixels_of_the_frame(read: ReadStudy, tmp_path: Path) -> None:
    placed(read.database, read.films[1], row=100, column=50, rows=2048, columns=1024)
    (found,) = [g for g in groups(dcmread(BytesIO(report_of(read.database, read.study, "ada").file))) if "place" in g]
    # 2048 rows fill 512, so a pixel of the box is four of the frame; 1024 columns are 256, from 128 on
    x0, y0, x1, y1 = 50 + (200 - 128) * 4, 100 + 120 * 4, 50 + (240 - 128) * 4, 100 + 200 * 4
    assert found["place"] == [x0, y0, x1, y0, x1, y1, x0, y1, x0, y0]
    assert (found["Finding"], found["Finding Site"]) == (["257409000"], ["64131007"])
    assert (found["images"], found["Certainty of Finding"]) == ([read.films[1]], 88)
    wide = {
        "source_rows": 900,
        "source_columns": 1200,
        "crop_rows": 500,
        "crop_columns": 1000,
        "crop_row": 7,
        "crop_column": 9,
    }
    corners = _in_frame([0, 0, 512, 512], wide)
    assert corners == (9, 7, 1009, 507), "what lies in the black border is brought to the edge"


def test_the_same_answers_are_the_same_report_and_others_one_that_names_it(read: ReadStudy, tmp_path: Path) -> None:
    first = report_of(read.database, read.study, "ada")
    again = report_of(read.database, read.study, "ben")
    assert (first.is_new, again.is_new) == (True, False)
    assert again.file == first.file
    patient = patient_of_image(read.database, read.films[1])
    correct(read.database, Correction(patient, "not_a_filter", read.films[1]), "ada")
    other = report_of(read.database, read.study, "ada")
    assert other.sop_instance_uid != first.sop_instance_uid
    assert faults(other.file, tmp_path) == []
    report = dcmread(BytesIO(other.file))
    (before,) = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert before.ReferencedSOPInstanceUID == first.sop_instance_uid
    assert not any("Finding" in group for group in groups(report)), "what a person ruled out is not reported"
    shadow = "body_part-x-111111111111"
    register_model(read.database, shadow, "body_part", "x", "1" * 64, {}, stage="shadow")
    store(read.database, shadow, "body_part", [Prediction(read.films[0], "spine", 0.9, {"examined": "LSPINE"})])
    assert report_of(read.database, read.study, "ada").is_new is False, "what a shadow says is not reported"


def test_names_beyond_ascii_and_a_patient_of_whom_little_is_known(database: Database, tmp_path: Path) -> None:
    read = ReadStudy(
        database, tmp_path / "archive", SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürg", PatientSex="",
        StudyID="", AccessionNumber="", StudyTime="", ReferringPhysicianName="", IssuerOfPatientID="Ä-Haus",
    )  # fmt: skip
    made = report_of(database, read.study, "ada")
    assert faults(made.file, tmp_path) == []
    report = dcmread(BytesIO(made.file))
    assert (str(report.PatientName), report.IssuerOfPatientID) == ("Müller^Jürg", "Ä-Haus")


def test_of_a_study_that_no_model_read_there_is_nothing_to_report(read: ReadStudy) -> None:
    read.database.execute("update model set stage = 'candidate' where model_id <> %s", (BODY,))
    assert len(groups(dcmread(BytesIO(report_of(read.database, read.study, "ada").file)))) == 2
    read.database.execute("update model set stage = 'candidate'")
    with pytest.raises(ReportError, match="infer_body_part"):
        report_of(read.database, read.study, "ada")

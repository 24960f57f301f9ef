"""Real images for the simulated day, where `../shared/data` stands beside the checkout.

Radiographs are taken only of patients that training leaves alone: the first hexadecimal digit of the SHA-256 of one
of their films is e or f. What is wrapped keeps its picture; its header is the hospital's.
"""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread

from sluice.hospital.acquisition import Film, seed_of
from sluice.hospital.headers import date_of, time_of
from sluice.hospital.ink import Canvas
from sluice.hospital.pictures import BITS
from sluice.hospital.plan import Day, Exam, Image, uid
from sluice.hospital.spine import ivc_filter

NOT_FOR_TRAINING = "ef"
_LABELS = {
    "Chest": "CHEST",
    "Abdomen": "ABDOMEN",
    "LumbarSpine": "LSPINE",
    "ThoracicSpine": "TSPINE",
    "CervicalSpine": "CSPINE",
    "ThoracicSpine|LumbarSpine": "SPINE",
    "Pelvis": "PELVIS",
    "Knee": "KNEE",
    "Hand": "HAND",
    "Feet": "FOOT",
    "Shoulder": "SHOULDER",
    "Skull": "SKULL",
}
_WITH_CHILDREN = {"adult_chest": False, "pediatric_chest": True}


class Radiographs:
    """Real radiographs by region; each is used once."""

    def __init__(self, shared_data: Path, seed: int) -> None:
        self.shared_data, self.seed = shared_data, seed

    @cached_property
    def files(self) -> dict[tuple[str, bool], list[str]]:
        """(region, child) → files, in an order drawn from the seed."""
        result: dict[tuple[str, bool], list[str]] = {}
        with (self.shared_data / "manifest.csv").open(newline="", encoding="utf-8") as table:
            rows = [row for row in csv.DictReader(table) if row["file"].startswith("radiographs/")]
        untrained = {row["group"] for row in rows if row["sha256"][0] in NOT_FOR_TRAINING}
        for row in rows:
            region = _LABELS.get(row["label"])
            router5 = row["router5"]
            if (
                region is None
                or row["group"] not in untrained
                or router5.startswith(("exclude", "review"))
                or not (self.shared_data / row["file"]).exists()
            ):
                continue
            result.setdefault((region, _WITH_CHILDREN.get(router5, False)), []).append(row["file"])
        for key, files in sorted(result.items()):
            files.sort()
            random.Random(f"{self.seed}/{key}").shuffle(files)
        return result

    def take(self, exam: Exam, image: Image, child: bool) -> Film | None:
        """The next real film of the exam's region, 12 bits; None when there is none left."""
        # Labels other than of chests do not say whether the patient was a child.
        files = self.files.get((exam.region, child and exam.region == "CHEST"), [])
        if not files:
            return None
        film = _deep(self.shared_data / files.pop(0), seed_of(image.sop_instance_uid))
        return _with_filter(film, seed_of(image.sop_instance_uid, "filter")) if exam.ivc_filter else film


def _deep(path: Path, seed: int) -> Film:
    """An 8-bit picture as 12 bits, the missing depth filled with noise as a detector has it."""
    from PIL import Image as Picture

    with Picture.open(path) as picture:
        grey = np.asarray(picture.convert("L"), np.float32)
    noise = np.random.default_rng(seed).uniform(0, 15.9, grey.shape)
    return np.asarray(np.clip(grey * 16 + noise, 0, (1 << BITS) - 1), np.uint16)


def _with_filter(film: Film, seed: int) -> Film:
    """A filter's wires laid over a real film: what they absorb is added, brightest over dark tissue."""
    rows, columns = film.shape
    canvas = Canvas(rows, columns)
    ivc_filter(canvas, np.random.default_rng(seed))
    wires = 1.0 - np.exp(-1.6 * np.clip(canvas.field, 0, None))
    top = float(np.percentile(film, 99.5))
    covered = film + wires * (top - film.astype(np.float32)) * 0.9
    return np.asarray(np.clip(covered, 0, (1 << BITS) - 1), np.uint16)


@dataclass(frozen=True)
class RealFile:
    """One real DICOM file that joins the day.

    Attributes:
        file: below the folder of shared data.
        held: its class may not be released.
    """

    file: str
    modality: str
    region: str | None
    held: bool = False


_PYDICOM, _FO = "dicom/pydicom-data/data_store_data_", "dicom/fo-dicom/Tests_FO-DICOM.Tests_Test_Data_"
_DCM4CHE = "dicom/dcm4che/dcm4che-test-data_src_main_resources_"
REAL_FILES = (
    RealFile(f"{_DCM4CHE}CT-JPEGLosslessSV1.dcm", "CT", None),
    RealFile(f"{_DCM4CHE}MR-JPEGLosslessSV1.dcm", "MR", None),
    RealFile("dicom/highdicom/data_test_files_sr_document.dcm", "SR", None),
    RealFile(f"{_PYDICOM}RG3_J2KR.dcm", "CR", None),
    RealFile(f"{_PYDICOM}US1_J2KR.dcm", "US", None, held=True),
    RealFile(f"{_FO}GH064.dcm", "MR", "SKULL"),
    RealFile(f"{_FO}D_CLUNIE_CT1_RLE_FRAGS.dcm", "CT", None),
    RealFile(f"{_PYDICOM}MR2_J2KR.dcm", "MR", None),
    RealFile(f"{_PYDICOM}emri_small_jpeg_ls_lossless.dcm", "MR", "SKULL"),
    RealFile(f"{_PYDICOM}OBXXXX1A_rle.dcm", "US", None, held=True),
    RealFile(f"{_DCM4CHE}YBR_FULL-RLE.dcm", "US", None, held=True),
    RealFile("dicom/pylibjpeg-data/ljdata_ds_JPEGLSLossless_RG2_JLSL.dcm", "CR", "HIP"),
    RealFile("dicom/highdicom/data_test_files_ct_image.dcm", "CT", None),
    RealFile(f"{_PYDICOM}RG1_J2KI.dcm", "CR", "CHEST"),
    RealFile(f"{_FO}GH1308.dcm", "CT", None),
    RealFile(f"{_DCM4CHE}US-RGB-8-esopecho", "US", None, held=True),
)


@dataclass(frozen=True)
class JoinedFile:
    """A real file as it stands in the hospital's day."""

    origin: RealFile
    dataset: Dataset
    patient_id: str
    accession_number: str
    acquired_at: datetime


def join(plan: Day, shared_data: Path) -> list[JoinedFile]:
    """The real files with the day's date, a hospital patient and new UIDs; all else is as it was.

    They come from no scanner of this hospital (studies brought along on a disc and imported), so nothing about
    their clocks is known.
    """
    result = []
    for number, origin in enumerate(REAL_FILES[: plan.size.real_files]):
        path = shared_data / origin.file
        if not path.exists():
            continue
        ds = dcmread(path)
        acquired_at = datetime.combine(plan.day, time(8, 20)) + timedelta(minutes=37 * number, seconds=13 * number)
        key = (plan.seed, plan.day, plan.size.name, "file", origin.file)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = (uid(*key, level) for level in "abc")
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.PatientID, ds.IssuerOfPatientID = f"EXT-{71_000 + number * 37}", "KLINIKUM"
        ds.PatientName = f"Import^Disc {number + 1:02d}"
        ds.AccessionNumber = f"X26{50_000 + number * 17}"
        for kind in ("Study", "Series", "Acquisition", "Content"):
            if kind in ("Study", "Series") or f"{kind}Date" in ds:
                setattr(ds, f"{kind}Date", date_of(acquired_at))
            if kind == "Study" or f"{kind}Time" in ds:
                setattr(ds, f"{kind}Time", time_of(acquired_at, fraction=False))
        if "AcquisitionDateTime" in ds:
            ds.AcquisitionDateTime = acquired_at.strftime("%Y%m%d%H%M%S")
        result.append(JoinedFile(origin, ds, str(ds.PatientID), str(ds.AccessionNumber), acquired_at))
    return result

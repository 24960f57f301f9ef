"""Header extraction beside a plain pydicom loop: `dcmread` + `to_json_dict` + `json.dumps`, one file after another.

The files are made here: CT slices of one series after another, 262 elements each (a vendor's usual mix, nested
code sequences and private elements among them), 512 × 512 pixels. Each round the sides read the same files
in turn. `rows in Postgres` is the whole step: files to committed rows, with the processes it uses for
large batches; the limit it cannot pass is printed as the reading of the bytes alone.
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.run import Row
from sluice.batches import plan_batches
from sluice.database import Database, copy_rows, migrate
from sluice.headers.extract import extract
from sluice.headers.parser import HeaderParser
from sluice.stack.postgres import EmbeddedPostgres
from sluice.windows import Window, remember_window

ELEMENTS = 262
SLICES = 100  # a series
FILES = 400  # for one reader beside the other
LOOP_FILES = 100  # of them, for the slow peer
BATCH = 4_000  # for the whole step
ROUNDS = 3
DAY = date(2026, 10, 26)
GOAL_READING = 10.0
GOAL_ROWS = 20.0


def run(work: Path) -> list[Row]:
    """Alternate the sides `ROUNDS` times; medians in files a second."""
    corpus = work / "archive"
    corpus.mkdir()
    files = write_corpus(corpus, FILES)
    assert sum(1 for _ in pydicom.dcmread(files[0])) == ELEMENTS
    figures: dict[str, list[float]] = {"ours": [], "loop": [], "bytes": [], "rows": []}
    with EmbeddedPostgres(work / "postgres", durable=True) as postgres:
        database = Database(postgres.url("sluice"))
        migrate(database.url)
        for number in range(ROUNDS):
            figures["bytes"].append(_rate(read_bytes, files))
            figures["ours"].append(_rate(parse, files))
            figures["loop"].append(_rate(plain_loop, files[:LOOP_FILES]))
            figures["rows"].append(_rows_rate(database, corpus, files, number))
    middle = {name: statistics.median(values) for name, values in figures.items()}
    peer = "pydicom dcmread + to_json_dict"
    return [
        _row("header to DICOM JSON, one process", middle["ours"], middle["loop"], peer, GOAL_READING),
        _row("files to rows in Postgres", middle["rows"], middle["loop"], peer, GOAL_ROWS),
        _row("header to DICOM JSON, of the limit", middle["ours"], middle["bytes"], "open + read 64 KiB", None),
        _row("files to rows, of the limit", middle["rows"], middle["bytes"], "open + read 64 KiB", None),
    ]


def _row(name: str, ours: float, peer: float, peer_name: str, goal: float | None) -> Row:
    ratio = ours / peer
    holds = goal is None or ratio >= goal
    return Row(name, round(ours, 1), round(peer, 1), peer_name, "files/s", round(ratio, 4), goal, holds)


def _rate(read: Callable[[Sequence[Path]], None], files: Sequence[Path]) -> float:
    started = time.perf_counter()
    read(files)
    return len(files) / (time.perf_counter() - started)


def read_bytes(files: Sequence[Path]) -> None:
    """The limit: open each file and read what a header fits in."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            file.read(64 << 10)


def parse(files: Sequence[Path]) -> None:
    """Ours, one process, without a database."""
    parser = HeaderParser()
    for path in files:
        parser.read(path)


def plain_loop(files: Sequence[Path]) -> None:
    """The peer: what a script on pydicom does."""
    for path in files:
        json.dumps(pydicom.dcmread(path, stop_before_pixels=True).to_json_dict())


def _rows_rate(database: Database, archive: Path, files: Sequence[Path], number: int) -> float:
    """Files a second of the whole step over a batch of `BATCH` receipts, each with a UID of its own."""
    day = DAY + timedelta(days=number)
    remember_window(database, Window.of_day(day))
    rows = []
    for index in range(BATCH):
        path = files[index % len(files)]
        uid = f"2.25.{number}.{index}"
        digest = hashlib.sha256(uid.encode()).hexdigest()
        identity = (uid, f"{uid}.1", f"{uid}.2", CTImageStorage, ExplicitVRLittleEndian, day, "move", "PACS", "SLUICE")
        peer = ("127.0.0.1", "00000000-0000-0000-0000-000000000001", path.stat().st_size, digest, path.name)
        rows.append((*identity, *peer))
    names = ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid")
    names += ("study_date", "source", "calling_ae", "called_ae", "peer", "association", "bytes", "sha256", "path")
    with database.transaction() as connection:
        copy_rows(connection, "receipt", names, rows)
    (batch,) = plan_batches(database, day.isoformat(), BATCH)
    started = time.perf_counter()
    summary = extract(database, archive, batch)
    seconds = time.perf_counter() - started
    if summary.indexed != BATCH:
        raise RuntimeError(f"Only {summary.indexed} of {BATCH} headers were indexed: the benchmark means nothing.")
    return BATCH / seconds


def write_corpus(folder: Path, count: int) -> list[Path]:
    """Write `count` CT slices of `ELEMENTS` elements into `folder`; the same bytes every time."""
    chance = random.Random(262)
    pixels = chance.randbytes(512 * 512 * 2)
    paths = []
    for index in range(count):
        path = folder / f"{index:06d}.dcm"
        _slice(index, pixels).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _slice(index: int, pixels: bytes) -> FileDataset:
    series, slice_number = divmod(index, SLICES)
    study = f"2.25.7350001.{series}"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{study}.1.{slice_number}"
    ds = FileDataset("", {}, b"\0" * 128, meta)
    acquired = datetime(2026, 10, 26, 8) + timedelta(minutes=20 * series, seconds=slice_number)
    patient, place = f"{series:06d}", 1.25 * slice_number
    values = {
        "SpecificCharacterSet": "ISO_IR 100", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
        "InstanceCreationDate": f"{acquired:%Y%m%d}", "InstanceCreationTime": f"{acquired:%H%M%S}.123000",
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyDate": f"{acquired:%Y%m%d}", "SeriesDate": f"{acquired:%Y%m%d}",
        "AcquisitionDate": f"{acquired:%Y%m%d}", "ContentDate": f"{acquired:%Y%m%d}", "StudyTime": "080000.500000",
        "SeriesTime": "080500.250000", "AcquisitionTime": f"{acquired:%H%M%S}.750000",
        "ContentTime": f"{acquired:%H%M%S}.900000", "AccessionNumber": f"A{patient}", "Modality": "CT",
        "Manufacturer": "SIEMENS", "InstitutionName": "Klinikum Süd", "ReferringPhysicianName": "Müller^Jörg",
        "StationName": "CT99001", "StudyDescription": "CT Thorax mit KM", "SeriesDescription": "Thorax 1.0 B30f",
        "InstitutionalDepartmentName": "Radiologie", "ManufacturerModelName": "SOMATOM Definition AS",
        "PatientName": f"Beispiel^{patient}", "PatientID": patient, "PatientBirthDate": "19560417", "PatientSex": "F",
        "PatientAge": "070Y", "PatientWeight": "71.5", "BodyPartExamined": "CHEST", "ScanOptions": "SPIRAL MODE",
        "SliceThickness": "1.25", "KVP": "120", "DataCollectionDiameter": "500", "DeviceSerialNumber": "65123",
        "SoftwareVersions": "syngo CT 2012B", "ProtocolName": "Thorax_Routine", "ReconstructionDiameter": "350",
        "DistanceSourceToDetector": "1085.6", "DistanceSourceToPatient": "595", "GantryDetectorTilt": "0",
        "TableHeight": "151", "RotationDirection": "CW", "ExposureTime": "500", "XRayTubeCurrent": "220",
        "Exposure": "110", "FilterType": "FLAT", "GeneratorPower": "26", "FocalSpots": "1.2",
        "ConvolutionKernel": "B30f", "PatientPosition": "HFS", "SingleCollimationWidth": 0.6,
        "TotalCollimationWidth": 38.4, "TableSpeed": 92.1, "SpiralPitchFactor": 1.2, "CTDIvol": 7.4321,
        "StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "StudyID": "1", "SeriesNumber": "3",
        "AcquisitionNumber": "2", "InstanceNumber": str(slice_number + 1),
        "ImagePositionPatient": ["-175.0", "-175.0", f"{place:.2f}"], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "FrameOfReferenceUID": f"{study}.9", "SliceLocation": f"{place:.2f}", "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "Rows": 512, "Columns": 512, "PixelSpacing": ["0.684", "0.684"],
        "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, "WindowCenter": ["50", "-600"],
        "WindowWidth": ["350", "1200"], "RescaleIntercept": "-1024", "RescaleSlope": "1", "RescaleType": "HU",
    }  # fmt: skip
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    for keyword in ("ProcedureCodeSequence", "ReferencedStudySequence", "RequestAttributesSequence"):
        setattr(ds, keyword, DicomSequence([_code(number) for number in range(2)]))
    creators = ("SIEMENS CT VA0  COAD", "SIEMENS CSA HEADER", "SIEMENS MED SMS USG S2000")
    vrs = (("DS", "1.2345"), ("LO", "value of a vendor"), ("US", 513), ("CS", "YES"), ("FD", 0.125), ("IS", "17"))
    blocks = [ds.private_block(0x0019 + 2 * place, name, create=True) for place, name in enumerate(creators)]
    ds.PixelData = pixels
    ds["PixelData"].VR = "OW"
    number = 0
    while len(ds) < ELEMENTS:
        vr, value = vrs[number % len(vrs)]
        blocks[number % len(blocks)].add_new(1 + number // len(blocks), vr, value)
        number += 1
    return ds


def _code(number: int) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
        f"CT{number}",
        "99LOCAL",
        "CT Thorax mit Kontrastmittel",
    )
    item.ReferencedSOPInstanceUID = f"2.25.1.{number}"
    return item

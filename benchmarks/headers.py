"""Header extraction beside a plain pydicom loop and beside DCMTK's dcm2json, and beside the limit that the disk sets.

The files are made here: CT slices of one series after another, 262 elements each (a vendor's usual mix, nested
code sequences and private elements among them), 512 × 512 pixels. Each round the sides read the same files
in turn; every file has been read before, so that the disk's own speed is in none of the figures.
`files to rows` is the whole step: files to committed blocks and rows in a durable Postgres, all of it on the cores of
this machine. The limit it cannot pass is opening the files and reading the bytes that their headers stand in.
The last rows say what stands between the two: what each part takes of the processors, beside the step's wall time.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import psutil
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.run import Row
from sluice.batches import Batch, plan_batches
from sluice.database import Database, copy_rows, migrate
from sluice.headers.building import Asked, read_files
from sluice.headers.extract import extract
from sluice.headers.parser import HeaderParser
from sluice.headers.reading import Received
from sluice.stack.postgres import EmbeddedPostgres
from sluice.windows import Window, remember_window

ELEMENTS = 262
SLICES = 100  # a series
FILES = 2_000  # for one reader beside the other
LOOP_FILES = 100  # of them, for the slow peers
BATCH = 20_000  # for the whole step: each file several times, under another UID
ROUNDS = 3
DAY = date(2026, 10, 26)
GOAL_READING = 10.0
GOAL_ROWS = 20.0


def run(work: Path) -> list[Row]:
    """Alternate the sides `ROUNDS` times; medians in files a second."""
    corpus = work / "archive"
    corpus.mkdir()
    files = write_corpus(corpus, FILES, with_holes=True)
    assert sum(1 for _ in pydicom.dcmread(files[0])) == ELEMENTS
    figures: dict[str, list[float]] = {}
    with EmbeddedPostgres(work / "postgres", durable=True) as postgres:
        database = Database(postgres.url("sluice"))
        migrate(database.url)
        for number in range(ROUNDS):
            measured = {
                "bytes": _rate(read_bytes, files),
                "parse": _rate(parse, files),
                "build": _rate(build, files),
                **{f"{work.__name__}_cpu": _cpu_us(work, files) for work in (read_bytes, parse, build)},
                "pydicom": _rate(plain_loop, files[:LOOP_FILES]),
                **dcm2json_rates(files[:LOOP_FILES]),
                **_rows_rates(database, corpus, files, number, postgres),
            }
            for name, value in measured.items():
                figures.setdefault(name, []).append(value)
    middle = {name: statistics.median(values) for name, values in figures.items()}
    return rows_of(middle)


def rows_of(middle: dict[str, float]) -> list[Row]:
    """The table: the step beside each peer, its parts beside the limit, and what a file costs of each part."""
    limit = "open + read 64 KiB"
    rows = [
        _row("files to rows in Postgres", middle["rows"], middle["pydicom"], "pydicom, one process", GOAL_ROWS),
        _row("header to DICOM JSON, one process", middle["parse"], middle["pydicom"], "pydicom", GOAL_READING),
    ]
    for name, peer in (("dcm2json", "dcm2json, a process a file"), ("dcm2json2", "dcm2json, two at a time")):
        if name in middle:
            rows.append(_row("files to rows in Postgres", middle["rows"], middle[name], peer, None))
    rows += [
        _row("header to DICOM JSON, of the limit", middle["parse"], middle["bytes"], limit, None),
        _row("headers to blocks, of the limit", middle["build"], middle["bytes"], limit, None),
        _row("files to rows, of the limit", middle["rows"], middle["bytes"], limit, None),
    ]
    whole = 1e6 / middle["rows"]
    for name, cost in (
        ("processor time: open, read", middle["read_bytes_cpu"]),
        ("processor time: parse", middle["parse_cpu"] - middle["read_bytes_cpu"]),
        ("processor time: type, group, compress", middle["build_cpu"] - middle["parse_cpu"]),
        ("processor time: COPY, locks, hand over", middle["parent"]),
        ("processor time: Postgres", middle["postgres"]),
    ):
        rows.append(
            Row(name, round(cost, 1), round(whole, 1), "wall time of the step", "µs/file", cost / whole, None, True)
        )
    return rows


def _row(name: str, ours: float, peer: float, peer_name: str, goal: float | None) -> Row:
    ratio = ours / peer
    holds = goal is None or ratio >= goal
    return Row(name, round(ours, 1), round(peer, 1), peer_name, "files/s", round(ratio, 4), goal, holds)


def _rate(read: Callable[[Sequence[Path]], None], files: Sequence[Path]) -> float:
    started = time.perf_counter()
    read(files)
    return len(files) / (time.perf_counter() - started)


def _cpu_us(read: Callable[[Sequence[Path]], None], files: Sequence[Path]) -> float:
    started = time.process_time()
    read(files)
    return (time.process_time() - started) / len(files) * 1e6


def read_bytes(files: Sequence[Path]) -> None:
    """The limit: open each file and read what a header fits in."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            file.read(64 << 10)


def parse(files: Sequence[Path]) -> None:
    """Ours, one process, without typed columns, blocks and a database."""
    parser = HeaderParser()
    for index, path in enumerate(files):
        parser.read(path, str(index // SLICES))


def build(files: Sequence[Path]) -> None:
    """Ours, one process, files to blocks that are ready for COPY."""
    for start in range(0, len(files), SLICES):
        received = [
            Received(index, f"2.25.{index}", str(start), "1", "1", "1", path.name, "", 1 << 19)
            for index, path in enumerate(files[start : start + SLICES])
        ]
        read_files(files[0].parent, Asked("Europe/Berlin"), received)


def plain_loop(files: Sequence[Path]) -> None:
    """A peer: what a script on pydicom does."""
    for path in files:
        json.dumps(pydicom.dcmread(path, stop_before_pixels=True).to_json_dict())


def dcm2json_rates(files: Sequence[Path]) -> dict[str, float]:
    """DCMTK's converter, which takes one file a process: one after the other, and two at a time."""
    program = shutil.which("dcm2json")
    if program is None:
        return {}

    def convert(at_once: int) -> Callable[[Sequence[Path]], None]:
        names = b"\0".join(os.fsencode(path) for path in files)
        command = ["xargs", "-0", "-n", "1", "-P", str(at_once), program]
        return lambda _: subprocess.run(command, input=names, stdout=subprocess.DEVNULL, check=True) and None

    return {"dcm2json": _rate(convert(1), files), "dcm2json2": _rate(convert(2), files)}


def _rows_rates(
    database: Database, archive: Path, files: Sequence[Path], number: int, postgres: EmbeddedPostgres
) -> dict[str, float]:
    """Files a second of the whole step over a batch of `BATCH` receipts, and what this process and Postgres take of the
    processors for it, µs a file."""
    batch = receive(database, files, BATCH, DAY + timedelta(days=number), str(number))
    before = resource.getrusage(resource.RUSAGE_SELF), _cpu_s(postgres)
    started = time.perf_counter()
    summary = extract(database, archive, batch)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF), _cpu_s(postgres)
    if summary.indexed != BATCH:
        raise RuntimeError(f"Only {summary.indexed} of {BATCH} headers were indexed: the benchmark means nothing.")
    own = sum(getattr(after[0], name) - getattr(before[0], name) for name in ("ru_utime", "ru_stime"))
    return {"rows": BATCH / seconds, "parent": own / BATCH * 1e6, "postgres": (after[1] - before[1]) / BATCH * 1e6}


def _cpu_s(postgres: EmbeddedPostgres) -> float:
    """Processor time of Postgres so far, processes that have ended among them."""
    assert postgres.process is not None
    server = psutil.Process(postgres.process.pid)
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    return sum(time.user + time.system for time in times) + times[0].children_user + times[0].children_system


def receive(database: Database, files: Sequence[Path], count: int, day: date, salt: str) -> Batch:
    """`count` receipts of that day, each with a UID of its own; the same file again is of another series."""
    remember_window(database, Window.of_day(day))
    rows = []
    for index in range(count):
        copy, place = divmod(index, len(files))
        path = files[place]
        uid = f"2.25.{salt}.{index}"
        digest = hashlib.sha256(uid.encode()).hexdigest()
        series = f"2.25.{salt}.{copy}.{place // SLICES}"
        identity = (uid, series, f"{series}.2", CTImageStorage, ExplicitVRLittleEndian, day, "move", "PACS", "SLUICE")
        peer = ("127.0.0.1", "00000000-0000-0000-0000-000000000001", path.stat().st_size, digest, path.name)
        rows.append((*identity, *peer))
    names = ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid")
    names += ("study_date", "source", "calling_ae", "called_ae", "peer", "association", "bytes", "sha256", "path")
    with database.transaction() as connection:
        copy_rows(connection, "receipt", names, rows)
    (batch,) = plan_batches(database, day.isoformat(), count)
    return batch


def write_corpus(folder: Path, count: int, with_holes: bool = False) -> list[Path]:
    """Write `count` CT slices of `ELEMENTS` elements into `folder`; the same bytes every time.

    Args:
        with_holes: most of the pixels are zeros that take no room on the disk.
    """
    chance = random.Random(262)
    pixels = chance.randbytes(512 * 512 * 2)
    paths = []
    for index in range(count):
        path = folder / f"{index:06d}.dcm"
        if with_holes:
            make_slice(index, chance.randbytes(4096)).save_as(path, enforce_file_format=True)
            _lengthen_pixels(path, 4096, len(pixels))
        else:
            make_slice(index, pixels).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _lengthen_pixels(path: Path, written: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(-written - 4, os.SEEK_END)
        file.write(length.to_bytes(4, "little"))
        file.truncate(file.tell() + length)


def make_slice(index: int, pixels: bytes) -> FileDataset:
    """A CT slice of `ELEMENTS` elements."""
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

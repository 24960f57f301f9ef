"""A whole release of 10,000 instances with two workers, beside `cp` and `sha256sum` of the same bytes.

Postgres and S3 are the embedded ones, on the same disk. Ours reads each file, compares its digest with the receipt's,
de-identifies, re-reads, uploads by HTTP, reads all of it back, and signs; the peer copies and hashes. A second version
with 300 instances more shows what a delta costs. SLUICE_BENCH_INSTANCES makes it smaller.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from benchmarks.run import Row
from sluice.database import Database, copy_rows, migrate, select
from sluice.objects import connect
from sluice.release.export import export_batch, prepare, publish, read_back, verify
from sluice.release.projects import Project
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.s3 import EmbeddedS3
from sluice.windows import Window, remember_window

INSTANCES = int(os.environ.get("SLUICE_BENCH_INSTANCES", "10000"))
WORKERS = 2
PART = 500
LARGE_EVERY = 10  # one in ten is a 512 × 512 CT of 531 KB, the others are 136 × 136 of 39 KB
MORE = 300
SERIES = 100  # instances
ROOT = "1.2.826.0.1.3680043.9.9998"
DAY, NEXT = date(2026, 10, 26), date(2026, 10, 27)


@dataclass(frozen=True)
class _Place:
    """What a worker needs."""

    url: str
    s3: tuple[str, str, str, str]
    archive: Path
    keys: Path
    project: Project


def run(work: Path) -> list[Row]:
    """Release, release again with some more, and copy and hash the same bytes."""
    with EmbeddedPostgres(work / "postgres", durable=True) as postgres, EmbeddedS3(work / "s3") as server:
        migrate(postgres.url("sluice"))
        database = Database(postgres.url("sluice"))
        bucket = server.bucket("releases")
        project = Project(
            name="bench",
            title="Benchmark",
            profile="longitudinal",
            selection={"modality": "CT"},
            bucket="releases",
            pseudonym_prefix="BEN",
            approval="none",
        )
        access = (server.endpoint_url, server.access_key, server.secret_key, "releases")
        place = _Place(database.url, access, work / "archive", work / "keys", project)
        size = _fill(database, place.archive, range(INSTANCES), DAY)
        first = _release(database, place, DAY.isoformat())
        _fill(database, place.archive, range(INSTANCES, INSTANCES + MORE), DAY)
        second = _release(database, place, DAY.isoformat())
        written = sum(entry.bytes for entry in bucket.list("bench/v2/dicom/"))
        copied = _copy(place.archive, work / "copy")
    seconds, again = sum(first.values()), sum(second.values())
    rate, peer = size / 1e6 / seconds, size / 1e6 / copied
    rows = [
        _row(f"whole release of {INSTANCES:,}, {WORKERS} workers", rate, peer, "cp + sha256sum", "MB/s", rate / peer),
        _row("the same, instances", INSTANCES / seconds, INSTANCES / copied, "cp + sha256sum", "/s", copied / seconds),
    ]
    rows += [
        _row(f"  of it {name}", took, seconds, "the whole", "s", seconds / took) for name, took in first.items() if took
    ]
    rows.append(_row(f"next version, {MORE} more", again, seconds, "the first version", "s", seconds / again))
    rows.append(_row("  bytes written", written / 1e6, size / 1e6, "the first version", "MB", size / max(written, 1)))
    return rows


def _row(name: str, ours: float, peer: float, peer_name: str, unit: str, ratio: float) -> Row:
    return Row(name, ours, peer, peer_name, unit, ratio, None, True)


def _release(database: Database, place: _Place, window: str) -> dict[str, float]:
    """Seconds of each step."""
    store = connect(*place.s3)
    took: dict[str, float] = {}
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_warm, range(WORKERS)))  # Airflow's workers are there already, too
        began = time.perf_counter()
        plan = prepare(database, place.project, window, part_size=PART, keys=place.keys)
        took["prepare"] = time.perf_counter() - began
        began = time.perf_counter()
        summaries = list(pool.map(_export, [(place, plan.release_id, part.as_dict()) for part in plan.batches]))
        took["export"] = time.perf_counter() - began
        assert not any(summary["held"] for summary in summaries), summaries
        began = time.perf_counter()
        list(pool.map(_read_back, [(place, plan.release_id, part.as_dict()) for part in plan.batches]))
        took["reading back"] = time.perf_counter() - began
    began = time.perf_counter()
    verify(database, store, plan.release_id)
    took["verify"] = time.perf_counter() - began
    began = time.perf_counter()
    publish(database, store, plan.release_id, place.keys)
    took["publish"] = time.perf_counter() - began
    return took


def _warm(_: int) -> None:
    time.sleep(0.5)


def _export(given: tuple[_Place, int, dict[str, Any]]) -> dict[str, Any]:
    place, release_id, part = given
    store = connect(*place.s3)
    return export_batch(
        Database(place.url), place.archive, store, place.project, release_id, part, keys=place.keys
    ).as_dict()


def _read_back(given: tuple[_Place, int, dict[str, Any]]) -> None:
    place, release_id, part = given
    read_back(Database(place.url), connect(*place.s3), release_id, part)


def _copy(source: Path, target: Path) -> float:
    """Seconds of `cp -r` and of `sha256sum` of what it wrote."""
    began = time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    command = f"find '{target}' -type f -print0 | xargs -0 -P {WORKERS} -n 200 sha256sum > /dev/null"
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - our own folder
    return time.perf_counter() - began


def _fill(database: Database, archive: Path, numbers: range, day: date) -> int:
    """Instances as the steps before leave them: received, indexed, checked; bytes in sum."""
    remember_window(database, Window.of_day(day))
    receipts, studies, series, instances, checks, blocks = [], {}, {}, [], [], []
    size = 0
    for number, data in _files(numbers):
        study_uid, series_uid = f"{ROOT}.{number // SERIES}", f"{ROOT}.{number // SERIES}.1"
        uid = f"{series_uid}.{number}"
        path = Path(study_uid) / f"{uid}.dcm"
        (archive / path).parent.mkdir(parents=True, exist_ok=True)
        (archive / path).write_bytes(data)
        size += len(data)
        patient = f"PID-{number // SERIES}"
        receipts.append(
            (uid, series_uid, study_uid, CTImageStorage, ExplicitVRLittleEndian, day, "push", "CT1", "SLUICE",
             "127.0.0.1", str(uuid.uuid4()), len(data), hashlib.sha256(data).hexdigest(), str(path))
        )  # fmt: skip
        studies[study_uid] = (study_uid, patient, f"Quillfeather^{number // SERIES}", f"ACC{number // SERIES}", day)
        series[series_uid] = (series_uid, study_uid, "CT")
        blocks.append((series_uid, study_uid, len(data), patient, uid))
        checks.append((uid, day, "1"))
    with database.transaction() as connection:
        copy_rows(
            connection, "receipt",
            ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid",
             "study_date", "source", "calling_ae", "called_ae", "peer", "association", "bytes", "sha256", "path"),
            receipts,
        )  # fmt: skip
        names = ("study_instance_uid", "patient_id", "patient_name", "accession_number", "study_date")
        copy_rows(connection, "study", names, studies.values())
        copy_rows(connection, "series", ("series_instance_uid", "study_instance_uid", "modality"), series.values())
        for series_uid, study_uid, length, patient, uid in blocks:
            (block,) = select(
                connection,
                "insert into header_block (series_instance_uid, study_instance_uid, instances, file_bytes, "
                "sop_class_uid, transfer_syntax_uid, elements, content) values (%s, %s, 1, %s, %s, %s, '{}', '') "
                "returning block_id",
                (series_uid, study_uid, length, CTImageStorage, ExplicitVRLittleEndian),
            )
            instances.append(
                (uid, series_uid, study_uid, CTImageStorage, ExplicitVRLittleEndian, patient, block["block_id"], 0)
            )
        copy_rows(
            connection, "instance",
            ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid",
             "patient_id", "block_id", "block_position"),
            instances,
        )  # fmt: skip
        copy_rows(connection, "quality_check", ("sop_instance_uid", "window_key", "suite_version"), checks)
    database.execute("analyze")
    return size


def _files(numbers: range) -> Iterator[tuple[int, bytes]]:
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 4096, 512 * 512 + 4096, dtype=np.uint16)
    for number in numbers:
        side = 512 if number % LARGE_EVERY == 0 else 136
        first = number % 4096
        yield number, _encoded(_dataset(number, side, noise[first : first + side * side].tobytes()))


def _dataset(number: int, side: int, pixels: bytes) -> Dataset:
    study, series = f"{ROOT}.{number // SERIES}", f"{ROOT}.{number // SERIES}.1"
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"{series}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, f"{study}.9"
    dataset.ImageType, dataset.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    dataset.PatientID, dataset.PatientName = f"PID-{number // SERIES}", f"Quillfeather^{number // SERIES}"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19490317", "FM"[number // SERIES % 2], "077Y"
    dataset.AccessionNumber, dataset.StudyID = f"ACC{number // SERIES}", "1"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = f"{DAY:%Y%m%d}"
    dataset.StudyTime = dataset.ContentTime = dataset.AcquisitionTime = "081530.25"
    dataset.StudyDescription, dataset.SeriesDescription = "CT Chest", "Thorax 1.0"
    dataset.ReferringPhysicianName, dataset.InstitutionName = "Gravelbottom^Ignatius", "Sankt Nimmerlein"
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.StationName = "SIEMENS", "SOMATOM", "CT1"
    dataset.BodyPartExamined, dataset.SliceThickness, dataset.KVP = "CHEST", 1.25, 120
    dataset.SeriesNumber, dataset.InstanceNumber = 2, number % SERIES
    dataset.ImagePositionPatient = [0, 0, 1.25 * (number % SERIES)]
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.7, 0.7]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    dataset.PixelData = pixels
    return dataset


def _encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()

"""A small indexed and checked hospital day in the database and the archive, as the earlier steps leave it."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from sluice.database import Database, copy_rows, select
from sluice.windows import Window, remember_window
from tests.deid.planted import encoded

DAY = "2026-10-26"


def store_day(
    database: Database, archive: Path, datasets: Sequence[Dataset], checked: bool = True, day: str = DAY
) -> list[str]:
    """Write the datasets as received, indexed and checked; return their SOP Instance UIDs."""
    remember_window(database, Window.of_day(date.fromisoformat(day)))
    for dataset in datasets:
        store(database, archive, encoded(dataset), checked, day)
    return [str(dataset.SOPInstanceUID) for dataset in datasets]


def store(database: Database, archive: Path, data: bytes, checked: bool = True, day: str = DAY) -> None:
    """Write one file as received, indexed and checked."""
    dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    uid, series, study = (
        str(dataset[name].value) for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    )
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    path = Path(study) / f"{uid}.dcm"
    (archive / path).parent.mkdir(parents=True, exist_ok=True)
    (archive / path).write_bytes(data)
    with database.transaction() as connection:
        copy_rows(
            connection,
            "receipt",
            ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid",
             "study_date", "source", "calling_ae", "called_ae", "peer", "association", "bytes", "sha256", "path"),
            [(uid, series, study, str(dataset.SOPClassUID), syntax, day, "push", "CT1", "SLUICE", "127.0.0.1",
              str(uuid.uuid4()), len(data), hashlib.sha256(data).hexdigest(), str(path))],
        )  # fmt: skip
        copy_rows(
            connection,
            "study",
            ("study_instance_uid", "patient_id", "patient_name", "accession_number", "study_date"),
            [(study, dataset.PatientID, str(dataset.PatientName), dataset.AccessionNumber, day)],
        )
        copy_rows(
            connection, "series", ("series_instance_uid", "study_instance_uid", "modality"),
            [(series, study, dataset.Modality)],
        )  # fmt: skip
        (block,) = select(
            connection,
            "insert into header_block (series_instance_uid, study_instance_uid, instances, file_bytes, sop_class_uid, "
            "transfer_syntax_uid, elements, content) values (%s, %s, 1, %s, %s, %s, '{}', '') returning block_id",
            (series, study, len(data), str(dataset.SOPClassUID), syntax),
        )
        copy_rows(
            connection,
            "instance",
            ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid",
             "patient_id", "block_id", "block_position"),
            [(uid, series, study, str(dataset.SOPClassUID), syntax, dataset.PatientID, block["block_id"], 0)],
        )  # fmt: skip
        if checked:
            copy_rows(
                connection, "quality_check", ("sop_instance_uid", "window_key", "suite_version"), [(uid, day, "1")]
            )

"""Rows of a ledger for tests that start in the middle of the stream, written as the steps before would."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg2
from psycopg2.extras import Json

from sluice.database import Database
from sluice.windows import Window, remember_window

DAY = date(2026, 10, 26)
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
DX_IMAGE = "1.2.840.10008.5.1.4.1.1.1.1"
ROOT = "1.2.826.0.1.3680043.8.498"


class LedgerRows:
    """Writes one consistent day; a test then breaks what it is about."""

    def __init__(self, database: Database, window: Window | None = None) -> None:
        # One connection for all rows: a day has hundreds, and connecting costs more than inserting.
        self.database = database
        self.connection = psycopg2.connect(database.url)
        self.connection.autocommit = True
        self.window = window or Window.of_day(DAY)
        remember_window(database, self.window)

    def put(self, table: str, row: Mapping[str, Any], on_conflict: str = "") -> None:
        """Insert one row; dicts become JSON."""
        values = [Json(value) if isinstance(value, dict) else value for value in row.values()]
        places = ", ".join(["%s"] * len(values))
        with self.connection.cursor() as cursor:
            cursor.execute(f"insert into {table} ({', '.join(row)}) values ({places}) {on_conflict}", values)

    def study(self, number: int, **changes: Any) -> str:
        """A study of patient PAT-<number>."""
        uid = f"{ROOT}.{number}"
        self.put(
            "study",
            {
                "study_instance_uid": uid,
                "patient_id": f"PAT-{number:04}",
                "patient_name": f"Geheim^Person{number}",
                "patient_birth_date": date(1970, 5, 17),
                "patient_sex": "F",
                "accession_number": f"ACC{number:05}",
                "study_date": self.window.starts_on,
                "study_time": time(9, 0),
                "study_description": "CT THORAX",
            }
            | changes,
        )
        return uid

    def series(self, study_uid: str, number: int = 1, region: str | None = "CHEST", **changes: Any) -> str:
        """A series with its header anatomy."""
        uid = f"{study_uid}.{number}"
        self.put(
            "series",
            {
                "series_instance_uid": uid,
                "study_instance_uid": study_uid,
                "modality": "CT",
                "series_number": number,
                "series_date": self.window.starts_on,
                "body_part_examined": "CHEST",
                "manufacturer": "ACME",
                "station_name": "CT1",
                "device_serial_number": "4711",
            }
            | changes,
        )
        self.put(
            "header_anatomy",
            {"series_instance_uid": uid, "region_key": region, "confidence": 0.9 if region else 0.0},
        )
        return uid

    def expected(self, series_uid: str, number: int, modality: str = "CT") -> str:
        """An instance that the PACS listed and that did not come (yet)."""
        uid = f"{series_uid}.{number}"
        self.put(
            "expectation",
            {
                "window_key": self.window.key,
                "sop_instance_uid": uid,
                "series_instance_uid": series_uid,
                "study_instance_uid": series_uid.rsplit(".", 1)[0],
                "modality": modality,
                "pacs": "pacs",
            },
            "on conflict do nothing",
        )
        return uid

    def received(self, series_uid: str, number: int, sop_class_uid: str = CT_IMAGE) -> str:
        """An instance that came as expected."""
        uid = self.expected(series_uid, number)
        self.put(
            "receipt",
            {
                "sop_instance_uid": uid,
                "series_instance_uid": series_uid,
                "study_instance_uid": series_uid.rsplit(".", 1)[0],
                "sop_class_uid": sop_class_uid,
                "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                "study_date": self.window.starts_on,
                "source": "move",
                "calling_ae": "HOSPITAL_PACS",
                "called_ae": "SLUICE",
                "peer": "127.0.0.1",
                "association": "00000000-0000-0000-0000-000000000001",
                "bytes": 4096,
                "sha256": hashlib.sha256(uid.encode()).hexdigest(),
                "path": f"{uid}.dcm",
            },
        )
        return uid

    def instance(self, series_uid: str, number: int, **changes: Any) -> str:
        """An instance that was received and indexed."""
        sop_class_uid = changes.get("sop_class_uid", CT_IMAGE)
        uid = self.received(series_uid, number, sop_class_uid)
        study_uid = series_uid.rsplit(".", 1)[0]
        acquired_at = datetime.combine(self.window.starts_on, time(9, 10)) + timedelta(seconds=number)
        self.put(
            "instance",
            {
                "sop_instance_uid": uid,
                "series_instance_uid": series_uid,
                "study_instance_uid": study_uid,
                "sop_class_uid": sop_class_uid,
                "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                "patient_id": f"PAT-{int(study_uid.rsplit('.', 1)[1]):04}",
                "instance_number": number,
                "acquired_at": acquired_at,
                # Berlin, after summer time ended on 2026-10-25: UTC + 1 h; stored three minutes later.
                "stored_in_pacs_at": acquired_at.replace(tzinfo=UTC) - timedelta(hours=1) + timedelta(minutes=3),
                "patient_age_years": 56,
                "rows": 512,
                "columns": 512,
                "pixel_spacing": [0.7, 0.7],
                "slice_thickness": 1.0,
            }
            | changes,
        )
        return uid

    def healthy_study(self, number: int, instances: int = 3) -> tuple[str, str, list[str]]:
        """A study with one series that breaks no rule: its UID, the series' and the instances'."""
        study_uid = self.study(number)
        series_uid = self.series(study_uid)
        return study_uid, series_uid, [self.instance(series_uid, index + 1) for index in range(instances)]

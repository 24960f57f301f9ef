"""A day of exams in the database, as extraction would have left it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sluice.database import Database
from sluice.settings import settings
from sluice.windows import Window, remember_window

DAY = date(2026, 10, 26)


def add_exam(
    database: Database,
    scanner: str,
    modality: str,
    number: int,
    true_times: Sequence[datetime],
    clock_s: float = 0.0,
    delay_s: float = 20.0,
    patient: str | None = None,
) -> None:
    """One study with one series whose images were acquired at `true_times` (hospital local time)."""
    remember_window(database, Window.of_day(DAY))
    study = f"1.{sum(scanner.encode())}.{number}"
    zone = ZoneInfo(settings().time_zone)
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("insert into study (study_instance_uid) values (%s)", (study,))
        cursor.execute(
            "insert into series (series_instance_uid, study_instance_uid, modality, station_name) "
            "values (%s, %s, %s, %s)",
            (f"{study}.1", study, modality, scanner),
        )
        for place, moment in enumerate(true_times):
            uid = f"{study}.1.{place}"
            cursor.execute(
                """
                insert into receipt (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid,
                    transfer_syntax_uid, study_date, source, calling_ae, called_ae, peer, association, bytes,
                    sha256, path)
                values (%s, %s, %s, '1', '1', %s, 'move', 'A', 'B', 'h', gen_random_uuid(), 1, 'x', %s)
                """,
                (uid, f"{study}.1", study, DAY, uid),
            )
            cursor.execute(
                """
                insert into instance (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid,
                    transfer_syntax_uid, patient_id, acquired_at, stored_in_pacs_at)
                values (%s, %s, %s, '1', '1', %s, %s, %s)
                """,
                (
                    uid,
                    f"{study}.1",
                    study,
                    patient or f"P{number}",
                    moment + timedelta(seconds=clock_s),
                    (true_times[-1] + timedelta(seconds=delay_s)).replace(tzinfo=zone),
                ),
            )

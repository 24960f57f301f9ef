"""What the rules look at: one data frame for each level, read in one snapshot of the database."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pandas
from psycopg2.extensions import connection as Connection  # noqa: N812
from pydicom.uid import UID

from sluice.database import named_query
from sluice.quality.suites import LEVELS, Level

KEYS: Mapping[Level, str] = {
    "study": "study_instance_uid",
    "series": "series_instance_uid",
    "instance": "sop_instance_uid",
}


def read_frames(connection: Connection, window_key: str, time_zone: str) -> dict[Level, pandas.DataFrame]:
    """The frames of a window, one row an object, with the columns of `sql/queries/quality_<level>.sql`.

    Args:
        time_zone: IANA zone in which headers without an offset are read.

    They hold no patient's identifier: the queries reduce those to "present", counts and differences before
    anything that renders values gets to see them.
    """
    frames = {level: _read(connection, level, window_key, time_zone) for level in LEVELS}
    instances = frames["instance"]
    instances["is_image"] = [is_image(uid) for uid in instances["sop_class_uid"]]
    return frames


def is_image(sop_class_uid: str | None) -> bool:
    """Whether a SOP class is one whose objects hold pixel data (PS3.4, table B.5-1)."""
    if not sop_class_uid:
        return False
    name = UID(sop_class_uid).name
    return "Image Storage" in name or name in {"Segmentation Storage", "RT Dose Storage", "Parametric Map Storage"}


def _read(connection: Connection, level: Level, window_key: str, time_zone: str) -> pandas.DataFrame:
    with connection.cursor() as cursor:
        cursor.execute(named_query(f"quality_{level}"), {"window_key": window_key, "time_zone": time_zone})
        columns = [column.name for column in cursor.description or ()]
        rows = [[_plain(value) for value in row] for row in cursor.fetchall()]
    return pandas.DataFrame(rows, columns=columns)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value

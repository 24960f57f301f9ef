"""What the rules look at: frames of each level, some thousand rows at a time, read in one snapshot of the database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pandas
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.anatomy.regions import REGIONS
from sluice.database import named_query, select
from sluice.headers.paths import ElementPath
from sluice.quality.columns import columns_of
from sluice.quality.drift import frame_rows
from sluice.quality.elements import Element, Elements, as_column, values
from sluice.quality.pixels import pixel_columns
from sluice.quality.scanner_days import ScannerDay, ScannerDays, history, never_before
from sluice.quality.suites import Level, Suites
from sluice.quality.volumes import PATHS, Slices

CHUNK = 10_000  # rows of a frame
# What text looks like that lost its character set: replacement characters, or UTF-8 that was encoded twice.
DAMAGED = "\ufffd|Ã[¤¶¼Ÿ©¨\u0084\u0096\u009c\u009f]"
DATES = tuple(map(ElementPath.of, ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")))
TIMES = tuple(map(ElementPath.of, ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")))
IS_DATE = re.compile(r"\d{4}\.?(0[1-9]|1[0-2])\.?(0[1-9]|[12]\d|3[01])").fullmatch
IS_TIME = re.compile(r"([01]\d|2[0-3])(:?[0-5]\d(:?([0-5]\d|60)(\.\d{1,6})?)?)?").fullmatch


class Frames:
    """The frames of a window, one row an object, with the columns of `sluice.quality.columns`.

    They hold no patient's identifier: the queries reduce those to "present", counts and differences before anything
    that renders values gets to see them. Levels are read in the order of `suites.LEVELS` but for instances, which come
    first: what they say of slices and scanners is gathered on the way.

    Args:
        connection: a transaction that reads one snapshot.
        time_zone: IANA zone in which headers without an offset are read.
    """

    def __init__(self, connection: Connection, window_key: str, time_zone: str, suites: Suites) -> None:
        self._connection = connection
        self._asked = {"window_key": window_key, "time_zone": time_zone, "damaged": DAMAGED}
        self._suites = suites
        self._slices: dict[str, tuple[int, dict[str, Any]]] = {}
        self._scanner_days = ScannerDays()
        self._day = self._day_of(window_key)
        with connection.cursor() as cursor:
            cursor.execute(named_query("quality_members"), self._asked)
        self.days: list[ScannerDay] = []
        self.said: dict[tuple[str, str], str] = {}

    def of_level(self, level: Level) -> Iterator[pandas.DataFrame]:
        """The level's rows in frames of at most 10000 rows; at least one frame, which may be empty."""
        if level == "instance":
            yield from self._instances()
        elif level == "scanner":
            yield self._frame(level, self._scanners())
        else:
            complete = {"series": self._complete_series}.get(level, _as_they_are)
            first = True
            for rows in self._read(level):
                yield self._frame(level, complete(rows))
                first = False
            if first:
                yield self._frame(level, [])

    def _read(self, level: Level) -> Iterator[list[dict[str, Any]]]:
        """Rows of the level's query, through a cursor of the server: memory holds one frame's."""
        with self._connection.cursor(name=f"quality_{level}") as cursor:
            cursor.itersize = CHUNK
            cursor.execute(named_query(f"quality_{level}").rstrip().rstrip(";"), self._asked)
            while found := cursor.fetchmany(CHUNK):
                names = [column.name for column in cursor.description or ()]
                yield [dict(zip(names, map(_plain, row), strict=True)) for row in found]

    def _instances(self) -> Iterator[pandas.DataFrame]:
        own = [tag.path for tag in self._suites.tags.values()]
        paths = [*own, *PATHS, *DATES, *TIMES]
        slices: tuple[str, int, Slices] | None = None
        first = True
        for rows in self._read("instance"):
            headers = Elements(self._connection, {row["block_id"] for row in rows if row["block_id"]}, paths)
            for row in rows:
                # Of a header that is in no block nothing is known, not even that an element is absent.
                has_header = row["block_id"] is not None
                elements = headers.of(row["block_id"], row["block_position"]) if has_header else None
                self._complete_instance(row, elements)
                self._scanner_days.add(row)
                uid = row["series_instance_uid"]
                if slices is None or slices[0] != uid:
                    self._keep(slices)
                    slices = (uid, 0, Slices())
                slices[2].localizer = slices[2].localizer or row["is_localizer"]
                if elements is not None:
                    slices[2].add(elements)
                slices = (uid, slices[1] + 1, slices[2])
            yield self._frame("instance", rows)
            first = False
        self._keep(slices)
        if first:
            yield self._frame("instance", [])

    def _complete_instance(self, row: dict[str, Any], elements: Mapping[str, Element] | None) -> None:
        for name, tag in self._suites.tags.items():
            row[name] = None if elements is None else as_column(values(elements, tag.path), tag.kind)
        row |= pixel_columns(row)
        kinds = (row["image_type"] or "").upper().split("\\")
        row["is_original"] = kinds[0] == "ORIGINAL"
        row["is_localizer"] = "LOCALIZER" in kinds
        row["unreadable_dates"] = sum(
            not is_right(str(value).strip())
            for paths, is_right in ((DATES, IS_DATE), (TIMES, IS_TIME))
            for path in paths
            for value in (values(elements or {}, path) or ())[:1]
            if value
        )

    def _keep(self, slices: tuple[str, int, Slices] | None) -> None:
        if slices is not None:
            self._slices[slices[0]] = (slices[1], slices[2].columns())

    def _complete_series(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in rows:
            region = REGIONS.get(row["region_key"] or "")
            row["is_paired_region"] = region is not None and region.paired
            seen, columns = self._slices.get(row["series_instance_uid"], (0, {}))
            if seen == row["instances"]:  # else the window holds a part of the series, which says nothing of holes
                row |= columns
        return rows

    def _scanners(self) -> list[dict[str, Any]]:
        if self._day is None:  # a cohort is a choice, not a scanner's day
            return []
        self.days = self._scanner_days.of_day(self._day)
        new = never_before(self._connection, self.days)
        rows, self.said = frame_rows(self.days, history(self._connection, self.days), new)
        return rows

    def _day_of(self, window_key: str) -> date | None:
        rows = select(
            self._connection,
            "select starts_on from sweep_window where window_key = %s and kind = 'day' and starts_on = ends_on",
            (window_key,),
        )
        return rows[0]["starts_on"] if rows else None

    def _frame(self, level: Level, rows: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
        return frame_of(level, rows, self._suites)


def frame_of(level: Level, rows: Sequence[Mapping[str, Any]], suites: Suites) -> pandas.DataFrame:
    """A frame with all columns of a level, each of its kind whatever the rows hold."""
    columns: dict[str, Any] = {}
    for name, column in columns_of(level, suites.tags).items():
        values = [row.get(name) for row in rows]
        if column.kind == "flag":
            values = [bool(value) for value in values]
        columns[name] = pandas.Series(values, dtype=DTYPES.get(column.kind, object))
    if level == "instance":
        columns["same_pixels_uids"] = pandas.Series([row.get("same_pixels_uids") for row in rows], dtype=object)
    return pandas.DataFrame(columns)


DTYPES: Mapping[str, type] = {"number": float, "flag": bool}


def _as_they_are(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def sample(level: Level, suites: Suites) -> pandas.DataFrame:
    """A frame of two rows of the right columns and kinds, one full and one empty, to try rules on."""
    full = {"number": 1.0, "text": "A", "bool": True, "flag": True, "uid": "1.2.3"}
    rows: list[dict[str, Any]] = [
        {name: full[column.kind] for name, column in columns_of(level, suites.tags).items()},
        {},
    ]
    return frame_of(level, rows, suites)

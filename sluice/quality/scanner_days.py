"""A scanner's day in a few numbers: what its series were like, gathered while the instances are checked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import copy_rows, select

HISTORY_DAYS = 30
MOST_VALUES = 40  # of a category that are kept by name; the rest are one
QUANTILES = 21
OTHERS = "(others)"


@dataclass(frozen=True)
class ScannerDay:
    """A scanner's day.

    Attributes:
        categories: feature -> value -> series (exams, for `hours`).
        numbers: feature -> how many series, and the quantiles of their values.
        missing: feature -> series that lack it, and series.
        seen: `software`, `serials`, `makes` -> what was named.
        descriptors: columns of the scanner as the frame shows them.
    """

    scanner: str
    day: date
    modality: str | None
    exams: int
    series: int
    instances: int
    categories: Mapping[str, Mapping[str, int]]
    numbers: Mapping[str, tuple[int, list[float]]]
    missing: Mapping[str, tuple[int, int]]
    seen: Mapping[str, list[str]]
    descriptors: Mapping[str, str | None]

    @property
    def facts(self) -> dict[str, Any]:
        """What the table `scanner_day` keeps as JSON."""
        return {name: dict(getattr(self, name)) for name in ("categories", "numbers", "missing", "seen", "descriptors")}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> ScannerDay:
        """The day that a row of `scanner_day` holds."""
        return cls(
            **{name: row[name] for name in ("scanner", "day", "modality", "exams", "series", "instances")},
            **row["facts"],
        )


@dataclass(slots=True)
class _Series:
    row: Mapping[str, Any]
    instances: int = 0
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)


MEASURES = {
    "pixel_spacing_mm": "pixel_spacing_row_mm",
    "slice_thickness_mm": "slice_thickness_mm",
    "kvp": "kvp",
    "exposure_mas": "exposure_mas",
    "age_years": "patient_age_years",
}


class ScannerDays:
    """Gathers the series of a window by scanner, one instance at a time; memory grows with series only."""

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """One original image of a known scanner; everything else is passed over."""
        if not row["scanner"] or not row["is_image"] or row["is_localizer"]:
            return
        series = self._series.get(row["series_instance_uid"])
        if series is None:
            kept = ("scanner", "study_instance_uid", "region_key", "rows", "columns", "hour", "body_part_examined",
                    "protocol_name", "patient_id", "device_serial_number", *_DESCRIPTORS)  # fmt: skip
            series = self._series[row["series_instance_uid"]] = _Series({name: row[name] for name in kept})
        series.instances += 1
        for feature, column in MEASURES.items():
            value = row.get(column)
            if value is not None:
                total, count = series.sums.get(feature, (0.0, 0))
                series.sums[feature] = (total + float(value), count + 1)

    def of_day(self, day: date) -> list[ScannerDay]:
        """The scanners of a day window."""
        by_scanner: dict[str, list[_Series]] = defaultdict(list)
        for series in self._series.values():
            by_scanner[series.row["scanner"]].append(series)
        return [_summary(scanner, day, of_it) for scanner, of_it in sorted(by_scanner.items())]


_DESCRIPTORS = ("modality", "manufacturer", "model_name", "software_versions", "station_name")


def _summary(scanner: str, day: date, series: list[_Series]) -> ScannerDay:
    rows = [one.row for one in series]
    hours = {row["study_instance_uid"]: row["hour"] for row in reversed(rows) if row["hour"] is not None}
    categories = {
        "modality_mix": Counter(row["modality"] or "none" for row in rows),
        "regions": Counter(row["region_key"] for row in rows if row["region_key"]),
        "protocols": Counter(row["protocol_name"] for row in rows if row["protocol_name"]),
        "matrix": Counter(f"{row['rows']}x{row['columns']}" for row in rows if row["rows"] and row["columns"]),
        "hours": Counter(f"{6 * (int(hour) // 6):02d}-{6 * (int(hour) // 6) + 6:02d}" for hour in hours.values()),
    }
    numbers: dict[str, tuple[int, list[float]]] = {}
    for feature in MEASURES:
        values = [total / count for one in series if (found := one.sums.get(feature)) for total, count in (found,)]
        if values:
            grid = numpy.quantile(numpy.array(values), numpy.linspace(0, 1, QUANTILES))
            numbers[feature] = (len(values), [float(f"{value:.6g}") for value in grid])
    missing = {"body_part_examined": "body_part_examined", "protocol_name": "protocol_name", "region": "region_key",
               "patient_id": "patient_id"}  # fmt: skip
    common = {name: Counter(row[name] for row in rows).most_common(1)[0][0] for name in _DESCRIPTORS}
    return ScannerDay(
        scanner=scanner,
        day=day,
        modality=common["modality"],
        exams=len({row["study_instance_uid"] for row in rows}),
        series=len(rows),
        instances=sum(one.instances for one in series),
        categories={feature: _kept(counts) for feature, counts in categories.items()},
        numbers=numbers,
        missing={name: (sum(row[column] is None for row in rows), len(rows)) for name, column in missing.items()},
        seen={
            "software": _named(row["software_versions"] for row in rows),
            "serials": _named(row["device_serial_number"] for row in rows),
            "makes": _named(" ".join(filter(None, (row["manufacturer"], row["model_name"]))) for row in rows),
        },
        descriptors=common,
    )


def _kept(counts: Counter[str]) -> dict[str, int]:
    kept = dict(counts.most_common(MOST_VALUES))
    rest = counts.total() - sum(kept.values())
    return kept | ({OTHERS: rest} if rest else {})


def _named(values: Any) -> list[str]:
    return sorted({str(value)[:64] for value in values if value})[:20]


def history(connection: Connection, days: list[ScannerDay]) -> dict[str, list[ScannerDay]]:
    """The last 30 days before these, by scanner; reads only their rows."""
    if not days:
        return {}
    day = days[0].day
    rows = select(
        connection,
        "select * from scanner_day where scanner = any(%s) and day >= %s and day < %s order by scanner, day",
        ([one.scanner for one in days], day - timedelta(HISTORY_DAYS), day),
    )
    found: dict[str, list[ScannerDay]] = {one.scanner: [] for one in days}
    for row in rows:
        found[row["scanner"]].append(ScannerDay.of_row(row))
    return found


def never_before(connection: Connection, days: list[ScannerDay], week: int = 7) -> set[str]:
    """Scanners without any earlier day, where others have a week or more of them."""
    if not days:
        return set()
    asked = {"scanners": [one.scanner for one in days], "day": days[0].day, "week": week}
    rows = select(
        connection,
        """
        select asked.scanner
          from unnest(%(scanners)s::text[]) as asked(scanner)
         where not exists (select from scanner_day d where d.scanner = asked.scanner and d.day < %(day)s)
           and (select count(*) from (select from scanner_day where day < %(day)s
                                       group by day limit %(week)s) earlier) = %(week)s
        """,
        asked,
    )
    return {row["scanner"] for row in rows}


def keep(connection: Connection, days: list[ScannerDay]) -> None:
    """Write the days, in place of what an earlier check of them wrote."""
    names = ("scanner", "day", "modality", "exams", "series", "instances")
    copy_rows(
        connection,
        "scanner_day",
        (*names, "facts"),
        ((*(getattr(day, name) for name in names), day.facts) for day in days),
        on_conflict="(scanner, day) do update set modality = excluded.modality, exams = excluded.exams, "
        "series = excluded.series, instances = excluded.instances, facts = excluded.facts, summarised_at = now()",
    )

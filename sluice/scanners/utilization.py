"""How busy each scanner was on its day.

An **exam** is a study on a scanner. It occupies the scanner from its first to its last acquisition plus an
allowance for what leaves no time in the images: positioning before, the last exposure and leaving after
(`ALLOWANCES`, minutes by modality; a stated assumption, not a measurement). Times are corrected by the
scanner's clock offset where it is known. Exams that overlap (two patients in one room, one study continued
after another began) merge into one **encounter**, so no minute counts twice.

Busy minutes are those of the encounters, in opening hours or not, so a scanner with a night shift may pass
1. An exam across midnight counts in full in the window its study date puts it in. Acquisition times that do
not belong to the exam (a stray header, a clock that jumped) are left out: see `exam_span`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from statistics import median_low
from typing import Any

from sluice.database import Database, copy_rows
from sluice.scanners.acquisitions import Acquisition, Day, acquisitions, main_modality
from sluice.scanners.clocks import measure
from sluice.settings import settings

# Minutes before the first and after the last acquisition, so that a usual exam comes to a usual room time:
# a radiograph 6 to 7, mammography 10, CT 15, MR 35 minutes. A site that times its rooms puts its own here.
ALLOWANCES: dict[str, tuple[float, float]] = {
    "CR": (4, 2),
    "DX": (4, 2),
    "DR": (4, 2),
    "MG": (5, 3),
    "US": (4, 3),
    "CT": (8, 5),
    "MR": (8, 5),
    "NM": (5, 5),
    "PT": (5, 5),
    "RF": (5, 3),
    "XA": (10, 10),
}
OTHER_ALLOWANCE = (4.0, 2.0)
LONGEST_EXAM = timedelta(hours=6)  # from the exam's middle; farther images are strays


@dataclass(frozen=True)
class Span:
    """A stretch of time on a scanner, hospital local time."""

    start: datetime
    end: datetime

    @property
    def minutes(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds() / 60


def report(database: Database, window_key: str) -> list[dict[str, Any]]:
    """Report a day window's scanners, write `scanner_utilization`, return its rows by scanner."""
    day, by_scanner = acquisitions(database, window_key)
    if day is None:
        return []
    open_minutes = opening_minutes(settings().opens_at, settings().closes_at) * ((day.ends_on - day.starts_on).days + 1)
    clocks = measure(by_scanner)
    rows = [
        {
            "window_key": window_key,
            "scanner": scanner,
            **utilization(by_scanner[scanner], clocks[scanner].offset_s or 0.0, open_minutes, day),
        }
        for scanner in sorted(by_scanner)
    ]
    if rows:
        names = list(rows[0])
        updates = ", ".join(f"{name} = excluded.{name}" for name in names[2:])
        with database.transaction() as connection:
            copy_rows(
                connection,
                "scanner_utilization",
                names,
                ([row[name] for name in names] for row in rows),
                f"(window_key, scanner) do update set {updates}, reported_at = now()",
            )
    return rows


def utilization(images: Sequence[Acquisition], offset_s: float, open_minutes: float, day: Day) -> dict[str, Any]:
    """A scanner's figures from its images; `offset_s` is its clock minus the hospital's."""
    exams: dict[str, list[Acquisition]] = {}
    for image in images:
        exams.setdefault(image.study_instance_uid, []).append(image)
    correction = timedelta(seconds=offset_s)
    spans = [exam_span(exam, correction, day) for exam in exams.values()]
    encounters = merge(span for span in spans if span is not None)
    busy = sum(encounter.minutes for encounter in encounters)
    gaps = [(later.start - earlier.end).total_seconds() / 60 for earlier, later in pairwise(encounters)]
    return {
        "modality": main_modality(images),
        "exams": len(exams),
        "patients": len({image.patient_id for image in images if image.patient_id}),
        "busy_minutes": round(busy, 2),
        "open_minutes": open_minutes,
        "utilization": round(busy / open_minutes, 4),
        "first_start": encounters[0].start if encounters else None,
        "last_end": encounters[-1].end if encounters else None,
        "largest_gap_minutes": round(max(gaps), 2) if gaps else None,
    }


def exam_span(images: Sequence[Acquisition], correction: timedelta, day: Day) -> Span | None:
    """When an exam occupied its scanner; None where its images' times cannot be of this day."""
    times = [image.acquired_at - correction for image in images]
    middle = median_low(times)
    if not day.starts_on - timedelta(days=1) <= middle.date() <= day.ends_on + timedelta(days=1):
        return None
    times = [moment for moment in times if abs(moment - middle) <= LONGEST_EXAM]
    modality = Counter(sorted(image.modality for image in images)).most_common(1)[0][0]
    before, after = ALLOWANCES.get(modality, OTHER_ALLOWANCE)
    return Span(min(times) - timedelta(minutes=before), max(times) + timedelta(minutes=after))


def merge(spans: Iterable[Span]) -> list[Span]:
    """Encounters: overlapping or touching spans joined, in order."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def opening_minutes(opens_at: time, closes_at: time) -> float:
    """Minutes from opening to closing; a closing time at or before the opening is on the next day."""
    any_day = date(2000, 1, 1)
    minutes = Span(datetime.combine(any_day, opens_at), datetime.combine(any_day, closes_at)).minutes
    return minutes if minutes > 0 else minutes + 24 * 60

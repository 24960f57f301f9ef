"""What both scanner reports start from: the acquisition times of a window's images.

A scanner is known by its Station Name (0008,1010), else its Device Serial Number (0018,1000).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from sluice.database import Database, named_query, select

# Machines that acquire images of a patient; reports, presentation states and post-processing have no exam time.
MODALITIES = ("CR", "CT", "DX", "DR", "IO", "MG", "MR", "NM", "PT", "PX", "RF", "RG", "US", "XA")


@dataclass(frozen=True)
class Acquisition:
    """One image.

    Attributes:
        acquired_at: local time by the scanner's own clock.
        stored_in_pacs_at: the PACS's clock, an instant; None where the PACS does not say.
        pushed_at: our receiver's clock, an instant; None for what was pulled.
    """

    scanner: str
    modality: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str | None
    acquired_at: datetime
    stored_in_pacs_at: datetime | None
    pushed_at: datetime | None


@dataclass(frozen=True)
class Day:
    """A window's days, both inclusive."""

    starts_on: date
    ends_on: date


def acquisitions(database: Database, window_key: str) -> tuple[Day | None, dict[str, list[Acquisition]]]:
    """A day window's images by scanner. A cohort has none: its exams are a choice, not a scanner's day."""
    with database.transaction() as connection:
        windows = select(
            connection,
            "select starts_on, ends_on from sweep_window where window_key = %s and kind = 'day'",
            (window_key,),
        )
        if not windows:
            return None, {}
        rows = select(
            connection,
            named_query("scanner_acquisitions"),
            {"window_key": window_key, "modalities": list(MODALITIES)},
        )
    found: dict[str, list[Acquisition]] = {}
    for row in rows:
        found.setdefault(row["scanner"], []).append(Acquisition(**row))
    return Day(**windows[0]), found


def main_modality(images: Iterable[Acquisition]) -> str:
    """The modality of most of a scanner's series."""
    by_series = {image.series_instance_uid: image.modality for image in images}
    return Counter(sorted(by_series.values())).most_common(1)[0][0]

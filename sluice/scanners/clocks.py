"""How far each scanner's clock is from the hospital's time.

**Model.** An image is acquired at true time t and stored at t + delay by a machine whose clock is right (the PACS
writes (0008,0015); else our receiver, for what was pushed to us). The scanner writes t + offset. So

    difference = acquired − stored = offset − delay,   delay ≥ 0 and skewed to the right.

Differences lie below the offset, and the fastest transfers come nearest to it. The estimate is therefore the
upper envelope of the differences, one a series (its best image), plus the floor: the delay that even the fastest
transfer is assumed to take (`settings.transfer_floor_s`). A leader that stands alone far above the others is a
wrong entry rather than a fast transfer, and is left out.

**What cannot be known.** A minimum delay that every transfer shares looks exactly like a clock that is slow by
as much: only its assumed value separates them. If the true minimum is d, the estimate is off by d − floor. With
some ten series a day and transfers of seconds to minutes, expect an error within about half a minute; less with
more series. Offsets below that are not evidence of anything. A clock that is wrong by more than `FARTHEST_S` is
not measured (it shows as too few samples), and a whole-day error is a quality finding.

**Drift** needs days: a clock drifts by a second or so a day, transfers vary by a minute. It is the Theil–Sen
slope of the daily envelopes over at most two weeks, and null below `DRIFT_DAYS` days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import combinations
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from sluice.database import Database, copy_rows, named_query, select
from sluice.scanners.acquisitions import MODALITIES, Acquisition, Day, acquisitions, main_modality
from sluice.settings import settings

MINIMUM_SAMPLES = 3  # series
FARTHEST_S = 15 * 3600  # the farthest time zones, and an hour
PUSH_PLAUSIBLE_S = 6 * 3600  # a push later than this was queued, or the receiver lives in another time
LONE_LEADER_S = 120.0
DRIFT_DAYS = 4
NEAR_S = 120.0  # how near to a whole hour a suspicion needs


@dataclass(frozen=True)
class ClockOffset:
    """A scanner's clock against a reference.

    Attributes:
        samples: series that were measured.
        offset_s: scanner's clock minus the reference, seconds; None when there are too few samples.
        spread_s: robust spread of the delays (1.4826 × median absolute deviation), seconds.
        drift_s_per_day: how the offset grows; None when the days do not allow it.
        reference: `pacs`, `receiver` or `none`.
        suspected: `dst` (one hour), `timezone` (another multiple of half an hour), `none`.
    """

    samples: int
    offset_s: float | None
    spread_s: float | None
    drift_s_per_day: float | None
    reference: str
    suspected: str


def report(database: Database, window_key: str) -> list[dict[str, Any]]:
    """Measure the clocks of a day window's scanners, write `clock_offset`, return its rows by scanner."""
    day, by_scanner = acquisitions(database, window_key)
    if day is None:
        return []
    measured = measure(by_scanner)
    drifts = _drifts(database, day, measured)
    rows = [
        {
            "window_key": window_key,
            "scanner": scanner,
            "modality": main_modality(by_scanner[scanner]),
            **asdict(clock),
            "drift_s_per_day": drifts.get(scanner),
        }
        for scanner, clock in sorted(measured.items())
    ]
    names = ("window_key", "scanner", "modality", *ClockOffset.__dataclass_fields__)
    updates = ", ".join(f"{name} = excluded.{name}" for name in names[2:])
    with database.transaction() as connection:
        copy_rows(
            connection,
            "clock_offset",
            names,
            ([row[name] for name in names] for row in rows),
            f"(window_key, scanner) do update set {updates}, reported_at = now()",
        )
    return rows


def measure(by_scanner: dict[str, list[Acquisition]]) -> dict[str, ClockOffset]:
    """Offset of each scanner, from the PACS's clock where it tells enough, else from our receiver's."""
    zone, floor_s = ZoneInfo(settings().time_zone), settings().transfer_floor_s
    found: dict[str, ClockOffset] = {}
    for scanner, images in by_scanner.items():
        of_pacs = _by_series(images, "stored_in_pacs_at", zone, FARTHEST_S)
        of_receiver = _by_series(images, "pushed_at", zone, PUSH_PLAUSIBLE_S)
        if len(of_pacs) >= MINIMUM_SAMPLES or len(of_pacs) > len(of_receiver):
            found[scanner] = estimate(of_pacs, floor_s, "pacs")
        elif of_receiver:
            found[scanner] = estimate(of_receiver, floor_s, "receiver")
        else:
            found[scanner] = estimate([], floor_s, "none")
    return found


def estimate(differences: Sequence[float], floor_s: float, reference: str) -> ClockOffset:
    """Offset from differences (acquired minus stored, seconds), one a series; see the module's model."""
    if len(differences) < MINIMUM_SAMPLES:
        return ClockOffset(len(differences), None, None, None, reference, "none")
    offset_s = envelope(differences) + floor_s
    middle = median(differences)
    spread_s = 1.4826 * median(abs(difference - middle) for difference in differences)
    return ClockOffset(len(differences), round(offset_s, 1), round(spread_s, 1), None, reference, suspicion(offset_s))


def envelope(differences: Sequence[float]) -> float:
    """The highest difference that does not stand alone; at most a tenth of them, and one of five, are left out."""
    ordered = sorted(differences, reverse=True)
    quarter = len(ordered) // 4
    lone = max(LONE_LEADER_S, 3 * (ordered[quarter] - ordered[-1 - quarter]))
    droppable = len(ordered) // 10 or int(len(ordered) >= 5)
    for place in range(droppable, 0, -1):
        if ordered[place - 1] - ordered[place] > lone:
            return ordered[place]
    return ordered[0]


def suspicion(offset_s: float) -> str:
    """What an offset near a whole or half hour suggests."""
    if abs(abs(offset_s) - 3600) <= NEAR_S:
        return "dst"
    steps = round(offset_s / 1800)
    return "timezone" if steps and abs(offset_s - steps * 1800) <= NEAR_S else "none"


def drift(envelopes: Sequence[tuple[float, float]]) -> float | None:
    """Theil–Sen slope of (day, offset in seconds), seconds a day; None below `DRIFT_DAYS` days."""
    if len({day for day, _ in envelopes}) < DRIFT_DAYS:
        return None
    slopes = [(b - a) / (later - day) for (day, a), (later, b) in combinations(sorted(envelopes), 2) if later > day]
    return round(median(slopes), 2)


def _by_series(images: Sequence[Acquisition], reference: str, zone: ZoneInfo, farthest_s: float) -> list[float]:
    """The best image's difference of each series: the smallest delay is the most informative."""
    best: dict[str, float] = {}
    for image in images:
        stored: datetime | None = getattr(image, reference)
        if stored is None:
            continue
        difference = (image.acquired_at - stored.astimezone(zone).replace(tzinfo=None)).total_seconds()
        if abs(difference) <= farthest_s:
            best[image.series_instance_uid] = max(difference, best.get(image.series_instance_uid, difference))
    return list(best.values())


def _drifts(database: Database, day: Day, measured: dict[str, ClockOffset]) -> dict[str, float | None]:
    known = {name: clock.offset_s for name, clock in measured.items() if clock.reference == "pacs"}
    with database.transaction() as connection:
        rows = select(
            connection,
            named_query("scanner_drift"),
            {
                "scanners": list(known),
                "modalities": list(MODALITIES),
                "starts_on": day.starts_on,
                "ends_on": day.ends_on,
                "time_zone": settings().time_zone,
            },
        )
    by_day: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        today, difference = known[row["scanner"]], float(row["difference_s"])
        # a step (summer time, a technician) is no drift: only days like today count
        if today is not None and abs(difference - today) <= FARTHEST_S / 60:
            by_day.setdefault(row["scanner"], {}).setdefault(row["acquired_at"].toordinal(), []).append(difference)
    return {
        scanner: drift([(ordinal, envelope(found)) for ordinal, found in days.items() if len(found) >= MINIMUM_SAMPLES])
        for scanner, days in by_day.items()
    }

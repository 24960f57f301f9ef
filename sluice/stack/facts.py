"""What Sluice says about a day: the ledger, the models and the reports, as the closing table reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluice.database import Database

STEPS = ("expected", "received", "indexed", "checked", "predicted", "released")


@dataclass(frozen=True)
class Clock:
    """A clock report: offset in seconds (None when it could not be told) and what is suspected behind it."""

    samples: int
    offset_s: float | None
    suspected: str | None


@dataclass(frozen=True)
class Facts:
    """What was found, by SOP Instance UID or station name.

    Attributes:
        study_of, series_of: of each instance in the window.
        at: the instances that each of `STEPS` has happened to.
        gaps: reason code by instance and step.
        body_part, ivc_filter: label of each instance that was read.
        utilization: busy over opening hours, 0..1, by station.
        clocks: by station.
    """

    study_of: dict[str, str]
    series_of: dict[str, str]
    at: dict[str, set[str]]
    gaps: dict[tuple[str, str], str]
    body_part: dict[str, str]
    ivc_filter: dict[str, str]
    utilization: dict[str, float]
    clocks: dict[str, Clock]


def read_facts(database: Database, window_key: str) -> Facts:
    """Read the facts of a window from Sluice's database."""
    key = {"window_key": window_key}
    instances = database.rows("window_instances", key)
    predictions = database.rows("window_predictions", key)
    scanners = database.rows("window_scanners", key)
    return Facts(
        study_of={row["sop_instance_uid"]: row["study_instance_uid"] for row in instances},
        series_of={row["sop_instance_uid"]: row["series_instance_uid"] for row in instances},
        at={step: {row["sop_instance_uid"] for row in instances if row[step]} for step in STEPS},
        gaps={(row["sop_instance_uid"], row["step"]): row["reason_code"] for row in database.rows("window_gaps", key)},
        body_part=_labels(predictions, "body_part"),
        ivc_filter=_labels(predictions, "ivc_filter"),
        utilization={row["scanner"]: row["utilization"] for row in scanners if row["utilization"] is not None},
        clocks={
            row["scanner"]: Clock(row["samples"], row["offset_s"], row["suspected"])
            for row in scanners
            if row["samples"] is not None
        },
    )


def _labels(predictions: list[dict[str, Any]], task: str) -> dict[str, str]:
    return {row["sop_instance_uid"]: row["label"] for row in predictions if row["task"] == task}

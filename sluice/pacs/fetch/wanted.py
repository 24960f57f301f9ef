"""What is missing, as the fewest requests that ask for it and for nothing else that is expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

IMAGES_A_REQUEST = 50  # UIDs in one IMAGE-level identifier


@dataclass(frozen=True)
class Request:
    """One request to a source.

    Attributes:
        level: `STUDY`, `SERIES` or `IMAGE`.
        study, series: UIDs; no series at STUDY level.
        wanted: SOP Instance UIDs that it should bring.
        classes: their SOP Class UIDs, None among them where the PACS did not say one.
    """

    level: str
    study: str
    series: str | None
    wanted: tuple[str, ...]
    classes: frozenset[str | None] = field(default=frozenset({None}))

    def keys(self) -> dict[str, str | list[str]]:
        """The unique keys of the identifier (PS3.4 C.4.2.2.1)."""
        keys: dict[str, str | list[str]] = {"StudyInstanceUID": self.study}
        if self.series is not None:
            keys["SeriesInstanceUID"] = self.series
        if self.level == "IMAGE":
            keys["SOPInstanceUID"] = list(self.wanted)
        return keys


def requests_for(rows: Sequence[dict[str, Any]]) -> list[Request]:
    """Requests for rows of the query `missing_instances`: whole studies, whole series, or single instances."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        study, series = row["study_instance_uid"], row["series_instance_uid"]
        if row["missing_in_study"] == row["expected_in_study"]:
            key: tuple[str, ...] = ("STUDY", study)
        elif row["missing_in_series"] == row["expected_in_series"]:
            key = ("SERIES", study, series)
        else:
            key = ("IMAGE", study, series)
        groups.setdefault(key, []).append(row)
    requests: list[Request] = []
    for (level, study, *series_uid), members in groups.items():
        size = IMAGES_A_REQUEST if level == "IMAGE" else len(members)
        for start in range(0, len(members), size):
            piece = members[start : start + size]
            wanted = tuple(row["sop_instance_uid"] for row in piece)
            classes = frozenset(row["sop_class_uid"] or None for row in piece)
            requests.append(Request(level, study, series_uid[0] if series_uid else None, wanted, classes))
    return requests


def rest_of(request: Request, rows: Sequence[dict[str, Any]]) -> list[Request]:
    """What a request that we interrupted leaves to be asked for.

    Args:
        rows: of the query `missing_instances`, for its study now.
    """
    wanted = set(request.wanted)
    rows = [row for row in rows if row["sop_instance_uid"] in wanted]
    if request.level != "IMAGE":
        return requests_for(rows)
    return [replace(request, wanted=tuple(row["sop_instance_uid"] for row in rows))] if rows else []


def alone(request: Request, uids: Sequence[str], series_of: dict[str, str]) -> list[Request]:
    """A request for each of some instances of a request."""
    return [Request("IMAGE", request.study, series_of[uid], (uid,), request.classes) for uid in uids]

"""What came of a request to a PACS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset

from sluice.pacs.errors import PacsError


@dataclass
class Found:
    """Answer of one C-FIND.

    Attributes:
        answers: the identifiers of the pending responses, in order.
        status: final status, four hex digits.
        unreadable: pending responses whose identifier could not be decoded.
        duration_ms: milliseconds from request to final response.
    """

    answers: list[Dataset] = field(default_factory=list)
    status: str = "0000"
    unreadable: int = 0
    duration_ms: int = 0


@dataclass
class Moved:
    """Answer of one C-MOVE, C-GET or WADO-RS request (PS3.4 C.4.2 and C.4.3, PS3.18 10.4).

    Attributes:
        status: final status, four hex digits, or three digits of HTTP; None when none came.
        completed, failed, warnings: sub-operations as the PACS last counted them.
        failed_uids: Failed SOP Instance UID List (0008,0058), where the PACS gives one.
        instances: by SOP Instance UID the reason code and status of those that we know more of than the PACS says,
            because we refused them ourselves or asked for them one by one.
        error: what ended it before a final status.
        studies: how many studies the request was for; the numbers are those of one of them.
        interrupted: we told the source to stop before its final status. It may have finished at the same moment.
    """

    status: str | None = None
    completed: int = 0
    failed: int = 0
    warnings: int = 0
    failed_uids: frozenset[str] = frozenset()
    instances: dict[str, tuple[str, str]] = field(default_factory=dict)
    error: PacsError | None = None
    interrupted: bool = False
    studies: int = 1


def failed_uids(answer: Dataset | None) -> frozenset[str]:
    """Failed SOP Instance UID List (0008,0058) of a final response; empty where there is none."""
    value: Any = answer.get("FailedSOPInstanceUIDList") if answer is not None else None
    if not value:
        return frozenset()
    return frozenset([str(value)] if isinstance(value, str) else [str(uid) for uid in value])

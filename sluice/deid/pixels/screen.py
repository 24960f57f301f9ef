"""Look at the pixels of a part of a release, once for each instance and each version of what looks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sluice.database import Database
from sluice.deid.pixels.policy import PixelPolicy
from sluice.deid.pixels.screening import Screened, screen_file
from sluice.deid.pixels.store import Unseen, store, unseen

AT_ONCE = 20  # instances whose findings are written together; a task that is killed looks at no more of them again


@dataclass
class ScreenSummary:
    """What screening a part did.

    Attributes:
        screened: instances looked at now.
        with_text: of them, those with text that is no marker; `markers`: those with markers only.
        failed: of them, those whose pixels could not be looked at, by why.
    """

    screened: int = 0
    with_text: int = 0
    markers: int = 0
    failed: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def screen(
    database: Database,
    archive: Path,
    release_id: int,
    first: int,
    last: int,
    policy: PixelPolicy,
    threads: int = 1,
) -> ScreenSummary:
    """Look at what the policy wants looked at of a part of a release, members by receipt id `first` to `last`.

    Args:
        threads: processor threads that the networks may use.
    """
    summary = ScreenSummary()
    if not policy.screens:
        return summary
    found: list[tuple[str, Screened]] = []
    for one, data in _readable(archive, unseen(database, release_id, first, last, policy)):
        screened = screen_file(data, threads)
        _count(summary, screened)
        found.append((one.sop_instance_uid, screened))
        if len(found) >= AT_ONCE:
            store(database, found)
            found = []
    store(database, found)
    return summary


def waiting(database: Database, archive: Path, release_id: int, first: int, last: int, policy: PixelPolicy) -> bool:
    """Whether something of a part of a release still has to be looked at, so that it cannot be exported."""
    return policy.screens and any(_readable(archive, unseen(database, release_id, first, last, policy)))


def _readable(archive: Path, instances: list[Unseen]) -> Iterator[tuple[Unseen, bytes]]:
    """Instances with their files. The export says what is wrong with a file that is not there or not the one that came;
    nothing is written down of it, since it may come back."""
    for one in instances:
        try:
            data = (archive / one.path).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() == one.sha256:
            yield one, data


def _count(summary: ScreenSummary, screened: Screened) -> None:
    summary.screened += 1
    if screened.failed is not None:
        summary.failed[screened.failed] = summary.failed.get(screened.failed, 0) + 1
    elif any(not found.is_marker for found in screened.found):
        summary.with_text += 1
    elif screened.found:
        summary.markers += 1

"""What the hospital's PACS does wrong on purpose; tests set these, the day's own are in `home/faults.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

DAY_ANSWER_CAP = 500


@dataclass
class Faults:
    """How the PACS misbehaves; may be changed while it runs.

    Attributes:
        drop_success: SOP Instance UIDs that a move counts as completed but never sends.
        fail_always: SOP Instance UIDs whose sub-operation always fails.
        fail_once: SOP Instance UIDs whose sub-operation fails the first time they are asked for.
        abort_after: abort the move's association after this many sub-operations, once for each association.
        abort_times: how many moves `abort_after` spoils; None for all of them.
        delay_s: wait before each C-FIND answer set and each sub-operation, seconds.
        answer_cap: a C-FIND gives at most this many answers; None for all.
        cap_status: final status of a capped C-FIND: 0x0000 says nothing of the cap, 0xA700 refuses.
        refuse: final status for every C-MOVE and C-GET, such as 0xA701; None to serve them.
        refuse_find: final status for every C-FIND.
        find_error_after: a C-FIND aborts its association after this many answers.
    """

    drop_success: set[str] = field(default_factory=set)
    fail_always: set[str] = field(default_factory=set)
    fail_once: set[str] = field(default_factory=set)
    abort_after: int | None = None
    abort_times: int | None = 1
    delay_s: float = 0.0
    answer_cap: int | None = None
    cap_status: int = 0x0000
    refuse: int | None = None
    refuse_find: int | None = None
    find_error_after: int | None = None

    def save(self, path: Path) -> None:
        """Write as JSON."""
        values = {key: sorted(value) if isinstance(value, set) else value for key, value in asdict(self).items()}
        path.write_text(json.dumps(values, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; no file means no faults."""
        if not path.exists():
            return cls()
        values = json.loads(path.read_text(encoding="utf-8"))
        for key in ("drop_success", "fail_always", "fail_once"):
            values[key] = set(values[key])
        return cls(**values)

"""What the hospital's PACS does wrong on purpose; `docs/rehearsal.md` shows each fault and what the ledger says of it.

Tests set these while the PACS runs; `python -m sluice hospital FOLDER --faults FILE` follows a JSON file; the
simulated day's own are in `home/faults.json`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

DAY_ANSWER_CAP = 500
SERVICES = ("FIND", "MOVE", "GET")
ABSENCES = ("", "closed", "refusing", "silent")


class FaultsError(RuntimeError):
    """A file of faults cannot be used; the message says what to change."""


@dataclass
class Faults:
    """How the PACS misbehaves; may be changed while it runs.

    A set of UIDs may also hold `*` for every object or `1/10` for a fixed tenth of them, so that a site can rehearse
    without looking UIDs up. A status is a number; JSON may also write it as `"A701"`.

    Attributes of C-FIND:
        answer_cap: it gives at most this many answers; None for all.
        cap_at: the same for single levels, such as `{"IMAGE": 20}`; before `answer_cap`.
        cap_status: final status of a capped C-FIND: 0x0000 says nothing of the cap, 0xB001 warns, 0xA700 refuses.
        refuse_find: final status for every C-FIND.
        find_error_after: abort the association after this many answers.
        find_delay_s: wait before each set of answers, seconds.
        ignore_keys: matching keys that are taken as empty, by DICOM keyword.
        ignore_case: text matches whatever its case.
        omit_keys: return keys that no answer has.
        counts_off: added to each Number of … Related Instances.
        rows_a_study: each study is answered so many times.

    Attributes of what it holds:
        absent: SOP, Series or Study Instance UIDs that it does not have now: neither listed nor sent. Taken out
            again, they have come late.
        changed: Study Instance UID → DICOM keyword → other value in the database of the PACS; its files stay.

    Attributes of C-MOVE and C-GET:
        drop_success: SOP Instance UIDs that count as completed but are never sent.
        fail_always: SOP Instance UIDs whose sub-operation always fails.
        fail_once: SOP Instance UIDs whose sub-operation fails the first time they are asked for.
        altered: SOP Instance UIDs that come with other content than is stored.
        sent_twice: SOP Instance UIDs that come twice in one move, the second time with other content.
        misnamed: SOP Instance UIDs whose C-STORE request names another Affected SOP Instance UID.
        send_as: transfer syntax UID that uncompressed objects are sent in; None for the stored one.
        send_delay_s: wait before each sub-operation, seconds.
        bytes_per_s: what all moves together send a second; None for all they can.
        most_moves: moves at once; a further one ends with A702. None for any number.
        refuse: final status for every one, such as 0xA701; None to serve them.
        unknown_destination: every move destination is unknown (A801).
        first_of_list: of several Study Instance UIDs in one request only the first counts.
        ignore_cancel: a C-CANCEL-RQ changes nothing.
        abort_after: abort after this many sub-operations, once for each association.
        abort_times: how many moves `abort_after` spoils; None for all of them.
        pending_responses: False keeps silent until the final response.
        completed_off, failed_off: added to the final number of sub-operations.
        final_counts: False leaves the numbers out of the final response.
        failed_list: False leaves the Failed SOP Instance UID List (0008,0058) out.
        final_status: said at the end, whatever happened.

    Attributes of associations:
        crowd_delay_s: added to both delays for each further association that is open, seconds.
        abort_every: each so-manieth association is aborted at its first request.
        services: what it offers of `FIND`, `MOVE` and `GET`.
        away: `closed` does not listen, `refusing` rejects associations, `silent` takes connections and says nothing.
        away_s: back after so many seconds; None stays away until told otherwise.
    """

    answer_cap: int | None = None
    cap_at: dict[str, int] = field(default_factory=dict)
    cap_status: int = 0x0000
    refuse_find: int | None = None
    find_error_after: int | None = None
    find_delay_s: float = 0.0
    ignore_keys: set[str] = field(default_factory=set)
    ignore_case: bool = False
    omit_keys: set[str] = field(default_factory=set)
    counts_off: int = 0
    rows_a_study: int = 1
    absent: set[str] = field(default_factory=set)
    changed: dict[str, dict[str, str]] = field(default_factory=dict)
    drop_success: set[str] = field(default_factory=set)
    fail_always: set[str] = field(default_factory=set)
    fail_once: set[str] = field(default_factory=set)
    altered: set[str] = field(default_factory=set)
    sent_twice: set[str] = field(default_factory=set)
    misnamed: set[str] = field(default_factory=set)
    send_as: str | None = None
    send_delay_s: float = 0.0
    bytes_per_s: int | None = None
    most_moves: int | None = None
    refuse: int | None = None
    unknown_destination: bool = False
    first_of_list: bool = False
    ignore_cancel: bool = False
    abort_after: int | None = None
    abort_times: int | None = 1
    pending_responses: bool = True
    completed_off: int = 0
    failed_off: int = 0
    final_counts: bool = True
    failed_list: bool = True
    final_status: int | None = None
    crowd_delay_s: float = 0.0
    abort_every: int | None = None
    services: set[str] = field(default_factory=lambda: set(SERVICES))
    away: str = ""
    away_s: float | None = None

    def save(self, path: Path) -> None:
        """Write as JSON."""
        values = {key: sorted(value) if isinstance(value, set) else value for key, value in asdict(self).items()}
        path.write_text(json.dumps(values, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` or a person wrote; what is not named is no fault, and so is a file that does not exist.

        Raises:
            FaultsError: the file is no JSON object of these faults.
        """
        if not path.exists():
            return cls()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FaultsError(f"{path} is no JSON ({error}). Write faults as in docs/rehearsal.md.") from error
        if not isinstance(values, dict):
            raise FaultsError(f"{path} holds no JSON object. Write faults as in docs/rehearsal.md.")
        return cls(**{name: _read(path, name, value) for name, value in values.items()})


def hits(names: Collection[str], *uids: str) -> bool:
    """Whether a set of a fault covers an object: by one of its UIDs, by `*`, or by a share such as `1/10`, which
    always takes the same objects by their first UID."""
    if not names:
        return False
    if "*" in names or any(uid in names for uid in uids):
        return True
    shares = (name.split("/") for name in names if "/" in name)
    return any(zlib.crc32(uids[0].encode()) % int(whole) < int(part) for part, whole in shares)


def _read(path: Path, name: str, value: Any) -> Any:
    kinds = {one.name: str(one.type) for one in fields(Faults)}
    if name not in kinds:
        raise FaultsError(f"{path} names a fault {name!r} that does not exist. There are: {', '.join(sorted(kinds))}.")
    kind = kinds[name]
    try:
        if kind.startswith("set"):
            read: Any = set(map(str, value)) if isinstance(value, list) else None
        elif kind.startswith("dict"):
            read = dict(value)
        elif value is None and "None" in kind:
            return None
        elif kind == "bool":
            read = value if isinstance(value, bool) else None
        elif kind.startswith("int"):
            read = int(value, 16) if isinstance(value, str) else int(value)
        else:
            read = float(value) if kind.startswith("float") else str(value)
    except (TypeError, ValueError):
        read = None
    known = name != "away" or read in ABSENCES
    if read is None or not known or (name == "services" and not read <= {*SERVICES}):
        raise FaultsError(f"{path} gives the fault {name!r} a value that it cannot have: {value!r}. It is {kind}.")
    return read

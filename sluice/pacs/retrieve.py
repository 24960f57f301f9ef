"""C-MOVE exactly what is missing, and say of each instance that did not come why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sluice.database import Database, named_query
from sluice.pacs.arrivals import arrived_of, count_of_study, wait_for
from sluice.pacs.association import MOVE, Moved, PacsAssociation, associate, identifier_of, status_error
from sluice.pacs.attempts import Attempt, MoveRequest, begin_attempt, finish_attempt
from sluice.pacs.errors import PacsError
from sluice.pacs.node import PacsNode

IMAGES_A_REQUEST = 50  # UIDs in one IMAGE-level identifier
MOST_ASKED_ALONE = 200  # instances of one call that are asked for one by one to tell their reasons apart


@dataclass(frozen=True)
class MoveSummary:
    """One pass of C-MOVE over studies of a window.

    Attributes:
        window_key: the window.
        studies: how many lacked instances.
        requests: C-MOVE requests.
        wanted: instances missing before.
        arrived: of those, how many have a receipt now.
        failed, not_arrived, refused, aborted, timed_out: the others, by what the last request for them showed.
        missing: the others together.
    """

    window_key: str
    studies: int
    requests: int
    wanted: int
    arrived: int
    failed: int
    not_arrived: int
    refused: int
    aborted: int
    timed_out: int
    missing: int

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def missing_studies(database: Database, window_key: str) -> list[str]:
    """Study Instance UIDs of a window with expected instances that have not been received."""
    rows = database.rows("missing_instances", {"window_key": window_key, "study_uids": None})
    return list(dict.fromkeys(row["study_instance_uid"] for row in rows))


def move_missing(database: Database, node: PacsNode, window_key: str, study_uids: Sequence[str]) -> MoveSummary:
    """Ask once for what these studies lack: whole studies, whole series, or single instances (PS3.4 C.4.2).

    A request that is refused, aborted or times out is noted and the next one goes on. Two passes at once, or the same
    pass again, ask for what is missing then.

    Raises:
        PacsError: no association can be opened, or the PACS does not know our receiver (A801): whatever is left is
            noted as not asked for that reason.
    """
    requests = plan_requests(database, window_key, study_uids)
    wanted = [uid for request in requests for uid in request.wanted]
    attempts: list[Attempt] = []
    try:
        attempts = _move_all(database, node, window_key, requests)
        if unclear := _unclear(database, attempts):
            attempts += _move_all(database, node, window_key, unclear)
    finally:
        reasons: dict[str, str] = {}
        for attempt in attempts:
            reasons |= finish_attempt(database, attempt)
    here = arrived_of(database, wanted)
    by_reason = Counter(reasons.get(uid, "not-asked") for uid in wanted if uid not in here)
    return MoveSummary(
        window_key=window_key,
        studies=len({request.study for request in requests}),
        requests=len(attempts),
        wanted=len(wanted),
        arrived=len(here),
        failed=by_reason["failed-suboperation"],
        not_arrived=by_reason["reported-not-arrived"],
        refused=by_reason["refused"],
        aborted=by_reason["aborted"],
        timed_out=by_reason["timed-out"],
        missing=by_reason.total(),
    )


def note_gaps(database: Database, window_key: str, study_uids: Sequence[str]) -> int:
    """After the last pass: note a reason for every instance that did not come; return how many are missing.

    The reason is the one of the newest attempt. Noted again only when it has changed.
    """
    params = {"window_key": window_key, "study_uids": list(study_uids)}
    database.execute(named_query("note_gaps"), params)
    return len(database.rows("missing_instances", params))


def plan_requests(database: Database, window_key: str, study_uids: Sequence[str]) -> list[MoveRequest]:
    """The fewest requests that ask for what is missing and nothing else that is expected."""
    rows = database.rows("missing_instances", {"window_key": window_key, "study_uids": list(study_uids)})
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        study, series, sop = row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"]
        if row["missing_in_study"] == row["expected_in_study"]:
            key: tuple[str, ...] = ("STUDY", study)
        elif row["missing_in_series"] == row["expected_in_series"]:
            key = ("SERIES", study, series)
        else:
            key = ("IMAGE", study, series)
        groups.setdefault(key, []).append(sop)
    requests: list[MoveRequest] = []
    for (level, study, *series), sops in groups.items():
        size = IMAGES_A_REQUEST if level == "IMAGE" else len(sops)
        pieces = [tuple(sops[start : start + size]) for start in range(0, len(sops), size)]
        requests += [MoveRequest(level, study, series[0] if series else None, piece) for piece in pieces]
    return requests


def _move_all(database: Database, node: PacsNode, window_key: str, requests: Sequence[MoveRequest]) -> list[Attempt]:
    """Every request in turn over one association, opened again where the PACS breaks it off; then wait for arrivals."""
    attempts: list[Attempt] = []
    left = list(requests)
    try:
        while left:
            with associate(node, MOVE) as association:
                while left:
                    attempts.append(_move(database, node, window_key, association, left[0]))
                    left.pop(0)
                    if attempts[-1].moved.status == "A801":
                        raise status_error(node, "C-MOVE", "A801")
                    if not association.is_open:
                        break
    except PacsError as error:
        for request in left:
            attempt = begin_attempt(database, node.name, window_key, request, Moved(error=error), datetime.now(UTC))
            finish_attempt(database, attempt)
        for attempt in attempts:
            finish_attempt(database, attempt)
        raise
    reported = [attempt for attempt in attempts if attempt.reported]
    wanted = [uid for attempt in reported for uid in attempt.request.wanted]
    wait_for(database, wanted, sum(attempt.reported for attempt in reported))
    return attempts


def _move(
    database: Database, node: PacsNode, window_key: str, association: PacsAssociation, request: MoveRequest
) -> Attempt:
    started = datetime.now(UTC)
    identifier = identifier_of(request.level, request.keys())
    moved = association.move(identifier, progress=lambda: count_of_study(database, request.study))
    return begin_attempt(database, node.name, window_key, request, moved, started)


def _unclear(database: Database, attempts: Sequence[Attempt]) -> list[MoveRequest]:
    """Single requests for instances of which some failed and some were reported but never came, and the PACS did not
    say which (Failed SOP Instance UID List is optional)."""
    alone: list[MoveRequest] = []
    for attempt in attempts:
        moved, request = attempt.moved, attempt.request
        here = arrived_of(database, request.wanted)
        missing = [uid for uid in request.wanted if uid not in here]
        if len(request.wanted) > 1 and 0 < moved.failed < len(missing) and not moved.failed_uids:
            series = attempt.series_of(database)
            alone += [MoveRequest("IMAGE", request.study, series[uid], (uid,)) for uid in missing]
    return alone[:MOST_ASKED_ALONE]

"""Approval of a release by persons: bound to a digest of what they saw, never changed, void with any change.

There is one way in, `decide`, whether the person pressed a button of the page Review or answered in Airflow.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, copy_rows, named_query, select
from sluice.release.review.errors import ReviewError

NEEDED = {"none": 0, "one": 1, "two": 2}
State = Literal["not-needed", "waiting", "approved", "rejected", "published"]


@dataclass(frozen=True)
class Standing:
    """Where the approval of a release stands.

    Attributes:
        digest: of its present state, to which every approval is bound.
        needed: how many persons have to approve.
        approved_by: who did, of this state.
        rejected_by, reason: who rejected this state, and why; empty where nobody did.
        void: approvals that were given to other states of it.
        lacks: what is missing, as a sentence; empty where nothing is.
    """

    release_id: int
    state: State
    digest: str
    needed: int
    approved_by: tuple[str, ...]
    rejected_by: str
    reason: str
    void: int
    lacks: str


def require_approval(
    connection: Connection,
    release_id: int,
    approval: str,
    approvers: tuple[str, ...],
    requested_by: str | None = None,
    list_id: int | None = None,
) -> None:
    """Note what a project asks for; `prepare` calls it each time, so that a stricter file counts at once.

    Args:
        requested_by: who started the run by hand; who froze the cohort counts besides.
        list_id: of the list that its members come from: who uploaded it counts, too.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            named_query("review_require"),
            {
                "release_id": release_id,
                "needed": NEEDED[approval],
                "approvers": list(approvers),
                "requested_by": [requested_by] if requested_by else [],
                "list_id": list_id,
            },
        )


def digest_of(connection: Connection, release_id: int) -> str:
    """SHA-256 over what an approval is given to: every object, the profile with its tables and key, the decisions.

    Of decisions those count that take something out or hold something: a string that is kept is in the objects.

    Raises:
        ReviewError: there is no such release.
    """
    rows = select(connection, named_query("review_digest"), {"release_id": release_id})
    if not rows:
        raise ReviewError(f"There is no release {release_id}.")
    return hashlib.sha256(json.dumps(rows[0], sort_keys=True).encode()).hexdigest()


def approved(connection: Connection, release_id: int) -> bool:
    """Whether the release may be published as far as people are asked."""
    return standing(connection, release_id).state in ("not-needed", "approved", "published")


def standing(connection: Connection, release_id: int, digest: str | None = None) -> Standing:
    """Where the approval of a release stands now.

    Args:
        digest: of its state, where it was computed a moment ago; it is read from every object.

    Raises:
        ReviewError: there is no such release.
    """
    digest = digest or digest_of(connection, release_id)
    release = select(connection, "select * from release where release_id = %s", (release_id,))[0]
    said = select(connection, named_query("review_said"), {"release_id": release_id})
    now = [row for row in said if row["digest"] == digest]
    named = release["approvers"]  # now: the project's file may have become stricter since somebody approved
    approvals = tuple(
        sorted(
            row["decided_by"]
            for row in now
            if row["verdict"] == "approved" and (not named or row["decided_by"] in named)
        )
    )
    rejections = [row for row in now if row["verdict"] == "rejected"]
    needed: int = release["approvals_needed"]
    lacks = _lacks(needed, approvals, release["requested_by"])
    state: State = "approved"
    if release["published_at"] is not None:
        state = "published"
    elif rejections:
        state = "rejected"
    elif not needed:
        state = "not-needed"
    elif lacks:
        state = "waiting"
    return Standing(
        release_id,
        state,
        digest,
        needed,
        approvals,
        rejections[0]["decided_by"] if rejections else "",
        rejections[0]["reason"] if rejections else "",
        len({row["decided_by"] for row in said if row["digest"] != digest and row["verdict"] == "approved"}),
        lacks if state == "waiting" else "",
    )


def statement(connection: Connection, release_id: int) -> dict[str, Any]:
    """What a manifest says of the approval: how many persons were needed, the digest of the state that they saw, who
    approved it and when (ISO 8601).

    Raises:
        ReviewError: there is no such release.
    """
    now = standing(connection, release_id)
    said = select(connection, named_query("review_said"), {"release_id": release_id})
    return {
        "needed": now.needed,
        "digest": now.digest,
        "approved": [
            {"by": row["decided_by"], "at": row["decided_at"].isoformat()}
            for row in said
            if row["digest"] == now.digest and row["verdict"] == "approved"
        ],
    }


def _lacks(needed: int, approvals: tuple[str, ...], requesters: list[str]) -> str:
    if len(approvals) < needed:
        missing = needed - len(approvals)
        return f"{missing} more person{'s' if missing > 1 else ''} must approve."
    if needed and set(approvals) <= set(requesters):
        return "Who asked for it cannot approve it alone: another person must approve."
    return ""


def decide(database: Database, release_id: int, person: str, verdict: str, digest: str, reason: str = "") -> Standing:
    """Approve or reject a release in the state that has this digest. Said twice by one person, it counts once.

    Args:
        person: as Airflow knows them.
        digest: of what the person looked at; its first 12 characters do.

    Raises:
        ReviewError: the state is another by now, something is not ready, or the person may not; nothing is recorded.
    """
    with database.transaction() as connection:
        release = select(connection, "select * from release where release_id = %s for update", (release_id,))
        if not release:
            raise ReviewError(f"There is no release {release_id}.")
        before = standing(connection, release_id)
        _check(connection, release[0], before, person, verdict, digest, reason)
        if not _said_already(connection, before, person, verdict):
            copy_rows(
                connection,
                "release_approval",
                ("release_id", "digest", "verdict", "decided_by", "reason"),
                [(release_id, before.digest, verdict, person, reason.strip())],
            )
        return standing(connection, release_id, before.digest)  # as it was said of; publish looks again


def _check(
    connection: Connection,
    release: dict[str, Any],
    now: Standing,
    person: str,
    verdict: str,
    digest: str,
    reason: str,
) -> None:
    if verdict not in ("approved", "rejected"):
        raise ReviewError("Approve it or reject it.")
    if now.state == "published":
        raise ReviewError("This version is published. What is wrong with it has to be recalled.")
    if release["approvers"] and person not in release["approvers"]:
        raise ReviewError(f"The project names who approves its releases ({', '.join(release['approvers'])}).")
    if len(digest) < 12 or not now.digest.startswith(digest):
        raise ReviewError("The release changed since you looked at it. Look at what is new, then decide anew.")
    if verdict == "rejected":
        if not reason.strip():
            raise ReviewError("Say why it is rejected: who asked for it wants to know.")
        return
    ready = select(connection, named_query("review_ready"), {"release_id": release["release_id"]})[0]
    if ready["redo"]:
        raise ReviewError(f"{ready['redo']} objects have to be produced again first, because of what was decided.")
    if ready["open"] or not ready["verified"]:
        raise ReviewError("Its objects are not all in the bucket and read back yet. Wait for verify.")


def _said_already(connection: Connection, now: Standing, person: str, verdict: str) -> bool:
    newest = select(
        connection,
        "select verdict from release_approval where release_id = %s and digest = %s and decided_by = %s "
        "order by approval_id desc limit 1",
        (now.release_id, now.digest, person),
    )
    return bool(newest) and newest[0]["verdict"] == verdict

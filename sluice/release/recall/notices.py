"""Who has to delete what was recalled: the list, a text for each of them, and what they said.

    for one in waiting(database): print(notice(one, "rita@uni.example", keys_of(database, one["recall_id"])))
    acknowledge(database, recall_id, "University of X, group Y", "deleted, mail of 27 November", "dora")

A notice names project, version, object keys and digests: pseudonyms at most.
"""

from __future__ import annotations

from typing import Any

import psycopg2.errors

from sluice.database import Database, select
from sluice.release.recall.tombstones import TOLD


class NoticeError(RuntimeError):
    """A recall or recipient that there is not; the message says what there is."""

    permanent = True


def recalls(database: Database, overdue: bool = False) -> list[dict[str, Any]]:
    """Recalls with their state and recipients (`who`), newest first."""
    return database.rows("recalls", {"recall_id": None, "overdue": overdue})


def recall_of(database: Database, recall_id: int) -> dict[str, Any]:
    """One recall.

    Raises:
        NoticeError: there is none of this id.
    """
    found = database.rows("recalls", {"recall_id": recall_id, "overdue": False})
    if not found:
        raise NoticeError(f"There is no recall {recall_id}. See: sluice recall list")
    return found[0]


def keys_of(database: Database, recall_id: int) -> list[dict[str, Any]]:
    """Key and SHA-256 of each object of a recall."""
    with database.transaction() as connection:
        return select(
            connection,
            "select object_key, sha256 from recall_object where recall_id = %s order by object_key",
            (recall_id,),
        )


def notice(recall: dict[str, Any], recipient: str, objects: list[dict[str, Any]]) -> str:
    """What a recipient is sent.

    Raises:
        NoticeError: the recall does not concern this recipient.
    """
    if recipient not in {one["recipient"] for one in recall["who"]}:
        raise NoticeError(f"Recall {recall['recall_id']} has no recipient of this name: {_names(recall)}.")
    release = f"{recall['project']}/v{recall['version']}"
    lines = [
        f"To: {recipient}",
        f"Recall {recall['recall_id']} of the release {release}",
        "",
        f"{len(objects)} objects of the release {release} are recalled. {TOLD[recall['reason']]}",
        f"Please delete every copy of them and of all that was made of them by {recall['due_on']:%d %B %Y}: files, "
        "caches, backups as far as you can, derived volumes and tables, and take them out of training sets.",
        "Answer this message when it is done, or say what keeps you from it.",
        "",
        f"The bucket's manifest ({recall['prefix']}manifest.json) names what is still released; "
        f"{recall['prefix']}recalled.json names what is not.",
        "",
        "SHA-256  object key",
        *(f"{one['sha256']}  {one['object_key']}" for one in objects),
    ]
    return "\n".join(lines) + "\n"


def acknowledge(database: Database, recall_id: int, recipient: str, note: str, by: str) -> None:
    """Keep that a recipient said to have deleted everything.

    Raises:
        NoticeError: there is no such recall or recipient, they said so before, or it is not told what they said.
    """
    recall = recall_of(database, recall_id)
    if not note.strip():
        raise NoticeError("Note what they said and when, so that it can be shown.")
    known = {one["recipient"]: one for one in recall["who"]}
    if recipient not in known:
        raise NoticeError(f"Recall {recall_id} has no recipient of this name: {_names(recall)}.")
    try:
        database.execute(
            "insert into recall_acknowledgement (recall_id, recipient, note, recorded_by) values (%s, %s, %s, %s)",
            (recall_id, recipient, note.strip(), by),
        )
    except psycopg2.errors.UniqueViolation:
        raise NoticeError(f"{recipient} acknowledged recall {recall_id} before.") from None


def _names(recall: dict[str, Any]) -> str:
    return ", ".join(one["recipient"] for one in recall["who"]) or "nobody had to be told"

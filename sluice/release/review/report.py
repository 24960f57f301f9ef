"""What the page Review shows of a release."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, named_query, select
from sluice.release.review.approval import standing
from sluice.release.review.errors import ReviewError

RARE = 5  # fewer patients than so, where a release says nothing else: a value that could single somebody out
PAGE_SIZE = 100
SHOWN: dict[str, dict[str, Any]] = {
    "new": {"only_new": True},
    "rare": {},
    "text": {"kind": "text"},
    "code": {"kind": "code"},
    "number": {"kind": "number"},
    "decided": {"decided": True},
    "all": {},
}


def head(database: Database, release_id: int, digest: str | None = None) -> dict[str, Any]:
    """What a decision about the release is made by, and changes: approval, anonymity, how many strings, decisions.

    Args:
        digest: of its state, where it was computed a moment ago.

    Raises:
        ReviewError: there is no such release.
    """
    asked = {"release_id": release_id}
    with database.transaction() as connection:
        _with_memory(connection)
        found = select(connection, named_query("review_release"), asked)
        if not found:
            raise ReviewError(f"There is no release {release_id}.")
        release = found[0]
        now = standing(connection, release_id, digest)
        ready = select(connection, named_query("review_ready"), asked)[0]
        return {
            "release": release,
            "standing": asdict(now),
            "ready": ready,
            "is_shown_as_it_is": release["shown"] == now.digest,
            "tallies": select(connection, named_query("review_tallies"), asked | {"rare": _rare(release)})[0],
            "rare_below": _rare(release),
            "decisions": [_named(row) for row in select(connection, named_query("review_decisions"), asked)],
            "history": select(connection, named_query("review_history"), asked),
        }


def found(database: Database, release_id: int) -> dict[str, Any]:
    """What became of the images: `counts` at every stage, what is `held` and why, `texts` in the pixels of the others,
    how many were `searched` for text, `meanings` of reasons. It takes seconds for a release of 100,000, since the whole
    window is counted."""
    asked = {"release_id": release_id}
    with database.transaction() as connection:
        _with_memory(connection)
        return {
            "counts": (select(connection, named_query("release_counts"), asked) or [{}])[0],
            "held": select(connection, named_query("review_held"), asked),
            "texts": select(connection, named_query("review_texts"), asked),
            "meanings": {row["reason_code"]: row["meaning"] for row in select(connection, named_query("reasons"))},
            "searched": select(connection, named_query("review_searched"), asked)[0]["searched"],
        }


def _with_memory(connection: Connection) -> None:
    """Room to sort and hash the objects of a large release without the disk, for this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("set local work_mem = '64MB'")


def strings(database: Database, release_id: int, show: str, words: str | None, first: int) -> dict[str, Any]:
    """One page of strings: `strings`, `total`, and `next`, where the next page begins."""
    asked = {"release_id": release_id, "kind": None, "only_new": False, "rare": None, "decided": None}
    if show == "rare":
        found = database.rows("review_release", {"release_id": release_id})
        asked["rare"] = _rare(found[0]) if found else RARE
    rows = database.rows(
        "review_strings",
        asked | SHOWN[show] | {"words": words or None, "first": first, "page_size": PAGE_SIZE},
    )
    total = rows[0]["total"] if rows else 0
    return {
        "strings": [_named(row) for row in rows],
        "total": total,
        "next": first + PAGE_SIZE if first + PAGE_SIZE < total else None,
    }


def pictures(database: Database, release_id: int, first: int) -> dict[str, Any]:
    """One page of pictures, without their bytes."""
    rows = database.rows("review_pictures", {"release_id": release_id, "first": first, "page_size": PAGE_SIZE})
    total = rows[0]["total"] if rows else 0
    return {"pictures": rows, "total": total, "next": first + PAGE_SIZE if first + PAGE_SIZE < total else None}


def picture(database: Database, release_id: int, sop_instance_uid: str) -> bytes | None:
    """The JPEG of one object of a release; None where there is none."""
    rows = database.rows("review_picture", {"release_id": release_id, "sop_instance_uid": sop_instance_uid})
    return bytes(rows[0]["jpeg"]) if rows and rows[0]["jpeg"] is not None else None


def _rare(release: dict[str, Any]) -> int:
    """The bound that a release was prepared with."""
    asked = release["asked_anonymity"] or {}
    return int(asked.get("rare", RARE))


def _named(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"element": name_of(row["path"])}


@lru_cache(maxsize=4096)
def name_of(path: str) -> str:
    """Names of the elements of a path: `Request Attributes Sequence > Scheduled Procedure Step Description`."""
    from pydicom.datadict import dictionary_description

    names = []
    for step in path.split(">"):
        try:
            names.append(dictionary_description(int(step.replace(",", ""), 16)))
        except (ValueError, KeyError):
            names.append("private" if "[" in step else "unknown")
    return " > ".join(names)

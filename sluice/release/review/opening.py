"""Open a review: count what was pooled while the release was exported, once, in the database."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, named_query, select
from sluice.release.review.approval import digest_of
from sluice.release.review.errors import ReviewError
from sluice.release.review.rules import mark_redo

OPENING_LOCK = 7_350_024  # first key of the advisory lock; the second is the release


@dataclass(frozen=True)
class Opened:
    """A review that a person can look at.

    Attributes:
        digest: of the state that it shows.
        strings: distinct retained strings; `new` of them no published version of the project had.
        redo: objects to be produced again first, because of what was decided.
    """

    release_id: int
    digest: str
    strings: int
    new: int
    redo: int

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def open_review(database: Database, release_id: int) -> Opened:
    """Count the strings of a release as it is now; again, only where it changed.

    Raises:
        ReviewError: there is no such release.
    """
    with database.transaction() as connection:
        with connection.cursor() as cursor:
            cursor.execute("set local work_mem = '64MB'")  # objects of a large release are sorted for the digest
            cursor.execute("select pg_advisory_xact_lock(%s, %s)", (OPENING_LOCK, release_id % (1 << 31)))
            cursor.execute(named_query("review_inherit"), {"release_id": release_id})
            if cursor.rowcount or not _shown(connection, release_id):
                # Of a release that was exported a moment ago the planner knows no row yet, and would compare each
                # object with each.
                cursor.execute("analyze released_object, released_strings, retained_set")
        if not select(connection, "select 1 from release where release_id = %s", (release_id,)):
            raise ReviewError(f"There is no release {release_id}. Run prepare first.")
        redo = mark_redo(connection, release_id)
        digest = digest_of(connection, release_id)
        _count(connection, release_id, digest)
        counted = select(
            connection,
            "select count(*) as strings, count(*) filter (where is_new) as new from review_string "
            "where release_id = %s",
            (release_id,),
        )[0]
    return Opened(release_id, digest, counted["strings"], counted["new"], redo)


def _shown(connection: Connection, release_id: int) -> str | None:
    """Digest of the state that was counted last."""
    rows = select(connection, "select digest from release_review where release_id = %s", (release_id,))
    return rows[0]["digest"] if rows else None


def _count(connection: Connection, release_id: int, digest: str) -> None:
    if _shown(connection, release_id) == digest:
        return
    with connection.cursor() as cursor:
        cursor.execute("delete from review_string where release_id = %s", (release_id,))
        cursor.execute(named_query("review_count"), {"release_id": release_id})
        cursor.execute(
            "insert into release_review (release_id, digest) values (%s, %s) "
            "on conflict (release_id) do update set digest = excluded.digest, opened_at = now()",
            (release_id, digest),
        )

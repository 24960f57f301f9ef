"""What an earlier published version of the project already holds is named again, not made or sent again.

A version is immutable, so an object of `project/v1/` may stand in the manifest of `project/v7/` by its key. Two ways
lead there: the same received file under the same profile, key and engine would become the same bytes, so it is not even
read; and where it had to be made again, equal bytes are not sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, copy_rows, named_query, select

WRITING = 7_350_027  # first key of the advisory lock; the second is the release
# Of a row that is written again: the same bytes under the same key stay uploaded, since two tasks may be at the same
# part, and the later one must not take back what the other has sent and verified.
UPLOADED_AT = (
    "case when released_object.object_key = excluded.object_key and released_object.sha256 = excluded.sha256 "
    "then released_object.uploaded_at end"
)


@dataclass(frozen=True)
class Reused:
    """What was named again: SOP Instance UIDs, and bytes in sum."""

    members: frozenset[str]
    bytes: int


def lock_objects(connection: Connection, release_id: int) -> None:
    """Until this transaction ends nobody else writes what the release holds: two unique keys, and rows that several
    tasks update in their own order, would end in a deadlock."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s, %s)", (WRITING, release_id))


def reuse(database: Database, release_id: int, members: Sequence[str]) -> Reused:
    """Name for these members what earlier versions hold of them."""
    now = datetime.now(UTC)
    with database.transaction() as connection:
        lock_objects(connection, release_id)
        rows = select(connection, named_query("release_reusable"), {"release_id": release_id, "members": list(members)})
        copy_rows(
            connection,
            "released_object",
            ("release_id", "sop_instance_uid", "object_key", "bytes", "sha256", "columns", "source_sha256",
             "verified_at", "uploaded_at"),
            [
                (release_id, row["sop_instance_uid"], row["object_key"], row["bytes"], row["sha256"], row["columns"],
                 row["source_sha256"], now, now)
                for row in rows
            ],
            "(release_id, sop_instance_uid) where kind = 'dicom' do update set object_key = excluded.object_key, "
            "bytes = excluded.bytes, sha256 = excluded.sha256, columns = excluded.columns, "
            "source_sha256 = excluded.source_sha256, verified_at = excluded.verified_at, "
            "uploaded_at = excluded.uploaded_at",
        )  # fmt: skip
        uids = [row["sop_instance_uid"] for row in rows]
        with connection.cursor() as cursor:
            cursor.execute(
                "update release_member set held_reason = null, held_detail = null "
                "where release_id = %s and sop_instance_uid = any(%s) and held_reason is not null",
                (release_id, uids),
            )
    return Reused(frozenset(uids), sum(row["bytes"] for row in rows))


def known_bytes(connection: Connection, release_id: int, digests: Sequence[str]) -> dict[str, str]:
    """Keys under which published versions of the project hold these bytes, by SHA-256."""
    asked: dict[str, Any] = {"release_id": release_id, "digests": list(digests)}
    return {row["sha256"]: row["object_key"] for row in select(connection, named_query("release_known_bytes"), asked)}

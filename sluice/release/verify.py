"""Verify a release: read every object back from the bucket, and find nothing there that does not belong."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from sluice.database import Database, select
from sluice.objects import ObjectStore
from sluice.release.plan import ReleaseError

DOWNLOADS = 4  # at once
OWN_NAMES = ("instances.csv", "manifest.json", "recalled.json")


@dataclass(frozen=True)
class VerifySummary:
    """What the bucket holds of a release, all of it right.

    Attributes:
        objects: read back with the right size and SHA-256; `bytes` in sum.
        held: members that stay here.
    """

    release_id: int
    objects: int
    bytes: int
    held: int

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def verify(database: Database, store: ObjectStore, release_id: int) -> VerifySummary:
    """Compare the bucket with the ledger, object by object.

    An object that is missing or damaged is marked as not uploaded, so that `export_batch` sends it again.

    Raises:
        ReleaseError: members are neither uploaded nor held, objects are missing, damaged or unknown.
        ObjectStoreError: the bucket cannot be used.
    """
    with database.transaction() as connection:
        release = select(connection, "select * from release where release_id = %s", (release_id,))
        objects = select(
            connection,
            "select object_key, bytes, sha256, uploaded_at, object_key in "
            "(select object_key from recall_object where release_id = %(release_id)s) as recalled "
            "from released_object where release_id = %(release_id)s",
            {"release_id": release_id},
        )
        members = select(
            connection,
            """
            select count(*) filter (where held_reason is not null) as held,
                   count(*) filter (where held_reason is null and uploaded_at is null) as open
              from release_member
              left join released_object using (release_id, sop_instance_uid)
             where release_id = %s
            """,
            (release_id,),
        )[0]
    if not release:
        raise ReleaseError(f"There is no release {release_id}. Run prepare first.")
    if release[0]["published_at"] is None and members["open"]:
        raise ReleaseError(f"{members['open']} members are neither uploaded nor held. Run export_batch again.")
    prefix = release[0]["prefix"]
    listed = {entry.key: entry.bytes for entry in store.list(prefix)}
    expected = {row["object_key"]: row for row in objects}
    # an export that was killed may have uploaded what was recalled in that moment
    if late := [row["object_key"] for row in objects if row["recalled"] and row["object_key"] in listed]:
        store.delete(late)
    unknown = set(listed) - set(expected) - {prefix + name for name in OWN_NAMES}
    if unknown:
        raise ReleaseError(
            f"{len(unknown)} objects under {prefix!r} are not of this release. "
            "Find out who writes there, remove them, and verify again."
        )
    wanted = [row for row in objects if row["uploaded_at"] is not None and not row["recalled"]]
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        right = list(pool.map(lambda row: _is_right(store, row, listed), wanted))
    wrong = [row["object_key"] for row, is_right in zip(wanted, right, strict=True) if not is_right]
    if wrong:
        database.execute(
            "update released_object set uploaded_at = null where release_id = %s and object_key = any(%s)",
            (release_id, wrong),
        )
        database.execute("update release set verified_at = null where release_id = %s", (release_id,))
        raise ReleaseError(f"{len(wrong)} objects under {prefix!r} are missing or damaged. Run export_batch again.")
    database.execute("update release set verified_at = now() where release_id = %s", (release_id,))
    return VerifySummary(release_id, len(wanted), sum(row["bytes"] for row in wanted), members["held"])


def _is_right(store: ObjectStore, row: dict[str, Any], listed: dict[str, int]) -> bool:
    if listed.get(row["object_key"]) != row["bytes"]:
        return False
    digest: str = row["sha256"]
    return hashlib.sha256(store.get(row["object_key"])).hexdigest() == digest

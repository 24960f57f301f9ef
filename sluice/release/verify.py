"""Verify a release: read every object back from the bucket, and find nothing there that does not belong."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sluice.database import Database, select
from sluice.objects import ObjectStore
from sluice.release import canaries
from sluice.release.plan import ReleaseError

DOWNLOADS = 4  # at once
OWN_NAMES = ("instances.csv", "manifest.json")


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


def verify(database: Database, store: ObjectStore, release_id: int, logs: Sequence[Path] = ()) -> VerifySummary:
    """Compare the bucket with the ledger, object by object, and prove the release by its synthetic patients.

    An object that is missing or damaged is marked as not uploaded, so that `export_batch` sends it again.

    Args:
        logs: folders of the tasks' logs, in which no synthetic patient may be seen.

    Raises:
        ReleaseError: members are neither uploaded nor held, objects are missing, damaged or unknown, or a synthetic
            patient does not prove it.
        ObjectStoreError: the bucket cannot be used.
    """
    with database.transaction() as connection:
        release = select(connection, "select * from release where release_id = %s", (release_id,))
        objects = select(
            connection,
            "select object_key, bytes, sha256, uploaded_at from released_object where release_id = %s",
            (release_id,),
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
    unknown = set(listed) - set(expected) - {prefix + name for name in OWN_NAMES}
    if unknown:
        raise ReleaseError(
            f"{len(unknown)} objects under {prefix!r} are not of this release. "
            "Find out who writes there, remove them, and verify again."
        )
    wanted = [row for row in objects if row["uploaded_at"] is not None]
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
    _prove_by_canaries(database, store, release_id, logs)
    database.execute("update release set verified_at = now() where release_id = %s", (release_id,))
    return VerifySummary(release_id, len(wanted), sum(row["bytes"] for row in wanted), members["held"])


def _prove_by_canaries(database: Database, store: ObjectStore, release_id: int, logs: Sequence[Path]) -> None:
    found = canaries.check(database, store, release_id, logs)
    if found:
        raise ReleaseError(
            "Its synthetic patients do not prove this release: "
            f"{'; '.join(f'{one.kind}: {one.where}' for one in found)[:1000]}. Publish nothing before it is known why."
        )


def _is_right(store: ObjectStore, row: dict[str, Any], listed: dict[str, int]) -> bool:
    if listed.get(row["object_key"]) != row["bytes"]:
        return False
    digest: str = row["sha256"]
    return hashlib.sha256(store.get(row["object_key"])).hexdigest() == digest

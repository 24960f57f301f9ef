"""Verify a release: read every object back from the bucket, and find nothing there that does not belong.

    for part in plan.batches: read_back(database, store, plan.release_id, part)
    verify(database, store, plan.release_id)

The first may be left out: what nobody read back is read by the second, which alone says whether a release is right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sluice.database import Database, named_query, select
from sluice.objects import NoSuchObjectError, ObjectStore, ReadBack, StoredObject
from sluice.release import canaries
from sluice.release.anonymity import assess
from sluice.release.plan import ReleaseError, ReleasePart
from sluice.release.reuse import lock_objects

DOWNLOADS = 4  # at once
# What a version has besides objects: its manifest, lists and tables, anew under rN/ after a recall, and tombstones.
OWN = re.compile(
    r"(manifest\.json(\.sig)?|recalled\.json(\.sig)?|(r[0-9]+/)?(tables/.*|SHA256SUMS|manifest\.parquet|instances\.csv))"
)


@dataclass(frozen=True)
class ReadBackSummary:
    """What one part's reading back found.

    Attributes:
        read: files that nobody had read back since they were uploaded, `bytes` in sum.
        wrong: of those, missing or damaged ones; `verify` has them sent again.
    """

    read: int
    bytes: int
    wrong: int

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


@dataclass(frozen=True)
class VerifySummary:
    """What the bucket holds of a release, all of it right.

    Attributes:
        objects: DICOM files read back with the right size and SHA-256; `bytes` in sum, of files of all kinds.
        derived: files of other kinds, likewise.
        reused: of both, those that stand in an earlier version: read back when that was published, now only their size.
        held: members that stay here.
    """

    release_id: int
    objects: int
    bytes: int
    held: int
    derived: int
    reused: int

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def read_back(
    database: Database, store: ObjectStore, release_id: int, part: ReleasePart | dict[str, Any]
) -> ReadBackSummary:
    """Read back what a part has in the bucket and compare it with the ledger, so that `verify` need not.

    Raises:
        ObjectStoreError: the bucket cannot be used.
    """
    part = ReleasePart.of(part)
    asked = {"release_id": release_id, "first": part.first, "last": part.last}
    with database.transaction() as connection:
        (clock,) = select(connection, "select clock_timestamp() as began")
        rows = select(connection, named_query("release_unread"), asked)
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        found = list(pool.map(lambda row: _read_back(store, row["object_key"]), rows))
    right = {
        row["object_key"]: one.etag
        for row, one in zip(rows, found, strict=True)
        if one is not None and one.sha256 == row["sha256"]
    }
    with database.transaction() as connection, connection.cursor() as cursor:
        lock_objects(connection, release_id)
        cursor.execute(
            "update released_object o set read_back_at = %s, read_back_etag = seen.etag "
            "from unnest(%s::text[], %s::text[]) as seen (object_key, etag) "
            "where o.release_id = %s and o.object_key = seen.object_key",
            (clock["began"], list(right), list(right.values()), release_id),
        )
    return ReadBackSummary(len(rows), sum(row["bytes"] for row in rows), len(rows) - len(right))


def verify(database: Database, store: ObjectStore, release_id: int, logs: Sequence[Path] = ()) -> VerifySummary:
    """Compare the bucket with the ledger, object by object, prove the release by its synthetic patients, and count for
    its review how many persons share what it says.

    An object that is missing or damaged is marked as not uploaded, so that `export_batch` or `derive` sends it again.

    Args:
        logs: folders of the tasks' logs, in which no synthetic patient may be seen.

    Raises:
        ReleaseError: members are neither uploaded nor held, objects are missing, damaged or unknown, a synthetic
            patient does not prove it, or its tables tell more than the project's policy lets pass.
        ObjectStoreError: the bucket cannot be used.
    """
    with database.transaction() as connection:
        found = select(connection, named_query("release_state"), {"release_id": release_id})
        objects = select(
            connection,
            "select object_key, kind, bytes, sha256, uploaded_at, "
            "case when read_back_at >= uploaded_at then read_back_etag end as etag "
            "from released_object where release_id = %s",
            (release_id,),
        )
        recalled = select(connection, "select object_key from recall_object where release_id = %s", (release_id,))
    if not found:
        raise ReleaseError(f"There is no release {release_id}. Run prepare first.")
    release = found[0]
    if release["published_at"] is None and release["open"]:
        raise ReleaseError(f"{release['open']} members are neither uploaded nor held. Run export_batch again.")
    if release["published_at"] is None and (release["underived"] or release["unsent"]):
        raise ReleaseError(
            f"{release['underived']} objects or series are not in all formats yet, {release['unsent']} files are not "
            "sent. Run derive again."
        )
    prefix = release["prefix"]
    out = {row["object_key"] for row in recalled}
    wanted = [row for row in objects if row["uploaded_at"] is not None and row["object_key"] not in out]
    listed = {
        entry.key: entry
        for folder in sorted({prefix, *(_folder(row["object_key"]) for row in wanted)})
        for entry in store.list(folder)
    }
    # An export that was killed may have uploaded what was recalled in that moment. What other versions may name the
    # recall alone deletes, which writes their manifests first.
    late = [key for key in out if key in listed and key.startswith(prefix)]
    if late and release["published_at"] is None:
        store.delete(late)
    known = {row["object_key"] for row in (*objects, *recalled)}
    unknown = [
        key
        for key in listed
        if key.startswith(prefix) and key not in known and not OWN.fullmatch(key.removeprefix(prefix))
    ]
    if unknown:
        raise ReleaseError(
            f"{len(unknown)} objects under {prefix!r} are not of this release. "
            "Find out who writes there, remove them, and verify again."
        )
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        right = list(pool.map(lambda row: _is_right(store, row, listed, prefix), wanted))
    wrong = [row["object_key"] for row, is_right in zip(wanted, right, strict=True) if not is_right]
    if wrong:
        _send_again(database, release, wrong)
        raise ReleaseError(
            f"{len(wrong)} objects under {prefix!r} are missing or damaged. Run export_batch again, and derive."
        )
    _prove_by_canaries(database, store, release_id, logs)
    store.abandon_uploads(prefix)
    if release["published_at"] is None:
        assess(database, release)  # who approves it sees this, and nobody is asked about what is held anyway
    database.execute("update release set verified_at = now() where release_id = %s", (release_id,))
    dicom = sum(row["kind"] == "dicom" for row in wanted)
    return VerifySummary(
        release_id,
        dicom,
        sum(row["bytes"] for row in wanted),
        release["held"],
        len(wanted) - dicom,
        sum(not row["object_key"].startswith(prefix) for row in wanted),
    )


def _prove_by_canaries(database: Database, store: ObjectStore, release_id: int, logs: Sequence[Path]) -> None:
    found = canaries.check(database, store, release_id, logs)
    if found:
        raise ReleaseError(
            "Its synthetic patients do not prove this release: "
            f"{'; '.join(f'{one.kind}: {one.where}' for one in found)[:1000]}. Publish nothing before it is known why."
        )


def _send_again(database: Database, release: dict[str, Any], wrong: list[str]) -> None:
    """What is not in the bucket is not there for any version that names it; what was derived is made once more."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "update released_object o set uploaded_at = null from release r "
            "where r.release_id = o.release_id and r.bucket = %s and o.object_key = any(%s)",
            (release["bucket"], wrong),
        )
        cursor.execute(
            "delete from release_derivation d using released_object o "
            "where d.release_id = o.release_id and o.release_id = %s and o.object_key = any(%s) and d.kind = o.kind "
            "and (d.source = any(o.sources) or d.source in (select series_instance_uid from receipt c "
            "where c.sop_instance_uid = any(o.sources)))",
            (release["release_id"], wrong),
        )
        cursor.execute("update release set verified_at = null where release_id = %s", (release["release_id"],))


def _folder(key: str) -> str:
    """`project/vN/` of an object's key."""
    return "/".join(key.split("/", 2)[:2]) + "/"


def _is_right(store: ObjectStore, row: dict[str, Any], listed: dict[str, StoredObject], prefix: str) -> bool:
    seen = listed.get(row["object_key"])
    if seen is None or seen.bytes != row["bytes"]:
        return False
    if seen.etag == row["etag"] or not row["object_key"].startswith(prefix):
        return True
    found = _read_back(store, row["object_key"])
    return found is not None and found.sha256 == row["sha256"]


def _read_back(store: ObjectStore, key: str) -> ReadBack | None:
    try:
        return store.read_back(key)
    except NoSuchObjectError:
        return None

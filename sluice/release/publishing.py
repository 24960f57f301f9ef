"""Publish a release: tables, the list of all objects, the signature, and last of all the manifest.

Without `manifest.json` a reader sees no release. What it says is signed: it names the digest of `SHA256SUMS`, which
names the digest of every object and table. A manifest that stands in the bucket is the release, whatever the ledger
says: who was killed before noting it takes it as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, named_query, select
from sluice.objects import ObjectStore
from sluice.release import canaries
from sluice.release.anonymity import assess
from sluice.release.contents import objects
from sluice.release.listing import INDEX, MANIFEST, SIGNATURE, SUMS, gone_before, list_objects
from sluice.release.manifest import FORMAT, counts_of, manifest
from sluice.release.plan import ReleaseError
from sluice.release.recall.opt_outs import follow_merges
from sluice.release.reports import read_reports
from sluice.release.review.approval import standing, statement
from sluice.release.signing import SigningKey, house_key
from sluice.release.tables import texts_of, write_tables
from sluice.settings import settings

PUBLISH_LOCK = 7_350_025  # first key of the advisory lock; the second is the project
TYPES = {
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
    "": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class PublishSummary:
    """A published release.

    Attributes:
        objects: DICOM files in it, of which `added` are not in the version before.
        files: objects of any kind and tables that a reader gets.
        manifest_key, manifest_sha256: where the manifest is, and what it must hash to.
        counts: of instances at every stage, with reasons for what is not in it.
    """

    release_id: int
    project: str
    version: int
    objects: int
    files: int
    manifest_key: str
    manifest_sha256: str
    counts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def publish(database: Database, store: ObjectStore, release_id: int, keys: Path | None = None) -> PublishSummary:
    """Write tables and `SHA256SUMS`, the signature, then `manifest.json`; then note the publication. Again: nothing
    changes.

    Args:
        keys: folder of the signing key; `settings().keys` when None.

    Raises:
        ReleaseError: the release was not verified since its last upload, or not approved as its project asks, its
            tables tell too much, or somebody else wrote a manifest there.
        ObjectStoreError: the bucket cannot be used.
    """
    key = house_key(database, keys or settings().keys)
    with database.transaction() as lock:
        named = select(lock, "select project from release where release_id = %s", (release_id,))
        if not named:
            raise ReleaseError(f"There is no release {release_id}. Run prepare first.")
        one_at_a_time(lock, named[0]["project"])
        release = select(lock, named_query("release_state"), {"release_id": release_id})[0]
        if release["published_at"] is None:
            _publishable(release)
            _approved(lock, release_id)
            release["approval"] = statement(lock, release_id)
            with database.transaction() as connection:
                follow_merges(connection)
            if affected := select(lock, named_query("recall_affected"), {"release_id": release_id}):
                raise ReleaseError(
                    f"{len(affected)} objects of the release were opted out since they were exported. Run the DAG "
                    "recall, which takes them out, then verify and publish."
                )
            if not _adopt(database, store, release, key):
                _note(database, release, _write(database, store, release, key), key)
    return _summary(database, store, release_id)


def one_at_a_time(connection: Connection, project: str) -> None:
    """Versions of a project are published one after the other, none while a recall is decided; until the transaction
    ends."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (PUBLISH_LOCK, project))


def republish(database: Database, store: ObjectStore, release_id: int, keys: Path | None = None) -> str:
    """Write the manifest of a published release anew, without what was recalled since (`objects_of_release` leaves it
    out), and those of all versions that contain it; return the manifest's SHA-256.

    Lists and tables of the new revision lie under `rN/`, so that a reader of either manifest finds what it names;
    those of the one before are deleted afterwards, since they have rows about persons. Again: nothing changes.

    Raises:
        ReleaseError: there is no such published release.
        ObjectStoreError: the bucket cannot be used.
    """
    key = house_key(database, keys or settings().keys)
    with database.transaction() as lock:
        named = select(lock, "select project, published_at from release where release_id = %s", (release_id,))
        if not named or named[0]["published_at"] is None:
            raise ReleaseError(f"There is no published release {release_id}.")
        one_at_a_time(lock, named[0]["project"])
        holders = select(
            lock,
            "select r.release_id from release_content c join release r using (release_id) "
            "where c.contains = %s and r.published_at is not null order by r.version",
            (release_id,),
        )
        digest = _revise(database, store, release_id, key)
        for row in holders:
            _revise(database, store, row["release_id"], key)
    return digest


def _revise(database: Database, store: ObjectStore, release_id: int, key: SigningKey) -> str:
    with database.transaction() as connection:
        release = select(connection, named_query("release_state"), {"release_id": release_id})[0]
    prefix = release["prefix"]
    said = json.loads(store.get(prefix + MANIFEST))
    release["approval"] = said.get("approval")  # given to what was published, and that is what it is said of
    names = {row["object_key"] for row in objects(database, release_id)}
    listed = _objects_in(store, release, said)
    digest: str = release["manifest_sha256"]
    if listed != {name.removeprefix(f"{release['project']}/") for name in names}:
        digest = _write(database, store, release, key, said, listed)
        database.execute("update release set manifest_sha256 = %s where release_id = %s", (digest, release_id))
    now = json.loads(store.get(prefix + MANIFEST))
    if now["format"] != FORMAT:
        return digest  # of an older format, and nothing of it was recalled
    kept = {prefix + file["name"] for file in (*now["files"], now["sums"])}
    own = re.compile(re.escape(prefix) + r"(r[0-9]+/)?(tables/.*|SHA256SUMS|manifest\.parquet|instances\.csv)")
    for name in (MANIFEST, SIGNATURE):
        store.delete_older(prefix + name)
    store.delete([entry.key for entry in store.list(prefix) if own.fullmatch(entry.key) and entry.key not in kept])
    return digest


def _objects_in(store: ObjectStore, release: dict[str, Any], said: dict[str, Any]) -> set[str]:
    """Paths of the objects that a manifest names, below the project's folder, without the version's own files."""
    if said["format"] != FORMAT:
        return {one["key"].removeprefix(f"{release['project']}/") for one in said["objects"]}
    sums = store.get(release["prefix"] + said["sums"]["name"]).decode()
    own = {f"v{said['version']}/{file['name']}" for file in said["files"]}
    return {line.split("  ", 1)[1] for line in sums.splitlines()} - own


def _publishable(release: dict[str, Any]) -> None:
    if release["open"]:
        raise ReleaseError(f"{release['open']} members are neither uploaded nor held. Run export_batch again.")
    if release["underived"] or release["unsent"]:
        raise ReleaseError(
            f"{release['underived']} things were not made into {', '.join(release['formats'])} yet, and "
            f"{release['unsent']} files not sent. Run derive again."
        )
    verified, last_upload = release["verified_at"], release["last_upload"]
    if verified is None or (last_upload is not None and verified < last_upload):
        raise ReleaseError("The release was not verified since its last upload. Run verify, then publish.")


def _approved(connection: Connection, release_id: int) -> None:
    review = standing(connection, release_id)
    if review.state not in ("not-needed", "approved"):
        raise ReleaseError(
            f"The release is rejected by {review.rejected_by}: {review.reason}"
            if review.state == "rejected"
            else f"The release waits for approval. {review.lacks} See the page Review."
        )


def _adopt(database: Database, store: ObjectStore, release: dict[str, Any], key: SigningKey) -> bool:
    """Take a manifest that stands in the bucket as the release; whether there is one."""
    manifest_key = release["prefix"] + MANIFEST
    if store.size(manifest_key) is None:
        return False
    body = store.get(manifest_key)
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    signature = release["prefix"] + SIGNATURE
    ours = store.size(signature) is not None and key.signed(body, store.get(signature))
    if not ours or said.get("member_digest") != release["member_digest"]:
        raise ReleaseError(
            f"{manifest_key} is there, and it is not what this house signed for this release. Find out who wrote it, "
            "and tell its readers; then remove it and publish again."
        )
    _note(database, release, hashlib.sha256(body).hexdigest(), key)
    return True


def _note(database: Database, release: dict[str, Any], digest: str, key: SigningKey) -> None:
    database.execute(
        "update release set manifest_key = %s, manifest_sha256 = %s, signed_by = %s, published_at = now() "
        "where release_id = %s and published_at is null",
        (release["prefix"] + MANIFEST, digest, key.key_id, release["release_id"]),
    )


def _write(
    database: Database,
    store: ObjectStore,
    release: dict[str, Any],
    key: SigningKey,
    before: dict[str, Any] | None = None,
    listed_before: set[str] | None = None,
) -> str:
    """Write everything of a version but its objects, the manifest last; return the manifest's SHA-256.

    Args:
        before: the manifest that this one takes the place of, after a recall; `listed_before` are its objects.
    """
    revision = before.get("revision", 1) + 1 if before else 1
    report, masking = assess(database, release)
    with database.transaction() as connection:
        contained = select(connection, named_query("release_contained"), {"release_id": release["release_id"]})
        counts = counts_of(select(connection, named_query("release_counts"), {"release_id": release["release_id"]}))
        models = select(connection, named_query("release_models"), {"release_id": release["release_id"]})
    if "tables" in release["formats"]:
        read_reports(database, store, release["release_id"])  # of versions that it contains, and what was lost
    gone = gone_before(store, release) | set((before or {}).get("removed", ())) | (listed_before or set())
    with tempfile.TemporaryDirectory(prefix="sluice-publish-") as folder:
        root = Path(folder)
        place = root / f"r{revision}" if before else root
        place.mkdir(exist_ok=True)
        tables = write_tables(database, release, masking, place / "tables")
        listed = list_objects(database, release, root, place, tables, gone)
        said = manifest(database, release, contained, counts, models, report, listed, root, place, tables, key)
        body = json.dumps(said | {"revision": revision}, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        files = (*tables, place / INDEX, place / SUMS)
        watch = canaries.watch_of(database, release["release_id"])
        if watch.anywhere(body) or any(watch.anywhere(text) for path in files for text in texts_of(path)):
            raise ReleaseError("A token of a synthetic patient is in a table or the manifest. Nothing was published.")
        for path in files:
            _send(store, release["prefix"], root, path)
    signature, place_of_it = key.sign(body), release["prefix"] + SIGNATURE
    store.put(f"{release['project']}/keys/{key.key_id}.pem", key.public_pem, "application/x-pem-file")
    # While the manifest changes, both signatures stand there: whichever manifest a reader gets, one of them is its own.
    earlier = store.get(place_of_it)[:64] if before and before["format"] == FORMAT else b""
    store.put(place_of_it, signature + earlier)
    digest = store.put(release["prefix"] + MANIFEST, body, TYPES[".json"])
    if before:
        store.put(place_of_it, signature)
    return digest


def _send(store: ObjectStore, prefix: str, root: Path, path: Path) -> None:
    name = prefix + path.relative_to(root).as_posix()
    digest = store.put_file(name, path, TYPES[path.suffix])
    if store.digest(name) != digest:
        raise ReleaseError(f"{name} does not read back as it was written. Run publish again.")


def _summary(database: Database, store: ObjectStore, release_id: int) -> PublishSummary:
    with database.transaction() as connection:
        release = select(connection, "select * from release where release_id = %s", (release_id,))[0]
        counts = counts_of(select(connection, named_query("release_counts"), {"release_id": release_id}))
    said = json.loads(store.get(release["manifest_key"]))
    kinds: dict[str, dict[str, int]] = said["objects"]
    if said["format"] != FORMAT:  # of before versions added up: a list of DICOM objects
        kinds, said["files"] = {"dicom": {"objects": len(said["objects"])}}, said["tables"]
    return PublishSummary(
        release_id,
        release["project"],
        release["version"],
        kinds.get("dicom", {}).get("objects", 0),
        sum(kind["objects"] for kind in kinds.values()) + len(said["files"]),
        release["manifest_key"],
        release["manifest_sha256"],
        counts,
    )

"""Send produced files: recorded before they are uploaded and marked after, so that no object of the bucket is unknown.

What is held, and stood in the bucket before a decision said so, is taken out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, copy_rows, select
from sluice.objects import ObjectStore, ObjectStoreError
from sluice.release.formats.dropping import drop_derived
from sluice.release.plan import note_gaps
from sluice.release.producing import Produced, Withheld
from sluice.release.reuse import UPLOADED_AT, known_bytes, lock_objects
from sluice.release.review.pool import Pool, Pooled
from sluice.release.review.thumbnails import keep_thumbnails, sampled, thumbnail

UPLOADS = 4  # at once
DICOM = "application/dicom"


@dataclass(frozen=True)
class Sent:
    """What became of some files: uploaded now, or named again because an earlier version holds the same bytes."""

    uploaded: int
    bytes: int
    reused: int
    reused_bytes: int


class Sender:
    """The way of one release's files into the bucket. One thread at a time."""

    def __init__(self, database: Database, store: ObjectStore, release: dict[str, Any]) -> None:
        self.database = database
        self.store = store
        self.release_id: int = release["release_id"]
        self.prefix: str = release["prefix"]
        self.pool = Pool(database, self.release_id)
        with database.transaction() as connection:
            self.pictured = sampled(connection, self.release_id)

    def send(self, files: Sequence[Produced]) -> Sent:
        """Record, upload, mark; what was uploaded is marked even where the next one fails.

        Raises:
            ObjectStoreError: the bucket cannot be used.
        """
        self.pool.keep([Pooled(one.sop_instance_uid, one.sha256, one.strings, one.struck) for one in files])
        self._draw(files)
        fresh, known = self._record(files)
        done: list[Produced] = []
        try:
            with ThreadPoolExecutor(UPLOADS) as pool:
                for uploaded, _ in zip(fresh, pool.map(self._put, fresh), strict=True):
                    done.append(uploaded)
        finally:
            self._mark([*done, *known])
        return Sent(len(done), sum(len(one.data) for one in done), len(known), sum(len(one.data) for one in known))

    def withhold(self, files: Sequence[Withheld]) -> None:
        """Note why these stay here, and take out of the bucket what stood there."""
        held = [(one.sop_instance_uid, one.reason_code, one.detail) for one in files]
        self.pool.keep([Pooled(one.sop_instance_uid, "", one.strings) for one in files if one.strings is not None])
        self._withdraw([one.sop_instance_uid for one in files])
        with self.database.transaction() as connection:
            lock_objects(connection, self.release_id)
            hold(connection, self.release_id, held)
            note_gaps(connection, held)

    def _draw(self, files: Sequence[Produced]) -> None:
        """Pictures of a few objects of each series, for the page on which the release is reviewed."""
        keep_thumbnails(
            self.database,
            self.release_id,
            [
                (
                    one.sop_instance_uid,
                    str(one.columns["series_instance_uid"]),
                    str(one.columns["patient"]),
                    self.pictured[one.sop_instance_uid],
                    thumbnail(one.data),
                )
                for one in files
                if one.sop_instance_uid in self.pictured
            ],
        )

    def _put(self, produced: Produced) -> None:
        digest = self.store.put(produced.key, produced.data, DICOM)
        if digest != produced.sha256:
            raise ObjectStoreError(f"Bucket {self.store.bucket!r} stored other bytes than were sent. Run again.")

    def _record(self, produced: Sequence[Produced]) -> tuple[list[Produced], list[Produced]]:
        """Write down what was produced; what has to be sent, and what an earlier version holds already."""
        now = datetime.now(UTC)
        with self.database.transaction() as connection:
            lock_objects(connection, self.release_id)
            keys = known_bytes(connection, self.release_id, [one.sha256 for one in produced])
            known = [replace(one, key=keys[one.sha256]) for one in produced if one.sha256 in keys]
            fresh = [one for one in produced if one.sha256 not in keys]
            chunk = [*fresh, *known]
            copy_rows(
                connection,
                "released_object",
                ("release_id", "sop_instance_uid", "object_key", "bytes", "sha256", "columns", "verified_at",
                 "source_sha256"),
                [
                    (self.release_id, one.sop_instance_uid, one.key, len(one.data), one.sha256, one.columns, now,
                     one.source_sha256)
                    for one in chunk
                ],
                "(release_id, sop_instance_uid) where kind = 'dicom' do update set object_key = excluded.object_key, "
                "bytes = excluded.bytes, sha256 = excluded.sha256, columns = excluded.columns, "
                "verified_at = excluded.verified_at, source_sha256 = excluded.source_sha256, "
                f"uploaded_at = {UPLOADED_AT}",
            )  # fmt: skip
            hold(connection, self.release_id, [(one.sop_instance_uid, None, None) for one in chunk])
        return fresh, known

    def _mark(self, done: list[Produced]) -> None:
        with self.database.transaction() as connection:
            lock_objects(connection, self.release_id)
            recalled = select(
                connection,
                "select object_key from recall_object where release_id = %s and object_key = any(%s)",
                (self.release_id, [one.key for one in done]),
            )
            late = {row["object_key"] for row in recalled}
            with connection.cursor() as cursor:
                cursor.execute(
                    "update released_object set uploaded_at = now() where release_id = %s and kind = 'dicom' "
                    "and sop_instance_uid = any(%s)",
                    (self.release_id, [one.sop_instance_uid for one in done if one.key not in late]),
                )
            out = [(one.sop_instance_uid, "opted-out", None) for one in done if one.key in late]
            hold(connection, self.release_id, out)
        if late:  # recalled while they were on their way
            self.store.delete(sorted(key for key in late if key.startswith(self.prefix)))

    def _withdraw(self, uids: list[str]) -> None:
        """Take out of the bucket what is held now and stood there: a decision came after it was uploaded."""
        if not uids:
            return
        with self.database.transaction() as connection:
            rows = select(
                connection,
                "select object_key from released_object where release_id = %s and sop_instance_uid = any(%s)",
                (self.release_id, uids),
            )
        # What an earlier version holds stays with it.
        self.store.delete([row["object_key"] for row in rows if row["object_key"].startswith(self.prefix)])
        with self.database.transaction() as connection, connection.cursor() as cursor:
            lock_objects(connection, self.release_id)
            drop_derived(connection, self.store, {"release_id": self.release_id, "prefix": self.prefix}, uids)
            cursor.execute(  # a volume of the rest of the series is made anew
                "delete from release_derivation d using receipt r where d.release_id = %s "
                "and r.sop_instance_uid = any(%s) and d.source in (r.sop_instance_uid, r.series_instance_uid)",
                (self.release_id, uids),
            )
            for table in ("released_object", "release_thumbnail", "review_redo"):
                cursor.execute(
                    f"delete from {table} where release_id = %s and sop_instance_uid = any(%s)",
                    (self.release_id, uids),
                )


def hold(connection: Connection, release_id: int, reasons: list[tuple[str, Any, Any]]) -> None:
    """Note of members (SOP Instance UID, reason code or None, detail) why they stay here."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "update release_member set held_reason = %s, held_detail = %s "
            "where release_id = %s and sop_instance_uid = %s and held_reason is distinct from %s",
            [(code, detail, release_id, uid, code) for uid, code, detail in reasons],
        )

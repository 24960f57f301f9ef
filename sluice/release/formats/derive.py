"""Make the other forms of a part of a release: read the de-identified files from the bucket, convert, upload.

    for part in plan.batches: derive(database, store, plan.release_id, part)

Like the export it may be killed anywhere and run again: a file's row is written before it is uploaded and marked after,
and what a source came to, files or a reason, is noted last. What an earlier published version holds, made of the same
bytes by the same recipe, is named again and not made.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, copy_rows, named_query, select
from sluice.objects import ObjectStore, ObjectStoreError
from sluice.release.formats import nifti, png
from sluice.release.formats.dropping import drop_derived
from sluice.release.formats.made import Made, NotMade
from sluice.release.plan import ReleaseError, ReleasePart
from sluice.release.reports import read_reports
from sluice.release.reuse import UPLOADED_AT, lock_objects

AT_ONCE = 4  # downloads and uploads
CHUNK = 16  # sources in memory at once, and made again where an upload fails


@dataclass
class DeriveSummary:
    """What one part's derivation did.

    Attributes:
        wanted: objects (png) and series (nifti) that nothing was noted of before.
        made: files uploaded now, `bytes` in sum.
        reused: files that an earlier version holds.
        failed: objects and series that became none, by reason.
    """

    wanted: int = 0
    made: int = 0
    bytes: int = 0
    reused: int = 0
    failed: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


@dataclass(frozen=True)
class _Source:
    """What one derivation works on: one object, or all objects of a series."""

    name: str
    objects: tuple[dict[str, Any], ...]
    digest: str


def derive(
    database: Database, store: ObjectStore, release_id: int, part: ReleasePart | dict[str, Any]
) -> DeriveSummary:
    """Make the formats that the release was prepared with, of the exported members of a part.

    A series belongs to the part of its first instance, so each is converted once.

    Raises:
        ReleaseError: there is no such release, or members of the series are not exported yet.
        ObjectStoreError: the bucket cannot be used.
    """
    part = ReleasePart.of(part)
    with database.transaction() as connection:
        found = select(connection, "select * from release where release_id = %s", (release_id,))
    if not found:
        raise ReleaseError(f"There is no release {release_id}. Run prepare first.")
    summary = DeriveSummary()
    release = found[0]
    if release["published_at"] is not None:
        return summary
    if "tables" in release["formats"]:
        read_reports(database, store, release_id, (part.first, part.last))
    asked = {"release_id": release_id, "first": part.first, "last": part.last}
    if "png" in release["formats"]:
        _Deriver(database, store, release, "png", png.RECIPE, _png, summary).run(
            [_Source(row["sop_instance_uid"], (row,), row["sha256"]) for row in database.rows("release_sources", asked)]
        )
    if "nifti" in release["formats"]:
        _Deriver(database, store, release, "nifti", nifti.recipe(), _nifti, summary).run(
            list(_series(database.rows("release_series", asked)))
        )
    return summary


def _series(rows: list[dict[str, Any]]) -> Iterator[_Source]:
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["series_instance_uid"], []).append(row)
    for name, objects in by_name.items():
        if any(row["uploaded_at"] is None for row in objects):
            raise ReleaseError("A series is not exported whole yet. Run export_batch for all parts, then derive.")
        digest = hashlib.sha256("\n".join(sorted(row["sha256"] for row in objects)).encode()).hexdigest()
        yield _Source(name, tuple(objects), digest)


def _png(source: _Source, store: ObjectStore) -> list[Made]:
    (row,) = source.objects
    base = row["columns"]
    path = (
        f"png/{base['patient']}/{base['study_instance_uid']}/{base['series_instance_uid']}/{base['sop_instance_uid']}"
    )
    about = {name: base[name] for name in ("patient", "study_instance_uid", "series_instance_uid", "sop_instance_uid")}
    about |= {"source_key": row["object_key"]}
    return png.pictures(store.get(row["object_key"]), path, about)


def _nifti(source: _Source, store: ObjectStore) -> list[Made]:
    base = source.objects[0]["columns"]
    nifti.refuse(base["modality"], [row["columns"].get("number_of_frames") for row in source.objects])
    about = {name: base[name] for name in ("patient", "study_instance_uid", "series_instance_uid")}
    with tempfile.TemporaryDirectory(prefix="sluice-nifti-") as folder:
        files = Path(folder) / "dicom"
        files.mkdir()
        for number, row in enumerate(source.objects):
            (files / f"{number:06}.dcm").write_bytes(store.get(row["object_key"]))
        path = f"nifti/{base['patient']}/{base['study_instance_uid']}/{base['series_instance_uid']}"
        return nifti.volumes(files, path, about)


class _Deriver:
    """One format of one part of one release on its way into the bucket."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        release: dict[str, Any],
        kind: str,
        recipe: str,
        make: Callable[[_Source, ObjectStore], list[Made]],
        summary: DeriveSummary,
    ) -> None:
        self.database, self.store, self.release = database, store, release
        self.kind, self.recipe, self.make, self.summary = kind, recipe, make, summary
        self.release_id: int = release["release_id"]

    def run(self, sources: Sequence[_Source]) -> None:
        """Everything of these sources that is not noted yet."""
        with self.database.transaction() as connection:
            noted = select(
                connection,
                "select source from release_derivation where release_id = %s and kind = %s and source = any(%s)",
                (self.release_id, self.kind, [source.name for source in sources]),
            )
        done = {row["source"] for row in noted}
        wanted = [source for source in sources if source.name not in done]
        self.summary.wanted += len(wanted)
        wanted = self._reuse(wanted)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for first in range(0, len(wanted), CHUNK):
                chunk = wanted[first : first + CHUNK]
                self._keep(chunk, list(pool.map(self._made, chunk)), pool)

    def _made(self, source: _Source) -> list[Made] | NotMade:
        try:
            return self.make(source, self.store)
        except NotMade as reason:
            return reason
        except ObjectStoreError:
            raise
        except MemoryError:
            raise
        except Exception as error:  # what cannot be converted is a reason, no matter whose fault it is
            return NotMade("converter-failed", type(error).__name__)

    def _reuse(self, sources: list[_Source]) -> list[_Source]:
        """Name what earlier versions hold of these sources; the other ones."""
        by_digest = {source.digest: source for source in sources}
        asked = {"release_id": self.release_id, "kind": self.kind, "recipe": self.recipe, "digests": list(by_digest)}
        with self.database.transaction() as connection:
            lock_objects(connection, self.release_id)
            rows = select(connection, named_query("release_derived"), asked)
            whole = {row["source_sha256"] for row in rows}
            uids = {digest: by_digest[digest] for digest in whole}
            self._drop_others(connection, list(uids.values()), [row["object_key"] for row in rows])
            copy_rows(
                connection,
                "released_object",
                COLUMNS,
                [
                    (self.release_id, row["sop_instance_uid"], row["object_key"], row["bytes"], row["sha256"],
                     row["columns"], self.kind, row["source_sha256"], self.recipe, row["sources"], "now", "now")
                    for row in rows
                ],
                ON_CONFLICT + "excluded.uploaded_at",
            )  # fmt: skip
            self._note(connection, [(source.name, None, None) for source in uids.values()])
        self.summary.reused += len(rows)
        return [source for source in sources if source.digest not in whole]

    def _keep(self, sources: list[_Source], results: list[list[Made] | NotMade], pool: ThreadPoolExecutor) -> None:
        """Record, upload, mark, note."""
        prefix = self.release["prefix"]
        files: list[tuple[str, Made]] = []
        rows: list[tuple[Any, ...]] = []
        notes: list[tuple[str, str | None, str | None]] = []
        for source, result in zip(sources, results, strict=True):
            if isinstance(result, NotMade):
                notes.append((source.name, result.reason_code, result.detail))
                self.summary.failed[result.reason_code] = self.summary.failed.get(result.reason_code, 0) + 1
                continue
            notes.append((source.name, None, None))
            uids = [row["sop_instance_uid"] for row in source.objects]
            for made in result:
                key = prefix + made.path
                files.append((key, made))
                rows.append(
                    (self.release_id, uids[0] if len(uids) == 1 else None, key, len(made.data), made.sha256,
                     made.columns, self.kind, source.digest, self.recipe, uids, "now", None)
                )  # fmt: skip
        with self.database.transaction() as connection:
            lock_objects(connection, self.release_id)
            self._drop_others(connection, sources, [key for key, _ in files])
            copy_rows(connection, "released_object", COLUMNS, rows, ON_CONFLICT + UPLOADED_AT)
        for _ in pool.map(self._put, files):
            pass
        with self.database.transaction() as connection:
            lock_objects(connection, self.release_id)
            with connection.cursor() as cursor:
                cursor.execute(
                    "update released_object set uploaded_at = now() where release_id = %s and object_key = any(%s)",
                    (self.release_id, [key for key, _ in files]),
                )
            self._note(connection, notes)
            late = select(
                connection,
                "select object_key from recall_object where release_id = %s and object_key = any(%s)",
                (self.release_id, [key for key, _ in files]),
            )
        if late:  # recalled while they were on their way
            self.store.delete(sorted({row["object_key"] for row in late if row["object_key"].startswith(prefix)}))
        self.summary.made += len(files)
        self.summary.bytes += sum(len(made.data) for _, made in files)

    def _drop_others(self, connection: Connection, sources: Sequence[_Source], kept: list[str]) -> None:
        """Take out what was made of these sources before and is not made of them now: a decision came in between."""
        uids = [row["sop_instance_uid"] for source in sources for row in source.objects]
        drop_derived(connection, self.store, self.release, uids, self.kind, kept)

    def _put(self, file: tuple[str, Made]) -> None:
        key, made = file
        if self.store.put(key, made.data, made.content_type) != made.sha256:
            raise ObjectStoreError(f"Bucket {self.store.bucket!r} stored other bytes than were sent. Run again.")

    def _note(self, connection: Any, notes: list[tuple[str, str | None, str | None]]) -> None:
        copy_rows(
            connection,
            "release_derivation",
            ("release_id", "kind", "source", "reason_code", "detail"),
            [(self.release_id, self.kind, *note) for note in notes],
        )


COLUMNS = (
    "release_id", "sop_instance_uid", "object_key", "bytes", "sha256", "columns", "kind", "source_sha256", "recipe",
    "sources", "verified_at", "uploaded_at",
)  # fmt: skip
ON_CONFLICT = (
    "(release_id, object_key) do update set bytes = excluded.bytes, sha256 = excluded.sha256, "
    "columns = excluded.columns, source_sha256 = excluded.source_sha256, recipe = excluded.recipe, "
    "sources = excluded.sources, verified_at = excluded.verified_at, uploaded_at = "
)

"""Export a release: de-identify, re-read, upload. The doors of this room.

    plan = prepare(database, "radiographs", "2026-10-26")
    for part in plan.batches: export_batch(database, archive, store, "radiographs", plan.release_id, part)
    for part in plan.batches: derive(database, store, plan.release_id, part)
    verify(database, store, plan.release_id)
    publish(database, store, plan.release_id)

Every step may be killed between any two statements and run again: an object's row is written before it is
uploaded and marked after, its bytes are a function of the original, the profile and the key, and the manifest,
which makes the release visible, comes last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, copy_rows, named_query, select
from sluice.deid.conformance import new_faults
from sluice.deid.elements import File, MalformedError, read_file
from sluice.deid.engine import Deidentified, deidentify
from sluice.deid.held import Held
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, leaks
from sluice.deid.pixels import PixelPolicy, PixelTreatment, Screening, treatment_for
from sluice.deid.pixels.deciding import is_decided_by_file
from sluice.deid.pixels.devices import load_rules
from sluice.deid.pixels.screen import waiting
from sluice.deid.pixels.store import screenings
from sluice.deid.profile import Profile
from sluice.deid.reread import Reread, reread
from sluice.objects import ObjectStore, ObjectStoreError
from sluice.release import canaries
from sluice.release.columns import columns_of
from sluice.release.formats.dropping import drop_derived
from sluice.release.linkage import identities_for
from sluice.release.linkage.keys import KeySource, ProjectKeyError
from sluice.release.manifest import PublishSummary, publish
from sluice.release.plan import (
    ReleaseError,
    ReleasePart,
    ReleasePlan,
    as_project,
    frozen_profile,
    identities_of,
    note_gaps,
    prepare,
)
from sluice.release.projects import Project, ProjectError
from sluice.release.reuse import known_bytes, reuse
from sluice.release.review.pool import Pool, Pooled
from sluice.release.review.rules import decisions_of, without
from sluice.release.review.strings import Retained, retained
from sluice.release.review.thumbnails import keep_thumbnails, sampled, thumbnail
from sluice.release.verify import VerifySummary, verify
from sluice.settings import settings

__all__ = [
    "ExportSummary",
    "PublishSummary",
    "ReleaseError",
    "ReleasePart",
    "ReleasePlan",
    "VerifySummary",
    "export_batch",
    "prepare",
    "publish",
    "verify",
]

CHUNK_BYTES = 64 << 20  # held in memory between de-identification and upload
UPLOADS = 4  # at once
DICOM = "application/dicom"


@dataclass
class ExportSummary:
    """What one part's export did.

    Attributes:
        wanted: members of the part that were not uploaded before.
        uploaded: objects uploaded now, `bytes` in sum.
        reused: members whose object an earlier published version holds, `reused_bytes` in sum; named, not written.
        already: members uploaded by an earlier run.
        held: members held now, by reason code.
    """

    wanted: int = 0
    uploaded: int = 0
    bytes: int = 0
    reused: int = 0
    reused_bytes: int = 0
    already: int = 0
    held: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


@dataclass(frozen=True)
class _Object:
    """A produced file on its way to the bucket."""

    sop_instance_uid: str
    key: str
    data: bytes
    sha256: str
    source_sha256: str
    columns: dict[str, Any]
    strings: tuple[Retained, ...]
    struck: tuple[Retained, ...]


def export_batch(
    database: Database,
    archive: Path,
    store: ObjectStore,
    project: Project | str,
    release_id: int,
    part: ReleasePart | dict[str, Any],
    keys: Path | KeySource | None = None,
) -> ExportSummary:
    """De-identify, re-read and upload the members of a part that are not in the bucket yet.

    Raises:
        ReleaseError: the project, its profile or its key changed since `prepare`.
        ObjectStoreError: the bucket cannot be used; what was uploaded before stays recorded.
    """
    project = as_project(project)
    part = ReleasePart.of(part) if isinstance(part, dict) else part
    release, project, identities = _open_release(database, project, keys, release_id)
    summary = ExportSummary()
    members, out = _members(database, release_id, part)
    pending = [member for member in members if member["uploaded_at"] is None]
    summary.already = len(members) - len(pending)
    summary.wanted = len(pending)
    if out:
        summary.held["opted-out"] = out
    if release["published_at"] is not None or not pending:
        return summary
    if waiting(database, archive, release_id, part.first, part.last, project.pixels):
        raise ReleaseError(
            f"Pixels of this part of {project.name!r} were not looked at yet. Run the task screen again."
        )
    exporter = _Exporter(database, archive, store, project, identities, release)
    exporter.look_up([member["sop_instance_uid"] for member in pending])
    reused = reuse(database, release_id, [uid for uid in exporter.screenings if exporter.is_decided_by_file(uid)])
    summary.reused, summary.reused_bytes = len(reused.members), reused.bytes
    pending = [member for member in pending if member["sop_instance_uid"] not in reused.members]
    seen = canaries.probe(database, store, release, exporter.produced_canary)
    if seen:
        raise ReleaseError(
            f"A synthetic patient of {project.name!r} shows in what this worker makes: "
            f"{', '.join(finding.where for finding in seen)[:500]}. Nothing of this part was uploaded. "
            "Find out what is wrong with the profile or this worker (docs/identities.md, canaries)."
        )
    for chunk in exporter.produced(pending, summary):
        exporter.upload(chunk, summary)
    return summary


def _open_release(
    database: Database, project: Project, keys: Path | KeySource | None, release_id: int
) -> tuple[dict[str, Any], Project, Identities]:
    """The release, its project under the profile that it was prepared with, and what its patients were given."""
    with database.transaction() as connection:
        found = select(connection, "select * from release where release_id = %s", (release_id,))
        if not found or found[0]["project"] != project.name:
            raise ReleaseError(f"There is no release {release_id} of project {project.name!r}. Run prepare first.")
        release = found[0]
        named = f"Release v{release['version']} of {project.name!r}"
        try:
            project = project.under(release["preset"])
        except ProjectError as error:
            raise ReleaseError(f"{named} was prepared with the profile {release['preset']}. {error}") from error
        try:
            derived = identities_of(project, release["profile"]["key_id"], keys)
        except ProjectKeyError as error:
            raise ReleaseError(f"{named} cannot go on without the key it was prepared with. {error}") from error
        identities = identities_for(connection, derived, release_id)
    now = frozen_profile(project, derived)
    changed = sorted(name for name in now if release["profile"].get(name) != now[name])
    if changed:
        raise ReleaseError(
            f"{named} was prepared with another {', '.join(changed)}. Run prepare again for a new version."
        )
    if identities is None:
        raise ReleaseError(
            f"{named} was prepared before identities were kept. Run prepare again: it stays this version."
        )
    return release, project, identities


def _members(database: Database, release_id: int, part: ReleasePart) -> tuple[list[dict[str, Any]], int]:
    """Members of the part, and how many more were opted out or recalled since the release was prepared."""
    with database.transaction() as connection:
        out = {
            row["sop_instance_uid"]
            for row in select(connection, named_query("recall_members"), {"release_id": release_id})
        }
        members = select(
            connection,
            """
            select m.sop_instance_uid, r.path, r.sha256, o.uploaded_at,
                   array_remove(array[s.patient_name, s.patient_id, s.accession_number, i.patient_id], null) as known
              from release_member m
              join receipt r using (sop_instance_uid)
              left join instance i using (sop_instance_uid)
              left join study s on s.study_instance_uid = r.study_instance_uid
              left join released_object o on o.release_id = m.release_id and o.sop_instance_uid = m.sop_instance_uid
                                          and o.kind = 'dicom'
             where m.release_id = %s and r.receipt_id between %s and %s
             order by r.receipt_id
            """,
            (release_id, part.first, part.last),
        )
        kept_out = [member["sop_instance_uid"] for member in members if member["sop_instance_uid"] in out]
        if kept_out:
            hold(connection, release_id, [(uid, "opted-out", None) for uid in kept_out])
            note_gaps(connection, [(uid, "opted-out", None) for uid in kept_out])
    return [member for member in members if member["sop_instance_uid"] not in out], len(kept_out)


class _Exporter:
    """One part of one release on its way into the bucket."""

    def __init__(
        self,
        database: Database,
        archive: Path,
        store: ObjectStore,
        project: Project,
        identities: Identities,
        release: dict[str, Any],
    ) -> None:
        self.database = database
        self.archive = archive
        self.store = store
        self.profile: Profile = project.deid_profile()
        self.pixels: PixelPolicy = project.pixels
        self.device_rules = load_rules(settings().device_rules) if project.pixels.screens else ()
        self.screenings: dict[str, Screening] = {}
        self.identities = identities
        self.release_id: int = release["release_id"]
        self.prefix: str = release["prefix"]
        self.pool = Pool(database, self.release_id)
        self.held_strings: list[Pooled] = []
        with database.transaction() as connection:
            self.decisions = decisions_of(connection, release["project"])
            self.pictured = sampled(connection, self.release_id)
        self.watch = canaries.watch_of(database, self.release_id)

    def look_up(self, uids: list[str]) -> None:
        """What is known of the pixels of these instances."""
        with self.database.transaction() as connection:
            self.screenings = screenings(connection, uids, self.pixels)

    def is_decided_by_file(self, uid: str) -> bool:
        """Whether what an earlier version holds of an instance may be named again."""
        return is_decided_by_file(self.pixels, self.screenings.get(uid))

    def produced(self, members: list[dict[str, Any]], summary: ExportSummary) -> Iterator[list[_Object]]:
        """De-identified, re-read objects in chunks; what is held is noted on the way."""
        chunk: list[_Object] = []
        held: list[tuple[str, str, str | None]] = []
        waiting = 0
        for member in members:
            try:
                made = self._produce(member)
                if self.watch.marked(made.data):
                    raise Held("held-residual", "a token of a synthetic patient is in this patient's file")
                chunk.append(made)
                waiting += len(made.data)
            except Held as reason:
                held.append((member["sop_instance_uid"], reason.reason_code, reason.detail))
                summary.held[reason.reason_code] = summary.held.get(reason.reason_code, 0) + 1
            if waiting >= CHUNK_BYTES:
                yield chunk
                chunk, waiting = [], 0
        self._note_held(held)
        if chunk:
            yield chunk

    def produced_canary(self, member: dict[str, Any]) -> _Object:
        """A synthetic patient's file, made as a member's is; it is black, so its pixels need no looking at."""
        self.screenings[member["sop_instance_uid"]] = Screening(True, (), None, canaries.REGION)
        return self._produce(member)

    def _produce(self, member: dict[str, Any]) -> _Object:
        try:
            original = (self.archive / member["path"]).read_bytes()
        except OSError as error:
            raise Held("held-unreadable", f"not in the archive: {error.strerror}") from error
        if hashlib.sha256(original).hexdigest() != member["sha256"]:
            raise Held("held-unreadable", "the file in the archive is not the one that was received")
        try:
            file, treatment = self._read(member["sop_instance_uid"], original)
            result = deidentify(file, self.profile, self.identities, treatment)
            claims = Claims(result.shift_days, tuple(code for code, _ in result.codes))
            data, after, strings, struck = self._as_decided(member["sop_instance_uid"], result)
            before = reread(original)
            found = leaks(before, after, data, claims, member["known"])
            faults = new_faults(before, after)
            columns = columns_of(data)
        except Held:
            raise
        except Exception as error:  # a fault of ours must hold the file, not let it pass
            raise Held("held-unreadable", f"fault of the engine: {type(error).__name__}") from error
        if found:
            places = sorted({f"{finding.kind} {finding.where}" for finding in found})
            raise Held("held-residual", "; ".join(places)[:500])
        if faults:
            raise Held("held-conformance", "; ".join(map(str, faults))[:500])
        key = f"{self.prefix}dicom/{result.patient}/{result.study}/{result.series}/{result.sop_instance}.dcm"
        digest = hashlib.sha256(data).hexdigest()
        return _Object(member["sop_instance_uid"], key, data, digest, member["sha256"], columns, strings, struck)

    def _as_decided(
        self, uid: str, result: Deidentified
    ) -> tuple[bytes, Reread, tuple[Retained, ...], tuple[Retained, ...]]:
        """The file without the strings that people took out, read anew, the strings before that, and those."""
        file = reread(result.data)
        strings = retained(file, result.patient)
        try:
            struck = tuple(self.decisions.check(strings))
            if not struck:
                return result.data, file, strings, struck
            data = without(result.data, file, struck)
            return data, reread(data), strings, struck
        except Held:
            self.held_strings.append(Pooled(uid, "", strings))
            raise

    def _read(self, uid: str, original: bytes) -> tuple[File, PixelTreatment]:
        try:
            file = read_file(original)
        except MalformedError as error:
            raise Held("held-unreadable", f"cannot be read: {error}") from error
        return file, treatment_for(file, self.pixels, self.screenings.get(uid), self.device_rules)

    def upload(self, chunk: list[_Object], summary: ExportSummary) -> None:
        """Record, upload, mark: an object in the bucket is never unknown to the ledger."""
        self.pool.keep([Pooled(one.sop_instance_uid, one.sha256, one.strings, one.struck) for one in chunk])
        self._draw(chunk)
        chunk, known = self._record(chunk)
        done: list[_Object] = []
        try:
            with ThreadPoolExecutor(UPLOADS) as pool:
                for uploaded, _ in zip(chunk, pool.map(self._put, chunk), strict=True):
                    done.append(uploaded)
        finally:
            self._mark([*done, *known])
            summary.uploaded += len(done)
            summary.bytes += sum(len(uploaded.data) for uploaded in done)
            summary.reused += len(known)
            summary.reused_bytes += sum(len(one.data) for one in known)

    def _draw(self, chunk: list[_Object]) -> None:
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
                for one in chunk
                if one.sop_instance_uid in self.pictured
            ],
        )

    def _put(self, produced: _Object) -> None:
        digest = self.store.put(produced.key, produced.data, DICOM)
        if digest != produced.sha256:
            raise ObjectStoreError(f"Bucket {self.store.bucket!r} stored other bytes than were sent. Run again.")

    def _record(self, produced: list[_Object]) -> tuple[list[_Object], list[_Object]]:
        """Write down what was produced; what has to be sent, and what an earlier version holds already."""
        now = datetime.now(UTC)
        with self.database.transaction() as connection:
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
                "verified_at = excluded.verified_at, source_sha256 = excluded.source_sha256, uploaded_at = null",
            )  # fmt: skip
            hold(connection, self.release_id, [(one.sop_instance_uid, None, None) for one in chunk])
        return fresh, known

    def _mark(self, done: list[_Object]) -> None:
        with self.database.transaction() as connection:
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

    def _note_held(self, held: list[tuple[str, str, str | None]]) -> None:
        self.pool.keep(self.held_strings)
        self._withdraw([uid for uid, _, _ in held])
        with self.database.transaction() as connection:
            hold(connection, self.release_id, held)
            note_gaps(connection, held)

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

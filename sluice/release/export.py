"""Export a release: de-identify, re-read, upload. The doors of this room.

    plan = prepare(database, "radiographs", "2026-10-26")
    for part in plan.batches: export_batch(database, archive, store, "radiographs", plan.release_id, part)
    for part in plan.batches: derive(database, store, plan.release_id, part)
    for part in plan.batches: read_back(database, store, plan.release_id, part)
    verify(database, store, plan.release_id)
    publish(database, store, plan.release_id)

Every step may be killed between any two statements and run again: an object's row is written before it is
uploaded and marked after, its bytes are a function of the original, the profile and the key, and the manifest,
which makes the release visible, comes last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sluice.database import Database, named_query, select
from sluice.deid.identities import Identities
from sluice.deid.pixels.screen import waiting
from sluice.objects import ObjectStore
from sluice.release import canaries
from sluice.release.linkage import identities_for
from sluice.release.linkage.keys import KeySource, ProjectKeyError
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
from sluice.release.producing import Produced, Producer, Withheld
from sluice.release.projects import Project, ProjectError
from sluice.release.publishing import PublishSummary, publish
from sluice.release.reuse import reuse
from sluice.release.sending import Sender, Sent, hold
from sluice.release.verify import VerifySummary, read_back, verify

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
    "read_back",
    "verify",
]

CHUNK_BYTES = 16 << 20  # made while the ones before are sent; two of them are in memory


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

    def add(self, sent: Sent) -> None:
        """Some more files were sent."""
        self.uploaded += sent.uploaded
        self.bytes += sent.bytes
        self.reused += sent.reused
        self.reused_bytes += sent.reused_bytes

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


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
    part = ReleasePart.of(part)
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
    producer = Producer(
        database, archive, project, identities, release, [member["sop_instance_uid"] for member in pending]
    )
    reused = reuse(database, release_id, producer.decided_by_file)
    summary.reused, summary.reused_bytes = len(reused.members), reused.bytes
    pending = [member for member in pending if member["sop_instance_uid"] not in reused.members]
    seen = canaries.probe(database, store, release, producer.produce_canary)
    if seen:
        raise ReleaseError(
            f"A synthetic patient of {project.name!r} shows in what this worker makes: "
            f"{', '.join(finding.where for finding in seen)[:500]}. Nothing of this part was uploaded. "
            "Find out what is wrong with the profile or this worker (docs/identities.md, canaries)."
        )
    _send(map(producer.produce, pending), Sender(database, store, release), summary)
    return summary


def _send(files: Iterable[Produced | Withheld], sender: Sender, summary: ExportSummary) -> None:
    """Send files in chunks while the next one is made, and note at the end what stays here."""
    held: list[Withheld] = []
    on_its_way: Future[Sent] | None = None
    with ThreadPoolExecutor(1) as behind:
        for chunk in _chunks(files, held):
            if on_its_way is not None:
                summary.add(on_its_way.result())
            on_its_way = behind.submit(sender.send, chunk)
        if on_its_way is not None:
            summary.add(on_its_way.result())
    sender.withhold(held)
    for one in held:
        summary.held[one.reason_code] = summary.held.get(one.reason_code, 0) + 1


def _chunks(files: Iterable[Produced | Withheld], held: list[Withheld]) -> Iterator[list[Produced]]:
    """Files to send, some megabytes at once; those that stay here are put aside."""
    chunk: list[Produced] = []
    waiting = 0
    for one in files:
        if isinstance(one, Withheld):
            held.append(one)
            continue
        chunk.append(one)
        waiting += len(one.data)
        if waiting >= CHUNK_BYTES:
            yield chunk
            chunk, waiting = [], 0
    if chunk:
        yield chunk


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

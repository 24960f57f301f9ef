"""Prepare a release: decide who is in it, freeze that, cut it into parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json, execute_values

from sluice import __version__
from sluice.cohorts.expressions import sensitive_names
from sluice.cohorts.language import as_json
from sluice.database import Database, named_query, select
from sluice.deid.identities import Identities
from sluice.deid.pixels.deciding import described
from sluice.deid.profile import Profile
from sluice.release import linkage, masks
from sluice.release.canaries import canaries_of
from sluice.release.chosen import choose
from sluice.release.linkage.keys import KeySource, key_source
from sluice.release.linkage.registered import current_key, require
from sluice.release.projects import Project, load_project
from sluice.release.recall.opt_outs import follow_merges
from sluice.release.review.approval import require_approval
from sluice.settings import settings

PART_SIZE = 2_000
WINDOWS = "windows"  # the line of all days and imports
PROJECT_LOCK = 7_350_002  # first key of the advisory lock; the second is the project
REASONS_LOCK = 7_350_003  # held while reasons are compared with the newest ones of other projects, then written


class ReleaseError(RuntimeError):
    """A release cannot go on; the message says what to do."""


@dataclass(frozen=True)
class ReleasePart:
    """A range of a release's members, by receipt id (both inclusive); small enough for XCom."""

    release_id: int
    first: int
    last: int
    count: int

    def as_dict(self) -> dict[str, Any]:
        """The part as XCom carries it."""
        return asdict(self)

    @classmethod
    def of(cls, value: Self | dict[str, Any]) -> Self:
        """A part, also as `as_dict` gave it to a task."""
        return cls(**value) if isinstance(value, dict) else value


@dataclass(frozen=True)
class ReleasePlan:
    """A release with frozen members.

    Attributes:
        members: instances in it.
        left_out: instances of the window that are not, by reason code.
        batches: what `export_batch` works on; empty where nothing is to be released.
        published: it was published before; nothing is left to do.
    """

    release_id: int
    project: str
    version: int
    window_key: str
    bucket: str
    prefix: str
    members: int
    left_out: dict[str, int]
    batches: list[ReleasePart]
    published: bool

    def as_dict(self) -> dict[str, Any]:
        """The plan as XCom carries it."""
        return asdict(self)


def as_project(project: Project | str) -> Project:
    """The project, loaded where only its name is given."""
    return load_project(project) if isinstance(project, str) else project


def identities_of(project: Project, key_id: str, keys: Path | KeySource | None = None) -> Identities:
    """The identities that a key of the project gives, where `keys` (None: as the settings say) has it.

    Raises:
        ProjectKeyError: it is not there.
    """
    key = require(key_source(keys).ring(project.name), key_id)
    return Identities(key.secret, project.pseudonym_prefix, project.shifts_whole_weeks)


def _current_identities(connection: Connection, project: Project, keys: Path | KeySource | None) -> Identities:
    key = current_key(connection, project.name, key_source(keys))
    return Identities(key.secret, project.pseudonym_prefix, project.shifts_whole_weeks)


def line_of(window_key: str, chosen: str | None = None) -> str:
    """Which versions contain each other and follow each other: those of days and imports all do, a cohort is released
    exactly as it is, and a profile that was chosen in place of the project's own opens a line of its own (decision
    24)."""
    line = window_key if window_key.startswith("cohort/") else WINDOWS
    return f"{line}@{chosen}" if chosen else line  # no name of a cohort has an @


def frozen_profile(project: Project, identities: Identities) -> dict[str, Any]:
    """What decides the bytes of a release, without its members."""
    weeks = {"date_shift": project.date_shift} if project.shifts_whole_weeks else {}
    masked = {"masked": project.anonymity.decided} if project.anonymity.files == "mask" else {}
    return (
        project.deid_profile().describe()
        | {
            "key_id": identities.key_id,
            "pseudonym_prefix": project.pseudonym_prefix,
            "pixels": described(project.pixels, settings().device_rules),
            "sluice": __version__,
        }
        | weeks
        | masked
    )


def prepare(
    database: Database,
    project: Project | str,
    window_key: str,
    part_size: int = PART_SIZE,
    keys: Path | KeySource | None = None,
    version_id: int | None = None,
    list_id: int | None = None,
    requested_by: str | None = None,
    formats: Sequence[str] | None = None,
    profile: str | None = None,
) -> ReleasePlan:
    """Freeze the members of a release of one window, or of a cohort, whose window it then goes by.

    Members are the indexed and checked instances of SOP classes that may leave, that the project selects and no
    quality finding holds; every other indexed instance gets a gap at the step `released` with its reason. The same
    window with the same members and profile is the same release; otherwise the project's next version begins.

    Args:
        version_id: of a frozen cohort, whose members take the place of the window's.
        list_id: of a researcher's list; the instances of the studies that its rows stand for take the place.
        requested_by: who started it, where a person did: they cannot approve it alone, nor can who froze the version or
            uploaded the list.
        formats: of the project's formats only these, and DICOM; all of them when None.
        profile: of the project's profiles this one; the project's own when None.

    Raises:
        ProjectError, ProjectKeyError, LinkageError: the project, its key or the linkage table cannot be used.
    """
    project = as_project(project)
    own = project.profile
    project = project.under(profile)
    if formats is not None:
        kept = tuple(name for name in project.formats if name == "dicom" or name in formats)
        project = project.model_copy(update={"formats": kept})
    rules = project.deid_profile()
    with database.transaction() as connection:
        _one_at_a_time(connection, project.name)
        identities = _current_identities(connection, project, keys)
        members: list[str] = []
        reasons: list[tuple[str, str, str | None]] = []
        asked = {"window_key": window_key, "version_id": version_id, "list_id": list_id, "project": project.name}
        follow_merges(connection)
        choose(connection, project.released, asked)
        for candidate in select(connection, named_query("release_candidates"), asked):
            reason = _reason_against(candidate, rules, project.pixels.screens)
            if reason is None:
                members.append(candidate["sop_instance_uid"])
            else:
                reasons.append((candidate["sop_instance_uid"], *reason))
        note_gaps(connection, reasons)
        _note_pending(connection, members)
        synthetic = [linkage.Patient(row["patient_id"], row["issuer"]) for row in canaries_of(connection, project.name)]
        people = linkage.people_of(connection, members, synthetic)
        frozen = frozen_profile(project, identities)
        merged = linkage.merged_pseudonyms(connection, identities, project.name, people)
        if merged:
            frozen["merged_patients"] = merged
        line = line_of(window_key, project.profile if project.profile != own else None)
        release = _find_or_begin(connection, project, window_key, line, frozen, members, version_id)
        require_approval(connection, release["release_id"], project.approval, project.approvers, requested_by, list_id)
        linkage.record(connection, project.name, identities, release["release_id"], people)
        known = linkage.identities_for(connection, identities, release["release_id"])
        masks.decide(connection, project, known or identities, release["release_id"], people)
        batches = _cut(connection, release["release_id"], part_size)
    counted: dict[str, int] = {}
    for _, code, _ in reasons:
        counted[code] = counted.get(code, 0) + 1
    return ReleasePlan(
        release_id=release["release_id"],
        project=project.name,
        version=release["version"],
        window_key=window_key,
        bucket=release["bucket"],
        prefix=release["prefix"],
        members=len(members),
        left_out=counted,
        batches=batches,
        published=release["published_at"] is not None,
    )


def parts_of(database: Database, release_id: int, part_size: int = PART_SIZE) -> list[ReleasePart]:
    """The parts of a release that was prepared."""
    with database.transaction() as connection:
        return _cut(connection, release_id, part_size)


def note_gaps(connection: Connection, reasons: Sequence[tuple[str, str, str | None]]) -> None:
    """Write gaps at the step `released` (SOP Instance UID, reason code, detail) that are not the newest already.

    Several projects look at one instance, and the newest gap is what people see: that one project does not want an
    instance says less than any other reason, so it is written only where nothing else was.
    """
    if not reasons:
        return
    with connection.cursor() as cursor:
        # What another project writes in this moment would not be seen, and the lesser reason could win.
        cursor.execute("select pg_advisory_xact_lock(%s)", (REASONS_LOCK,))
        execute_values(
            cursor,
            """
            insert into gap (sop_instance_uid, step, reason_code, detail)
            select v.uid, 'released', v.code, v.detail
              from (values %s) as v(uid, code, detail)
              left join lateral (select reason_code, detail from gap
                                  where gap.sop_instance_uid = v.uid and gap.step = 'released'
                                  order by gap_id desc limit 1) newest on true
             where (newest.reason_code, newest.detail) is distinct from (v.code, v.detail)
               and (v.code <> 'not-in-project' or newest.reason_code is null)
            """,
            reasons,
            template="(%s, %s, %s::text)",
            page_size=1000,
        )


def _note_pending(connection: Connection, members: list[str]) -> None:
    """A member that another project did not want waits for its release: that is its newest reason now."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (REASONS_LOCK,))
        cursor.execute(
            """
            insert into gap (sop_instance_uid, step, reason_code)
            select newest.sop_instance_uid, 'released', 'not-released-yet'
              from (select distinct on (sop_instance_uid) sop_instance_uid, reason_code
                      from gap where step = 'released' and sop_instance_uid = any(%s)
                     order by sop_instance_uid, gap_id desc) newest
             where newest.reason_code = 'not-in-project'
            """,
            (members,),
        )


def _reason_against(candidate: dict[str, Any], profile: Profile, screened: bool) -> tuple[str, str | None] | None:
    if candidate["is_canary"]:
        return "canary", None
    if candidate["opted_out"]:
        return "opted-out", None
    if not candidate["has_block"]:
        return "not-indexed-yet", "its header was read before headers were kept in blocks; extract the window again"
    if candidate["missed"]:
        return "not-in-project", candidate["missed"]
    if candidate["quality_severity"]:
        return f"quality-{candidate['quality_severity']}", candidate["quality_rules"]
    if (candidate["patient_ids"] or 0) > 1:
        return "held-identity", "its study has more than one Patient ID"
    if not candidate["checked"]:
        return "not-checked-yet", None
    held = profile.why_held(candidate["sop_class_uid"] or "", screened)
    return ("held-class", held) if held else None


def _one_at_a_time(connection: Connection, project: str) -> None:
    """Two plans of one project wait for each other until the transaction ends, so versions are given once."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (PROJECT_LOCK, project))


def _find_or_begin(
    connection: Connection,
    project: Project,
    window_key: str,
    line: str,
    profile: dict[str, Any],
    members: list[str],
    version_id: int | None,
) -> dict[str, Any]:
    decided: list[Any] = [profile, sorted(members)]
    if project.formats != ("dicom",):
        decided.append([sorted(project.formats), project.anonymity.decided])
    # What was taken back once does not come back as the same version, not even with the same members.
    recalled = select(
        connection,
        "select recall_id from recall join release using (release_id) where project = %s and window_key = %s "
        "order by recall_id",
        (project.name, window_key),
    )
    if recalled:
        decided.append({"recalls": [row["recall_id"] for row in recalled]})
    digest = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()
    key = {"project": project.name, "window_key": window_key, "digest": digest}
    found = select(
        connection,
        "select * from release where project = %(project)s and window_key = %(window_key)s "
        "and member_digest = %(digest)s",
        key,
    )
    if found:
        return found[0]
    version = select(
        connection, "select coalesce(max(version), 0) + 1 as next from release where project = %(project)s", key
    )[0]["next"]
    begun = select(
        connection,
        """
        insert into release (project, version, window_key, profile, member_digest, bucket, prefix, cohort_version_id,
                             line, formats, asked, anonymity, preset)
        values (%(project)s, %(version)s, %(window_key)s, %(profile)s, %(digest)s, %(bucket)s, %(prefix)s,
                %(version_id)s, %(line)s, %(formats)s, %(asked)s, %(anonymity)s, %(preset)s)
        returning *
        """,
        key
        | {
            "version": version,
            "version_id": version_id,
            "profile": Json(profile),
            "bucket": project.bucket,
            "prefix": f"{project.name}/v{version}/",
            "line": line,
            "preset": project.profile,
            "formats": list(project.formats),
            "asked": None if sensitive_names(project.selection) else Json(as_json(project.selection)),
            "anonymity": Json(project.anonymity.model_dump()),
        },
    )[0]
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "insert into release_member (release_id, sop_instance_uid) values %s",
            [(begun["release_id"], member) for member in members],
            page_size=1000,
        )
    return begun


def _cut(connection: Connection, release_id: int, size: int) -> list[ReleasePart]:
    rows = select(
        connection,
        """
        select min(receipt_id) as first, max(receipt_id) as last, count(*) as count
          from (select receipt_id, (row_number() over (order by receipt_id) - 1) / %(size)s as piece
                  from release_member join receipt using (sop_instance_uid)
                 where release_id = %(release_id)s) numbered
         group by piece order by piece
        """,
        {"release_id": release_id, "size": size},
    )
    return [ReleasePart(release_id, row["first"], row["last"], row["count"]) for row in rows]

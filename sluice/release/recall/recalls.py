"""Take back what was released of opted-out instances: tombstone, successor manifest, deletion, proof that it is gone.

    done = carry_out(database, lambda name: connect(…, name), "the DAG recall")

A recall is decided in one transaction: which objects of a release, for which opt-outs, who has to be told. What follows
may be killed between any two statements and run again; every step is noted after it was done, and a recall is at its
end when the bucket no longer lists anything of it. Of a published release the readers first get a manifest that does
not name the objects, then the objects go: no manifest names what is not there. Publishing waits while a recall is
decided, and the other way round (`one_at_a_time`); an export that runs meanwhile takes out what it uploaded too late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json, execute_values

from sluice.database import Database, named_query, select
from sluice.objects import ObjectStore, ObjectStoreError
from sluice.release.plan import ReleaseError, note_gaps
from sluice.release.projects import Project, ProjectError, load_project
from sluice.release.publishing import one_at_a_time, republish
from sluice.release.recall.opt_outs import follow_merges
from sluice.release.recall.tombstones import write_tombstones
from sluice.release.signing import SigningKeyError, house_key
from sluice.settings import settings

RECALL_LOCK = 7_350_026  # of the advisory lock
RECALLED = ("object_key", "sop_instance_uid", "kind", "bytes", "sha256")
DAYS = 14  # that recipients have to delete, where the project's file says nothing
StoreOf = Callable[[str], ObjectStore]


class RecallError(RuntimeError):
    """A recall could not be carried out to its end; what was done stays done, and it goes on from there."""


@dataclass
class RecallSummary:
    """What was done now.

    Attributes:
        releases: with something to take back; `objects` in sum.
        gone: objects proven to be gone.
        waiting: releases whose bucket refused, by `project/vN` with what it said.
    """

    releases: int = 0
    objects: int = 0
    gone: int = 0
    waiting: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def carry_out(
    database: Database, store_of: StoreOf, by: str, release_id: int | None = None, keys: Path | None = None
) -> RecallSummary:
    """Decide and carry out all recalls that are due; with `release_id` only if that release has any. Again: nothing is
    done twice.

    A later version may name objects that an earlier one holds, so all manifests come before the first deletion. A
    bucket that cannot be used does not hold up the others; `waiting` names its releases, and what their manifests still
    name stays.

    Args:
        keys: folder of the key that signs; `settings().keys` when None.

    Raises:
        DatabaseError: the database went away.
    """
    with database.transaction() as lock:  # held until the end: recalls are carried out one after the other
        with lock.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(%s)", (RECALL_LOCK,))
        with database.transaction() as connection:
            follow_merges(connection)
        database.execute(named_query("recall_forget"))
        affected = database.rows("recall_affected", {"release_id": release_id})
        if release_id is not None and (affected or database.rows("recall_due", {"release_id": release_id})):
            release_id = None  # versions share objects: none is deleted that the manifest of another one names
            affected = database.rows("recall_affected", {"release_id": None})
        for due in sorted({row["release_id"] for row in affected}):
            _decide(database, due, by)
        return _carry_out(database, store_of, database.rows("recall_due", {"release_id": release_id}), keys)


def check_again(database: Database, store_of: StoreOf, keys: Path | None = None) -> RecallSummary:
    """Look whether what was recalled came back, as by somebody's copy or a restored backup; take it out once more."""
    with database.transaction() as connection:
        recalled = select(
            connection, "select distinct release_id, project, version, bucket from recall_state where is_gone"
        )
    waiting: dict[str, str] = {}
    for release in recalled:
        names = {row["object_key"] for row in database.rows("recall_of_release", {"release_id": release["release_id"]})}
        try:
            if back := _left(store_of(release["bucket"]), names):
                _note_returned(database, release["release_id"], back)
        except ObjectStoreError as error:
            waiting[f"{release['project']}/v{release['version']}"] = str(error)
    summary = carry_out(database, store_of, "the check", keys=keys)
    summary.waiting |= waiting
    return summary


def _carry_out(database: Database, store_of: StoreOf, due: list[dict[str, Any]], keys: Path | None) -> RecallSummary:
    summary = RecallSummary(len(due), sum(release["objects"] for release in due))
    named: set[str] = set()  # by manifests that could not be written anew
    ready = []
    for release in due:
        names = [row["object_key"] for row in database.rows("recall_of_release", {"release_id": release["release_id"]})]
        try:
            if release["published_at"] is not None:
                _tell_readers(database, store_of(release["bucket"]), release, keys)
            ready.append((release, names))
        except (ObjectStoreError, ReleaseError, SigningKeyError) as error:
            _wait(database, release, str(error), summary)
            named |= set(names)
    for release, names in ready:
        try:
            _take_out(database, store_of(release["bucket"]), release, names, named)
            summary.gone += release["objects"]
        except ObjectStoreError as error:
            _wait(database, release, str(error), summary)
    return summary


def _wait(database: Database, release: dict[str, Any], words: str, summary: RecallSummary) -> None:
    _note(database, release["recalls"], "refused", {"said": words})
    summary.waiting[f"{release['project']}/v{release['version']}"] = words


def _tell_readers(database: Database, store: ObjectStore, release: dict[str, Any], keys: Path | None) -> None:
    house_key(database, keys or settings().keys)  # before anything is signed
    recalled = database.rows("recall_of_release", {"release_id": release["release_id"]})
    digest = write_tombstones(store, release, recalled, keys)
    _note(database, release["recalls"], "tombstone", {"sha256": digest})
    digest = republish(database, store, release["release_id"], keys)
    _note(database, release["recalls"], "manifest", {"sha256": digest})


def _take_out(
    database: Database, store: ObjectStore, release: dict[str, Any], names: list[str], named: set[str]
) -> None:
    """All that was ever recalled of this release, so that nothing is left half-done by an earlier try."""
    if waits := len(named & set(names)):
        raise ObjectStoreError(f"{waits} objects wait for another version, whose manifest still names them.")
    store.delete(names)
    _note(database, release["recalls"], "deleted", {"objects": len(names)})
    if left := _left(store, names):
        raise ObjectStoreError(
            f"{len(left)} recalled objects of {release['prefix']!r} can still be read after they were deleted. Look "
            "for a copy or replication that writes them again, or an object lock, then run it again."
        )
    with database.transaction() as connection, connection.cursor() as cursor:
        # what is not in the bucket is no upload for any version, and nothing that a later one could use again
        cursor.execute(
            "update released_object o set uploaded_at = null from release r "
            "where r.release_id = o.release_id and r.bucket = %s and o.object_key = any(%s)",
            (release["bucket"], names),
        )
        if release["published_at"] is None:
            for table, of in (("release_derivation", "sop_instance_uid = d.source"), ("released_object", "true")):
                cursor.execute(
                    f"delete from {table} d using recall_object gone where gone.release_id = d.release_id "
                    f"and d.release_id = %s and {'gone.' + of if of != 'true' else 'gone.object_key = d.object_key'}",
                    (release["release_id"],),
                )
    _note(database, release["recalls"], "gone", {"objects": len(names)})


def _decide(database: Database, release_id: int, by: str) -> None:
    """Write down what is recalled of a release now, if anything is."""
    with database.transaction() as connection:
        (release,) = select(connection, named_query("recall_release"), {"release_id": release_id})
        one_at_a_time(connection, release["project"])  # it is published before, or without them
        (release,) = select(connection, named_query("recall_release"), {"release_id": release_id})
        affected = select(connection, named_query("recall_affected"), {"release_id": release_id})
        _keep_out(connection, release, affected)
        if not affected:
            return
        causes = sorted({cause for row in affected for cause in row["causes"]})
        reasons = select(
            connection, "select distinct reason from opt_out where opt_out_id = any(%s) order by reason", (causes,)
        )
        project = _project(release["project"])
        published = release["published_at"] is not None
        (recall,) = select(
            connection,
            """
            insert into recall (release_id, revision, reason, was_published, due_on, ordered_by)
            select %(release_id)s, coalesce(max(revision), 0) + 1, %(reason)s, %(published)s, %(due)s, %(by)s
              from recall where release_id = %(release_id)s
            returning recall_id
            """,
            {
                "release_id": release_id,
                "reason": reasons[0]["reason"],  # 'error' before 'withdrawn': it is the more urgent to be told
                "published": published,
                "due": date.today() + timedelta(days=project.recall_days if project else DAYS),
                "by": by,
            },
        )
        recall_id = recall["recall_id"]
        objects = [(release_id, recall_id, *(row[name] for name in RECALLED)) for row in affected]
        with connection.cursor() as cursor:
            execute_values(
                cursor,
                "insert into recall_object (release_id, recall_id, object_key, sop_instance_uid, kind, bytes, sha256) "
                "values %s",
                objects,
                page_size=1000,
            )
            execute_values(
                cursor,
                "insert into recall_cause (recall_id, opt_out_id) values %s",
                [(recall_id, one) for one in causes],
            )
            if published:
                _name_recipients(cursor, recall_id, release_id, project)


def _keep_out(connection: Connection, release: dict[str, Any], affected: Iterable[dict[str, Any]]) -> None:
    """Of a release that is not published yet, members are held; the ledger learns the reason in any case."""
    members = [row["sop_instance_uid"] for row in affected if row["sop_instance_uid"]]
    if release["published_at"] is None:
        out = select(connection, named_query("recall_members"), {"release_id": release["release_id"]})
        members = sorted({*members, *(row["sop_instance_uid"] for row in out)})
        with connection.cursor() as cursor:
            cursor.execute(
                "update release_member set held_reason = 'opted-out', held_detail = null where release_id = %s "
                "and sop_instance_uid = any(%s) and held_reason is distinct from 'opted-out'",
                (release["release_id"], members),
            )
    note_gaps(connection, [(uid, "opted-out", None) for uid in members])


def _name_recipients(cursor: Any, recall_id: int, release_id: int, project: Project | None) -> None:
    named = [(recall_id, one.name, one.contact, "named") for one in (project.recipients if project else ())]
    if named:
        execute_values(cursor, "insert into recall_recipient (recall_id, recipient, contact, basis) values %s", named)
    cursor.execute(
        "insert into recall_recipient (recall_id, recipient, basis) select %s, requester, 'pulled' "
        "from release_access where release_id = %s on conflict do nothing",
        (recall_id, release_id),
    )


def _project(name: str) -> Project | None:
    """The project, or None where its file is gone or wrong: a recall must not wait for that."""
    try:
        return load_project(name)
    except ProjectError:
        return None


def _left(store: ObjectStore, keys: Iterable[str]) -> set[str]:
    """Keys of which anything can still be read. A later version may name objects that an earlier one holds, so they are
    looked for where they stand: `<project>/vN/`."""
    wanted = set(keys)
    prefixes = {"/".join(key.split("/")[:2]) + "/" for key in wanted}
    return {key for prefix in prefixes for key in wanted & store.left_of(prefix)}


def _note(database: Database, recalls: Iterable[int], event: str, detail: dict[str, Any] | None = None) -> None:
    with database.transaction() as connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            "insert into recall_event (recall_id, event, detail) values %s",
            [(recall_id, event, Json(detail or {})) for recall_id in recalls],
        )


def _note_returned(database: Database, release_id: int, keys: set[str]) -> None:
    with database.transaction() as connection:
        recalls = select(
            connection,
            "select distinct recall_id from recall_object where release_id = %s and object_key = any(%s)",
            (release_id, sorted(keys)),
        )
    _note(database, [row["recall_id"] for row in recalls], "returned", {"objects": len(keys)})

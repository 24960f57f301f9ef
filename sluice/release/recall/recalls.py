"""Take back what was released of opted-out instances: tombstone, successor manifest, deletion, proof that it is gone.

    done = carry_out(database, lambda name: connect(…, name), "the DAG recall")

A recall is decided in one transaction: which objects of a release, for which opt-outs, who has to be told. What follows
may be killed between any two statements and run again; every step is noted after it was done, and a recall is at its
end when the bucket no longer lists anything of it. Of a published release the readers first get a manifest that does
not name the objects, then the objects go: no manifest names what is not there. `publish`, `verify` and recalls of one
release wait for each other (`one_at_a_time`); an export that runs meanwhile takes out what it uploaded too late itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json, execute_values

from sluice.database import Database, named_query, select
from sluice.objects import ObjectStore, ObjectStoreError
from sluice.release.manifest import republish
from sluice.release.plan import note_gaps, one_at_a_time
from sluice.release.projects import Project, ProjectError, load_project
from sluice.release.recall.tombstones import write_tombstones

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


def carry_out(database: Database, store_of: StoreOf, by: str, release_id: int | None = None) -> RecallSummary:
    """Decide and carry out all recalls that are due, of one release or of all. Again: nothing is done twice.

    A bucket that cannot be used does not hold up the others; `waiting` names its releases.

    Raises:
        DatabaseError: the database went away.
    """
    affected = database.rows("recall_affected", {"release_id": release_id})
    with database.transaction() as connection:
        under_way = select(
            connection,
            "select distinct release_id from recall_state "
            "where not is_gone and (%s::bigint is null or release_id = %s)",
            (release_id, release_id),
        )
    summary = RecallSummary()
    for due in sorted({row["release_id"] for row in [*affected, *under_way]}):
        _of_release(database, store_of, due, by, summary)
    return summary


def check_again(database: Database, store_of: StoreOf) -> RecallSummary:
    """Look whether what was recalled came back, as by somebody's copy or a restored backup; take it out once more."""
    with database.transaction() as connection:
        recalled = select(
            connection, "select distinct release_id, project, version, bucket from recall_state where is_gone"
        )
    summary = RecallSummary()
    for release in recalled:
        keys = {row["object_key"] for row in database.rows("recall_of_release", {"release_id": release["release_id"]})}
        try:
            if back := _left(store_of(release["bucket"]), keys):
                _note_returned(database, release["release_id"], back)
                _of_release(database, store_of, release["release_id"], "the check", summary)
        except ObjectStoreError as error:
            summary.waiting[f"{release['project']}/v{release['version']}"] = str(error)
    return summary


def _of_release(database: Database, store_of: StoreOf, release_id: int, by: str, summary: RecallSummary) -> None:
    with database.transaction() as lock:  # held until this release is done with
        one_at_a_time(lock, release_id)
        _decide(database, release_id, by)
        (release,) = database.rows("recall_release", {"release_id": release_id})
        open_ones = _open_recalls(database, release_id)
        if not open_ones:
            return
        summary.releases += 1
        summary.objects += sum(one["objects"] for one in open_ones)
        try:
            _take_back(database, store_of(release["bucket"]), release)
        except ObjectStoreError as error:
            _note(database, open_ones, "refused", {"said": str(error)})
            summary.waiting[f"{release['project']}/v{release['version']}"] = str(error)
        else:
            _note(database, open_ones, "gone")
            summary.gone += sum(one["objects"] for one in open_ones)


def _decide(database: Database, release_id: int, by: str) -> None:
    """Write down what is recalled of a release now, if anything is."""
    with database.transaction() as connection:
        affected = select(connection, named_query("recall_affected"), {"release_id": release_id})
        (release,) = select(connection, named_query("recall_release"), {"release_id": release_id})
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
        objects = [
            (release_id, row["object_key"], recall_id, row["sop_instance_uid"], row["bytes"], row["sha256"])
            for row in affected
        ]
        with connection.cursor() as cursor:
            execute_values(
                cursor,
                "insert into recall_object (release_id, object_key, recall_id, sop_instance_uid, bytes, sha256) "
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


def _open_recalls(database: Database, release_id: int) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return select(
            connection,
            "select recall_id, objects from recall_state where release_id = %s and not is_gone order by recall_id",
            (release_id,),
        )


def _take_back(database: Database, store: ObjectStore, release: dict[str, Any]) -> None:
    """All that was ever recalled of this release, so that nothing is left half-done by an earlier try."""
    release_id, prefix = release["release_id"], release["prefix"]
    recalled = database.rows("recall_of_release", {"release_id": release_id})
    keys = [row["object_key"] for row in recalled]
    newest = _open_recalls(database, release_id)
    if release["published_at"] is not None:
        digest = write_tombstones(store, release, recalled)
        _note(database, newest, "tombstone", {"sha256": digest})
        _note(database, newest, "manifest", {"sha256": republish(database, store, release_id)})
    store.delete(keys)
    _note(database, newest, "deleted", {"objects": len(keys)})
    if left := _left(store, keys):
        raise ObjectStoreError(
            f"{len(left)} recalled objects of {prefix!r} can still be read after they were deleted. Look for a copy "
            "or replication that writes them again, or an object lock, then run it again."
        )


def _left(store: ObjectStore, keys: Iterable[str]) -> set[str]:
    """Keys of which anything can still be read. A later version may name objects that an earlier one holds, so they are
    looked for where they stand: `<project>/vN/`."""
    wanted = set(keys)
    prefixes = {"/".join(key.split("/")[:2]) + "/" for key in wanted}
    return {key for prefix in prefixes for key in wanted & store.left_of(prefix)}


def _note(
    database: Database, recalls: Iterable[dict[str, Any]], event: str, detail: dict[str, Any] | None = None
) -> None:
    with database.transaction() as connection, connection.cursor() as cursor:
        for one in recalls:
            cursor.execute(
                "insert into recall_event (recall_id, event, detail) values (%s, %s, %s)",
                (one["recall_id"], event, Json(detail or {})),
            )


def _note_returned(database: Database, release_id: int, keys: set[str]) -> None:
    with database.transaction() as connection:
        recalls = select(
            connection,
            "select distinct recall_id from recall_object where release_id = %s and object_key = any(%s)",
            (release_id, sorted(keys)),
        )
    _note(database, recalls, "returned", {"objects": len(keys)})

"""Reading at a page: films are held for a reader while they look, put off, and an answer is taken back.

A film that one reader suffices for is given to one reader at a time. Holding it lasts some minutes and ends with the
answer, so nobody's lunch holds films back; who answers after that has read it a second time, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sluice.annotation.answers import Overtaken, check_task, queue
from sluice.database import Database, named_query, select

HELD = timedelta(minutes=10)


def take(database: Database, task: str, reader: str, most: int = 5) -> list[dict[str, Any]]:
    """The films that this reader should look at next, as `queue` has them, held for them from now on.

    Raises:
        AnnotationError: there is no such task.
    """
    check_task(task)
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended('annotation queue ' || %s, 43))", (task,))
        films = queue(connection, task, reader, most)
        cursor.execute("delete from annotation_lease where until < now() - interval '1 day'")
        cursor.execute(
            "insert into annotation_lease (task, sop_instance_uid, reader, until) "
            "select %s, unnest(%s::text[]), %s, now() + %s "
            "on conflict (task, sop_instance_uid, reader) do update set until = excluded.until",
            (task, [film["sop_instance_uid"] for film in films], reader, HELD),
        )
    return films


def let_go(database: Database, task: str, reader: str, sop_instance_uids: Sequence[str] | None = None) -> int:
    """Hold films no longer: these, or all that the reader holds of a task; returns how many.

    Raises:
        AnnotationError: there is no such task.
    """
    check_task(task)
    return database.execute(
        "delete from annotation_lease where task = %s and reader = %s and (%s::text[] is null or "
        "sop_instance_uid = any(%s))",
        (task, reader, *(2 * (None if sop_instance_uids is None else list(sop_instance_uids),))),
    )


def put_off(database: Database, task: str, sop_instance_uid: str, reader: str) -> None:
    """Show a film to this reader again after all others, and to others at once.

    Raises:
        AnnotationError: there is no such task.
    """
    let_go(database, task, reader, [sop_instance_uid])
    database.execute(
        "insert into annotation_skip (task, sop_instance_uid, reader) values (%s, %s, %s) "
        "on conflict (task, sop_instance_uid, reader) do update set skipped_at = now()",
        (task, sop_instance_uid, reader),
    )


def withdraw(database: Database, task: str, sop_instance_uid: str, reader: str) -> None:
    """Take a reader's answer back: the newest one, or one of a film that nobody else has read.

    Of others what colleagues said is shown, so an answer that followed would not be the reader's own.

    Raises:
        AnnotationError: there is no such task.
        Overtaken: the reader has no answer of it, has seen what others said, or it was decided meanwhile.
    """
    check_task(task)
    asked = {"task": task, "sop_instance_uid": sop_instance_uid, "reader": reader}
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%(task)s || %(sop_instance_uid)s, 43))", asked)
        rows = [
            row
            for row in select(connection, named_query("annotation_mine"), asked | {"most": None})
            if row["sop_instance_uid"] == sop_instance_uid
        ]
        if not rows:
            raise Overtaken("You have no answer of this film: there is nothing to take back.")
        if not rows[0]["may_withdraw"]:
            raise Overtaken(
                "Others have read this film too and you have seen what they said, or it was decided: your answer stays."
            )
        cursor.execute(
            "insert into annotation (sop_instance_uid, task, label, examined, visible, reader, shown_model_id, shown, "
            "withdrawn) select sop_instance_uid, task, label, examined, visible, reader, shown_model_id, shown, true "
            "from annotation_now where task = %(task)s and sop_instance_uid = %(sop_instance_uid)s "
            "and reader = %(reader)s",
            asked,
        )


def mine(database: Database, task: str, reader: str, most: int = 8) -> list[dict[str, Any]]:
    """A reader's newest answers, the newest first, where each film stands, and what others said of it.

    Of the newest answer others' are not told: it can still be taken back.

    Raises:
        AnnotationError: there is no such task.
    """
    check_task(task)
    rows = database.rows("annotation_mine", {"task": task, "reader": reader, "most": most})
    for row in rows:
        if row.pop("is_newest") and row["may_withdraw"]:
            row["others"], row["standing"] = [], None
    return rows

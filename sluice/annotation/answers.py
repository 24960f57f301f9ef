"""A reader's answer about a film, taken as a fact; and a third person's where readers differ."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.anatomy.regions import REGIONS
from sluice.database import Database, named_query, query_rows, select
from sluice.predictions import TASKS
from sluice.settings import settings

UNCLEAR = "unclear"
LABELS = {
    "body_part": ("abdominal", "adult_chest", "pediatric_chest", "spine", "others", UNCLEAR),
    "ivc_filter": ("present", "absent", UNCLEAR),
}
OF_READER = "task = %(task)s and sop_instance_uid = %(sop_instance_uid)s and reader = %(reader)s"
NEWEST = 20_000  # answers of the serving model among which the queue looks


class AnnotationError(RuntimeError):
    """An answer cannot be kept; the message says what to do."""


class FilmGone(AnnotationError):  # noqa: N818
    """The film is not here, or nobody may use it."""


class Overtaken(AnnotationError):  # noqa: N818
    """What the person saw is not how it is by now."""


@dataclass(frozen=True)
class Answer:
    """What a person sees on a film.

    Attributes:
        label: one of `LABELS` of the task; `unclear` where it cannot be told, which trains nothing.
        examined: the region examined, None where it is none of the 36 or not one alone.
        visible: every region that is to be seen.
    """

    label: str
    examined: str | None = None
    visible: tuple[str, ...] = ()

    def checked(self, task: str) -> Answer:
        """The same with its regions sorted.

        Raises:
            AnnotationError: it is no answer to this task.
        """
        check_task(task)
        if self.label not in LABELS[task]:
            raise AnnotationError(f"{self.label!r} is no answer to {task}. There are: {', '.join(LABELS[task])}.")
        regions = {*self.visible, *([self.examined] if self.examined is not None else [])}
        if regions and (task != "body_part" or self.label == UNCLEAR):
            raise AnnotationError(f"Regions are no part of the answer {self.label!r} to {task}: leave them out.")
        if wrong := sorted(regions - set(REGIONS)):
            raise AnnotationError(f"{wrong[0]!r} is no region. There are: {', '.join(REGIONS)}.")
        return Answer(self.label, self.examined, tuple(sorted(regions)))


def queue(where: Database | Connection, task: str, reader: str, most: int = 20) -> list[dict[str, Any]]:
    """The films that this reader should look at next, the most telling first, with the model's answer and why.

    `worth` = 2 where the header names another region than the model + 2 x the share of shadow models that say another
    label + 2 x by how much of its neighbours' votes another region is ahead of the film's label + the entropy of the
    model's classes (0..1; without their probabilities, how near its score is to one half) + the rarity of the class
    (0 the commonest). `settings().annotation_double_share` of all films, the same for everybody, are read by two; what
    others answered is not shown. Films that others have before them are left out (`sluice.annotation.reading`), those
    that the reader put off come last.

    Raises:
        AnnotationError: there is no such task.
    """
    check_task(task)
    asked = {
        "task": task,
        "reader": reader,
        "newest": NEWEST,
        "double_share": settings().annotation_double_share,
        "most": most,
    }
    return query_rows(where, "annotation_queue", asked)


def annotate(
    database: Database,
    task: str,
    sop_instance_uid: str,
    answer: Answer,
    reader: str,
    seconds: float | None = None,
    comment: str = "",
    once: bool = False,
) -> str:
    """Keep a reader's answer, beside the one that the model had given; the reader's newest counts.

    Args:
        once: only where this reader has no answer yet.

    Returns:
        Where the film stands now: `single`, `agreed`, `differing` or `adjudicated`.

    Raises:
        AnnotationError: it is no answer to this task.
        FilmGone: the image is not here or must not be used.
        Overtaken: the reader has answered `once` already.
    """
    checked = answer.checked(task)
    with database.transaction() as connection:
        shown = _shown(connection, task, sop_instance_uid)
        return _keep(connection, task, shown, checked, reader, seconds, comment, once, accepted=False)


def accept(
    database: Database,
    task: str,
    sop_instance_uid: str,
    model_id: str,
    reader: str,
    seconds: float | None = None,
    once: bool = False,
) -> str:
    """Take the model's answer as it is: the one key of the page. Returns as `annotate` does.

    Args:
        model_id: whose answer the reader saw.

    Raises:
        AnnotationError: the model has none that can be taken (`unknown`).
        FilmGone: as `annotate`.
        Overtaken: another model answers by now, or as `annotate`.
    """
    check_task(task)
    with database.transaction() as connection:
        shown = _shown(connection, task, sop_instance_uid)
        if shown["model_id"] != model_id:
            raise Overtaken("This is not the answer that counts by now. Load the film again and look at it.")
        if shown["label"] not in LABELS[task]:
            raise AnnotationError(f"The model says {shown['label']}, which is no answer to take: say what you see.")
        said = Answer(shown["label"])
        if task == "body_part":
            known = tuple(region for region in shown["visible"] if region in REGIONS)
            said = Answer(shown["label"], shown["examined"] if shown["examined"] in REGIONS else None, known)
        return _keep(connection, task, shown, said.checked(task), reader, seconds, "", once, accepted=True)


def shown(database: Database, task: str, sop_instance_uid: str) -> dict[str, Any]:
    """An image that may be annotated, with the answer of the model that serves, all None where there is none.

    Raises:
        AnnotationError: there is no such task.
        FilmGone: the image is not here or must not be used.
    """
    check_task(task)
    with database.transaction() as connection:
        return _shown(connection, task, sop_instance_uid)


def differing(database: Database, task: str, most: int = 50) -> list[dict[str, Any]]:
    """Films that readers see differently and nobody has decided, with what each reader said.

    Raises:
        AnnotationError: there is no such task.
    """
    check_task(task)
    return database.rows("annotation_differing", {"task": task, "most": most})


def adjudicate(
    database: Database, task: str, sop_instance_uid: str, answer: Answer, adjudicator: str, comment: str = ""
) -> None:
    """Keep the word of a person who had not read the film, on which its readers differ; the newest word stands.

    Raises:
        AnnotationError: readers do not differ on it, the adjudicator is one of them, or as `annotate`.
    """
    checked, by = answer.checked(task), _person(adjudicator)
    with database.transaction() as connection:
        _shown(connection, task, sop_instance_uid)
        rows = select(connection, named_query("annotation_verdict"), _of(task, sop_instance_uid))
        if not rows or rows[0]["standing"] not in ("differing", "adjudicated"):
            raise AnnotationError("Its readers do not differ: there is nothing to decide. Annotate it instead.")
        if by in rows[0]["reader_names"]:
            raise AnnotationError("You are one of its readers. Somebody who has not read this film decides.")
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into adjudication (sop_instance_uid, task, label, examined, visible, adjudicator, comment) "
                "values (%s, %s, %s, %s, %s, %s, %s)",
                (sop_instance_uid, task, checked.label, checked.examined, list(checked.visible), by, comment),
            )


def _keep(
    connection: Connection,
    task: str,
    shown: dict[str, Any],
    answer: Answer,
    reader: str,
    seconds: float | None,
    comment: str,
    once: bool,
    accepted: bool,
) -> str:
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        raise AnnotationError("The seconds that an answer took are a number from 0 on.")
    uid, model_id = shown["sop_instance_uid"], shown["model_id"]
    before = None if model_id is None else {key: shown[key] for key in ("label", "score", "examined", "visible")}
    who = {"task": task, "sop_instance_uid": uid, "reader": _person(reader)}
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtextextended(%(task)s || %(sop_instance_uid)s, 43))", who)
        if once and select(connection, f"select from annotation_now where {OF_READER}", who):
            raise Overtaken("You have answered this film already, perhaps in another tab.")
        cursor.execute(f"delete from annotation_lease where {OF_READER}", who)
        cursor.execute(f"delete from annotation_skip where {OF_READER}", who)
        cursor.execute(
            "insert into annotation (sop_instance_uid, task, label, examined, visible, reader, seconds, comment, "
            "accepted, shown_model_id, shown) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb)",
            (uid, task, answer.label, answer.examined, list(answer.visible), reader, seconds, comment,
             accepted, model_id, None if before is None else json.dumps(before)),
        )  # fmt: skip
    (verdict,) = select(connection, named_query("annotation_verdict"), _of(task, uid))
    return str(verdict["standing"])


def _shown(connection: Connection, task: str, sop_instance_uid: str) -> dict[str, Any]:
    rows = select(connection, named_query("annotation_shown"), _of(task, sop_instance_uid))
    if not rows:
        raise FilmGone("There is no such image here that may be used.")
    return rows[0]


def _of(task: str, sop_instance_uid: str) -> dict[str, Any]:
    return {"task": task, "sop_instance_uid": sop_instance_uid}


def check_task(task: str) -> None:
    """Raises AnnotationError: models have no such task."""
    if task not in TASKS:
        raise AnnotationError(f"There is no task {task!r}. Tasks are: {', '.join(TASKS)}.")


def _person(name: str) -> str:
    if not name.strip():
        raise AnnotationError("An answer is a person's: say who you are.")
    return name

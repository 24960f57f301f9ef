"""Annotating: the queue, answers of readers, decisions between them, agreement, and drift by station, as JSON.

UIDs travel in bodies of requests. Whoever may start training may answer, because training takes what is confirmed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import database, writable
from plugins.pacs import Person, from_our_page
from sluice.annotation import answers
from sluice.annotation.agreement import agreement
from sluice.annotation.drift import drift
from sluice.database import Database

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Task = Literal["body_part", "ivc_filter"]


class Asked(BaseModel):
    """Which task."""

    model_config = ConfigDict(extra="forbid")
    task: Task


class Listed(Asked):
    """How many films of it."""

    most: int = Field(default=20, ge=1, le=200)


class Film(Asked):
    """Which film."""

    sop_instance_uid: str = Field(min_length=1, max_length=64)


class Decided(Film):
    """What a person sees on it."""

    label: str = Field(min_length=1, max_length=40)
    examined: str | None = Field(default=None, max_length=40)
    visible: list[str] = Field(default=[], max_length=36)
    comment: str = Field(default="", max_length=1000)

    def answer(self) -> answers.Answer:
        """The same as the room knows it."""
        return answers.Answer(self.label, self.examined, tuple(self.visible))


class Answered(Decided):
    """What a reader sees on it."""

    seconds: float | None = Field(default=None, ge=0, le=86400)


class Accepted(Film):
    """Whose answer a reader takes as it is."""

    model_id: str = Field(min_length=1, max_length=300)
    seconds: float | None = Field(default=None, ge=0, le=86400)


class Periods(Asked):
    """Which days are compared."""

    until: date | None = None
    days: int = Field(default=14, ge=1, le=3650)
    reference_days: int = Field(default=90, ge=1, le=3650)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter(dependencies=[Depends(from_our_page)])
    who = Depends(person)
    store = Depends(database)
    writing = Depends(writable)

    def may_annotate(who: Person = who) -> Person:
        if not who.may_promote:
            raise HTTPException(403, "You may not start runs of train_models in Airflow, and so may not annotate.")
        return who

    reader = Depends(may_annotate)

    @router.post("/annotation/queue")
    def queue(asked: Listed, who: Person = who, store: Database = store) -> dict[str, Any]:
        """What to look at next; what other readers said is not shown."""
        films = answers.queue(store, asked.task, who.name, asked.most)
        return {"may_annotate": who.may_promote, "labels": answers.LABELS[asked.task], "films": films}

    @router.post("/annotation/answers")
    def answer(asked: Answered, who: Person = reader, store: Database = writing) -> dict[str, Any]:
        """Keep what a reader sees."""
        return {
            "standing": _kept(
                lambda: answers.annotate(
                    store, asked.task, asked.sop_instance_uid, asked.answer(), who.name, asked.seconds, asked.comment
                )
            )
        }

    @router.post("/annotation/accepted")
    def accept(asked: Accepted, who: Person = reader, store: Database = writing) -> dict[str, Any]:
        """Take the model's answer as it is."""
        return {
            "standing": _kept(
                lambda: answers.accept(
                    store, asked.task, asked.sop_instance_uid, asked.model_id, who.name, asked.seconds
                )
            )
        }

    @router.post("/annotation/differing")
    def differing(asked: Listed, who: Person = reader, store: Database = store) -> dict[str, Any]:
        """Films on which readers differ, with what each said, and whether the person who asks may decide."""
        films = answers.differing(store, asked.task, asked.most)
        for film in films:
            film["may_decide"] = who.name not in {said["reader"] for said in film["answers"]}
        return {"films": films}

    @router.post("/annotation/adjudications")
    def adjudicate(asked: Decided, who: Person = reader, store: Database = writing) -> dict[str, Any]:
        """Keep what a third person decided."""
        _kept(
            lambda: answers.adjudicate(
                store, asked.task, asked.sop_instance_uid, asked.answer(), who.name, asked.comment
            )
        )
        log.info("A film of task %s was decided by %s", asked.task, who.name)
        return {"standing": "adjudicated"}

    @router.post("/annotation/agreement")
    def agreed(asked: Asked, store: Database = store) -> dict[str, Any]:
        """How far readers agree, what they confuse, who decided."""
        return agreement(store, asked.task)

    @router.post("/annotation/drift")
    def drifted(asked: Periods, store: Database = store) -> dict[str, Any]:
        """What the model says by station, against a period before."""
        return {"stations": drift(store, asked.task, asked.until, asked.days, asked.reference_days)}

    return router


def _kept(work: Callable[[], Result]) -> Result:
    try:
        return work()
    except answers.AnnotationError as error:
        raise HTTPException(422, str(error)) from None

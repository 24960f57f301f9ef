"""The page Annotate: the queue, answers of readers, decisions between them, agreement, neighbours, drift by station.

UIDs travel in bodies of requests, but for pictures. Readers and adjudicators are whom Airflow lets answer requests of
`annotate` and of `train_models` (`plugins.roles`); they need to see nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import database, writable
from plugins.files import picture
from plugins.pacs import Person, from_our_page
from sluice.anatomy.regions import REGIONS
from sluice.annotation import answers, reading
from sluice.annotation.agreement import agreement
from sluice.annotation.drift import drift
from sluice.database import Database
from sluice.neighbours.duplicates import near_duplicates
from sluice.neighbours.embeddings import EmbeddingError
from sluice.neighbours.search import neighbours_of
from sluice.settings import settings

log = logging.getLogger(__name__)
Result = TypeVar("Result")
Task = Literal["body_part", "ivc_filter"]
NO_READER = (
    "You may look, not annotate: that is for whoever may answer requests of the DAG annotate in Airflow (role reader). "
    "Ask who gives out roles there."
)
NO_ADJUDICATOR = (
    "You may not decide between readers: that is for whoever may answer requests of the DAG train_models in Airflow "
    "(role adjudicator). Ask who gives out roles there."
)


class Asked(BaseModel):
    """Which task."""

    model_config = ConfigDict(extra="forbid")
    task: Task


class Listed(Asked):
    """How many films of it."""

    most: int = Field(default=20, ge=0, le=200)


class Film(Asked):
    """Which film."""

    sop_instance_uid: str = Field(min_length=1, max_length=64)


class Held(Asked):
    """Which films are held no longer; all without any."""

    films: list[str] | None = Field(default=None, max_length=200)


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


class Most(BaseModel):
    """How many."""

    model_config = ConfigDict(extra="forbid")
    most: int = Field(default=50, ge=1, le=500)


class Periods(Asked):
    """Which days are compared."""

    until: date | None = None
    days: int = Field(default=14, ge=1, le=3650)
    reference_days: int = Field(default=90, ge=1, le=3650)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter()
    who = Depends(person)
    store = Depends(database)
    writing = Depends(writable)

    def may_annotate(who: Person = who) -> Person:
        if not who.may_annotate:
            raise HTTPException(403, NO_READER)
        return who

    def may_adjudicate(who: Person = who) -> Person:
        if not who.may_adjudicate:
            raise HTTPException(403, NO_ADJUDICATOR)
        return who

    ours = [Depends(from_our_page)]
    reader, adjudicator = Depends(may_annotate), Depends(may_adjudicate)

    @router.post("/annotation/queue", dependencies=ours)
    def queue(asked: Listed, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """What to look at next, held for who may answer, and what may be answered; what others said is not shown."""
        ask = reading.take if who.may_annotate else answers.queue
        return {
            "may_annotate": who.may_annotate,
            "may_adjudicate": who.may_adjudicate,
            "may_look": who.may_look,
            "why_not": None if who.may_annotate else NO_READER,
            "labels": answers.LABELS[asked.task],
            "regions": [
                {"key": one.key, "name": one.display, "group": one.group, "router5": one.router5}
                for one in REGIONS.values()
            ],
            "films": ask(store, asked.task, who.name, asked.most) if asked.most else [],
        }

    @router.get("/annotation/pictures/{sop_instance_uid}.png")
    def film(sop_instance_uid: str, task: Task, store: Database = store) -> Response:
        """The canonical image of a film that may be annotated."""
        _kept(lambda: answers.shown(store, task, sop_instance_uid))
        return picture(store, sop_instance_uid)

    @router.post("/annotation/answers", dependencies=ours)
    def answer(asked: Answered, who: Person = reader, store: Database = writing) -> dict[str, Any]:
        """Keep what a reader sees."""
        said = (asked.answer(), who.name, asked.seconds, asked.comment)
        return {
            "standing": _kept(lambda: answers.annotate(store, asked.task, asked.sop_instance_uid, *said, once=True))
        }

    @router.post("/annotation/accepted", dependencies=ours)
    def accept(asked: Accepted, who: Person = reader, store: Database = writing) -> dict[str, Any]:
        """Take the model's answer as it is."""
        said = (asked.model_id, who.name, asked.seconds)
        return {"standing": _kept(lambda: answers.accept(store, asked.task, asked.sop_instance_uid, *said, once=True))}

    @router.post("/annotation/withdrawals", dependencies=ours)
    def withdraw(asked: Film, who: Person = reader, store: Database = writing) -> dict[str, Any]:
        """Take the reader's answer back."""
        _kept(lambda: reading.withdraw(store, asked.task, asked.sop_instance_uid, who.name))
        return {"withdrawn": True}

    @router.post("/annotation/skips", dependencies=ours)
    def skip(asked: Film, who: Person = reader, store: Database = writing) -> dict[str, Any]:
        """Show a film to this reader after all others."""
        reading.put_off(store, asked.task, asked.sop_instance_uid, who.name)
        return {"put_off": True}

    @router.post("/annotation/releases", dependencies=ours)
    def let_go(asked: Held, who: Person = reader, store: Database = writing) -> dict[str, Any]:
        """Films that the reader does not look at any more."""
        return {"released": reading.let_go(store, asked.task, who.name, asked.films)}

    @router.post("/annotation/mine", dependencies=ours)
    def mine(asked: Listed, who: Person = who, store: Database = store) -> dict[str, Any]:
        """What the reader said last, and what others said of it."""
        return {"films": reading.mine(store, asked.task, who.name, asked.most)}

    @router.post("/annotation/neighbours", dependencies=ours)
    def neighbours(asked: Film, store: Database = store) -> dict[str, Any]:
        """Films that look like one, with what is said of them."""
        _kept(lambda: answers.shown(store, asked.task, asked.sop_instance_uid))
        try:
            found = neighbours_of(store, settings().canonical, asked.sop_instance_uid)
        except EmbeddingError as error:
            return {"films": [], "why": str(error)}
        return {"films": found, "why": None if found else "Nobody is near it."}

    @router.post("/annotation/duplicates", dependencies=ours)
    def duplicates(asked: Most, who: Person = who, store: Database = store) -> dict[str, Any]:
        """Films that are there twice; for who sees what the hospital has."""
        if not who.may_look:
            raise HTTPException(403, "Pairs of films name studies: they are for those who may read the DAG sweep.")
        return {"pairs": near_duplicates(store, asked.most)}

    @router.post("/annotation/differing", dependencies=ours)
    def differing(asked: Listed, who: Person = adjudicator, store: Database = store) -> dict[str, Any]:
        """Films on which readers differ, with what each said, and whether the person who asks may decide."""
        films = answers.differing(store, asked.task, asked.most)
        for film in films:
            film["may_decide"] = who.name not in {said["reader"] for said in film["answers"]}
        return {"films": films}

    @router.post("/annotation/adjudications", dependencies=ours)
    def adjudicate(asked: Decided, who: Person = adjudicator, store: Database = writing) -> dict[str, Any]:
        """Keep what a third person decided."""
        _kept(
            lambda: answers.adjudicate(
                store, asked.task, asked.sop_instance_uid, asked.answer(), who.name, asked.comment
            )
        )
        log.info("A film of task %s was decided by %s", asked.task, who.name)
        return {"standing": "adjudicated"}

    @router.post("/annotation/agreement", dependencies=ours)
    def agreed(asked: Asked, store: Database = store) -> dict[str, Any]:
        """How far readers agree, what they confuse, who decided."""
        return agreement(store, asked.task)

    @router.post("/annotation/drift", dependencies=ours)
    def drifted(asked: Periods, store: Database = store) -> dict[str, Any]:
        """What the model says by station, against a period before."""
        return {"stations": drift(store, asked.task, asked.until, asked.days, asked.reference_days)}

    return router


def _kept(work: Callable[[], Result]) -> Result:
    try:
        return work()
    except answers.FilmGone as error:
        raise HTTPException(410, str(error)) from None
    except answers.Overtaken as error:
        raise HTTPException(409, str(error)) from None
    except answers.AnnotationError as error:
        raise HTTPException(422, str(error)) from None

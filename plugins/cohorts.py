"""The page Cohorts: filters read, previewed and frozen into versions.

A filter may name a patient, so it comes in a POST's body and never stands in a URL, where access logs would keep it.
Filters by what identifies patients, and the members of a version, are for who may ask for cohorts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from plugins.cohort_lists import NAME
from plugins.connections import database, unhurried
from plugins.pacs import Person, from_our_page
from sluice.cohorts.errors import CohortError, ExpressionError
from sluice.cohorts.language import MOST_BYTES
from sluice.database import Database
from sluice.release.projects import project_names

log = logging.getLogger(__name__)


class Filter(BaseModel):
    """A filter as text, YAML or JSON."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(max_length=MOST_BYTES)


class Wish(Filter):
    """A filter to be frozen."""

    project: str = Field(max_length=64)
    name: str = Field(pattern=NAME)
    why: str = Field(min_length=1, max_length=1000)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter()
    who = Depends(person)
    store = Depends(database)
    writing = Depends(unhurried)
    ours = [Depends(from_our_page)]

    @router.get("/language")
    def language(who: Person = who) -> dict[str, Any]:
        """What a filter can be made of, for whoever asks."""
        from plugins.cohort_fields import pickable

        return pickable(sensitive=who.may_ask) | {"may_ask": who.may_ask, "projects": project_names()}

    @router.get("/values/{field}")
    def values(field: str, store: Database = store) -> list[str]:
        """Values that occur, most frequent first, of a field that names no patient."""
        from plugins.cohort_fields import occurring

        return occurring(store, field)

    @router.post("/read", dependencies=ours)
    def read(asked: Filter, who: Person = who) -> dict[str, Any]:
        """A filter in its canonical form and in words, or what is wrong with it and where."""
        from sluice.cohorts.language import as_json, parse_text
        from sluice.cohorts.wording import describe

        try:
            expression = parse_text(asked.text, sensitive=who.may_ask)
        except ExpressionError as error:
            return {"faults": [{"place": one.place, "message": one.message} for one in error.faults]}
        return {"expression": as_json(expression), "words": describe(expression), "faults": []}

    @router.post("/preview", dependencies=ours)
    def preview(asked: Filter, who: Person = who, store: Database = store) -> dict[str, Any]:
        """What a filter takes, before anything moves."""
        from sluice.cohorts.preview import preview

        with _told():
            return preview(store, _parsed(asked.text, who)).as_dict()

    @router.post("", dependencies=ours)
    def freeze(asked: Wish, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Freeze a filter's members into a version."""
        from sluice.cohorts.freeze import freeze

        _ask_leave(who)
        if asked.project not in project_names():
            raise HTTPException(404, "There is no such project.")
        with _told():
            frozen = freeze(store, asked.name, _parsed(asked.text, who), who.name, asked.why, asked.project)
        log.info("Cohort of %s frozen by %s", asked.project, who.name)
        return vars(frozen)

    return router


def _ask_leave(who: Person) -> None:
    if not who.may_ask:
        raise HTTPException(403, "You may not start runs of backfill_cohort in Airflow, and so may not freeze cohorts.")

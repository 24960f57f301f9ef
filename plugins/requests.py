"""The page Requests: what is asked for, what it will be, how far it is. Researchers see their own projects' only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from plugins.cohort_lists import NAME
from plugins.connections import database
from plugins.pacs import Person, from_our_page
from sluice.cohorts.language import MOST_BYTES
from sluice.database import Database
from sluice.release.requests import progress as progress_of_requests
from sluice.release.requests.form import CohortRequestError, read_form
from sluice.release.requests.registry import assess, may_ask

SHOWN = 10


class Asked(BaseModel):
    """What would be asked for: a filter, a version, or what stands under the name. No list: those are uploaded."""

    model_config = ConfigDict(extra="forbid")
    project: str = Field(max_length=64)
    name: str = Field(pattern=NAME)
    filter: str | None = Field(default=None, max_length=MOST_BYTES)
    version: int | None = Field(default=None, ge=1)
    profile: str | None = Field(default=None, max_length=40)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter()
    who = Depends(person)
    store = Depends(database)

    @router.get("")
    def all_requests(who: Person = who, store: Database = store, before: int | None = None) -> dict[str, Any]:
        """Requests, newest first; without how far each is, which is asked for one by one."""
        found = progress_of_requests.requests(store, who.projects(), before, size=SHOWN + 1)
        following = found[SHOWN - 1]["request_id"] if len(found) > SHOWN else None
        return {"requests": [_shown(row, who) for row in found[:SHOWN]], "next": following}

    @router.post("/estimate", dependencies=[Depends(from_our_page)])
    def estimate(asked: Asked, who: Person = who, store: Database = store) -> dict[str, Any]:
        """How much it is, how long it takes, and whether the project's quota allows it. Nothing is started."""
        if not who.may_ask:
            raise HTTPException(403, "You may not start runs of backfill_cohort in Airflow, so you may not ask for it.")
        try:
            may_ask(asked.project, who.name, is_engineer=who.may_order)
            counted = assess(store, read_form(asked.model_dump(), store, who.name), asked.profile)
        except CohortRequestError as error:
            raise HTTPException(422, str(error)) from None
        return counted | {"may_override": who.may_order}

    @router.get("/{request_id}")
    def one(request_id: int, who: Person = who, store: Database = store) -> dict[str, Any]:
        """How far a request is."""
        found = _mine(store, request_id, who)
        return _shown(found, who) | progress_of_requests.progress(store, found)

    @router.get("/{request_id}/rows")
    def rows(
        request_id: int,
        who: Person = who,
        store: Database = store,
        after: int = 0,
        page_size: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        """Rows of the request's list by line, without what they ask for."""
        found = _mine(store, request_id, who)
        if found["list_id"] is None:
            return {"rows": [], "next": None}
        shown, following = progress_of_requests.rows(store, found, after, page_size)
        return {"rows": shown, "next": following}

    return router


def _mine(store: Database, request_id: int, who: Person) -> dict[str, Any]:
    found = progress_of_requests.one_request(store, request_id)
    projects = who.projects()
    if found is None or (projects is not None and found["project"] not in projects):
        raise HTTPException(404, "There is no such request.")
    return found


def _shown(row: dict[str, Any], who: Person) -> dict[str, Any]:
    """A request as the page shows it: why a quota was passed is for engineers."""
    return row if who.may_order else row | {"overridden_why": None}

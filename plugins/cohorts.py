"""The page Cohorts: filters read, previewed and frozen into versions.

A filter may name a patient, so it comes in a POST's body and never stands in a URL, where access logs would keep it.
Filters by what identifies patients, and the members of a version, are for who may ask for cohorts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from plugins.cohort_lists import NAME
from plugins.connections import database, unhurried
from plugins.pacs import Person, from_our_page
from sluice.cohorts.errors import CohortError, ExpressionError
from sluice.cohorts.language import MOST_BYTES
from sluice.database import Database
from sluice.release.projects import project_names

if TYPE_CHECKING:
    from sluice.cohorts.expressions import Expression

log = logging.getLogger(__name__)


class Filter(BaseModel):
    """A filter as text, YAML or JSON."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(max_length=MOST_BYTES)


class Next(BaseModel):
    """Which rows come next."""

    model_config = ConfigDict(extra="forbid")
    after: list[str] | None = Field(default=None, max_length=2)
    page_size: int = Field(default=50, ge=1, le=500)


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

    @router.get("")
    def frozen(who: Person = who, store: Database = store) -> list[dict[str, Any]]:
        """Cohorts with their newest version."""
        from sluice.cohorts.versions import cohorts

        return [_shown(row, who) for row in cohorts(store)]

    @router.get("/{cohort_id}/versions")
    def of_cohort(cohort_id: int, who: Person = who, store: Database = store) -> list[dict[str, Any]]:
        """The versions of a cohort, newest first."""
        from sluice.cohorts.versions import versions

        return [_shown(row, who) for row in versions(store, cohort_id)]

    @router.post("/versions/{version_id}/{what}", dependencies=ours)
    def members(
        version_id: int, what: Literal["studies", "wanted"], asked: Next, who: Person = who, store: Database = store
    ) -> dict[str, Any]:
        """Studies that a version holds, or that a PACS has of it besides, a page at a time."""
        from sluice.cohorts import versions

        _ask_leave(who)
        # a page of studies begins after one UID, one of what is wanted after a PACS and a UID
        if asked.after is not None and len(asked.after) != (1 if what == "studies" else 2):
            raise HTTPException(422, "There is no such page.")
        after: Any = None if asked.after is None else tuple(asked.after)
        page = (versions.studies if what == "studies" else versions.wanted)(store, version_id, after, asked.page_size)
        return {"rows": page.rows, "next": page.after}

    @router.get("/difference")
    def differs(older: int, newer: int, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """In what two versions of a cohort differ, and why; comparing them takes temporary tables."""
        from sluice.cohorts.difference import difference

        _ask_leave(who)
        with _told():
            return difference(store, older, newer).as_dict()

    return router


def _shown(row: dict[str, Any], who: Person) -> dict[str, Any]:
    """A version with its filter in words; without either for who may not see whom it names."""
    from sluice.cohorts.expressions import sensitive_names
    from sluice.cohorts.language import as_json, parse
    from sluice.cohorts.wording import describe

    expression = parse(row.pop("expression"))
    if who.may_ask or not sensitive_names(expression):
        row |= {"expression": as_json(expression), "words": describe(expression)}
    row.pop("limited_by", None)
    return row


def _ask_leave(who: Person) -> None:
    if not who.may_ask:
        raise HTTPException(403, "You may not start runs of backfill_cohort in Airflow, and so may not freeze cohorts.")


def _parsed(text: str, who: Person) -> Expression:
    from sluice.cohorts.language import parse_text

    return parse_text(text, sensitive=who.may_ask)


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with a filter, or too slow, as an answer that the page shows."""
    try:
        yield
    except (ExpressionError, CohortError) as error:
        raise HTTPException(422, str(error)) from None

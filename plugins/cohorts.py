"""The page Cohorts: filters read, previewed and frozen into versions.

A filter may name a patient, so it comes in a POST's body and never stands in a URL, where access logs would keep it.
Filters by what identifies patients, and the members of a version, are for who may ask for cohorts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from plugins.cohort_lists import NAME
from plugins.connections import database, unhurried
from plugins.pacs import Person, from_our_page
from plugins.stopping import while_asked
from sluice.cohorts.errors import CohortError, ExpressionError
from sluice.cohorts.language import MOST_BYTES
from sluice.database import Database
from sluice.release.projects import ProjectError, project_names

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
    def language(who: Person = who, store: Database = store) -> dict[str, Any]:
        """What a filter can be made of, for whoever asks."""
        from plugins.cohort_fields import pickable

        mine = who.projects()
        projects = project_names() if mine is None else mine
        return pickable(store, sensitive=who.may_identify) | {
            "who": who.name,
            "may_ask": who.may_ask,
            "projects": projects,
        }

    @router.get("/values/{field}")
    def values(field: str, store: Database = store) -> list[str]:
        """Values that occur, most frequent first, of a field that names no patient."""
        from plugins.cohort_fields import occurring

        return occurring(store, field)

    @router.post("/read", dependencies=ours)
    def read(asked: Filter, who: Person = who, store: Database = store) -> dict[str, Any]:
        """A filter in its canonical form and in words, or what is wrong with it and where."""
        from sluice.cohorts.language import as_json
        from sluice.cohorts.wording import describe

        try:
            expression = _parsed(store, asked.text, who)
        except ExpressionError as error:
            return {"faults": [{"place": one.place, "message": one.message} for one in error.faults]}
        return {"expression": as_json(expression), "words": describe(expression), "faults": []}

    @router.post("/preview", dependencies=ours)
    async def preview(request: Request, asked: Filter, who: Person = who, store: Database = store) -> dict[str, Any]:
        """What a filter takes, before anything moves; stopped when the page has asked anew."""
        from sluice.cohorts.preview import preview

        with _told():
            return await while_asked(
                request, store, lambda database: preview(database, _parsed(database, asked.text, who)).as_dict()
            )

    @router.post("", dependencies=ours)
    def freeze(asked: Wish, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Freeze a filter's members into a version."""
        from sluice.release.cohorts import freeze_for

        _ask_leave(who)
        _is_theirs(asked.project, who)
        with _told():
            wanted = _parsed(store, asked.text, who)
            frozen = freeze_for(store, asked.project, asked.name, wanted, who.name, asked.why)
        log.info("Version %s of cohort %s frozen by %s", frozen.version, frozen.cohort_id, who.name)
        return frozen.as_dict()

    @router.get("")
    def frozen(who: Person = who, store: Database = store) -> list[dict[str, Any]]:
        """Cohorts with their newest version."""
        from sluice.cohorts.versions import cohorts

        return _shown(store, _theirs(cohorts(store), who), who)

    @router.get("/{cohort_id}/versions")
    def of_cohort(cohort_id: int, who: Person = who, store: Database = store) -> list[dict[str, Any]]:
        """The versions of a cohort, newest first."""
        from sluice.cohorts.versions import versions

        _is_theirs(_project_of(store, cohort_id=cohort_id), who)
        return _shown(store, versions(store, cohort_id), who)

    @router.post("/versions/{version_id}/{what}", dependencies=ours)
    def members(
        version_id: int, what: Literal["studies", "wanted"], asked: Next, who: Person = who, store: Database = store
    ) -> dict[str, Any]:
        """Studies that a version holds, or that a PACS has of it besides, a page at a time."""
        from sluice.cohorts import versions

        _ask_leave(who)
        _is_theirs(_project_of(store, version_id=version_id), who)
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
        for version_id in (older, newer):
            _is_theirs(_project_of(store, version_id=version_id), who)
        with _told():
            return difference(store, older, newer).as_dict()

    return router


def _shown(store: Database, rows: list[dict[str, Any]], who: Person) -> list[dict[str, Any]]:
    """Versions with their filters in words; for who may not see whom they name without either, and without what could
    be tried against guesses (digests) or may name somebody (the reason)."""
    from sluice.cohorts.expressions import sensitive_names
    from sluice.cohorts.language import as_json, parse
    from sluice.cohorts.promoted import registry_of
    from sluice.cohorts.wording import describe

    registry = registry_of(store)
    for row in rows:
        row.pop("limited_by", None)
        written = row.pop("expression")
        try:
            expression = parse(written, registry)
        except ExpressionError as error:  # a promoted column that is no more
            row["words"] = f"A filter that can no longer be read. {error if who.may_ask else ''}".strip()
            expression = None
        if expression is not None and (who.may_ask or not sensitive_names(expression)):
            row |= {"expression": as_json(expression), "words": describe(expression)}
        elif not who.may_ask:
            row |= {name: "" for name in ("digest", "member_digest", "why") if name in row}
    return rows


def _theirs(rows: list[dict[str, Any]], who: Person) -> list[dict[str, Any]]:
    projects = who.projects()
    return rows if projects is None else [row for row in rows if row["project"] in projects]


def _project_of(store: Database, cohort_id: int | None = None, version_id: int | None = None) -> str | None:
    found = store.rows("cohort_project", {"cohort_id": cohort_id, "version_id": version_id})
    return found[0]["project"] if found else None


def _is_theirs(project: str | None, who: Person) -> None:
    """A researcher works on their own projects' cohorts; of the others not even the numbers tell anything."""
    projects = who.projects()
    if projects is not None and project not in projects:
        raise HTTPException(404, "You are among the researchers of no project that has this cohort.")


def _ask_leave(who: Person) -> None:
    if not who.may_ask:
        raise HTTPException(403, "You may not start runs of backfill_cohort in Airflow, and so may not freeze cohorts.")


def _parsed(store: Database, text: str, who: Person) -> Expression:
    from sluice.cohorts.language import parse_text
    from sluice.cohorts.promoted import registry_of

    return parse_text(text, registry_of(store), sensitive=who.may_identify)


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with a filter, or too slow, as an answer that the page shows."""
    try:
        yield
    except (ExpressionError, CohortError, ProjectError) as error:
        raise HTTPException(422, str(error)) from None

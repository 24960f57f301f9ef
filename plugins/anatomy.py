"""The page Anatomy: texts that no word is known for, most frequent first; people teach what they mean.

A study description can name a patient. What is shown goes to readers of the page only, is not logged, and travels in
bodies of requests, never in a URL. Who may start runs of `retrieve` may teach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import database, writable
from plugins.pacs import Person, from_our_page
from sluice.anatomy.mappings import LONGEST_TEXT
from sluice.anatomy.regions import REGIONS
from sluice.anatomy.teaching import VALUES, VIEWS, Lesson, TeachingError, rehearse, teach, withdraw
from sluice.database import Database

KindName = Literal["region", "mr_sequence", "ct_phase"]
TAG = r"\([0-9A-F]{4},[0-9A-F]{4}\)"


class Pile(BaseModel):
    """Which texts are asked for."""

    model_config = ConfigDict(extra="forbid")
    kind: KindName
    modality: str | None = Field(default=None, max_length=16)
    station: str | None = Field(default=None, max_length=200)
    source_tag: str | None = Field(default=None, pattern=TAG)
    after_series: int | None = None
    after_key: str = Field(default="", max_length=1000)
    after_tag: str = Field(default="", max_length=20)
    page_size: int = Field(default=40, ge=1, le=200)


class Text(BaseModel):
    """One text of the pile."""

    model_config = ConfigDict(extra="forbid")
    kind: KindName
    key: str = Field(min_length=1, max_length=1000)
    source_tag: str = Field(pattern=TAG)


class Taught(BaseModel):
    """What a person says about a text."""

    model_config = ConfigDict(extra="forbid")
    kind: KindName
    said: str = Field(min_length=1, max_length=LONGEST_TEXT)
    value: str | None = Field(default=None, max_length=40)
    laterality: Literal["R", "L", "B"] | None = None
    view: str | None = Field(default=None, max_length=16)
    source_tag: str | None = Field(default=None, pattern=TAG)
    manufacturer: str | None = Field(default=None, max_length=200)
    station_name: str | None = Field(default=None, max_length=200)
    why: str | None = Field(default=None, max_length=500)

    def lesson(self) -> Lesson:
        """As the anatomy room takes it."""
        return Lesson(**self.model_dump())


class Undo(BaseModel):
    """Which mapping is taken back."""

    model_config = ConfigDict(extra="forbid")
    mapping_id: int


class History(BaseModel):
    """Which mappings are asked for."""

    model_config = ConfigDict(extra="forbid")
    before: int | None = None
    page_size: int = Field(default=30, ge=1, le=200)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter(dependencies=[Depends(from_our_page)])
    who = Depends(person)
    store = Depends(database)
    writing = Depends(writable)

    @router.post("/anatomy/choices")
    def choices(asked: Pile, who: Person = who, store: Database = store) -> dict[str, Any]:
        """What can be chosen, and what the pile can be narrowed to."""
        (filters,) = store.rows("page_anatomy_filters", {"kind": asked.kind})
        named = {
            key: {"name": region.display, "group": region.group, "paired": region.paired}
            for key, region in REGIONS.items()
        }
        return {"may_teach": who.may_order, "values": VALUES, "views": VIEWS, "regions": named, **filters}

    @router.post("/anatomy/pile")
    def pile(asked: Pile, store: Database = store) -> dict[str, Any]:
        """A page of texts that wait for a word."""
        rows = store.rows("page_anatomy_pile", asked.model_dump())
        return {"rows": rows, "more": len(rows) == asked.page_size}

    @router.post("/anatomy/text")
    def text(asked: Text, store: Database = store) -> dict[str, Any]:
        """More about one text: studies, scanners, pictures."""
        (row,) = store.rows("page_anatomy_text", asked.model_dump())
        return row

    @router.post("/anatomy/history")
    def history(asked: History, store: Database = store) -> dict[str, Any]:
        """Mappings, newest first."""
        rows = store.rows("page_anatomy_history", asked.model_dump())
        return {"rows": rows, "more": len(rows) == asked.page_size}

    @router.post("/anatomy/rehearse")
    def effect(asked: Taught, store: Database = store) -> dict[str, Any]:
        """How many series a mapping would change; changes nothing."""
        return _answered(lambda: rehearse(store, asked.lesson()).as_dict())

    @router.post("/anatomy/teach")
    def add(asked: Taught, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Add a mapping and apply it."""
        _may(who)

        def added() -> dict[str, Any]:
            mapping_id, done = teach(store, asked.lesson(), who.name)
            return {"mapping_id": mapping_id, **done.as_dict()}

        return _answered(added)

    @router.post("/anatomy/withdraw")
    def take_back(asked: Undo, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Withdraw a mapping; what held before it holds again."""
        _may(who)
        return _answered(lambda: withdraw(store, asked.mapping_id, who.name).as_dict())

    return router


def _may(who: Person) -> None:
    if not who.may_order:
        raise HTTPException(403, "You may not start runs of retrieve in Airflow, and so may not teach words.")


def _answered(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    from psycopg2.errors import QueryCanceled

    try:
        return work()
    except TeachingError as error:
        raise HTTPException(422, str(error)) from None
    except QueryCanceled:
        raise HTTPException(
            503,
            "So many series hold this text that the page does not wait for them. What you taught is kept; the next "
            "extraction applies it, or `sluice anatomy rederive` now.",
        ) from None

"""The page Recalls: what was taken back, how far that is, and who did not yet say that they deleted their copies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import database, writable
from plugins.pacs import Person, from_our_page
from sluice.database import Database
from sluice.release.recall import notices

log = logging.getLogger(__name__)


class Acknowledged(BaseModel):
    """What a recipient said."""

    model_config = ConfigDict(extra="forbid")
    recipient: str = Field(min_length=1, max_length=300)
    note: str = Field(min_length=1, max_length=1000)


class Told(BaseModel):
    """Whom a notice is for."""

    model_config = ConfigDict(extra="forbid")
    recipient: str = Field(min_length=1, max_length=300)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    who = Depends(person)

    def may_recall(who: Person = who) -> Person:
        if not who.may_recall:
            raise HTTPException(403, "You may not start runs of recall in Airflow, and so may not see recalls.")
        return who

    router = APIRouter(dependencies=[Depends(may_recall)])
    store = Depends(database)
    writing = Depends(writable)

    @router.get("")
    def all_recalls(store: Database = store) -> list[dict[str, Any]]:
        """Recalls with their state and recipients, newest first; why stays where the opt-out stands."""
        return notices.recalls(store)

    @router.post("/{recall_id}/notice", dependencies=[Depends(from_our_page)])
    def notice(recall_id: int, told: Told, store: Database = store) -> PlainTextResponse:
        """The text that a recipient is sent."""
        try:
            recall = notices.recall_of(store, recall_id)
            return PlainTextResponse(notices.notice(recall, told.recipient, notices.keys_of(store, recall_id)))
        except notices.NoticeError as error:
            raise HTTPException(404, str(error)) from None

    @router.post("/{recall_id}/acknowledgements", dependencies=[Depends(from_our_page)])
    def acknowledge(recall_id: int, said: Acknowledged, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Keep that a recipient deleted everything."""
        try:
            notices.acknowledge(store, recall_id, said.recipient, said.note, who.name)
        except notices.NoticeError as error:
            raise HTTPException(422, str(error)) from None
        log.info("Recall %s acknowledged, recorded by %s", recall_id, who.name)
        return notices.recall_of(store, recall_id)

    return router

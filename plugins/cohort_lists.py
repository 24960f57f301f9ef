"""Researchers' lists on the page Cohorts: uploaded, answered row by row, downloaded, forgotten.

Rows name patients. They are shown only to who may ask for cohorts, never stand in a URL, and never in a log.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from plugins.connections import database, unhurried
from plugins.pacs import Person, file_from_our_page, from_our_page
from sluice.cohorts.list_report import answers_csv
from sluice.cohorts.lists import Answer, CohortList, add_list, answer_list, delete_list, lists, rows_of
from sluice.cohorts.records import ListError
from sluice.database import Database
from sluice.release.projects import project_names

log = logging.getLogger(__name__)

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
MOST_BYTES = 256 << 20
IN_MEMORY = 4 << 20


class Rows(BaseModel):
    """Which rows of a list come next."""

    model_config = ConfigDict(extra="forbid")
    answer: Answer | None = None
    after: int = Field(default=0, ge=0)
    page_size: int = Field(default=100, ge=1, le=500)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter()
    who = Depends(person)
    store = Depends(database)
    writing = Depends(unhurried)

    @router.get("")
    def all_lists(who: Person = who, store: Database = store) -> list[dict[str, Any]]:
        """The lists with how many rows have which answer; no rows. A file's name may be a patient's, and the digest of
        a short file tells it to who guesses: both are for who may see rows."""
        unseen = {} if who.may_ask else {"file_name": "", "sha256": ""}
        projects = who.projects()
        return [_shown(one) | unseen for one in lists(store) if projects is None or one.project in projects]

    @router.post("", dependencies=[Depends(file_from_our_page)])
    async def upload(
        request: Request,
        project: Annotated[str, Query(max_length=64)],
        name: Annotated[str, Query(pattern=NAME)],
        file_name: Annotated[str, Header(alias="X-File-Name", max_length=2000)],
        replace: bool = False,
        who: Person = who,
        store: Database = writing,
    ) -> dict[str, Any]:
        """Keep the file that is the body as a list, and answer its rows by what is known."""
        _ask_leave(who)
        theirs = await run_in_threadpool(who.projects)
        if project not in (await run_in_threadpool(project_names) if theirs is None else theirs):
            raise HTTPException(404, "There is no such project.")
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            taken = 0
            async for piece in request.stream():
                taken += len(piece)
                if taken > MOST_BYTES:
                    raise HTTPException(413, f"The file is larger than {MOST_BYTES >> 20} MB. Split it into several.")
                file.write(piece)
            try:
                kept = await run_in_threadpool(
                    add_list, store, project, name, file, unquote(file_name), who.name, replace
                )
            except ListError as error:
                raise HTTPException(422, str(error)) from None
        log.info("List %s of %s rows for a cohort of %s, by %s", kept.list_id, kept.rows, project, who.name)
        return _shown(kept)

    @router.post("/{list_id}/rows", dependencies=[Depends(from_our_page)])
    def rows(list_id: int, asked: Rows, who: Person = who, store: Database = store) -> dict[str, Any]:
        """Rows with their answers, a page at a time."""
        _ask_leave(who)
        _one(store, list_id, who)
        found, following = rows_of(store, list_id, asked.answer, asked.after, asked.page_size)
        return {"rows": found, "next": following}

    @router.get("/{list_id}/answers.csv")
    def download(list_id: int, who: Person = who, store: Database = store) -> StreamingResponse:
        """All rows with their answers, as a CSV."""
        _ask_leave(who)
        kept = _one(store, list_id, who)
        log.info("Answers of list %s downloaded by %s", list_id, who.name)
        name = f"{kept.project}-{kept.name}-answers.csv"
        return StreamingResponse(
            _bytes(answers_csv(store, list_id)),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @router.post("/{list_id}/answers", dependencies=[Depends(from_our_page)])
    def answer_again(list_id: int, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Answer the rows by what is known now."""
        _ask_leave(who)
        _one(store, list_id, who)
        answer_list(store, list_id)
        return _shown(_one(store, list_id, who))

    @router.delete("/{list_id}", dependencies=[Depends(from_our_page)])
    def forget(list_id: int, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Forget a list with its rows."""
        _ask_leave(who)
        _one(store, list_id, who)
        if not delete_list(store, list_id):
            raise HTTPException(404, "There is no such list.")
        log.info("List %s deleted by %s", list_id, who.name)
        return {"deleted": list_id}

    return router


def _ask_leave(who: Person) -> None:
    if not who.may_ask:
        raise HTTPException(
            403, "You may not start runs of backfill_cohort in Airflow, and so may not work with lists."
        )


def _one(store: Database, list_id: int, who: Person) -> CohortList:
    found, projects = lists(store, list_id=list_id), who.projects()
    if not found or (projects is not None and found[0].project not in projects):
        raise HTTPException(404, "There is no such list.")
    return found[0]


def _bytes(pieces: Iterator[str]) -> Iterator[bytes]:
    return (piece.encode() for piece in pieces)


def _shown(kept: CohortList) -> dict[str, Any]:
    return vars(kept) | {"rows": kept.rows, "window_key": kept.window_key}

"""The page Review: what a release keeps, decided about and approved by the persons whom its project asks.

It shows no original: strings and pictures are those of produced objects, under pseudonyms. Still it is for those only
who may approve, and for engineers, who may look and decide about strings.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import CONNECTION, database, writable
from plugins.pacs import Person, from_our_page
from sluice.database import Database
from sluice.release.review import ReviewError, decide, open_review, remember, waiting_task
from sluice.release.review.report import SHOWN, found, head, picture, pictures, strings

log = logging.getLogger(__name__)
UID = re.compile(r"[0-9.]{1,64}")


class Said(BaseModel):
    """An approval or a rejection of the state with this digest."""

    model_config = ConfigDict(extra="forbid")
    verdict: Literal["approved", "rejected"]
    digest: str = Field(min_length=64, max_length=64)
    reason: str = Field("", max_length=2000)


class Decision(BaseModel):
    """A decision about strings, or about every value of an element."""

    model_config = ConfigDict(extra="forbid")
    strings: list[int] = Field([], max_length=5000)
    path: str | None = Field(None, max_length=500)
    decision: Literal["keep", "remove", "hold", "withdrawn"]
    everywhere: bool = False
    reason: str = Field("", max_length=2000)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter()
    who = Depends(person)
    store = Depends(database)
    writing = Depends(writable)
    ours = [Depends(from_our_page)]

    @router.get("")
    def releases(who: Person = who, store: Database = store) -> dict[str, Any]:
        """Releases that this person may review."""
        rows = [row for row in store.rows("review_list") if may_review(who, row["approvers"])]
        if not rows and not (who.may_approve or who.may_change(CONNECTION)):
            raise HTTPException(403, "Releases are reviewed by approvers. You are not one of them in Airflow.")
        return {"releases": rows, "name": who.name}

    @router.get("/{release_id}")
    def review(release_id: int, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """The head of one review; it is counted first where it changed since it was shown."""
        _check(who, store, release_id)
        try:
            shown = head(store, release_id, open_review(store, release_id).digest)
        except ReviewError as error:
            raise HTTPException(404, str(error)) from None
        approvers = shown["release"]["approvers"]
        task = waiting_task(store, release_id)
        return shown | {
            "name": who.name,
            "may_decide": who.may_approve and (not approvers or who.name in approvers),
            "may_decide_everywhere": not approvers or who.may_change(CONNECTION),
            "task": task,
        }

    @router.get("/{release_id}/found")
    def of_images(release_id: int, who: Person = who, store: Database = store) -> dict[str, Any]:
        """What became of the images, by itself: it is counted for seconds where a release is large."""
        _check(who, store, release_id)
        return found(store, release_id)

    @router.get("/{release_id}/strings")
    def retained(
        release_id: int, show: str = "new", words: str = "", first: int = 0, who: Person = who, store: Database = store
    ) -> dict[str, Any]:
        """One page of the strings that the release keeps."""
        _check(who, store, release_id)
        if show not in SHOWN or first < 0:
            raise HTTPException(422, f"Show one of: {', '.join(SHOWN)}.")
        return strings(store, release_id, show, words[:200], first)

    @router.get("/{release_id}/pictures")
    def thumbnails(release_id: int, first: int = 0, who: Person = who, store: Database = store) -> dict[str, Any]:
        """One page of pictures, by their names."""
        _check(who, store, release_id)
        return pictures(store, release_id, max(first, 0))

    @router.get("/{release_id}/pictures/{sop_instance_uid}.jpg")
    def thumbnail(release_id: int, sop_instance_uid: str, who: Person = who, store: Database = store) -> Response:
        """One picture; browsers keep no copy of it."""
        _check(who, store, release_id)
        body = picture(store, release_id, sop_instance_uid) if UID.fullmatch(sop_instance_uid) else None
        if body is None:
            raise HTTPException(404, "There is no such picture.")
        return Response(body, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @router.post("/{release_id}/decisions", dependencies=ours)
    def decision(release_id: int, asked: Decision, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Decide about strings, for this and every later release."""
        named = _check(who, store, release_id)
        if asked.everywhere and named and not who.may_change(CONNECTION):
            raise HTTPException(403, "You approve releases of this project. For all projects engineers decide.")
        try:
            waiting = remember(
                store,
                release_id,
                asked.strings,
                asked.decision,
                who.name,
                asked.reason,
                asked.path,
                asked.everywhere,
            )
        except ReviewError as error:
            raise HTTPException(409, str(error)) from None
        log.info("Release %s: %s strings %s by %s", release_id, len(asked.strings), asked.decision, who.name)
        return {"redo": waiting}

    @router.post("/{release_id}/redo", dependencies=ours)
    def redo(release_id: int, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Let the task that waits produce again what decisions concern."""
        _check(who, store, release_id)
        return {"told": _tell(who, store, release_id)}

    @router.post("/{release_id}/approval", dependencies=ours)
    def approval(release_id: int, said: Said, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Approve or reject; where that settles it, the task that waits goes on."""
        _check(who, store, release_id)
        if not who.may_approve:
            raise HTTPException(403, "You may not answer requests of export_release in Airflow, and so not approve.")
        try:
            now = decide(store, release_id, who.name, said.verdict, said.digest, said.reason)
        except ReviewError as error:
            raise HTTPException(409, str(error)) from None
        log.info("Release %s: %s by %s, now %s", release_id, said.verdict, who.name, now.state)
        return {"standing": asdict(now), "told": now.state != "waiting" and _tell(who, store, release_id)}

    return router


def may_review(who: Person, approvers: list[str]) -> bool:
    """Whether somebody may see the review of a release: its approvers, and engineers."""
    return (who.may_approve and (not approvers or who.name in approvers)) or who.may_change(CONNECTION)


def _check(who: Person, store: Database, release_id: int) -> list[str]:
    """Whom the project names as its approvers, where this person may see the review of the release."""
    rows = store.rows("review_release", {"release_id": release_id})
    if not may_review(who, rows[0]["approvers"] if rows else []):
        raise HTTPException(403, "This release is reviewed by the approvers of its project. You are not one of them.")
    if not rows:
        raise HTTPException(404, f"There is no release {release_id}.")
    approvers: list[str] = rows[0]["approvers"]
    return approvers


def _tell(who: Person, store: Database, release_id: int) -> bool:
    """Wake the task that waits, where one does; it looks by itself too, only later."""
    task = waiting_task(store, release_id)
    return task is not None and who.wake(task)

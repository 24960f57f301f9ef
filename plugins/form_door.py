"""The door before the trigger form of `backfill_cohort`: lists and filters go into Sluice's database, not Airflow's.

Airflow keeps what is typed into a form in its database, and shows it to whoever sees the run; its audit log keeps the
request's body. A list names patients. So the API server hands each request that would start a run of this DAG to
Sluice before Airflow reads it: the list or filter is kept there (`sluice.release.requests`), the project's quota is
checked, and Airflow gets the number of the request in its place. What is wrong is answered at once, in the form.

What cannot be helped: a run that is triggered by `airflow dags trigger` at a terminal does not come by here; its list
stays in Airflow's database until the run is deleted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

STARTS = re.compile(r"/api/v2/dags/backfill_cohort/dagRuns/?$")
MOST_BYTES = 64 << 20
TAKEN = ("csv", "filter", "override")  # what Airflow never gets to see


class FormDoor:
    """ASGI middleware of Airflow's API server."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on as it is but what starts a cohort."""
        if scope["type"] != "http" or scope["method"] != "POST" or not STARTS.search(scope["path"]):
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            await _answer(send, 413, f"A form has at most {MOST_BYTES >> 20} MB. Upload the list on the page Cohorts.")
            return
        try:
            said = json.loads(body or b"{}")
        except ValueError:
            said = None
        asked = said.get("conf") if isinstance(said, dict) else None
        who = await _person(scope) if isinstance(asked, dict) else None
        if who is not None and isinstance(said, dict) and isinstance(asked, dict):
            from starlette.concurrency import run_in_threadpool

            status, kept = await run_in_threadpool(_keep, asked, *who)
            if status != 200:
                await _answer(send, status, str(kept))
                return
            body = json.dumps(said | {"conf": kept}).encode()
            scope = {**scope, "headers": _with_length(scope["headers"], len(body))}
        await self.app(scope, _once(body, receive), send)


def _keep(asked: dict[str, Any], by: str, is_engineer: bool) -> tuple[int, Any]:
    """The conf that Airflow may keep, or a status and what is wrong."""
    from plugins.connections import unhurried
    from sluice.database import DatabaseError
    from sluice.release.requests.form import CohortRequestError
    from sluice.release.requests.registry import ask, may_ask, request_of

    if not isinstance(asked.get("project"), str) or not isinstance(asked.get("name"), str):
        return 422, "The form needs a project and a name of the cohort."
    if wrong := [name for name in TAKEN if not isinstance(asked.get(name), str | None)]:
        return 422, f"{wrong[0]} is no text."
    try:
        may_ask(asked["project"], by, is_engineer)
        number = asked.get("request")
        if number is None:
            number = ask(unhurried(), asked, by, is_engineer, asked.get("override")).request_id
        elif not isinstance(number, int) or request_of(unhurried(), number).wanted.project != asked["project"]:
            return 422, "There is no such request of this project. Leave its number empty."
    except CohortRequestError as error:
        return 422, str(error)
    except DatabaseError as error:
        return 503, str(error)
    return 200, {name: value for name, value in asked.items() if name not in TAKEN} | {"request": number}


async def _person(scope: Scope) -> tuple[str, bool] | None:
    """Name of who asks, and whether they are an engineer; None where Airflow will refuse them anyway."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import HTTPException, Request
    from fastapi.security import HTTPBearer

    from plugins.app import COHORTS_OF, STARTERS_OF

    request = Request(scope)
    try:
        user = await get_user(request, None, await HTTPBearer(auto_error=False)(request))
    except HTTPException:
        return None

    def starts(dag_id: str) -> bool:
        return bool(
            get_auth_manager().is_authorized_dag(
                method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id=dag_id), user=user
            )
        )

    return (user.get_name(), starts(STARTERS_OF)) if starts(COHORTS_OF) else None


async def _body(receive: Receive) -> bytes | None:
    pieces, size = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] != "http.request":  # whoever asked is gone
            return b""
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MOST_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(pieces)


def _once(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _with_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() not in (b"content-length", b"transfer-encoding")]
    return [*kept, (b"content-length", str(length).encode())]


async def _answer(send: Send, status: int, words: str) -> None:
    body = json.dumps({"detail": words}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""The FastAPI application of the page: who may see it, what every answer carries, what an error looks like."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from plugins import api, files
from sluice.database import DatabaseError

log = logging.getLogger(__name__)

# Whoever may read this DAG may see the page: roles of Airflow hold, none are invented.
READERS_OF = "sweep"

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def behind_login() -> FastAPI:
    """The page behind Airflow's login: 401 without one, 403 for users who may not read the DAGs."""
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag

    return build([Depends(get_user), Depends(requires_access_dag("GET", param_dag_id=READERS_OF))])


def build(dependencies: Sequence[Any]) -> FastAPI:
    """The page behind the given dependencies, which every route has."""
    # Documentation routes would escape `dependencies`, so there are none.
    app = FastAPI(title="Sluice", dependencies=list(dependencies), docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(api.router, prefix="/api")
    app.include_router(files.router)
    app.add_exception_handler(DatabaseError, _database_is_away)
    app.add_exception_handler(Exception, _unexpected)
    app.middleware("http")(_with_headers)
    return app


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _database_is_away(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=503)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("The Sluice page could not answer %s (%s)", request.url.path, type(error).__name__)
    return JSONResponse(
        {"detail": f"This part of the page could not be read ({type(error).__name__}). See the API server's log."},
        status_code=500,
    )

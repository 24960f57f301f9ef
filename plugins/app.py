"""The FastAPI application of the page: who may see it, what every answer carries, what an error looks like."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException as StarletteHTTPException

from plugins import (
    anatomy,
    annotation,
    api,
    cohort_lists,
    cohorts,
    files,
    find,
    ivc_filters,
    models,
    pacs,
    recalls,
    requests,
    review,
    routing,
    trend,
)
from plugins.refused import refused
from sluice.database import DatabaseError

log = logging.getLogger(__name__)

# Rights on DAGs decide, as Airflow knows them; `plugins.roles` says which role has which.
# Whoever may read this DAG sees what the hospital has: windows, studies, images, scanners.
READERS_OF = "sweep"
# Whoever may start runs of this DAG may pause, resume and cancel what they do.
STARTERS_OF = "retrieve"
# Whoever may start runs of this DAG may ask for cohorts: freeze them, upload lists, see whom they name.
COHORTS_OF = "backfill_cohort"
# Whoever may start runs of this DAG sees what was recalled, and records who deleted it.
RECALLERS_OF = "recall"
# Whoever may start runs of this DAG may accept what it found, or keep objects out because of it.
DECIDERS_OF = "check_quality"
# Whoever may answer requests of this DAG may approve releases, where a project does not name its approvers.
APPROVERS_OF = "export_release"
# Whoever may start runs of this DAG may move models between stages.
PROMOTERS_OF = "train_models"
# Whoever may start runs of this DAG may correct the registry of IVC filters.
CORRECTORS_OF = "detect_ivc_filter"
# Whoever may read this DAG sees the page Annotate; whoever may answer requests of it annotates films.
ANNOTATORS_OF = "annotate"
# Whoever may answer requests of this DAG decides between readers: training takes what is decided.
ADJUDICATORS_OF = "train_models"

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def behind_login() -> FastAPI:
    """The page behind Airflow's login: 401 without one, 403 for users who may not read the DAGs."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails, DagAccessEntity
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
    from airflow.models.connection import Connection

    from plugins.waking import wake

    starts_retrieval = requires_access_dag("POST", DagAccessEntity.RUN, STARTERS_OF)
    starts_checks = requires_access_dag("POST", DagAccessEntity.RUN, DECIDERS_OF)
    starts_cohorts = requires_access_dag("POST", DagAccessEntity.RUN, COHORTS_OF)
    answers = requires_access_dag("PUT", DagAccessEntity.HITL_DETAIL, APPROVERS_OF)
    starts_recalls = requires_access_dag("POST", DagAccessEntity.RUN, RECALLERS_OF)
    starts_training = requires_access_dag("POST", DagAccessEntity.RUN, PROMOTERS_OF)
    starts_detection = requires_access_dag("POST", DagAccessEntity.RUN, CORRECTORS_OF)
    annotates = requires_access_dag("PUT", DagAccessEntity.HITL_DETAIL, ANNOTATORS_OF)
    adjudicates = requires_access_dag("PUT", DagAccessEntity.HITL_DETAIL, ADJUDICATORS_OF)
    looks = requires_access_dag("GET", param_dag_id=READERS_OF)
    asks = requires_access_dag("GET", param_dag_id=COHORTS_OF)
    sees_films = requires_access_dag("GET", param_dag_id=ANNOTATORS_OF)
    logged_in = Depends(get_user)

    def person(request: Request, user: Any = logged_in) -> pacs.Person:
        def may(starts: Callable[..., None]) -> bool:
            try:
                starts(request, user)
            except HTTPException:
                return False
            return True

        def may_change(conn_id: str) -> bool:
            details = ConnectionDetails(conn_id=conn_id, team_name=Connection.get_team_name(conn_id))
            return get_auth_manager().is_authorized_connection(method="PUT", details=details, user=user)

        return pacs.Person(
            user.get_name(),
            may_order=may(starts_retrieval),
            may_change=may_change,
            may_decide=may(starts_checks),
            may_ask=may(starts_cohorts),
            may_approve=may(answers),
            wake=lambda task: wake(user, task),
            may_recall=may(starts_recalls),
            may_look=may(looks),
            may_promote=may(starts_training),
            may_correct=may(starts_detection),
            may_see_films=may(sees_films),
            may_annotate=may(annotates),
            may_adjudicate=may(adjudicates),
        )

    def any_of_them(request: Request, user: Any = logged_in) -> None:
        """Researchers and readers have a page each."""
        try:
            asks(request, user)
        except HTTPException:
            sees_films(request, user)

    return build(
        [Depends(get_user), Depends(any_of_them)], person, [Depends(looks)], [Depends(asks)], [Depends(sees_films)]
    )


def build(
    dependencies: Sequence[Any],
    person: Callable[..., pacs.Person] = pacs.nobody,
    hospital: Sequence[Any] = (),
    asking: Sequence[Any] = (),
    films: Sequence[Any] = (),
) -> FastAPI:
    """The pages behind the given dependencies, which every route has; `person` says who asks and what they may.

    Args:
        hospital: what the routes have besides that show what the hospital has.
        asking: what those have besides where researchers ask; all that a researcher has.
        films: what those have besides where films are annotated; all that a reader has.
    """
    # Documentation routes would escape `dependencies`, so there are none.
    app = FastAPI(title="Sluice", dependencies=list(dependencies), docs_url=None, redoc_url=None, openapi_url=None)
    inside = list(hospital)
    app.include_router(api.router, prefix="/api", dependencies=inside)
    app.include_router(find.router, prefix="/api", dependencies=inside)
    app.include_router(pacs.routes(person), prefix="/api", dependencies=inside)
    researchers = list(asking)
    app.include_router(cohorts.routes(person), prefix="/api/cohorts", dependencies=researchers)
    app.include_router(cohort_lists.routes(person), prefix="/api/cohorts/lists", dependencies=researchers)
    app.include_router(requests.routes(person), prefix="/api/requests", dependencies=researchers)
    app.include_router(recalls.routes(person), prefix="/api/recalls", dependencies=inside)
    app.include_router(trend.routes(person), prefix="/api", dependencies=inside)
    app.include_router(anatomy.routes(person), prefix="/api", dependencies=inside)
    app.include_router(models.routes(person), prefix="/api", dependencies=inside)
    app.include_router(ivc_filters.routes(person), prefix="/api", dependencies=inside)
    app.include_router(annotation.routes(person), prefix="/api", dependencies=list(films))
    app.include_router(routing.routes(person), prefix="/api", dependencies=inside)
    app.include_router(review.routes(person), prefix="/api/review", dependencies=researchers)
    app.include_router(files.routes(person))
    app.include_router(files.researchers, dependencies=researchers)
    app.include_router(files.readers, dependencies=list(films))
    app.include_router(files.router, dependencies=inside)
    app.add_exception_handler(DatabaseError, _database_is_away)
    app.add_exception_handler(OperationalError, _airflow_is_away)  # connections stand in it
    app.add_exception_handler(StarletteHTTPException, refused)
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


async def _airflow_is_away(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(
        {"detail": "Airflow's own database does not answer. Try again; if that does not help, tell who runs Airflow."},
        status_code=503,
    )


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("The Sluice page could not answer %s (%s)", request.url.path, type(error).__name__)
    return JSONResponse(
        {"detail": f"This part of the page could not be read ({type(error).__name__}). See the API server's log."},
        status_code=500,
    )

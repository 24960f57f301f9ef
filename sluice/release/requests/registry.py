"""Requests as they are kept: who asked for what, what it was estimated to be, who let it pass above the quota.

    kept = ask(database, {"project": "radiographs", "name": "t1", "csv": …}, by="rita", is_engineer=False)
    again = request_of(database, kept.request_id)

A request is what a run of `backfill_cohort` names in its form by number; so no list and no filter stands in Airflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json

from sluice.cohorts.errors import CohortError
from sluice.cohorts.language import as_json, parse
from sluice.cohorts.lists import lists
from sluice.cohorts.promoted import registry_of
from sluice.database import Database, named_query, select
from sluice.release.cohorts import project_for
from sluice.release.projects import Project, ProjectError, load_project
from sluice.release.requests.estimate import Estimate, estimate
from sluice.release.requests.form import CohortRequestError, Wanted, read_form

OWN_PROFILE = "own"  # as a form says that nobody chose
QUOTA_LOCK = 7_350_005  # first key of the advisory lock; the second is the project


class QuotaError(CohortRequestError):
    """A project would have more than its file allows; the message says by what, and whom to ask."""


@dataclass(frozen=True)
class KeptRequest:
    """A request with its number."""

    request_id: int
    wanted: Wanted
    estimate: dict[str, Any]
    asked_by: str
    formats: list[str]
    profile: str


def assess(database: Database, wanted: Wanted, profile: str | None = None) -> dict[str, Any]:
    """Estimate and quota of what is asked for, as a page shows them before anything is started; `over` says in
    sentences what is above the quota, `profiles` what may be chosen in place of `profile`.

    Raises:
        CohortRequestError: the project may not ask for it, or it cannot be counted.
    """
    project = _under(_project(wanted.project), profile)
    counted = _estimate(database, wanted)
    with database.transaction() as connection:
        used = _used(connection, wanted, project.profile)
    return {
        "estimate": counted.as_dict(),
        "formats": list(project.formats),
        "profile": project.profile,
        "profiles": list(project.allowed_profiles),
        "quota": project.quota.model_dump(),
        "used": used,
        "over": _over(project, counted, used),
    }


def ask(
    database: Database,
    params: Mapping[str, Any],
    by: str,
    is_engineer: bool,
    override_why: str | None = None,
) -> KeptRequest:
    """Keep what a form or page asks for, if the project may have it.

    Args:
        params: as `read_form` takes them, and `formats` and `profile`, of what the project's file allows
            (`own`, or none: as it says).
        is_engineer: whether who asks may ask for every project, and may say `override_why`, which lets a request pass
            above the quota.

    Raises:
        CohortRequestError: it cannot be understood, is not allowed, or is above the quota (`QuotaError`).
    """
    project = _under(may_ask(params["project"], by, is_engineer), params.get("profile"))
    formats = _formats(project, params.get("formats"))
    wanted = read_form(params, database, by)
    counted = _estimate(database, wanted)
    override = (override_why or "").strip() if is_engineer else ""
    with database.transaction() as connection:
        with connection.cursor() as cursor:  # two requests at once must not both find room for themselves
            cursor.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (QUOTA_LOCK, project.name))
        over = _over(project, counted, _used(connection, wanted, project.profile))
        if over and not override:
            raise QuotaError(
                f"{' '.join(over)} Ask for less, or ask an engineer, who can let a request pass on the page Cohorts, "
                "saying why."
            )
        (row,) = select(
            connection,
            """
            insert into cohort_request (project, name, window_key, kind, list_id, expression, version_id, formats,
                                        profile, instances, bytes, estimate, overridden_by, overridden_why, asked_by)
            values (%(project)s, %(name)s, %(window_key)s, %(kind)s, %(list_id)s, %(expression)s, %(version_id)s,
                    %(formats)s, %(profile)s, %(instances)s, %(bytes)s, %(estimate)s, %(overridden_by)s,
                    %(overridden_why)s, %(by)s)
            returning request_id
            """,
            {
                "project": project.name,
                "name": wanted.name,
                "window_key": wanted.window_key,
                "kind": wanted.kind,
                "list_id": wanted.kept.list_id if wanted.kept else None,
                "expression": Json(as_json(wanted.expression)) if wanted.expression is not None else None,
                "version_id": wanted.version_id,
                "formats": formats,
                "profile": project.profile,
                "instances": counted.instances,
                "bytes": counted.bytes,
                "estimate": Json(counted.as_dict()),
                "overridden_by": by if over else None,
                "overridden_why": override if over else None,
                "by": by,
            },
        )
    return KeptRequest(row["request_id"], wanted, counted.as_dict(), by, formats, project.profile)


def request_of(database: Database, request_id: int) -> KeptRequest:
    """A request that was kept.

    Raises:
        CohortRequestError: there is none of this number, or its list was forgotten meanwhile.
    """
    with database.transaction() as connection:
        found = select(connection, "select * from cohort_request where request_id = %s", (request_id,))
        versions = select(
            connection,
            "select version from cohort_version join cohort_request using (version_id) where request_id = %s",
            (request_id,),
        )
    if not found:
        raise CohortRequestError(f"There is no request {request_id}.")
    row = found[0]
    of_number = lists(database, list_id=row["list_id"]) if row["list_id"] is not None else []
    kept = of_number[0] if of_number else None
    if row["kind"] == "list" and kept is None:
        raise CohortRequestError(f"The list of request {request_id} was forgotten. Upload it again and ask anew.")
    wanted = Wanted(
        row["kind"],
        row["project"],
        row["name"],
        kept,
        parse(row["expression"], registry_of(database)) if row["expression"] is not None else None,
        row["version_id"],
        versions[0]["version"] if versions else None,
    )
    return KeptRequest(request_id, wanted, row["estimate"], row["asked_by"], row["formats"], row["profile"])


def request_of_run(database: Database, run_id: str) -> int | None:
    """Number of the request that a run of Airflow works on, if it is known."""
    with database.transaction() as connection:
        found = select(
            connection,
            "select request_id from cohort_request_run where run_id = %s order by noted_at limit 1",
            (run_id,),
        )
    return found[0]["request_id"] if found else None


def note_run(database: Database, request_id: int, run_id: str) -> None:
    """Keep which run of Airflow works on a request."""
    database.execute(
        "insert into cohort_request_run (request_id, run_id) values (%s, %s) on conflict do nothing",
        (request_id, run_id),
    )


def may_ask(project: str, by: str, is_engineer: bool) -> Project:
    """The project, if who asks may ask for its cohorts.

    Raises:
        CohortRequestError: there is no such project, or they may not.
    """
    found = _project(project)
    if not is_engineer and not found.admits(by):
        raise CohortRequestError(
            f"You are not among the researchers of the project {project}. Ask an engineer to write your name into its "
            "file, under researchers."
        )
    return found


def _formats(project: Project, asked: Any) -> list[str]:
    """The formats that are asked for; all of the project's where none are named."""
    if not asked:
        return list(project.formats)
    if not isinstance(asked, list) or not set(map(str, asked)) <= set(project.formats):
        raise CohortRequestError(f"{project.name} may have these products: {', '.join(project.formats)}.")
    return [name for name in project.formats if name == "dicom" or name in asked]


def _under(project: Project, profile: Any) -> Project:
    try:
        return project.under(None if profile in (None, "", OWN_PROFILE) else str(profile))
    except ProjectError as error:
        raise CohortRequestError(str(error)) from None


def _project(name: str) -> Project:
    try:
        return load_project(name)
    except ProjectError as error:
        raise CohortRequestError(str(error)) from None


def _estimate(database: Database, wanted: Wanted) -> Estimate:
    try:
        if wanted.expression is not None:
            project_for(wanted.project, wanted.expression)  # before anything is counted for it
        return estimate(database, wanted)
    except CohortError as error:
        raise CohortRequestError(str(error)) from None


def _used(connection: Connection, wanted: Wanted, profile: str) -> dict[str, int]:
    """What the project's other requests of the last 30 days were; the same cohort under the same profile again counts
    once."""
    asked = {"project": wanted.project, "window_key": wanted.window_key, "profile": profile}
    (row,) = select(connection, named_query("request_quota_used"), asked)
    return {"instances": row["instances"], "bytes": row["bytes"]}


def _over(project: Project, counted: Estimate, used: dict[str, int]) -> list[str]:
    quota = project.quota
    checks = (
        ("instances", quota.instances_per_request, counted.instances, "a request"),
        ("bytes", quota.bytes_per_request, counted.bytes, "a request"),
        ("instances", quota.instances_per_month, counted.instances + used["instances"], "30 days"),
        ("bytes", quota.bytes_per_month, counted.bytes + used["bytes"], "30 days"),
    )
    return [
        f"{project.name} may have {_said(limit, what)} in {span}; this would make it {_said(would, what)}."
        for what, limit, would, span in checks
        if limit is not None and would > limit
    ]


def _said(value: int, what: str) -> str:
    return f"{value:,} instances" if what == "instances" else f"{value / 1e9:,.2f} GB"

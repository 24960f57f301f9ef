"""Make a canary of a project and bring it in; which canaries a project has."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from sluice.database import Database, select
from sluice.release.canaries.making import Canary, made
from sluice.release.projects import Project
from sluice.settings import Settings


class CanaryError(RuntimeError):
    """A canary cannot be made or brought in; the message says what to do."""


def add(database: Database, project: Project, by: str, site: Settings | None = None, to: Path | None = None) -> Canary:
    """Make a canary and import it into the archive of `site`, or write its files into `to` to be sent by C-STORE.

    Raises:
        CanaryError: the archive did not take it.
    """
    from sluice.archive.imports import import_files, import_window

    profiles = [project.under(name).deid_profile() for name in project.allowed_profiles]
    canary = made(tuple({code for profile in profiles for code, _ in profile.codes()}))
    with database.transaction() as connection:
        _remember(connection, project.name, canary, by)
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        _write(canary, to)
    if site is not None:
        with tempfile.TemporaryDirectory(prefix="canary-") as folder:
            _write(canary, Path(folder))
            window = import_window([Path(folder)], f"canary-{canary.marker}")
            summary = import_files(database, site, window, [Path(folder)])
        if summary.received != len(canary.files):
            raise CanaryError(f"The archive took {summary.received} of {len(canary.files)} files of the canary.")
        database.execute(
            "update canary set window_key = %s where study_instance_uid = %s",
            (window.key, canary.study_instance_uid),
        )
    return canary


def retire(database: Database, project: str) -> int:
    """Take a project's canaries out of releases that begin from now on; return how many."""
    return database.execute(
        "update canary set retired_at = now() where project = %s and retired_at is null", (project,)
    )


def canaries_of(where: Database | Connection, project: str) -> list[dict[str, Any]]:
    """A project's canaries: canary_id, study_instance_uid, added_at, retired_at, files, received."""
    if isinstance(where, Database):
        with where.transaction() as connection:
            return canaries_of(connection, project)
    return select(
        where,
        """
        select c.canary_id, c.patient_id, c.issuer, c.study_instance_uid, c.tokens, c.added_by, c.added_at,
               c.retired_at, count(i.*) as files, count(r.*) as received
          from canary c
          left join canary_instance i using (canary_id)
          left join receipt r using (sop_instance_uid)
         where c.project = %s
         group by c.canary_id
         order by c.canary_id
        """,
        (project,),
    )


def _remember(connection: Connection, project: str, canary: Canary, by: str) -> None:
    (kept,) = select(
        connection,
        "insert into canary (project, patient_id, study_instance_uid, tokens, added_by) values (%s, %s, %s, %s, %s) "
        "returning canary_id",
        (project, canary.patient_id, canary.study_instance_uid, list(dict.fromkeys(canary.tokens)), by),
    )
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "insert into canary_instance (sop_instance_uid, canary_id) values %s",
            [(uid, kept["canary_id"]) for uid in canary.files],
        )


def _write(canary: Canary, folder: Path) -> None:
    for number, data in enumerate(canary.files.values(), start=1):
        (folder / f"{canary.marker}-{number}.dcm").write_bytes(data)

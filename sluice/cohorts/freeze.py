"""Freeze a filter into a version of a cohort: its members by header block, and what the PACS has besides."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json

from sluice.cohorts.compile import Compiler
from sluice.cohorts.errors import CohortError
from sluice.cohorts.expressions import AllOf, Expression
from sluice.cohorts.language import as_json, digest
from sluice.cohorts.listed import lacking
from sluice.cohorts.preview import too_slow, tune
from sluice.database import Database, select

LIMIT_S = 600.0
COHORT_LOCK = 7_350_016  # first key of the advisory lock; the second is the cohort
COUNTED = ("patients", "studies", "series", "instances", "bytes", "wanted_studies", "wanted_instances")


@dataclass(frozen=True)
class Frozen:
    """A version of a cohort.

    Attributes:
        is_new: False where the same filter with the same members was frozen before; this is that version then.
        bytes: of the members' files.
        wanted_studies, wanted_instances: listed by a PACS and not all here; the filter takes them, or may.
    """

    cohort_id: int
    version_id: int
    version: int
    is_new: bool
    digest: str
    member_digest: str
    patients: int
    studies: int
    series: int
    instances: int
    bytes: int
    wanted_studies: int
    wanted_instances: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def freeze(
    database: Database,
    name: str,
    expression: Expression,
    who: str,
    why: str,
    project: str = "",
    may_see: Expression | None = None,
    today: date | None = None,
    limit_s: float = LIMIT_S,
) -> Frozen:
    """Freeze what a filter selects now as the next version of a cohort.

    Args:
        project: whose cohort it is; '' for none.
        may_see: what the project may see at all; only that is frozen.
        today: what `last_days` counts from.

    Raises:
        CohortError: no name or reason is given, or it takes too long; nothing is written then.
    """
    if not name.strip() or not why.strip() or not who.strip():
        raise CohortError("A cohort is frozen under a name, by somebody, for a reason. Give all three.")
    today = today or date.today()
    limited = AllOf((expression, may_see)) if may_see is not None else expression
    with database.transaction() as connection:
        tune(connection, limit_s)
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (COHORT_LOCK, f"{project}/{name}"))
        try:
            _choose(connection, limited, today)
            _want(connection, limited, today)
            row = {
                "cohort_id": _cohort(connection, project, name, who),
                "expression": Json(as_json(expression)),
                "digest": digest(expression),
                "limited_by": Json(as_json(may_see)) if may_see is not None else None,
                "as_of": today,
                "frozen_by": who,
                "why": why,
                **_count(connection),
            }
            same = _same(connection, row)
            return Frozen(is_new=same is None, **(same or _write(connection, row)))
        except psycopg2.errors.QueryCanceled:
            raise too_slow(limited, limit_s) from None


def _choose(connection: Connection, expression: Expression, today: date) -> None:
    compiler = Compiler(today)
    matched = compiler.matched(expression, {"patient": "b.patient_key"}, positions=True)
    statement = compiler.statement(
        "select m.block_id, m.study_key, m.series_key, m.patient, m.instances::integer as instances, "
        f"m.bytes::bigint as bytes, m.positions from {matched} m"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"create temporary table chosen on commit drop as {statement.sql}", statement.params)


def _want(connection: Connection, expression: Expression, today: date) -> None:
    statement = lacking(expression, "select pacs, study_instance_uid, lacks, is_certain from judged", today)
    with connection.cursor() as cursor:
        cursor.execute(f"create temporary table wanted on commit drop as {statement.sql}", statement.params)


def _count(connection: Connection) -> dict[str, Any]:
    (row,) = select(
        connection,
        """
        select (select count(*) from (select distinct patient from chosen where patient is not null) p) as patients,
               (select count(*) from (select distinct study_key from chosen) s) as studies,
               (select count(*) from (select distinct series_key from chosen) s) as series,
               coalesce(sum(instances), 0)::bigint as instances, coalesce(sum(bytes), 0)::bigint as bytes,
               (select count(*) from wanted) as wanted_studies,
               (select coalesce(sum(lacks), 0)::bigint from wanted) as wanted_instances,
               encode(sha256(convert_to(
                   coalesce(string_agg(block_id || coalesce(positions::text, ''), ',' order by block_id), '') || '|'
                   || (select coalesce(string_agg(pacs || ' ' || study_instance_uid || ' ' || coalesce(lacks, -1),
                                                  ',' order by pacs, study_instance_uid), '') from wanted),
                   'UTF8')), 'hex') as member_digest
          from chosen
        """,
    )
    return row


def _cohort(connection: Connection, project: str, name: str, who: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into cohort (project, name, created_by) values (%s, %s, %s) on conflict do nothing",
            (project, name, who),
        )
        cursor.execute("select cohort_id from cohort where project = %s and name = %s", (project, name))
        (cohort_id,) = cursor.fetchone() or (0,)
    return int(cohort_id)


def _same(connection: Connection, row: dict[str, Any]) -> dict[str, Any] | None:
    found = select(
        connection,
        f"select {_columns()} from cohort_version where cohort_id = %(cohort_id)s and digest = %(digest)s "
        "and member_digest = %(member_digest)s",
        row,
    )
    return found[0] if found else None


def _write(connection: Connection, row: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in row if name != "version"]
    (written,) = select(
        connection,
        f"insert into cohort_version (version, {', '.join(names)}) select coalesce(max(version), 0) + 1, "
        f"{', '.join(f'%({name})s' for name in names)} from cohort_version where cohort_id = %(cohort_id)s "
        f"returning {_columns()}",
        row,
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into cohort_member (version_id, block_id, study_instance_uid, instances, positions) "
            "select %s, c.block_id, s.study_instance_uid, c.instances, c.positions from chosen c "
            "join study s using (study_key) order by c.block_id",
            (written["version_id"],),
        )
        cursor.execute(
            "insert into cohort_wanted (version_id, pacs, study_instance_uid, is_certain, instances) "
            "select %s, pacs, study_instance_uid, is_certain, lacks from wanted order by pacs, study_instance_uid",
            (written["version_id"],),
        )
    return written


def _columns() -> str:
    return ", ".join(("cohort_id", "version_id", "version", "digest", "member_digest", *COUNTED))

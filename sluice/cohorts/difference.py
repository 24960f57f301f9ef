"""In what two versions of a cohort differ, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.cohorts.compile import Compiler
from sluice.cohorts.errors import CohortError
from sluice.cohorts.expressions import AllOf, Expression
from sluice.cohorts.fields import REGISTRY, Registry
from sluice.cohorts.language import parse
from sluice.cohorts.preview import tune
from sluice.cohorts.versions import version
from sluice.cohorts.wording import conditions
from sluice.database import Database, select

LIMIT_S = 120.0
CAME = "they came since"
CHANGED = "what is known of them changed: quality, predictions, anatomy"


@dataclass(frozen=True)
class Why:
    """A reason with the number of instances it goes for; an instance may have several."""

    words: str
    instances: int


@dataclass(frozen=True)
class Difference:
    """What came and what went from one version to another.

    Attributes:
        added, gone: instances.
        added_why, gone_why: conditions that they fail in the version that does not have them, as things are known now.
    """

    older: int
    newer: int
    added: int
    gone: int
    added_why: tuple[Why, ...]
    gone_why: tuple[Why, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def difference(
    database: Database, older: int, newer: int, registry: Registry = REGISTRY, limit_s: float = LIMIT_S
) -> Difference:
    """What version `newer` has that `older` has not, and the other way round.

    Raises:
        CohortError: there is no such version, or they are of different cohorts.
        ExpressionError: a filter of theirs names a field that is no more.
    """
    before, after = version(database, older), version(database, newer)
    if before["cohort_id"] != after["cohort_id"]:
        raise CohortError("The two versions are of different cohorts.")
    with database.transaction() as connection:
        tune(connection, limit_s)
        added = _only_in(connection, "added", newer, older)
        gone = _only_in(connection, "gone", older, newer)
        came = _came_since(connection, before["frozen_at"])
        added_why = [Why(CAME, came)] if came else []
        added_why += _failed(connection, "added", before, registry, added)
        gone_why = _failed(connection, "gone", after, registry, gone)
    return Difference(older, newer, added, gone, tuple(added_why), tuple(gone_why))


def _only_in(connection: Connection, table: str, one: int, other: int) -> int:
    """Make a table of the members of version `one` that `other` has not: (block_id, block_position); how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            create temporary table {table} on commit drop as
            select m.block_id, p.block_position
              from cohort_member m
              join header_block b using (block_id)
              left join cohort_member o on o.version_id = %(other)s and o.block_id = m.block_id
              cross join lateral unnest(coalesce(m.positions, array(select generate_series(0, b.instances - 1))))
                                 as p(block_position)
             where m.version_id = %(one)s
               and (o.block_id is null or o.positions is not null and p.block_position <> all (o.positions))
            """,
            {"one": one, "other": other},
        )
        return int(cursor.rowcount)


def _came_since(connection: Connection, frozen_at: Any) -> int:
    """Take out of `added` what the older version could not have: it was not here."""
    with connection.cursor() as cursor:
        cursor.execute(
            "delete from added using header_block b where b.block_id = added.block_id and b.extracted_at > %s",
            (frozen_at,),
        )
        return int(cursor.rowcount)


def _failed(connection: Connection, table: str, of: dict[str, Any], registry: Registry, instances: int) -> list[Why]:
    """Which conditions of a version the instances of a table fail now."""
    if not instances:
        return []
    limits = [of["expression"]] + ([of["limited_by"]] if of["limited_by"] else [])
    found: list[Why] = []
    studies = [
        row["uid"]
        for row in select(
            connection,
            f"select distinct b.study_instance_uid as uid from {table} join header_block b using (block_id)",
        )
    ]
    for expression in (parse(limit, registry) for limit in limits):
        parts: Sequence[Expression] = expression.parts if isinstance(expression, AllOf) else (expression,)
        for part, words in zip(parts, conditions(expression), strict=True):
            count = _failing(connection, table, part, of["as_of"], studies)
            found += [Why(words, count)] if count else []
    satisfying = _failing(
        connection, table, AllOf(tuple(parse(limit, registry) for limit in limits)), of["as_of"], studies
    )
    (row,) = select(connection, f"select count(*) as left_over from {table}")
    unexplained = row["left_over"] - satisfying
    return sorted(found, key=lambda why: -why.instances) + ([Why(CHANGED, unexplained)] if unexplained else [])


def _failing(connection: Connection, table: str, part: Expression, today: date, studies: list[str]) -> int:
    """How many instances of a table do not satisfy an expression."""
    compiler = Compiler(today, studies)
    matched = compiler.matched(part, positions=True)
    statement = compiler.statement(
        f"select count(*) as failing from {table} t left join {matched} m on m.block_id = t.block_id "
        "and (m.positions is null or t.block_position = any(m.positions)) where m.block_id is null"
    )
    (row,) = select(connection, statement.sql, statement.params)
    return int(row["failing"])

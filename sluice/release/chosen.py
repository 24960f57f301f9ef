"""What of a window or a cohort a project asks for, decided for all instances at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.cohorts.compile import Compiler
from sluice.cohorts.expressions import AllOf, Expression, sensitive_names
from sluice.cohorts.wording import conditions
from sluice.database import named_query, select

LONGEST = 200


def choose(connection: Connection, expression: Expression, asked: Mapping[str, Any]) -> None:
    """Make the temporary table `missed` (sop_instance_uid, words): what the filter does not take of the studies of a
    window, version or list, with the first of its conditions that each instance fails, without identifiers.

    Args:
        asked: `window_key`, `version_id` and `list_id`, as `sql/queries/release_studies.sql` takes them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "create temporary table missed (sop_instance_uid text primary key, words text not null) on commit drop"
        )
    studies = [row["study_instance_uid"] for row in select(connection, named_query("release_studies"), asked)]
    parts = expression.parts if isinstance(expression, AllOf) else (expression,)
    for part, words in zip(parts, conditions(expression), strict=True):
        said = "a condition on what identifies patients" if sensitive_names(part) else words
        compiler = Compiler(date.today(), studies)
        matched = compiler.matched(part, positions=True)
        words_of = compiler.bound.bind(f"fails: {said}"[:LONGEST], "text")
        statement = compiler.statement(
            f"select i.sop_instance_uid, {words_of} from instance i "
            f"left join {matched} m on m.block_id = i.block_id "
            "and (m.positions is null or i.block_position = any(m.positions)) "
            f"where i.study_instance_uid = any({compiler.bound.bind(studies, 'text[]')}) and m.block_id is null"
        )
        with connection.cursor() as cursor:
            cursor.execute(f"insert into missed {statement.sql} on conflict do nothing", statement.params)

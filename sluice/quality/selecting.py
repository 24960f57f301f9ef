"""Rules about what a cohort's filter names: `select` of a rule, in the language of `sluice.cohorts`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.cohorts import fields
from sluice.cohorts.compile import selected
from sluice.cohorts.errors import ExpressionError
from sluice.cohorts.expressions import Expression
from sluice.cohorts.language import parse
from sluice.database import select
from sluice.quality.suites import QualityError, Rule

# A rule -> the UIDs of its level's objects in the window that its `select` names.
Select = Callable[[Rule], set[str]]
STUDIES = """
    select distinct study_instance_uid from instance join window_member using (sop_instance_uid) where window_key = %s
"""


def checked(rule: Rule, registry: fields.Registry = fields.REGISTRY) -> Expression:
    """The expression that a rule's `select` is.

    Raises:
        QualityError: it is none.
    """
    try:
        return parse(rule.select, registry, "select")
    except ExpressionError as error:
        raise QualityError(f"Quality rule {rule.name!r} in {rule.suite}: {error}") from error


def selecting(connection: Connection, window_key: str, registry: fields.Registry) -> Select:
    """What understands rules' `select`, as far as a window's studies go; asks the database when it is called."""

    @cache
    def studies() -> list[str]:
        return [row["study_instance_uid"] for row in select(connection, STUDIES, (window_key,))]

    def uids(rule: Rule) -> set[str]:
        expression = checked(rule, registry)
        statement = selected(expression, fields.Level(rule.level), studies=studies())
        return {row["uid"] for row in select(connection, statement.sql, statement.params)}

    return uids


def nothing(rule: Rule) -> set[str]:
    """For rules that are only tried: their `select` has to be an expression, and names nothing.

    Raises:
        QualityError: it is none. Columns that people promoted are not known here.
    """
    checked(rule)
    return set()

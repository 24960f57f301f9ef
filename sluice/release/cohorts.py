"""Freezing a cohort for a project: within what the project may see, and by identifiers only where that is approved."""

from __future__ import annotations

from sluice.cohorts.errors import CohortError
from sluice.cohorts.expressions import AllOf, Expression, sensitive_names
from sluice.cohorts.freeze import Frozen, freeze
from sluice.database import Database
from sluice.release.projects import load_project


def freeze_for(database: Database, project: str, name: str, expression: Expression, who: str, why: str) -> Frozen:
    """Freeze what a filter takes now as a version of a project's cohort.

    Raises:
        ProjectError: there is no such project, or its file is wrong.
        CohortError: the filter names what identifies patients and the project may not, or it takes too long.
    """
    loaded = load_project(project)
    names = [] if loaded.may_use_identifiers else sensitive_names(expression)
    if names:
        raise CohortError(
            f"The project {project} may not filter by what identifies patients ({', '.join(names)}). Where that is "
            "approved, write may_use_identifiers: true into its file."
        )
    may_see = None if loaded.may_see == AllOf(()) else loaded.may_see
    return freeze(database, name, expression, who, why, project, may_see)

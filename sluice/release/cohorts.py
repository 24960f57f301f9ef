"""Freezing a cohort for a project: within what the project may see, and by identifiers only where that is approved."""

from __future__ import annotations

from sluice.cohorts.errors import CohortError
from sluice.cohorts.expressions import AllOf, Expression, sensitive_names
from sluice.cohorts.freeze import Frozen, freeze
from sluice.database import Database
from sluice.release.projects import Project, load_project


def project_for(name: str, expression: Expression) -> Project:
    """The project that asks by a filter.

    Raises:
        ProjectError: there is no such project, or its file is wrong.
        CohortError: the filter names what identifies patients, and the project may not.
    """
    project = load_project(name)
    names = [] if project.may_use_identifiers else sensitive_names(expression)
    if names:
        raise CohortError(
            f"The project {name} may not filter by what identifies patients ({', '.join(names)}). Where that is "
            "approved, write may_use_identifiers: true into its file."
        )
    return project


def freeze_for(database: Database, project: str, name: str, expression: Expression, who: str, why: str) -> Frozen:
    """Freeze what a filter takes now as a version of a project's cohort.

    Raises:
        ProjectError, CohortError: as `project_for`, or it takes too long.
    """
    may_see = project_for(project, expression).may_see
    return freeze(database, name, expression, who, why, project, None if may_see == AllOf(()) else may_see)

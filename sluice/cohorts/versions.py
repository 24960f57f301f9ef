"""What was frozen: cohorts, their versions, and pages of what is in one.

Every page begins after the last row of the one before, so the thousandth costs what the first does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluice.cohorts.errors import CohortError
from sluice.database import Database

MOST_ROWS = 1_000


@dataclass(frozen=True)
class Page:
    """Rows of a list.

    Attributes:
        rows: one dict each.
        after: what to ask the next page with; None on the last.
    """

    rows: list[dict[str, Any]]
    after: tuple[Any, ...] | None


def cohorts(database: Database, project: str | None = None) -> list[dict[str, Any]]:
    """Cohorts with their newest version: of a project ('' for none), or all."""
    return database.rows("cohorts", {"project": project})


def versions(database: Database, cohort_id: int) -> list[dict[str, Any]]:
    """The versions of a cohort, newest first."""
    return database.rows("cohort_versions", {"cohort_id": cohort_id})


def version(database: Database, version_id: int) -> dict[str, Any]:
    """One version, with project and name of its cohort.

    Raises:
        CohortError: there is none.
    """
    rows = database.rows("cohort_version", {"version_id": version_id})
    if not rows:
        raise CohortError(f"There is no version {version_id} of any cohort.")
    return rows[0]


def members(database: Database, version_id: int, after: tuple[int, int] | None = None, limit: int = 100) -> Page:
    """Instances of a version.

    Args:
        after: `Page.after` of the page before: block and position.
    """
    block_id, position = after or (0, -1)
    key = {"version_id": version_id, "block_id": block_id, "position": position}
    return _page(database, "cohort_members", key, limit, ("block_id", "block_position"))


def studies(database: Database, version_id: int, after: tuple[str] | None = None, limit: int = 100) -> Page:
    """Studies of a version with the number of their instances in it.

    Args:
        after: `Page.after` of the page before: a Study Instance UID.
    """
    (uid,) = after or ("",)
    return _page(database, "cohort_studies", {"version_id": version_id, "after": uid}, limit, ("study_instance_uid",))


def wanted(database: Database, version_id: int, after: tuple[str, str] | None = None, limit: int = 100) -> Page:
    """Studies that a version takes, or may take, and that were not all here when it was frozen.

    Args:
        after: `Page.after` of the page before: a PACS and a Study Instance UID.
    """
    pacs, uid = after or ("", "")
    key = {"version_id": version_id, "pacs": pacs, "after": uid}
    return _page(database, "cohort_wanted", key, limit, ("pacs", "study_instance_uid"))


def _page(database: Database, query: str, key: dict[str, Any], limit: int, names: tuple[str, ...]) -> Page:
    limit = max(1, min(limit, MOST_ROWS))
    rows = database.rows(query, key | {"limit": limit + 1})
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(rows, tuple(rows[-1][name] for name in names) if more else None)

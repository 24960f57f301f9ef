"""Who may see and press what, in one table: the roles of Sluice, and Airflow's own login that knows them.

Airflow decides by DAG who may read and who may start runs; the pages ask the same questions (`plugins.app`), so this
table holds for Airflow's UI, its API and our pages alike. A site with another auth manager (FAB, Keycloak) gives its
own roles the same rights on the same DAGs: docs/self-service.md has the table for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails

ALL = "*"


@dataclass(frozen=True)
class Role:
    """What a role may do.

    Attributes:
        reads: DAGs whose runs, tasks and logs it sees; `*` for all. Who reads `sweep` sees the hospital's pages.
        starts: DAGs whose runs it may start, and what the pages tie to that; `*` to clear, delete and switch off, too.
        answers: DAGs whose questions to people it answers (Required Actions), `*` for all: of `export_release` it
            approves releases, of `annotate` it annotates films, of `train_models` it decides between readers.
        elsewhere: the role of Airflow's simple auth manager that holds for everything besides DAGs.
    """

    reads: frozenset[str]
    starts: frozenset[str]
    answers: frozenset[str]
    elsewhere: str


def _of(*dags: str) -> frozenset[str]:
    return frozenset(dags)


RELEASES = _of("export_release", "backfill_cohort")
FILMS = _of("annotate", "train_models")
ROLES = {
    "viewer": Role(_of(ALL), _of(), _of(), "viewer"),
    "researcher": Role(_of("backfill_cohort"), _of("backfill_cohort"), _of(), "viewer"),
    # radiologists: the page Annotate and nothing else
    "reader": Role(_of("annotate"), _of(), _of("annotate"), "viewer"),
    "adjudicator": Role(_of("annotate"), _of(), FILMS, "viewer"),
    "approver": Role(_of(ALL), _of("recall"), RELEASES, "viewer"),
    # whoever runs the pipeline does not approve what leaves by it
    "engineer": Role(_of(ALL), _of(ALL), FILMS, "op"),
    "admin": Role(_of(ALL), _of(ALL), _of(ALL), "admin"),
}
# Users that were written down for Airflow's own manager keep their places.
SAME_AS = {"user": "researcher", "op": "engineer"}
NOTHING = Role(_of(), _of(), _of(), "")


def role_of(name: str | None) -> Role:
    """A role by its name; one that there is not may do nothing."""
    said = (name or "").lower()
    return ROLES.get(SAME_AS.get(said, said), NOTHING)


class SluiceAuthManager(SimpleAuthManager):
    """Airflow's simple auth manager with Sluice's roles: `SIMPLE_AUTH_MANAGER_USERS=rita:researcher,otto:approver`."""

    def is_authorized_dag(
        self,
        *,
        method: str,
        user: SimpleAuthManagerUser,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """Whether a user may do this with a DAG, or with something of it; without a DAG, with any."""
        role, dag_id = role_of(user.role), details.id if details else None
        if method == "GET":  # without a DAG it is a list, which Airflow then filters DAG by DAG
            return bool(role.reads) if dag_id is None else _holds(role.reads, dag_id)
        if _name(access_entity) == "HITL_DETAIL":
            return bool(role.answers) if dag_id is None else _holds(role.answers, dag_id)
        if ALL in role.starts:
            return True
        # to start a run is not to clear, mark or delete what others started, nor to switch the DAG off
        return method == "POST" and _name(access_entity) == "RUN" and dag_id in role.starts

    @staticmethod
    def _is_authorized(*, user: SimpleAuthManagerUser, **asked: Any) -> bool:
        return bool(SimpleAuthManager._is_authorized(user=_elsewhere(user), **asked))

    @staticmethod
    def _is_admin(user: SimpleAuthManagerUser) -> bool:
        return role_of(user.role).elsewhere == "admin"


def _name(entity: DagAccessEntity | None) -> str | None:
    return None if entity is None else entity.name


def _holds(dags: frozenset[str], dag_id: str) -> bool:
    return ALL in dags or dag_id in dags


def _elsewhere(user: SimpleAuthManagerUser) -> SimpleAuthManagerUser:
    return SimpleAuthManagerUser(username=user.username, role=role_of(user.role).elsewhere or None, teams=user.teams)

"""Which keys a project has used, by fingerprint in the database: a lost key is never replaced without a word."""

from __future__ import annotations

from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, select
from sluice.release.linkage.keys import Keyring, KeySource, ProjectKey, ProjectKeyError, lacking

KEY_LOCK = 7_350_023  # first key of the advisory lock; the second is the project


def current_key(connection: Connection, project: str, source: KeySource) -> ProjectKey:
    """The key that the project's next version is made with, made where the project has never used one.

    Raises:
        ProjectKeyError: the key that the project used last is not at hand.
    """
    _one_at_a_time(connection, project)
    known = _known(connection, project)
    ring = source.ring(project)
    if known:
        require(ring, known[-1]["key_id"])
    elif not ring.keys:
        source.make(project, 1)
        ring = source.ring(project)
    key = ring.newest
    if key is None:
        raise ProjectKeyError(f"Project {project!r} has no key in {ring.where}.")
    _register(connection, key)
    return key


def require(ring: Keyring, key_id: str) -> ProjectKey:
    """The key of this fingerprint.

    Raises:
        ProjectKeyError: it is not at hand.
    """
    key = ring.by_id(key_id)
    if key is None:
        others = ", ".join(other.key_id for other in ring.keys)
        raise ProjectKeyError(
            f"Project {ring.project!r} uses the key {key_id}, and {ring.where} has {others or 'no key of it'}. "
            "Nothing was put in its place: every pseudonym would change. Restore it from its backup "
            f"(docs/identities.md), or, where it is lost for good, run: python -m sluice key rotate {ring.project} "
            "--lost WHY"
        )
    return key


def rotate(database: Database, project: str, source: KeySource, lost_why: str | None = None) -> ProjectKey:
    """A new key for the project's next versions; the old ones stay for what was made with them.

    Args:
        lost_why: why the newest key is lost for good; without it, it has to be at hand.

    Raises:
        ProjectKeyError: the newest key is not at hand and not said to be lost, or is at hand and said to be lost; or
            the project has none.
    """
    with database.transaction() as connection:
        _one_at_a_time(connection, project)
        known, ring = _known(connection, project), source.ring(project)
        if not known and not ring.keys:
            raise ProjectKeyError(f"Project {project!r} has no key yet. Its first release makes one, or `key make`.")
        if known and lost_why is None:
            require(ring, known[-1]["key_id"])
        if lost_why is not None:
            if not known or ring.by_id(known[-1]["key_id"]) is not None:
                raise ProjectKeyError(f"The key of project {project!r} is not lost: it is in {ring.where}.")
            with connection.cursor() as cursor:
                cursor.execute(
                    "update project_key set lost_at = now(), lost_why = %s where project = %s and key_id = %s",
                    (lost_why, project, known[-1]["key_id"]),
                )
        numbers = [key.number for key in ring.keys] + [row["number"] or 1 for row in known]
        made = source.make(project, max(numbers) + 1)
        _register(connection, made)
        return made


def backed_up(database: Database, project: str, ring: Keyring, copy: Keyring) -> list[ProjectKey]:
    """Compare a copy with the keys in use, and note of those that it has when that was; the ones that it lacks.

    Raises:
        ProjectKeyError: there is no key in use to compare with, or the database knows of one that is not at hand.
    """
    with database.transaction() as connection:
        known = _known(connection, project)
        for row in known:
            if row["lost_at"] is None:
                require(ring, row["key_id"])
        if not ring.keys:
            raise ProjectKeyError(f"Project {project!r} has no key in {ring.where}.")
        missing = lacking(ring, copy)
        kept = [key.key_id for key in ring.keys if key not in missing]
        with connection.cursor() as cursor:
            cursor.execute(
                "update project_key set backup_checked_at = now() where project = %s and key_id = any(%s)",
                (project, kept),
            )
    return missing


def known_keys(database: Database, project: str | None = None) -> list[dict[str, Any]]:
    """Keys that were used: project, key_id, number, first_used_at, backup_checked_at, lost_at; newest last."""
    with database.transaction() as connection:
        return _known(connection, project)


def _known(connection: Connection, project: str | None) -> list[dict[str, Any]]:
    return select(
        connection,
        "select * from project_key where %(project)s::text is null or project = %(project)s "
        "order by project, first_used_at, number nulls first",
        {"project": project},
    )


def _register(connection: Connection, key: ProjectKey) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into project_key (project, key_id, number) values (%s, %s, %s) "
            "on conflict (project, key_id) do update set number = excluded.number "
            "where project_key.number is null",
            (key.project, key.key_id, key.number),
        )


def _one_at_a_time(connection: Connection, project: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (KEY_LOCK, project))

"""Two users of the database: its owner, who migrates it, and the login of tasks and pages, who may not read who is who.

migrate(owner_url)
lacks = separate(owner_url, application_url)
"""

from __future__ import annotations

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from sluice.database import Database, DatabaseUrlError, select


def separate(owner_url: str, application_url: str) -> str | None:
    """Make the login of `application_url` where there is none, and give it what tasks and pages need (migration 0030).

    Run it after each migration. Nothing is done where both are one user.

    Returns:
        What is lacking until only the linkage's own role can read who stands behind a pseudonym; None where nothing is.

    Raises:
        DatabaseError: the database cannot be reached, or a URL is none.
    """
    user, password = _login(application_url)
    owner, _ = _login(owner_url)
    if user == owner:
        return f"tasks and pages connect as {user}, who owns the database"
    with Database(owner_url).transaction() as connection:
        if not select(connection, "select from pg_roles where rolname = %s", (user,)):
            try:
                with connection.cursor() as cursor:
                    cursor.execute("savepoint role")
                    cursor.execute(
                        sql.SQL("create role {} login password {}").format(sql.Identifier(user), sql.Literal(password))
                    )
            except psycopg2.errors.InsufficientPrivilege:
                with connection.cursor() as cursor:
                    cursor.execute("rollback to savepoint role")
                return f"the role {user} is missing, and {owner} may not create it"
        (said,) = select(connection, "select give_to_application(%s) as lacks", (user,))
    lacks: str | None = said["lacks"]
    return lacks


def _login(url: str) -> tuple[str, str | None]:
    try:
        parts = parse_dsn(url)
    except psycopg2.ProgrammingError:
        raise DatabaseUrlError(
            "A URL of the database names none. Write postgresql://user:password@host/name."
        ) from None
    if "user" not in parts:
        raise DatabaseUrlError("A URL of the database names no user. Write postgresql://user:password@host/name.")
    return parts["user"], parts.get("password")

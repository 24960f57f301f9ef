"""What is in a version of a project: its own members, and what the versions before it in its line hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import RealDictCursor, execute_values

from sluice.database import Database, named_query, select

ROWS_AT_ONCE = 5_000


def settle(connection: Connection, release_id: int) -> list[dict[str, Any]]:
    """Decide which published versions an unpublished one contains as things stand, and keep that; those versions."""
    contained = select(connection, named_query("release_contents"), {"release_id": release_id})
    with connection.cursor() as cursor:
        cursor.execute("delete from release_content where release_id = %s", (release_id,))
        execute_values(
            cursor,
            "insert into release_content (release_id, contains) values %s",
            [(release_id, row["release_id"]) for row in contained],
        )
    return contained


def objects(database: Database, release_id: int) -> Iterator[dict[str, Any]]:
    """Every object of a version as `sql/queries/release_objects.sql` gives it, by path, a few thousand in memory at
    once.

    `path` is where it is in its version's folder; `object_key` may lie in an earlier version's.
    """
    with database.transaction() as connection:
        yield from stream(connection, "release_objects", {"release_id": release_id})


def stream(connection: Connection, query: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of a named query through a cursor of the server."""
    with connection.cursor(name=query, cursor_factory=RealDictCursor) as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(named_query(query), asked)
        for row in cursor:
            yield dict(row)

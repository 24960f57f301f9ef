"""The pool of strings: written while a release is exported, so that no object is read a second time for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from sluice.database import Database, copy_rows, select
from sluice.release.review.strings import Retained, set_digest


@dataclass(frozen=True)
class Pooled:
    """The strings of one object.

    Attributes:
        sha256: of the produced object, empty where it is held.
        strings: as the profile left them; `struck` of them were taken out by a person's decision.
    """

    sop_instance_uid: str
    sha256: str
    strings: tuple[Retained, ...]
    struck: tuple[Retained, ...] = ()


class Pool:
    """The strings of one release, as one process writes them.

    Sets that it wrote before are known by their digest and cost nothing more: objects of a series differ rarely.
    """

    def __init__(self, database: Database, release_id: int) -> None:
        self.database = database
        self.release_id = release_id
        self._sets: dict[str, int] = {}

    def keep(self, objects: Sequence[Pooled]) -> None:
        """Note the strings of these objects; those of an object that was noted before are replaced."""
        if not objects:
            return
        digests = {one.strings: "" for one in objects}
        digests = {strings: set_digest(strings) for strings in digests}
        new = {digest: strings for strings, digest in digests.items() if digest not in self._sets}
        struck = sorted({string.digest for one in objects for string in one.struck})
        with self.database.transaction() as connection:
            made = _sets(connection, new)
            known = self._sets | made
            ids = _known(connection, "retained_string", "string_id", struck)
            copy_rows(
                connection,
                "released_strings",
                ("release_id", "sop_instance_uid", "set_id", "sha256", "struck"),
                [
                    (
                        self.release_id,
                        one.sop_instance_uid,
                        known[digests[one.strings]],
                        one.sha256,
                        sorted(ids[string.digest] for string in one.struck),
                    )
                    for one in objects
                ],
                "(release_id, sop_instance_uid) do update set set_id = excluded.set_id, sha256 = excluded.sha256, "
                "struck = excluded.struck",
            )
            with connection.cursor() as cursor:
                cursor.execute(
                    "delete from review_redo where release_id = %s and sop_instance_uid = any(%s)",
                    (self.release_id, [one.sop_instance_uid for one in objects]),
                )
        self._sets = known


def _sets(connection: Connection, new: dict[str, tuple[Retained, ...]]) -> dict[str, int]:
    """Ids of sets by digest, written where they are not there yet; sorted, so that two workers never deadlock."""
    if not new:
        return {}
    strings = {one.digest: one for members in new.values() for one in members}
    ids = _ids(
        connection,
        "retained_string",
        "string_id",
        "(digest, path, vr, kind, value)",
        [(digest, one.path, one.vr, one.kind, one.value) for digest, one in sorted(strings.items())],
    )
    return _ids(
        connection,
        "retained_set",
        "set_id",
        "(digest, strings)",
        [(digest, [ids[one.digest] for one in members]) for digest, members in sorted(new.items())],
    )


def _ids(
    connection: Connection, table: str, key: str, columns: str, rows: Sequence[tuple[object, ...]]
) -> dict[str, int]:
    with connection.cursor() as cursor:
        execute_values(
            cursor, f"insert into {table} {columns} values %s on conflict (digest) do nothing", rows, page_size=1000
        )
    return _known(connection, table, key, [row[0] for row in rows])


def _known(connection: Connection, table: str, key: str, digests: Sequence[object]) -> dict[str, int]:
    if not digests:
        return {}
    found = select(connection, f"select digest, {key} as id from {table} where digest = any(%s)", (list(digests),))
    return {row["digest"]: row["id"] for row in found}

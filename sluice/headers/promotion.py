"""Promotion: an element that people filter by becomes a typed column of `instance`, and of blocks that have it alike.

The column is filled from the headers in the database, without touching a file, and by every extraction from then on. A
value that is none of the type is NULL, and stays in the header as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from sluice.database import Database, named_query, query_rows, select
from sluice.headers import columns
from sluice.headers.columns import Column, Elements
from sluice.headers.paths import ElementPath

BLOCKS = 200  # a transaction of the filling
_NAME = re.compile(r"[a-z][a-z0-9_]{0,60}").fullmatch
_VALUE = 0  # the key under which a single element is read


class PromotionError(RuntimeError):
    """An element cannot be promoted; the message says why and what to do."""


@dataclass(frozen=True)
class Promoted:
    """A promoted element: the column's name, where the element stands, and one of `TYPES`."""

    name: str
    path: str
    type: str

    @property
    def of_block(self) -> str:
        """Its column of `cohort_block`, for the value that all instances of a block have."""
        return f"p_{self.name[:61]}"

    def column(self) -> Column:
        """How the column is read from a header."""
        path, read = ElementPath.of(self.path), TYPES[self.type][1]

        def value(elements: Elements) -> Any:
            return read(path.found_in({f"{tag:08X}": element for tag, element in elements.items()}))

        return Column(path.tags, value)


def _text(element: Mapping[str, Any] | None) -> str | None:
    if element and element.get("vr") == "PN":
        return columns.person_name({columns.PATIENT_NAME: dict(element)})
    return columns.text({_VALUE: dict(element)}, _VALUE) if element else None


def _real(element: Mapping[str, Any] | None) -> float | None:
    return columns.number({_VALUE: dict(element)}, _VALUE) if element else None


def _integer(element: Mapping[str, Any] | None) -> int | None:
    value = _real(element)
    return int(value) if value is not None and value == int(value) and abs(value) < 2**63 else None


def _date(element: Mapping[str, Any] | None) -> date | None:
    return columns.parse_date(_text(element))


def _time(element: Mapping[str, Any] | None) -> time | None:
    return columns.parse_time(_text(element))


def _timestamp(element: Mapping[str, Any] | None) -> datetime | None:
    return columns.acquired_at({columns.ACQUIRED: dict(element)}) if element else None


# What a column may hold: its type in Postgres, and how a value is read. A timestamp is local time as it is written.
TYPES: dict[str, tuple[str, Callable[[Mapping[str, Any] | None], Any]]] = {
    "text": ("text", _text),
    "integer": ("bigint", _integer),
    "real": ("double precision", _real),
    "date": ("date", _date),
    "time": ("time", _time),
    "timestamp": ("timestamp", _timestamp),
}


def promoted_columns(where: Database | Connection) -> list[Promoted]:
    """The promoted columns of `instance`, by name."""
    return [Promoted(row["name"], row["path"], row["type"]) for row in query_rows(where, "promoted_columns")]


def promote(database: Database, written: str, name: str, type_name: str) -> Promoted:
    """Make a column of an element; the same again is no error. `fill` fills it.

    Raises:
        PathError: `written` names no element.
        PromotionError: the name cannot be used.
    """
    from sluice.cohorts.language import WORDS  # the language reads promoted columns, and stands on this room

    asked = Promoted(name, str(ElementPath.of(written)), type_name)
    if type_name not in TYPES:
        raise PromotionError(f"There is no type {type_name!r}: {', '.join(TYPES)}.")
    if not _NAME(name):
        raise PromotionError(f"{name!r} cannot be a column: small letters, digits and _, at most 61, a letter first.")
    if name in WORDS:
        raise PromotionError(f"{name} is a word of the filter language, which could not name the column: take another.")
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("lock table promoted_column in share row exclusive mode")
        known = {column.name: column for column in promoted_columns(connection)}
        if known.get(name) == asked:
            return asked
        if name in known:
            raise PromotionError(f"{name} is the column of {known[name].path}, {known[name].type}: take another name.")
        if name in _taken(connection):
            raise PromotionError(f"{name} is a column that Sluice has itself: take another name.")
        cursor.execute(
            "insert into promoted_column (name, path, type) values (%s, %s, %s)", (name, asked.path, type_name)
        )
        for table, column in (("instance", name), ("cohort_block", asked.of_block)):
            cursor.execute(
                sql.SQL("alter table {} add column {} {}").format(
                    sql.Identifier(table), sql.Identifier(column), sql.SQL(TYPES[type_name][0])
                )
            )
    return asked


def note_blocks(connection: Connection, columns: Sequence[Promoted], blocks: Sequence[int]) -> None:
    """Put what all instances of a block have alike into its row of `cohort_block`, which filters read."""
    if columns and blocks:
        with connection.cursor() as cursor:
            names = [column.name for column in columns]
            cursor.execute("select note_promoted(%s::text[], %s::bigint[])", (names, list(blocks)))


def _taken(connection: Connection) -> set[str]:
    rows = select(
        connection,
        "select column_name from information_schema.columns where table_schema = current_schema() "
        "and table_name in ('instance', 'header_block', 'series', 'study', 'header_anatomy', 'receipt')",
    )
    return {row["column_name"] for row in rows}


def fill(database: Database, column: Promoted) -> Iterator[tuple[int, int]]:
    """Fill a promoted column from the headers in the database; ended in the middle, it goes on there the next time.

    Yields:
        After each transaction: the id of the last block that is done, and how many of its instances have a value.
    """
    path, read = ElementPath.of(column.path), TYPES[column.type][1]
    while True:
        with database.transaction() as connection:
            with connection.cursor() as cursor:  # before `instance`, in the order in which `promote` takes them
                cursor.execute("lock table promoted_column in row exclusive mode")
            blocks = select(
                connection,
                named_query("promotion_blocks"),
                {"name": column.name, "most": BLOCKS, "groups": [f"{path.steps[0].tag >> 16:04X}"]},
            )
            if not blocks:
                break
            values = [
                (block["block_id"], position, value)
                for block in blocks
                for position, element in _each(block, path)
                if (value := read(element)) is not None
            ]
            changed = _update(connection, column, values)
            note_blocks(connection, [column], [block["block_id"] for block in blocks])
            done = blocks[-1]["block_id"]
            with connection.cursor() as cursor:
                cursor.execute("update promoted_column set filled_to = %s where name = %s", (done, column.name))
        yield done, changed
    _index(database, column.name)


def _each(block: Mapping[str, Any], path: ElementPath) -> Iterator[tuple[int | None, Mapping[str, Any] | None]]:
    """The element of each position; of the position None where all instances have the same."""
    shared, differences = block["shared"] or {}, block["differences"] or {}
    if not any(int(tag, 16) in path.tags for tag in differences):
        yield None, path.found_in(shared)
        return
    for position in range(block["instances"]):
        own = {tag: elements[position] for tag, elements in differences.items() if elements[position] is not None}
        yield position, path.found_in(shared | own)


def _update(connection: Connection, column: Promoted, values: list[tuple[int, int | None, Any]]) -> int:
    statement = sql.SQL(
        "update instance i set {} = v.value from (values %s) v (block_id, position, value) "
        "where i.block_id = v.block_id and (v.position is null or i.block_position = v.position) "
        "and {} is distinct from v.value"
    ).format(sql.Identifier(column.name), sql.Identifier("i", column.name))
    template = f"(%s::bigint, %s::integer, %s::{TYPES[column.type][0]})"
    changed = 0
    with connection.cursor() as cursor:
        for start in range(0, len(values), 1000):
            execute_values(cursor, statement.as_string(connection), values[start : start + 1000], template, 1000)
            changed += cursor.rowcount
    return changed


def _index(database: Database, name: str) -> None:
    """Index a column that is filled, while others go on writing."""
    connection = database.connect()
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("create index concurrently if not exists {} on instance ({}) where {} is not null").format(
                    sql.Identifier(f"instance_{name}_idx"[:63]), sql.Identifier(name), sql.Identifier(name)
                )
            )
            cursor.execute("update promoted_column set filled_at = coalesce(filled_at, now()) where name = %s", (name,))
    finally:
        connection.close()

"""Blocks into the database: each instance into one of them, however many extractions write at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.anatomy.store import write_anatomy
from sluice.database import Database, copy_lines, copy_rows, select
from sluice.headers.building import BLOCK_COLUMNS, DIFFERENCE_COLUMNS, Built, read_files
from sluice.headers.promotion import Promoted, note_blocks, promoted_columns
from sluice.headers.reading import Received, Refused, SeriesRows

SERIES_LOCK = 7_350_013  # any constant: extractions of one series wait for each other


@dataclass(frozen=True)
class Written:
    """How many instances are new, clash with their series' study, were refused, and needed pydicom."""

    indexed: int = 0
    conflicts: int = 0
    quarantined: int = 0
    lenient: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(
            self.indexed + other.indexed,
            self.conflicts + other.conflicts,
            self.quarantined + other.quarantined,
            self.lenient + other.lenient,
        )


class _Overtaken(Exception):  # noqa: N818 - no error: somebody else was faster
    """Since files were read, instances got a block (`done`), or columns were promoted: the rest is read again."""

    def __init__(self, done: set[str], promoted: list[Promoted]) -> None:
        super().__init__()
        self.done, self.promoted = done, tuple(promoted)


def write(database: Database, archive: Path, files: Sequence[Received], built: Built) -> Written:
    """Write what files gave, in one transaction, or in several where the database refuses one of the headers.

    Args:
        archive: where the files are, some of which may have to be read again.
        files: what was read.
        built: what it gave.
    """
    try:
        with database.transaction() as connection:
            new, clashing = _write_blocks(connection, built)
            _write_refused(connection, built.refused)
        return Written(new, clashing, len(built.refused), built.lenient)
    except _Overtaken as overtaken:
        left = [file for file in files if file.sop_instance_uid not in overtaken.done]
        asked = replace(built.asked, promoted=overtaken.promoted)
        return write(database, archive, left, read_files(archive, asked, left))
    except (psycopg2.DataError, psycopg2.errors.ProgramLimitExceeded) as error:
        if not built.blocks:
            raise
        if built.templates:  # one of them may be what the database refuses
            return write(database, archive, files, read_files(archive, built.asked, files, whole=True))
        readable = {uid for block in built.blocks for uid in block.sop_instance_uids}
        left = [file for file in files if file.sop_instance_uid in readable]
        refused = list(built.refused)
        if len(left) == 1:
            reason = f"the database cannot hold this header ({type(error).__name__})"
            refused.append(Refused(left[0], "unreadable", reason))
            left = []
        written = write(database, archive, [], Built(built.asked, (), [], {}, {}, refused, {}, {}, 0))
        middle = (len(left) + 1) // 2  # one poisonous header must not keep the others out
        for part in (left[:middle], left[middle:]):
            if part:
                written += write(database, archive, part, read_files(archive, built.asked, part, whole=True))
        return written


def _write_blocks(connection: Connection, built: Built) -> tuple[int, int]:
    blocks = built.blocks
    if not blocks:
        return 0, 0
    _lock_series(connection, {block.series_instance_uid for block in blocks})
    uids = [uid for block in blocks for uid in block.sop_instance_uids]
    known = select(
        connection,
        "select sop_instance_uid, block_id is not null as has_block from instance where sop_instance_uid = any(%s)",
        (uids,),
    )
    done = {row["sop_instance_uid"] for row in known if row["has_block"]}
    promoted = promoted_columns(connection)  # none can be added from here on: we have looked into `instance`
    if done or promoted != list(built.asked.promoted):
        raise _Overtaken(done, promoted)
    # Rows go in sorted, table after table, so that two extractions at once lock in one order.
    series: list[SeriesRows] = list(built.series.values())
    _copy(connection, "study", [rows.study for rows in series], "study_instance_uid")
    _copy(connection, "series", [rows.series for rows in series], "series_instance_uid")
    dictionaries = sorted(built.dictionaries.values(), key=attrgetter("dictionary_id"))
    rows = ((item.dictionary_id, item.kind, item.content) for item in dictionaries)
    copy_rows(connection, "header_dictionary", ("dictionary_id", "kind", "content"), rows)
    templates = sorted(built.templates.values(), key=attrgetter("template_id"))
    made = ((item.template_id, item.kind, item.written) for item in templates)
    copy_rows(connection, "header_template", ("template_id", "kind", "written"), made)
    ids = _block_ids(connection, len(blocks))
    copy_lines(connection, "header_block", BLOCK_COLUMNS, _with_ids(ids, [[block.block] for block in blocks]))
    differences = _with_ids(ids, [block.differences for block in blocks])
    copy_lines(connection, "header_difference", DIFFERENCE_COLUMNS, differences)
    _write_instances(connection, built.instance_columns, _with_ids(ids, [block.instances for block in blocks]), known)
    note_blocks(connection, promoted, ids)
    clashing = select(
        connection,
        "select count(*) as count from instance join series using (series_instance_uid) "
        "where instance.study_instance_uid <> series.study_instance_uid and sop_instance_uid = any(%s)",
        (uids,),
    )
    anatomy = [(uid, rows.evidence, built.anatomy[rows.evidence]) for uid, rows in built.series.items()]
    write_anatomy(connection, anatomy, built.asked.mappings)
    return len(uids), int(clashing[0]["count"])


def _lock_series(connection: Connection, series: set[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_advisory_xact_lock(%s, key) from "
            "(select distinct hashtext(uid) as key from unnest(%s) uid order by 1) keys",
            (SERIES_LOCK, sorted(series)),
        )


def _block_ids(connection: Connection, count: int) -> list[int]:
    rows = select(
        connection,
        "select nextval(pg_get_serial_sequence('header_block', 'block_id')) as id from generate_series(1, %s)",
        (count,),
    )
    return [row["id"] for row in rows]


def _with_ids(ids: Sequence[int], lines: Sequence[Sequence[str]]) -> list[str]:
    return [f"{block_id}\t{line}" for block_id, of_block in zip(ids, lines, strict=True) for line in of_block]


def _write_instances(
    connection: Connection, columns: Sequence[str], lines: Sequence[str], known: Sequence[dict[str, Any]]
) -> None:
    """COPY instances; those that were indexed before blocks were keep their row and get what it lacks."""
    if not known:
        copy_lines(connection, "instance", columns, lines)
        return
    changed = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns]
    update = sql.SQL("(sop_instance_uid) do update set {}").format(sql.SQL(", ").join(changed))
    copy_lines(connection, "instance", columns, lines, update.as_string(connection))


def _copy(connection: Connection, table: str, rows: list[dict[str, Any]], key: str) -> None:
    unique = {row[key]: row for row in reversed(rows)}
    values = (unique[uid].values() for uid in sorted(unique))  # every row has its columns in one order
    copy_rows(connection, table, list(rows[0]), values)


def _write_refused(connection: Connection, refused: Sequence[Refused]) -> None:
    names = ("path", "sha256", "bytes", "sop_instance_uid")
    copy_rows(
        connection,
        "quarantine",
        (*names, "reason_code", "detail"),
        (
            (*(getattr(row.received, name) for name in names), row.reason_code, row.detail)
            for row in sorted(refused, key=lambda row: row.received.path)
        ),
    )
    with connection.cursor() as cursor:
        for row in sorted(refused, key=lambda row: row.received.sop_instance_uid):
            values = {"uid": row.received.sop_instance_uid, "reason": row.reason_code, "detail": row.detail}
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%(uid)s, 0))", values)
            cursor.execute(
                """
                insert into gap (sop_instance_uid, step, reason_code, detail)
                select %(uid)s, 'indexed', %(reason)s, %(detail)s
                 where not exists (select from (select reason_code, detail from gap
                                                 where sop_instance_uid = %(uid)s and step = 'indexed'
                                                 order by gap_id desc limit 1) newest
                                    where newest.reason_code = %(reason)s and newest.detail = %(detail)s)
                """,
                values,
            )

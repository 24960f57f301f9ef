"""Headers of a batch into `study`, `series`, `instance` and `header_anatomy`; unreadable files into `quarantine`."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.anatomy.mappings import Mappings
from sluice.anatomy.rederive import apply_pending
from sluice.anatomy.store import load_mappings, write_anatomy
from sluice.batches import Batch
from sluice.database import Database, copy_rows, named_query, select
from sluice.headers.reading import Indexed, Readings, Received, Refused, read_files
from sluice.settings import settings

CHUNK = 500  # files a transaction
POOL_FROM = 4_000  # files from which starting worker processes pays
WORKERS = 2


class ExtractError(RuntimeError):
    """Headers cannot be extracted at all; the message says what to do."""


@dataclass(frozen=True)
class ExtractSummary:
    """Counts of one extraction.

    Attributes:
        read: files looked at (received, not indexed before).
        indexed: instances whose header is new in the database.
        quarantined: files that cannot be read, by this run's reading.
        conflicts: new instances whose series was already known under another study.
        lenient: odd files that pydicom had to read.
        seconds: wall time.
    """

    window_key: str
    read: int
    indexed: int
    quarantined: int
    conflicts: int
    lenient: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self)


def extract(database: Database, archive: Path, batch: Batch, workers: int | None = None) -> ExtractSummary:
    """Read what the batch holds and the database lacks; the same batch again finds nothing to do.

    Args:
        archive: root that `receipt.path` is relative to.
        workers: processes that read files; None starts them only for a batch that is worth it, 0 never.

    Raises:
        ExtractError: the archive is not there.
    """
    started = time.monotonic()
    if not archive.is_dir():
        raise ExtractError(f"The archive {archive} is not there. Mount it, or set SLUICE_HOME to the folder above it.")
    with database.transaction() as connection:
        rows = select(
            connection,
            named_query("pending_headers"),
            {"window_key": batch.window_key, "first": batch.first, "last": batch.last},
        )
        mappings = load_mappings(connection)
    apply_pending(database)  # words whose application was cut off
    pending = [Received(**row) for row in rows]
    indexed = quarantined = conflicts = lenient = 0
    for readings in _readings(archive, pending, workers, mappings):
        new, clashing, refused = _write(database, readings, mappings)
        indexed += new
        conflicts += clashing
        quarantined += refused
        lenient += sum(reading.lenient for reading in readings.indexed)
    seconds = round(time.monotonic() - started, 3)
    return ExtractSummary(batch.window_key, len(pending), indexed, quarantined, conflicts, lenient, seconds)


def _readings(
    archive: Path, pending: Sequence[Received], workers: int | None, mappings: Mappings
) -> Iterator[Readings]:
    zone = settings().time_zone
    chunks = [pending[start : start + CHUNK] for start in range(0, len(pending), CHUNK)]
    if workers is None:
        workers = WORKERS if len(pending) >= POOL_FROM else 0
    if workers == 0 or multiprocessing.current_process().daemon:  # a daemon may have no children
        for chunk in chunks:
            yield read_files(archive, zone, chunk, mappings)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = iter(chunks)
        ahead: list[Future[Readings]] = [
            pool.submit(read_files, archive, zone, chunk, mappings) for chunk in islice(waiting, workers + 1)
        ]
        while ahead:  # few chunks ahead of the database, so that memory stays flat
            readings = ahead.pop(0).result()
            ahead += [pool.submit(read_files, archive, zone, chunk, mappings) for chunk in islice(waiting, 1)]
            yield readings


def _write(database: Database, readings: Readings, mappings: Mappings) -> tuple[int, int, int]:
    """Write one chunk in one transaction; return how many are new, clash with their series' study, were refused."""
    try:
        with database.transaction() as connection:
            new, clashing = _write_indexed(connection, readings, mappings)
            _write_refused(connection, readings.refused)
        return new, clashing, len(readings.refused)
    except (psycopg2.DataError, psycopg2.errors.ProgramLimitExceeded) as error:
        if len(readings.indexed) <= 1:
            if not readings.indexed:
                raise
            reason = f"the database cannot hold this header ({type(error).__name__})"
            refused = [*readings.refused, Refused(readings.indexed[0].received, "unreadable", reason)]
            return _write(database, Readings([], refused, {}), mappings)
        middle = len(readings.indexed) // 2  # one poisonous header must not keep the others out
        first = _write(database, Readings(readings.indexed[:middle], readings.refused, readings.series), mappings)
        second = _write(database, Readings(readings.indexed[middle:], [], readings.series), mappings)
        return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def _write_indexed(connection: Connection, readings: Readings, mappings: Mappings) -> tuple[int, int]:
    used = {reading.series_instance_uid for reading in readings.indexed}
    series = [rows for uid, rows in readings.series.items() if uid in used]
    # Rows go in sorted, table after table, so that two extractions at once lock in one order.
    _copy(connection, "study", [rows.study for rows in series], "study_instance_uid")
    _copy(connection, "series", [rows.series for rows in series], "series_instance_uid")
    instances = [_instance(reading) for reading in readings.indexed]
    new = _copy(connection, "instance", instances, "sop_instance_uid", expect_new=True)
    clashing = select(
        connection,
        "select count(*) as count from instance join series using (series_instance_uid) "
        "where instance.study_instance_uid <> series.study_instance_uid and sop_instance_uid = any(%s)",
        ([reading.received.sop_instance_uid for reading in readings.indexed],),
    )
    write_anatomy(
        connection, [(rows.series["series_instance_uid"], rows.evidence, rows.anatomy) for rows in series], mappings
    )
    return new, int(clashing[0]["count"])


def _copy(connection: Connection, table: str, rows: list[dict[str, Any]], key: str, expect_new: bool = False) -> int:
    if not rows:
        return 0
    unique = {row[key]: row for row in reversed(rows)}
    names = list(rows[0])
    values = (unique[uid].values() for uid in sorted(unique))  # every row has its columns in one order
    return copy_rows(connection, table, names, values, expect_new=expect_new)


def _instance(reading: Indexed) -> dict[str, Any]:
    return {
        "sop_instance_uid": reading.received.sop_instance_uid,
        "series_instance_uid": reading.series_instance_uid,
        "study_instance_uid": reading.study_instance_uid,
        "sop_class_uid": reading.sop_class_uid,
        "transfer_syntax_uid": reading.transfer_syntax_uid,
        **reading.instance,
        "header": reading.header,
    }


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

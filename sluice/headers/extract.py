"""Headers of a batch into `study`, `series`, `instance` and `header_anatomy`; unreadable files into `quarantine`."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from sluice.anatomy.rederive import apply_pending
from sluice.anatomy.store import load_mappings
from sluice.batches import Batch
from sluice.database import Database, named_query, select
from sluice.headers.building import Asked, Built, read_files, use
from sluice.headers.dictionaries import Dictionary
from sluice.headers.promotion import promoted_columns
from sluice.headers.reading import Received
from sluice.headers.templates import Template
from sluice.headers.writing import Written, write
from sluice.settings import settings

CHUNK = 500  # files a transaction
CHUNK_BYTES = 4 << 30  # of them: the larger the files, the longer their headers
POOL_FROM = 4_000  # files from which starting worker processes pays
WORKERS = 2
Known: TypeAlias = tuple[list[Dictionary], list[Template]]  # what earlier extractions left in the database


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
    asked = Asked(settings().time_zone, tuple(promoted_columns(database)), mappings)
    known = (
        [
            Dictionary(row["dictionary_id"], row["kind"], bytes(row["content"]))
            for row in database.rows("header_dictionaries")
        ],
        [Template(**row) for row in database.rows("header_templates")],
    )
    written = Written()
    for files, built in _built(archive, asked, known, pending, workers):
        written += write(database, archive, files, built)
    seconds = round(time.monotonic() - started, 3)
    return ExtractSummary(batch.window_key, len(pending), **asdict(written), seconds=seconds)


def _built(
    archive: Path, asked: Asked, known: Known, pending: Sequence[Received], workers: int | None
) -> Iterator[tuple[Sequence[Received], Built]]:
    chunks = _chunks(pending)
    if workers is None:
        workers = WORKERS if len(pending) >= POOL_FROM else 0
    if workers == 0 or multiprocessing.current_process().daemon:  # a daemon may have no children
        use(*known)
        for chunk in chunks:
            yield chunk, read_files(archive, asked, chunk)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, use, known) as pool:
        waiting = iter(chunks)
        ahead: list[tuple[Sequence[Received], Future[Built]]] = [
            (chunk, pool.submit(read_files, archive, asked, chunk)) for chunk in islice(waiting, workers + 1)
        ]
        while ahead:  # few chunks ahead of the database, so that memory stays flat
            files, future = ahead.pop(0)
            built = future.result()
            ahead += [(chunk, pool.submit(read_files, archive, asked, chunk)) for chunk in islice(waiting, 1)]
            yield files, built


def _chunks(pending: Sequence[Received]) -> list[list[Received]]:
    """Cut what is pending, series by series; a series that fits into a chunk stays in one."""
    chunks: list[list[Received]] = []
    size = 0
    for _, files in groupby(pending, key=attrgetter("series_instance_uid")):
        of_series = list(files)
        for start in range(0, len(of_series), CHUNK):
            part = of_series[start : start + CHUNK]
            volume = sum(file.bytes for file in part)
            if not chunks or len(chunks[-1]) + len(part) > CHUNK or size + volume > CHUNK_BYTES:
                chunks.append([])
                size = 0
            chunks[-1] += part
            size += volume
    return chunks

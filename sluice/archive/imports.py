"""Bring in folders and ZIPs of DICOM files: the same intake, receipts and ledger as what comes over the network.

Every file ends in one of these: taken (`received`, `again`, or `set aside` where another content holds its UID),
passed over (a DICOMDIR), or not taken, with a reason and its path in the quarantine table; it stays where it is.
An import that was killed is done again with the same command: what was taken is known by its receipt.
"""

from __future__ import annotations

import hashlib
import mmap
import re
import socket
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras

from sluice.archive.elements import Buffer
from sluice.archive.found_files import Found, found_below, is_zip
from sluice.archive.intake import OUT_OF_RESOURCES, SUCCESS, Offered
from sluice.archive.part10 import Directory, Encoded, NotTaken, encoded_in, may_be_dicom
from sluice.archive.storing import Storing
from sluice.database import Database, select
from sluice.settings import Settings
from sluice.windows import Window, remember_window

CALLING_AE = "IMPORT"
WORKERS = 8  # most of the time goes into waiting for the disk
AHEAD = 4 * WORKERS  # files handed out and not settled
PIECE_BYTES = 1 << 20
NOTED_EVERY = 500  # files whose membership goes into one transaction
SHOWN = 50  # files of each reason that the summary names
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


class ImportStopped(RuntimeError):  # noqa: N818
    """An import cannot begin or go on; the message says what to do."""


@dataclass
class ImportSummary:
    """What became of the files.

    Attributes:
        window_key: the window that holds what was brought.
        files: looked at, ZIPs themselves not counted.
        received, again, set_aside: taken; new, known already, and with other content than the known one.
        directories: DICOMDIR files.
        not_taken: others, by reason code.
        bytes: of datasets that were taken.
        seconds: wall time.
        days: instances of swept days among what was taken, by window key.
        examples: names of files that were not taken, some of each reason, for the terminal only.
    """

    window_key: str
    files: int = 0
    received: int = 0
    again: int = 0
    set_aside: int = 0
    directories: int = 0
    not_taken: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    days: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def taken(self) -> int:
        """Files that are in the archive now."""
        return self.received + self.again + self.set_aside

    @property
    def is_complete(self) -> bool:
        """Whether something was found, and all of it is in its place in the archive."""
        return self.files > 0 and not self.not_taken and not self.set_aside

    def as_dict(self) -> dict[str, Any]:
        """Counts, without a file's name."""
        counts = asdict(self)
        counts.pop("examples")
        return counts


@dataclass(frozen=True)
class _Settled:
    """What became of one file."""

    found: Found
    outcome: str  # 'received', 'again', 'set aside', 'directory', 'zip' or 'not taken'
    sop_instance: str | None = None
    bytes: int = 0
    reason_code: str = ""
    detail: str = ""


def import_window(roots: Sequence[Path], name: str | None = None) -> Window:
    """The window of an import: `import/<name>`, or one that is the same for the same paths.

    Raises:
        ImportStopped: the name is none.
    """
    if name is None:
        paths = "\0".join(sorted(str(root.resolve()) for root in roots))
        name = hashlib.sha256(paths.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    if not NAME.fullmatch(name):
        raise ImportStopped(
            "A name has letters, digits, '.', '_' and '-', at most 60, and begins with a letter or digit."
        )
    return Window.of_import(name, datetime.now(UTC).date())


def import_files(
    database: Database,
    settings: Settings,
    window: Window,
    roots: Sequence[Path],
    progress: Callable[[ImportSummary], None] = lambda _: None,
    workers: int = WORKERS,
) -> ImportSummary:
    """Take in what is below `roots`; the same again takes only what is missing.

    Args:
        window: see `import_window`.
        progress: told the counts so far, often.

    Raises:
        ImportStopped: a root is not there or holds the archive, the disk is full, or Postgres went away. What was
            taken stays taken.
        ArchiveError: the archive cannot be written.
    """
    for root in roots:
        if not root.exists():
            raise ImportStopped(f"There is no {root}.")
        if settings.archive.resolve().is_relative_to(root.resolve()):
            raise ImportStopped(f"{root} holds the archive itself ({settings.archive}). Name the folders beside it.")
    remember_window(database, window)
    with Storing.of(database, settings) as storing:
        return _Run(database, settings, window, storing, progress).all_of(roots, workers)


class _Run:
    """One import under way."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        window: Window,
        storing: Storing,
        progress: Callable[[ImportSummary], None],
    ) -> None:
        self.database = database
        self.window = window
        self.storing = storing
        self.progress = progress
        self.import_id = str(uuid.uuid4())
        self.host = socket.gethostname()
        self.called_ae = settings.receiver_ae_title
        self.summary = ImportSummary(window.key)
        self.started = time.monotonic()
        self._not_noted: list[_Settled] = []
        self._waiting: set[Future[_Settled]] = set()

    def all_of(self, roots: Sequence[Path], workers: int) -> ImportSummary:
        self.database.execute(
            "insert into import_run (import_id, window_key, root, host) values (%s, %s, %s, %s)",
            (self.import_id, self.window.key, "\n".join(map(str, roots)), self.host),
        )
        with ThreadPoolExecutor(workers, thread_name_prefix="import") as pool:
            try:
                self._work(pool, (found for root in roots for found in found_below(root)))
            finally:  # also after Ctrl-C: what is in the archive belongs to the window
                pool.shutdown(cancel_futures=True)
                for future in self._waiting:
                    if not future.cancelled() and future.exception() is None and future.result().outcome != "zip":
                        self._count(future.result())
                self._note()
        self._finish()
        return self.summary

    def _work(self, pool: ThreadPoolExecutor, files: Iterator[Found]) -> None:
        queues: deque[Iterator[Found]] = deque([files])
        while queues or self._waiting:
            while queues and len(self._waiting) < AHEAD:
                following = next(queues[0], None)
                if following is None:
                    queues.popleft()
                else:
                    self._waiting.add(pool.submit(self.settle, following))
            if not self._waiting:
                continue
            done, self._waiting = wait(self._waiting, return_when=FIRST_COMPLETED)
            for future in done:
                settled = future.result()
                if settled.outcome == "zip":
                    settled, members = self._opened(settled)
                    queues += members
                if settled.outcome != "zip":
                    self._count(settled)
            if len(self._not_noted) >= NOTED_EVERY:
                self._note()
            self.summary.seconds = round(time.monotonic() - self.started, 3)
            self.progress(self.summary)

    def _opened(self, settled: _Settled) -> tuple[_Settled, list[Iterator[Found]]]:
        """The files of a ZIP, or why it stays closed."""
        try:
            return settled, [settled.found.members()]
        except NotTaken as error:
            return _Settled(settled.found, "not taken", None, 0, error.reason_code, str(error)), []
        except OSError as error:
            return _Settled(settled.found, "not taken", None, 0, "unreadable-file", _words(error)), []

    def settle(self, found: Found) -> _Settled:
        """Take one file, in a thread of its own."""
        try:
            head = found.head()
            if not may_be_dicom(head):
                if is_zip(head):
                    return _Settled(found, "zip")
                raise NotTaken("not-dicom", "the file is empty" if not head else "neither DICOM nor a ZIP")
            with found.content() as data:
                encoded = encoded_in(data)
                identity = encoded.peeked.identity
                taking = self.storing.begin(self._offered(encoded))
                for piece in _pieces(data, encoded.dataset_at):
                    taking.write(piece)
                size = len(data) - encoded.dataset_at
            status, outcome = taking.finish()
        except Directory:
            return _Settled(found, "directory")
        except NotTaken as error:
            return _Settled(found, "not taken", error.sop_instance, 0, error.reason_code, str(error))
        except OSError as error:
            return _Settled(found, "not taken", None, 0, "unreadable-file", _words(error))
        if status == OUT_OF_RESOURCES:
            raise ImportStopped(
                "The disk below the archive is full (SLUICE_RECEIVER_MIN_FREE_BYTES are kept free). What was taken is "
                "safe. Free space and run the same command again: it goes on where it was."
            )
        if status != SUCCESS:
            return _Settled(
                found, "not taken", identity.sop_instance, 0, "not-stored", f"status {status:04X}: {outcome}"
            )
        return _Settled(found, outcome, identity.sop_instance, size)

    def _offered(self, encoded: Encoded) -> Offered:
        identity = encoded.peeked.identity
        return Offered(
            sop_class=identity.sop_class,
            sop_instance=identity.sop_instance,
            abstract_syntax=identity.sop_class,
            transfer_syntax=encoded.transfer_syntax,
            source="import",
            calling_ae=CALLING_AE,
            called_ae=self.called_ae,
            peer=self.host,
            association=self.import_id,
        )

    def _count(self, settled: _Settled) -> None:
        summary = self.summary
        summary.files += 1
        summary.bytes += settled.bytes
        if settled.outcome == "directory":
            summary.directories += 1
            return
        self._not_noted.append(settled)
        if settled.outcome == "received":
            summary.received += 1
        elif settled.outcome == "again":
            summary.again += 1
        elif settled.outcome == "set aside":
            summary.set_aside += 1
            self._show(settled, "set aside")
        else:
            summary.not_taken[settled.reason_code] = summary.not_taken.get(settled.reason_code, 0) + 1
            self._show(settled, settled.reason_code)

    def _show(self, settled: _Settled, reason: str) -> None:
        shown = self.summary.examples.setdefault(reason, [])
        if len(shown) < SHOWN:
            shown.append((settled.found.name, settled.detail))

    def _note(self) -> None:
        """Membership of what was taken and quarantine rows of what was not, in one transaction."""
        settled, self._not_noted = self._not_noted, []
        if not settled:
            return
        taken = [(self.window.key, one.sop_instance, self.import_id) for one in settled if one.outcome != "not taken"]
        refused = [
            (_shown(f"{self.window.key}/{one.found.name}"), one.sop_instance, one.reason_code, one.detail)
            for one in settled
            if one.outcome == "not taken"
        ]
        try:
            with self.database.transaction() as connection, connection.cursor() as cursor:
                psycopg2.extras.execute_values(
                    cursor,
                    "insert into imported (window_key, sop_instance_uid, import_id) values %s on conflict do nothing",
                    taken,
                )
                psycopg2.extras.execute_values(
                    cursor,
                    "insert into quarantine (path, sop_instance_uid, reason_code, detail) values %s "
                    "on conflict do nothing",
                    refused,
                )
        except psycopg2.OperationalError as error:
            raise ImportStopped(
                "Postgres went away. What was taken is safe. Run the same command again when it is back: it goes on."
            ) from error

    def _finish(self) -> None:
        summary = self.summary
        summary.seconds = round(time.monotonic() - self.started, 3)
        counts: Counter[str] = Counter(summary.not_taken)
        counts |= Counter(
            {"received": summary.received, "again": summary.again, "set aside": summary.set_aside,
             "dicomdir": summary.directories}
        )  # fmt: skip
        with self.database.transaction() as connection:
            with connection.cursor() as cursor:
                cursor.execute(
                    "update import_run set finished_at = now(), counts = %s where import_id = %s",
                    (psycopg2.extras.Json(dict(counts)), self.import_id),
                )
            rows = select(
                connection,
                "select w.window_key, count(*) as instances from imported m join receipt r using (sop_instance_uid) "
                "join sweep_window w on w.kind = 'day' and r.study_date = w.starts_on "
                "where m.window_key = %s group by w.window_key order by w.window_key",
                (self.window.key,),
            )
        summary.days = {row["window_key"]: row["instances"] for row in rows}


def _pieces(data: Buffer, start: int) -> Iterator[bytes]:
    """The bytes from `start` on; what has been read of a mapped file is let go of."""
    for at in range(start, len(data), PIECE_BYTES):
        yield data[at : at + PIECE_BYTES]
        if isinstance(data, mmap.mmap) and at // PIECE_BYTES % 16 == 15:
            data.madvise(mmap.MADV_DONTNEED, 0, at - at % mmap.PAGESIZE)


def _words(error: OSError) -> str:
    return f"it cannot be read ({error.strerror or type(error).__name__})"


def _shown(path: str) -> str:
    """A path as text that Postgres takes, whatever bytes a file system allows in a name."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "")

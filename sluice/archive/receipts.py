"""Receipts into the ledger before anything is acknowledged, also while Postgres is away.

One thread writes for all associations: what has queued up while the last commit was under way goes into the next
one. While Postgres is away, receipts go to a spool file on disk, fsync-ed, and are replayed when it is back; by
then the sender has long been told success, and rightly so.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import psycopg2
import psycopg2.extras
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, DatabaseError

log = logging.getLogger(__name__)

LARGEST_COMMIT = 200
REPLAY_EVERY_S = 2.0
AWAY_S = 2.0  # after a failure Postgres is left alone for this long
TABLES = {
    "receipt": (
        "sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid",
        "study_date", "source", "calling_ae", "called_ae", "peer", "association", "bytes", "sha256", "path",
        "received_at",
    ),
    "receipt_conflict": ("sop_instance_uid", "sha256", "path", "calling_ae", "bytes", "received_at"),
    "quarantine": ("path", "sha256", "bytes", "sop_instance_uid", "reason_code", "detail", "quarantined_at"),
}  # fmt: skip
RETURNING = "on conflict do nothing returning sop_instance_uid"
# For the receipt that comes alone, as nearly all do: Postgres parses and plans it once for each connection, which
# saves it a quarter of its work for a receipt (0.28 ms instead of 0.39).
PREPARE = (
    f"prepare one_receipt as insert into receipt ({', '.join(TABLES['receipt'])}) "
    f"values ({', '.join(f'${number}' for number in range(1, len(TABLES['receipt']) + 1))}) {RETURNING}"
)


@dataclass(frozen=True)
class Entry:
    """One row on its way into the ledger: a table of `TABLES` and its values by column."""

    table: str
    values: dict[str, Any]

    def row(self) -> tuple[Any, ...]:
        """Values in the table's column order, without NULs, which Postgres refuses."""
        values = (self.values.get(column) for column in TABLES[self.table])
        return tuple(value.replace("\x00", "") if isinstance(value, str) else value for value in values)


class _Waiting:
    """An entry whose writer waits for it, and what came of it."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.outcome: str | None = None
        self.error: OSError | None = None

    def is_settled(self) -> bool:
        return self.outcome is not None or self.error is not None


class ReceiptWriter:
    """Writes entries durably, many associations a commit.

    Whoever comes while nobody writes, writes at once, in its own thread; what queues up meanwhile goes into the next
    commit, together.

    Args:
        spool: folder for receipts while Postgres is away.
    """

    def __init__(self, database: Database, spool: Path) -> None:
        self.database = database
        self.spool = spool
        self._turn = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._writing = False
        self._stopped = threading.Event()
        self._connection: Connection | None = None
        self._away_until = 0.0
        self._file: TextIO | None = None
        self._replayer = threading.Thread(target=self._replay_now_and_then, name="receipt-replay", daemon=True)

    def start(self) -> None:
        """Begin to replay; receipts that an earlier process spooled come first."""
        self.spool.mkdir(parents=True, exist_ok=True)
        self._replayer.start()

    def stop(self) -> None:
        """Replay once more and disconnect; nobody may write any more."""
        self._stopped.set()
        self._replayer.join()
        self._disconnect()

    def write(self, entry: Entry) -> str:
        """Write one entry durably and say how it went.

        Returns:
            `written` (also when it was there already) or `spooled`; for a receipt also `conflict` (there is one with
            other content); for a conflict also `orphan` (there is no receipt that it could contradict).

        Raises:
            OSError: neither Postgres nor the disk took it.
        """
        mine = _Waiting(entry)
        with self._turn:
            self._waiting.append(mine)
        while not mine.is_settled():
            with self._turn:
                self._turn.wait_for(lambda: mine.is_settled() or not self._writing)
                if mine.is_settled():
                    break
                self._writing = True
                batch, self._waiting = self._waiting[:LARGEST_COMMIT], self._waiting[LARGEST_COMMIT:]
            try:
                self._settle(batch)
            finally:
                self._give_turn()
        if mine.error is not None:
            raise mine.error
        assert mine.outcome is not None
        return mine.outcome

    def _give_turn(self) -> None:
        with self._turn:
            self._writing = False
            self._turn.notify_all()

    def _settle(self, batch: list[_Waiting]) -> None:
        """Give each an outcome or an error, whatever happens: somebody waits for it."""
        entries = [waiting.entry for waiting in batch]
        try:
            outcomes = self._commit(entries) or self._spool(entries)
        except OSError as error:
            for waiting in batch:
                waiting.error = error
        except Exception as error:
            if len(batch) > 1:  # one of them is at fault, not Postgres
                for single in batch:
                    self._settle([single])
                return
            log.error("The ledger refused an entry (%s).", type(error).__name__)
            batch[0].error = OSError("The ledger refused the entry.")
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.outcome = outcome

    def _commit(self, entries: list[Entry]) -> list[str] | None:
        """One transaction; None while Postgres is away.

        Raises:
            psycopg2.Error: Postgres is there and refuses an entry.
        """
        for _ in range(2):  # a connection that was idle may have died with a restart of Postgres
            fresh = self._connection is None
            try:
                if time.monotonic() < self._away_until:
                    return None
                if self._connection is None:
                    self._connection = prepared(self.database.connect())
                return write_entries(self._connection, entries)
            except (psycopg2.OperationalError, psycopg2.InterfaceError, DatabaseError):
                self._disconnect()
                if fresh:
                    break
        self._away_until = time.monotonic() + AWAY_S
        log.warning("Postgres is away; receipts are spooled to disk and replayed when it is back.")
        return None

    def _disconnect(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except psycopg2.Error:
                pass
            self._connection = None

    def _spool(self, entries: list[Entry]) -> list[str]:
        if self._file is None:
            self._file = (self.spool / f"{os.getpid()}-{uuid.uuid4().hex}.jsonl").open("a", encoding="utf-8")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            descriptor = os.open(self.spool, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(descriptor)
            os.close(descriptor)
        for entry in entries:
            values = {name: value if isinstance(value, int) else _text(value) for name, value in entry.values.items()}
            self._file.write(json.dumps({"table": entry.table, "values": values}) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        return ["spooled"] * len(entries)

    def _replay_now_and_then(self) -> None:
        last = False
        while True:
            if any(self.spool.glob("*.jsonl")):
                with self._turn:
                    self._turn.wait_for(lambda: not self._writing)
                    self._writing = True
                try:
                    self._replay()
                except Exception as error:  # the next round may fare better
                    log.error("Spooled receipts could not be replayed (%s); trying again.", type(error).__name__)
                finally:
                    self._give_turn()
            if last:
                return
            last = self._stopped.wait(REPLAY_EVERY_S)

    def _replay(self) -> None:
        for path in sorted(self.spool.glob("*.jsonl")):
            with path.open("a+", encoding="utf-8") as file:
                own = self._file is not None and path.name == Path(self._file.name).name
                try:
                    if not own:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # another receiver is writing it
                file.seek(0)
                entries = list(_spooled(file))
                try:
                    done = self._commit(entries) if entries else []
                    if done and "conflict" in done:
                        self._commit(
                            [_as_conflict(entry) for entry, how in zip(entries, done, strict=True) if how == "conflict"]
                        )
                except psycopg2.Error:
                    log.error("The ledger refuses receipts of the spool file %s; it is kept.", path.name)
                    continue
                if done is None:
                    return
                path.unlink(missing_ok=True)
                if own and self._file is not None:
                    self._file.close()
                    self._file = None
                log.info("Replayed %d receipts that were spooled while Postgres was away.", len(entries))


def prepared(connection: Connection) -> Connection:
    """Make a new connection ready for `write_entries`: in autocommit mode, its statement prepared."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(PREPARE)
    return connection


def write_entries(connection: Connection, entries: list[Entry]) -> list[str]:
    """Insert entries in one transaction; the outcome of each, as `ReceiptWriter.write` tells them.

    Args:
        connection: `prepared`. Receipts alone, which is nearly always, are one statement and so one round trip.
    """
    if all(entry.table == "receipt" for entry in entries):
        with connection.cursor() as cursor:
            return _write_receipts(cursor, entries)
    outcomes = ["written"] * len(entries)
    with connection, connection.cursor() as cursor:
        for table in TABLES:
            positions = [position for position, entry in enumerate(entries) if entry.table == table]
            if table == "receipt_conflict":  # without a receipt there is nothing that they contradict
                known = _receipts(cursor, [entries[position] for position in positions])
                for position in positions:
                    if entries[position].values["sop_instance_uid"] not in known:
                        outcomes[position] = "orphan"
                positions = [position for position in positions if outcomes[position] != "orphan"]
            of_table = [entries[position] for position in positions]
            if table == "receipt" and of_table:
                for position, outcome in zip(positions, _write_receipts(cursor, of_table), strict=True):
                    outcomes[position] = outcome
            elif of_table:
                _insert(cursor, table, of_table)
    return outcomes


def _write_receipts(cursor: Any, entries: list[Entry]) -> list[str]:
    if len(entries) == 1:  # a sender waits for nearly every one of these
        cursor.execute("execute one_receipt %s", (entries[0].row(),))
        inserted = cursor.fetchall()
    else:
        inserted = _insert(cursor, "receipt", entries, RETURNING)
    if len(inserted) == len(entries):
        return ["written"] * len(entries)
    known = _receipts(cursor, entries)  # some were there already, or came twice in this commit
    return [
        "written" if known[entry.values["sop_instance_uid"]] == entry.values["sha256"] else "conflict"
        for entry in entries
    ]


def _insert(
    cursor: Any, table: str, entries: list[Entry], otherwise: str = "on conflict do nothing"
) -> list[tuple[Any, ...]]:
    """Insert rows; what the statement returns, if it does."""
    statement = f"insert into {table} ({', '.join(TABLES[table])}) values %s {otherwise}"
    rows = [entry.row() for entry in entries]
    returned: list[tuple[Any, ...]] = psycopg2.extras.execute_values(
        cursor, statement, rows, page_size=LARGEST_COMMIT, fetch="returning" in otherwise
    )
    return returned


def _receipts(cursor: Any, entries: list[Entry]) -> dict[str, str]:
    """SHA-256 of the receipts there are, by SOP Instance UID."""
    wanted = [entry.values["sop_instance_uid"] for entry in entries]
    cursor.execute("select sop_instance_uid, sha256 from receipt where sop_instance_uid = any (%s)", (wanted,))
    return dict(cursor.fetchall())


def _as_conflict(entry: Entry) -> Entry:
    """A spooled receipt that turned out to contradict the ledger when it was replayed."""
    return Entry("receipt_conflict", {name: entry.values.get(name) for name in TABLES["receipt_conflict"]})


def _spooled(lines: Iterable[str]) -> Iterable[Entry]:
    for line in lines:
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut off by a crash, so never acknowledged
        yield Entry(value["table"], value["values"])


def _text(value: Any) -> str | None:
    return None if value is None else str(value)

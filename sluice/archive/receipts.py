"""Receipts into the ledger before anything is acknowledged, also while Postgres is away.

A receipt is inserted while its file is being flushed and committed when that is done; of so many associations at once
that they queue up, what has come while the last commit was under way goes into the next one. While Postgres is away,
receipts go to a spool file on disk, fsync-ed, and are replayed when it is back; by then the sender has long been told
success, and rightly so. A server that hangs is taken for away.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import psycopg2

from sluice.archive import entries as rows
from sluice.archive.entries import LARGEST_COMMIT, Entry
from sluice.database import Database, DatabaseError, DatabaseLost, TimedConnection

log = logging.getLogger(__name__)

REPLAY_EVERY_S = 2.0
AWAY_S = 2.0  # after a failure Postgres is left alone for this long
SAY_AWAY_S = 60.0  # it is logged once in so long
LANES = 4  # receipts of a process that are inserted while their files are flushed; others wait for a common commit


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
        self._connection: TimedConnection | None = None
        self._lanes: deque[TimedConnection | None] = deque([None] * LANES)  # those that nobody uses; None: not open
        self._away_until = self._say_away_at = 0.0
        self._no_lane_until = 0.0  # after one could not be opened: Postgres may have no connection to spare
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
        while self._lanes:
            lane = self._lanes.pop()
            if lane is not None:
                lane.close()

    def begin(self, receipt: Entry) -> BegunReceipt:
        """Have a receipt inserted but not committed, while the caller makes its file durable. Never raises.

        Call `finish` or `abandon` of what is returned.
        """
        lane = self._lane()
        if lane is not None:
            try:
                rows.begin_receipt(lane, receipt)
            except Exception:  # `finish` finds out what is the matter
                self.give_back(lane, usable=False)
                lane = None
        return BegunReceipt(self, receipt, lane)

    def _lane(self) -> TimedConnection | None:
        """A connection to ourselves; None while Postgres is away, or all are in use."""
        if self._is_away():
            return None
        try:
            lane = self._lanes.pop()
        except IndexError:
            return None
        if lane is None:
            try:
                if time.monotonic() >= self._no_lane_until:
                    lane = rows.connect(self.database)
            except Exception:  # the common commit finds out what is the matter
                self._no_lane_until = time.monotonic() + AWAY_S
            if lane is None:
                self._lanes.appendleft(None)
        return lane

    def give_back(self, lane: TimedConnection, usable: bool) -> None:
        """A connection is free again; where it is not `usable` it is closed, and another opened when it is needed."""
        if usable:
            self._lanes.append(lane)
        else:
            lane.close()
            self._lanes.appendleft(None)

    def _is_away(self) -> bool:
        return time.monotonic() < self._away_until

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
            spooled = self._spooled_among(entries)
            outcomes = self._commit(entries) or self._spool(entries)
            for position, entry in enumerate(entries):
                if outcomes[position] == "orphan" and _instance(entry) in spooled:  # it is replayed after that receipt
                    outcomes[position : position + 1] = self._spool([entry])
        except OSError as error:
            for waiting in batch:
                waiting.error = error
        except Exception as error:
            if len(batch) > 1:  # one of them is at fault, not Postgres
                for single in batch:
                    self._settle([single])
                return
            log.error(
                "The ledger refused an entry (%s). If it lacks a table or column, run: python -m sluice migrate",
                type(error).__name__,
            )
            batch[0].error = OSError("The ledger refused the entry.")
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.outcome = outcome

    def _commit(self, entries: list[Entry]) -> list[str] | None:
        """One transaction; None while Postgres is away.

        Raises:
            psycopg2.Error: Postgres is there and refuses an entry.
        """
        lost: Exception | None = None
        for _ in range(2):  # a connection that was idle may have died with a restart of Postgres
            fresh = self._connection is None
            try:
                if self._is_away():
                    return None
                if self._connection is None:
                    self._connection = rows.connect(self.database)
                return rows.write_entries(self._connection, entries)
            except (psycopg2.OperationalError, psycopg2.InterfaceError, DatabaseError) as error:
                self._disconnect()
                lost = error
                if fresh or isinstance(error, DatabaseLost):  # no answer: it would not answer the next one either
                    break
        self.note_away(lost)
        return None

    def note_away(self, error: Exception | None) -> None:
        """Leave Postgres alone for a moment, and say so now and then."""
        now = time.monotonic()
        self._away_until = now + AWAY_S
        if now < self._say_away_at:
            return
        self._say_away_at = now + SAY_AWAY_S
        why = str(error) if isinstance(error, DatabaseError) else "The connection to it was lost."
        log.warning("Postgres is away; receipts are spooled to disk and replayed when it is back. %s", why)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
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

    def _spooled_among(self, entries: list[Entry]) -> set[Any]:
        """Which of the instances that are contradicted have a receipt that is spooled, by whichever process.

        To be asked before the ledger is: what is replayed meanwhile is there then.
        """
        wanted = {_instance(entry) for entry in entries if entry.table == "receipt_conflict"}
        found: set[Any] = set()
        for path in self.spool.glob("*.jsonl") if wanted else ():
            try:
                with path.open(encoding="utf-8") as file:
                    found |= {_instance(entry) for entry in _spooled(file) if entry.table == "receipt"}
            except FileNotFoundError:
                pass
        return wanted & found

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
                    spooled = self._spooled_among(entries)
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
                if any(
                    how == "orphan" and _instance(entry) in spooled for entry, how in zip(entries, done, strict=True)
                ):
                    continue  # what they contradict is in another file
                path.unlink(missing_ok=True)
                if own and self._file is not None:
                    self._file.close()
                    self._file = None
                log.info("Replayed %d receipts that were spooled while Postgres was away.", len(entries))


class BegunReceipt:
    """A receipt on its way; made by `ReceiptWriter.begin`. Without a lane it is written as a whole at the end."""

    def __init__(self, writer: ReceiptWriter, receipt: Entry, lane: TimedConnection | None) -> None:
        self._writer = writer
        self._receipt = receipt
        self._lane = lane

    def finish(self) -> str:
        """The file is durable: commit, or find another way. The outcome as `ReceiptWriter.write` tells it.

        Raises:
            OSError: neither Postgres nor the disk took it.
        """
        return "written" if self._ended("commit") else self._writer.write(self._receipt)

    def abandon(self) -> None:
        """The file did not become durable, so there is no receipt."""
        self._ended("rollback")

    def _ended(self, how: str) -> bool:
        """End the transaction; whether it committed a row. When the answer to a commit does not come nobody knows, and
        writing the receipt again tells."""
        lane, self._lane = self._lane, None
        if lane is None:
            return False
        usable = False
        try:
            inserted = bool(lane.answer())
            lane.run(how)
            usable = True
        except psycopg2.Error as error:
            if isinstance(error, DatabaseLost):
                self._writer.note_away(error)
            return False
        finally:
            self._writer.give_back(lane, usable)
        return inserted and how == "commit"


def _as_conflict(entry: Entry) -> Entry:
    """A spooled receipt that turned out to contradict the ledger when it was replayed."""
    return Entry("receipt_conflict", {name: entry.values.get(name) for name in rows.TABLES["receipt_conflict"]})


def _instance(entry: Entry) -> Any:
    return entry.values["sop_instance_uid"]


def _spooled(lines: Iterable[str]) -> Iterable[Entry]:
    for line in lines:
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut off by a crash, so never acknowledged
        yield Entry(value["table"], value["values"])


def _text(value: Any) -> str | None:
    return None if value is None else str(value)

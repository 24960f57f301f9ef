"""Retrievals in which the receiver, a worker and Postgres are killed at random points (SIGKILL), and what must hold
after each: every instance once in archive and ledger, the file the receipt tells of, nothing temporary left.

`tests/faults/test_kill_soak.py` runs a fixed list of seeds, `benchmarks/soak.py` as many and as long as asked for.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
from pydicom.dataset import Dataset

from sluice.database import Database, DatabaseError, migrate
from sluice.pacs.find.sweep import sweep
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import kill_session, listens, stop, wait_until
from tests.faults.forking import Nursery
from tests.faults.small_store import KEY, WINDOW
from tests.pacs.pretend import make_instance
from tests.pacs.sending import rows
from tests.peers.servers import fill, node, orthanc

STUDY_SIZE = 50
BYTES = (2_000, 10_000)  # of an instance's pixels, least and most
VICTIMS = ("receiver", "worker", "postgres")
LOOK_EVERY_S = 0.05
FASTER = {"SyncStorageArea": False, "SaveJobs": False, "DicomThreadsCount": 8, "MaximumStorageCacheSize": 256}


@dataclass(frozen=True)
class Outcome:
    """One retrieval.

    Attributes:
        seconds: from the first pass to the last receipt and the end of the worker.
        killed: who was killed, in order.
        attempts: requests to the PACS that the ledger knows of.
        problems: what does not hold; empty when all does.
    """

    seed: int
    instances: int
    seconds: float
    killed: list[str]
    attempts: int
    problems: list[str]


@contextmanager
def pacs_with(folder: Path, receiver_port: int, instances: int) -> Iterator[tuple[int, set[str]]]:
    """An Orthanc that holds so many small instances; its port and their SOP Instance UIDs."""
    made = make_instances(instances, *BYTES)
    with orthanc(folder, receiver_port, **FASTER) as peer:
        fill(peer, made, folder / "files")
        yield peer.port, {instance.SOPInstanceUID for instance in made}


def make_instances(count: int, least: int, most: int, study_size: int = STUDY_SIZE) -> list[Dataset]:
    """CT instances of noise in studies of `study_size` and one series each; the same every time."""
    chance = random.Random(5_000)
    made = []
    for number in range(count):
        study, place = divmod(number, study_size)
        uid = f"2.25.9.{study + 1}"
        side = int((chance.randint(least, most) / 2) ** 0.5)
        made.append(
            make_instance(
                uid, f"2.25.9.1.{study + 1}", place + 1, SOPInstanceUID=f"2.25.9.2.{number + 1}",
                Rows=side, Columns=side, PixelData=chance.randbytes(side * side * 2),
                StudyTime=f"{study % 24:02d}{study % 60:02d}00", AccessionNumber=f"A{study}",
            )
        )  # fmt: skip
    return made


@dataclass
class Soak:
    """One seed's retrieval, with its kills.

    Args:
        nursery: starts the processes.
        postgres: a running, durable cluster; killed and started again.
        pacs_port: an Orthanc that moves to `receiver_port`.
        truth: SOP Instance UIDs that it holds.
        home: empty folder for archive, spool and logs.
        kills: how many times each victim is killed.
    """

    nursery: Nursery
    postgres: EmbeddedPostgres
    pacs_port: int
    receiver_port: int
    truth: set[str]
    home: Path
    seed: int
    kills: int = 2
    threads: int = 3
    deadline_s: float = 300
    killed: list[str] = field(default_factory=list)

    def run(self) -> Outcome:
        """Sweep, retrieve under fire, compare."""
        self.home.mkdir(parents=True)
        with fresh_database(self.postgres) as url:
            self.database = Database(url)
            sweep(self.database, node("soak", self.pacs_port), WINDOW)
            self.chance = random.Random(self.seed)
            self.receiver = self.start_receiver()
            self.worker = self.start_worker()
            try:
                seconds = self._retrieve()
                self._until(lambda: not self._spooled(), "the spool is not replayed")
                problems = self.problems()
            finally:
                stop(self.worker)
                stop(self.receiver)
            left = [path.name for path in (self.home / "archive" / ".incoming").iterdir()]
            problems += [f"{len(left)} temporary files are left"] if left else []
            attempts = len(rows(self.database, "select from attempt"))
        return Outcome(self.seed, len(self.truth), seconds, self.killed, attempts, problems)

    def start_receiver(self) -> Any:
        """Our receiver as a service; returns when it listens."""
        log = self.home / "receiver.log"
        arguments = [self.database.url, str(self.home), str(self.receiver_port)]
        process = self.nursery.start("tests.faults.receiving", arguments, log)
        wait_until(lambda: listens(self.receiver_port), "The receiver", 60, process, log)
        return process

    def start_worker(self) -> Any:
        """A process that makes passes until nothing is missing."""
        arguments = [self.database.url, str(self.pacs_port), str(self.threads)]
        return self.nursery.start("tests.faults.retrieving", arguments, self.home / "worker.log")

    def _retrieve(self) -> float:
        """Kill at random points of progress and restart what is dead, until the worker is content."""
        begun = time.monotonic()
        plan = [(self.chance.randrange(len(self.truth)), victim) for victim in VICTIMS for _ in range(self.kills)]
        plan.sort()
        while self.worker.poll() != 0:
            if time.monotonic() - begun > self.deadline_s:
                raise AssertionError(
                    f"seed {self.seed}: not complete after {self.deadline_s:g} s, {self.received()} came"
                )
            if plan and self.received() >= plan[0][0]:
                time.sleep(self.chance.random() * 0.1)
                self._kill(plan.pop(0)[1])
            self._restart()
            time.sleep(LOOK_EVERY_S)
        return time.monotonic() - begun

    def _kill(self, victim: str) -> None:
        """SIGKILL: of the receiver one of its processes or all, of Postgres all at once."""
        self.killed.append(victim)
        if victim == "postgres":
            assert self.postgres.process is not None
            kill_session(self.postgres.process.pid)
            self.postgres.process.wait()
            time.sleep(self.chance.random())
            self.postgres.start()
        elif victim == "worker":
            with suppress(ProcessLookupError):  # it has just ended by itself, because Postgres was away
                os.killpg(self.worker.pid, signal.SIGKILL)
        elif self.chance.random() < 0.5:
            kill_session(self.receiver.pid)
        else:
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(_family(self.receiver.pid)), signal.SIGKILL)

    def _restart(self) -> None:
        """As a service manager does: what ended is cleared away and started again."""
        if self.receiver.poll() is not None:
            stop(self.receiver)
            self.receiver = self.start_receiver()
        if self.worker.poll() not in (None, 0):
            stop(self.worker)
            self.worker = self.start_worker()

    def received(self) -> int:
        """Receipts in the ledger; what was last seen while Postgres is away."""
        with suppress(DatabaseError, psycopg2.Error):
            self._seen = len(rows(self.database, "select from receipt"))
        return getattr(self, "_seen", 0)

    def _spooled(self) -> list[Path]:
        return list((self.home / "spool").glob("*.jsonl"))

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, f"seed {self.seed}: {what}"
            time.sleep(LOOK_EVERY_S)

    def problems(self) -> list[str]:
        """What does not hold of PACS, ledger and archive."""
        archive = self.home / "archive"
        found: list[str] = []

        def check(holds: bool, what: str) -> None:
            if not holds:
                found.append(what)

        expected = [str(row["uid"]) for row in rows(self.database, "select sop_instance_uid as uid from expectation")]
        receipts = rows(self.database, "select sop_instance_uid as uid, path, sha256, bytes from receipt")
        files = {path.relative_to(archive).as_posix() for path in archive.glob("*/*/*.dcm")}
        check(set(expected) == self.truth, f"expected {len(expected)} of {len(self.truth)}")
        check(sorted(str(row["uid"]) for row in receipts) == sorted(self.truth), f"{len(receipts)} receipts")
        check(files == {str(row["path"]) for row in receipts}, f"{len(files)} files for {len(receipts)} receipts")
        for row in receipts:
            data = (archive / str(row["path"])).read_bytes() if row["path"] in files else b""
            check(len(data) == row["bytes"], "a file of another size")
            check(hashlib.sha256(data).hexdigest() == row["sha256"], "a file with another digest")
        for table in ("receipt_conflict", "quarantine"):
            count = len(rows(self.database, f"select from {table}"))
            check(count == 0, f"{count} rows of {table}")
        gaps = len(rows(self.database, f"select from open_gap where step = 'received' and window_key = '{KEY}'"))
        check(gaps == 0, f"{gaps} open gaps")
        return found


@contextmanager
def fresh_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of an empty, migrated database of its own, dropped at the end."""
    name = f"fresh_{uuid.uuid4().hex[:12]}"
    _administer(postgres, f"create database {name}")
    migrate(postgres.url(name))
    yield postgres.url(name)
    _administer(postgres, f"drop database {name} with (force)")


def _administer(postgres: EmbeddedPostgres, statement: str) -> None:
    admin = psycopg2.connect(postgres.url("postgres"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(statement)
    admin.close()


def _family(leader: int) -> list[int]:
    """Processes of the session that `leader` opened."""
    members = []
    for entry in Path("/proc").iterdir():
        with suppress(ValueError, ProcessLookupError, PermissionError):
            if os.getsid(int(entry.name)) == leader:
                members.append(int(entry.name))
    return members or [leader]

"""C-MOVE from Orthanc into our receiver beside DCMTK's `movescu` to `storescp`.

The window is swept before. Ours is what the DAG does: plan what is missing, ask for it, receive it durably with a
receipt each, wait, and write the attempts; over as many associations as a PACS is usually given (2). DCMTK is
measured three times: one `movescu` that is given all studies, two at once with half of them each, which is about what
this PACS can send, and one started for every study. Niffler starts a Java program for every study, which is not
packaged where this runs; pynetdicom's `movescu`, which also has an interpreter to start, is there to compare, without a
goal, on the first `SCRIPTED` studies. `storescp` takes what all of them bring, writes files without making them durable
and proves nothing. `TCP_NODELAY=1` for all sides.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.run import Row
from sluice.database import Database
from sluice.pacs.fetch.retrieve import missing_studies, move_missing
from sluice.pacs.find.sweep import sweep
from sluice.pacs.node import PacsNode
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import free_port, listens, start, stop, wait_until
from sluice.windows import Window
from tests.faults.soak import FASTER, fresh_database, make_instances
from tests.peers.servers import fill, orthanc

WINDOW = Window.of_day(date(2026, 10, 26))
QUICK = os.environ | {"TCP_NODELAY": "1"}
ASSOCIATIONS = 2
ROUNDS = 3
GOAL = 10.0
SCRIPTED = 20
MOVESCU: tuple[str | Path, ...] = ("/usr/bin/movescu", "-S")
PYNETDICOM_MOVESCU: tuple[str | Path, ...] = (sys.executable, "-m", "pynetdicom", "movescu", "-q", "-S")
DCMTK_AE_TITLE = "STORE"


@dataclass(frozen=True)
class Load:
    """What the PACS holds: studies of so many instances of `least` to `most` bytes."""

    name: str
    studies: int
    instances: int
    least: int
    most: int

    @property
    def total(self) -> int:
        """Instances of all studies."""
        return self.studies * self.instances


SMALL = Load("small studies (200 × 5 of 10–50 kB)", 200, 5, 10_000, 50_000)
LARGE = Load("large studies (4 × 100 of 0.5 MB)", 4, 100, 500_000, 520_000)


@dataclass(frozen=True)
class Bench:
    """One PACS with its load and where each side receives."""

    load: Load
    work: Path
    pacs: PacsNode
    postgres: EmbeddedPostgres
    receiver_port: int
    store_port: int


def run(work: Path) -> list[Row]:
    """Alternate the sides `ROUNDS` times for each load; medians in instances a second."""
    rows = []
    with EmbeddedPostgres(work / "postgres", durable=True) as postgres:
        for load in (SMALL, LARGE):
            with _bench(work / str(load.studies), load, postgres) as bench:
                figures = _alternate(
                    {
                        "ours": lambda number: ours(bench, number, ASSOCIATIONS),
                        "ours over one": lambda number: ours(bench, number, 1),
                        "one movescu": lambda number: dcmtk(bench, number, [_query_files(bench)]),
                        "two at once": lambda number: dcmtk(bench, number, _halves(_query_files(bench)), at_once=True),
                        "one each": lambda number: dcmtk(bench, number, [[path] for path in _query_files(bench)]),
                        "script": lambda number: dcmtk(
                            bench, number, [[path] for path in _query_files(bench)[:SCRIPTED]], PYNETDICOM_MOVESCU
                        ),
                    }
                )
            peers = {
                "one each": "a movescu for each study",
                "script": "pynetdicom's movescu for each study",
                "one movescu": "one movescu for all",
                "two at once": "two movescu, half each",
            }
            for peer, name in peers.items():
                goal = GOAL if load is SMALL and peer == "one each" else None
                rows.append(_row(load.name, figures["ours"], figures[peer], name, goal))
            rows.append(
                _row(
                    f"{load.name}, one association", figures["ours over one"], figures["one movescu"],
                    peers["one movescu"], None,
                )
            )  # fmt: skip
    return rows


def _halves(paths: list[Path]) -> list[list[Path]]:
    return [paths[::2], paths[1::2]]


def _row(name: str, ours: float, peer: float, peer_name: str, goal: float | None) -> Row:
    ratio = ours / peer
    return Row(
        name, round(ours, 1), round(peer, 1), peer_name, "instances/s", round(ratio, 3), goal,
        goal is None or ratio >= goal,
    )  # fmt: skip


def _alternate(sides: dict[str, Callable[[int], float]]) -> dict[str, float]:
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS):
        for name, side in sides.items():
            rates[name].append(side(number))
    return {name: statistics.median(values) for name, values in rates.items()}


@contextmanager
def _bench(folder: Path, load: Load, postgres: EmbeddedPostgres) -> Iterator[Bench]:
    folder.mkdir()
    receiver_port, store_port = free_port(), free_port()
    modalities = {
        "sluice": ["SLUICE", "127.0.0.1", receiver_port],
        "store": [DCMTK_AE_TITLE, "127.0.0.1", store_port],
        "asker": ["SLUICE_TEST", "127.0.0.1", receiver_port],
        "scanner": ["SCANNER", "127.0.0.1", receiver_port],
    }
    with orthanc(folder, receiver_port, **FASTER, DicomModalities=modalities) as pacs:
        fill(pacs, make_instances(load.total, load.least, load.most, load.instances), folder / "files")
        shutil.rmtree(folder / "files")
        yield Bench(load, folder, pacs, postgres, receiver_port, store_port)


def ours(bench: Bench, number: int, associations: int) -> float:
    """Instances a second of one whole retrieval into an empty archive and ledger."""
    home = bench.work / f"ours-{number}-{associations}"
    with fresh_database(bench.postgres) as url:
        database = Database(url)
        sweep(database, bench.pacs, WINDOW)
        studies = missing_studies(database, WINDOW.key)
        parts = [studies[part::associations] for part in range(associations)]
        with _receiver(url, home, bench.receiver_port):
            started = time.perf_counter()
            passes = [
                threading.Thread(target=move_missing, args=(database, bench.pacs, WINDOW.key, part)) for part in parts
            ]
            for one in passes:
                one.start()
            for one in passes:
                one.join()
            seconds = time.perf_counter() - started
        if missing_studies(database, WINDOW.key):
            raise RuntimeError("Not everything was retrieved: the benchmark means nothing.")
    shutil.rmtree(home)
    return bench.load.total / seconds


@contextmanager
def _receiver(url: str, home: Path, port: int) -> Iterator[None]:
    home.mkdir()
    settings = {"SLUICE_DATABASE_URL": url, "SLUICE_HOME": str(home), "SLUICE_RECEIVER_PORT": str(port)}
    log = home / "receiver.log"
    process = start([sys.executable, "-m", "sluice", "receive"], log, QUICK | settings)
    try:
        wait_until(lambda: listens(port), "The receiver", 60, process, log)
        yield
    finally:
        stop(process)


def dcmtk(
    bench: Bench,
    number: int,
    calls: Sequence[Sequence[Path]],
    program: Sequence[str | Path] = MOVESCU,
    at_once: bool = False,
) -> float:
    """Instances a second of `movescu` processes, each with these query files, one after the other or all at once."""
    received = bench.work / f"storescp-{number}-{len(calls)}-{at_once}"
    received.mkdir()
    log = bench.work / "storescp.log"
    serving = ["/usr/bin/storescp", *(["--fork"] if at_once else []), "-aet", DCMTK_AE_TITLE, "-od", received]
    store = start([*serving, str(bench.store_port)], log, QUICK)
    expected = bench.load.instances * sum(map(len, calls))
    try:
        wait_until(lambda: listens(bench.store_port), "storescp", 20, store, log)
        started = time.perf_counter()
        running: list[subprocess.Popen[bytes]] = []
        for files in calls:
            running.append(subprocess.Popen(_call(bench.pacs, program, files), env=QUICK, stdout=subprocess.DEVNULL))
            if not at_once:
                running[-1].wait()
        if any(one.wait() for one in running):
            raise RuntimeError(f"{Path(program[0]).name} failed: the benchmark means nothing.")
        seconds = time.perf_counter() - started
    finally:
        stop(store)
    count = sum(1 for _ in received.iterdir())
    if count != expected:
        raise RuntimeError(f"storescp has {count} of {expected} files: the benchmark means nothing.")
    shutil.rmtree(received)
    return expected / seconds


def _call(pacs: PacsNode, program: Sequence[str | Path], files: Sequence[Path]) -> list[str | Path]:
    """The command line for one process: pynetdicom's takes one query file by an option, DCMTK's many at the end."""
    titles = ["-aet", pacs.calling_ae_title, "-aec", pacs.ae_title, "-aem", DCMTK_AE_TITLE]
    if program is MOVESCU:
        return [*program, *titles, pacs.host, str(pacs.port), *files]
    return [*program, *titles, "-f", files[0], pacs.host, str(pacs.port)]


def _query_files(bench: Bench) -> list[Path]:
    """A query file for each study; written once."""
    folder = bench.work / "queries"
    if not folder.is_dir():
        folder.mkdir()
        for study in range(bench.load.studies):
            _query_file(folder / f"{study:04d}.dcm", f"2.25.9.{study + 1}")
    return sorted(folder.iterdir())


def _query_file(path: Path, study_uid: str) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "2.25.1"
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study_uid
    FileDataset(str(path), query, b"\0" * 128, meta).save_as(path, enforce_file_format=True)

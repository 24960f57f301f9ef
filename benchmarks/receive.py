"""Our receiver beside DCMTK's storescp, Orthanc and a plain pynetdicom SCP: 1,000 CT instances of 0.5 MB.

The sender is DCMTK's dcmsend with TCP_NODELAY for all (without it Nagle's algorithm adds 40 ms an instance, and the
figures mean nothing), over one association and over four at once. Ours answers when the file is durable and its
receipt committed by a Postgres with fsync on. storescp (a process for each association) and the pynetdicom SCP write a
file and flush nothing; Orthanc flushes each file (SyncStorageArea) and notes it in SQLite. What durability costs is
measured by taking its two halves away from ours: the flushes of file and folder, and Postgres' own.

In each round the sides take turns, and each round begins with another; what they wrote is removed at the end, because
ext4 is slow to make files for minutes where many have just been removed. That takes 22 GB of disk for 1,000 instances.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from benchmarks.headers import write_corpus
from benchmarks.run import Row
from sluice.database import migrate
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import free_port, listens, start, stop, wait_until

INSTANCES = int(os.environ.get("SLUICE_BENCH_INSTANCES", "1000"))
ROUNDS = int(os.environ.get("SLUICE_BENCH_ROUNDS", "3"))
ASSOCIATIONS = (1, 4)
GOAL = 1.0
NO_DELAY = os.environ | {"TCP_NODELAY": "1"}
DCMSEND, STORESCP, ORTHANC = "/usr/bin/dcmsend", "/usr/bin/storescp", "/usr/sbin/Orthanc"


@dataclass(frozen=True)
class Side:
    """One receiver under test.

    Attributes:
        command: makes the command line from a port and a folder for what it stores.
        environment: of its process, from the same.
    """

    name: str
    command: Callable[[int, Path], list[str | Path]]
    environment: Callable[[int, Path], dict[str, str]] = lambda port, folder: {}


def run(work: Path) -> list[Row]:
    """Alternate the sides `ROUNDS` times; medians in instances a second."""
    for program in (DCMSEND, STORESCP, ORTHANC):
        if not Path(program).exists():
            raise RuntimeError(f"{program} is missing. Run: apt-get install -y --no-install-recommends dcmtk orthanc")
    parts = _corpus(work / "corpus")
    figures: dict[tuple[str, int], list[float]] = {}
    with (
        EmbeddedPostgres(work / "durable", durable=True) as durable,
        EmbeddedPostgres(work / "careless", durable=False) as careless,
    ):
        for server in (durable, careless):
            migrate(server.url("sluice"))
        sides = [
            Side("DCMTK storescp --fork", _storescp),
            Side("Orthanc", _orthanc),
            Side("plain pynetdicom", lambda port, folder: [*_python(), "plain", str(port), folder]),
            _ours("ours", durable, "receive"),
            _ours("ours, file and folder not flushed", durable, "careless"),
            _ours("ours, Postgres not flushed", careless, "receive"),
            _ours("ours, nothing flushed", careless, "careless"),
        ]
        for number in range(ROUNDS):
            turn = number % len(sides)
            for associations in ASSOCIATIONS:
                for side in sides[turn:] + sides[:turn]:
                    folder = work / "stored" / f"{number}-{associations}-{side.name.replace(' ', '-')}"
                    rate = _rate(side, folder, parts, associations)
                    figures.setdefault((side.name, associations), []).append(rate)
    middle = {key: statistics.median(values) for key, values in figures.items()}
    return [_row(middle, associations, side) for associations in ASSOCIATIONS for side in sides if side.name != "ours"]


def _row(middle: dict[tuple[str, int], float], associations: int, side: Side) -> Row:
    ours, peer = middle["ours", associations], middle[side.name, associations]
    goal = GOAL if side.name.startswith("DCMTK") else None
    name = f"received, {associations} association{'s' if associations > 1 else ''}"
    ratio = ours / peer
    return Row(
        name, round(ours, 1), round(peer, 1), side.name, "instances/s", round(ratio, 3), goal, not goal or ratio >= goal
    )


def _corpus(folder: Path) -> list[Path]:
    """Instances in as many folders as there are associations at most."""
    folder.mkdir()
    parts = [folder / f"part{number}" for number in range(max(ASSOCIATIONS))]
    for part in parts:
        part.mkdir()
    for number, path in enumerate(write_corpus(folder, INSTANCES)):
        path.rename(parts[number % len(parts)] / path.name)
    return parts


def _rate(side: Side, folder: Path, parts: list[Path], associations: int) -> float:
    """Instances a second from the senders' start to the end of the last."""
    share = len(parts) // associations
    groups = [parts[begin : begin + share] for begin in range(0, len(parts), share)]
    with _running(side, folder) as port:
        command = [DCMSEND, "-q", "-aec", "SLUICE", "127.0.0.1", str(port), "+sd"]
        started = time.perf_counter()
        senders = [subprocess.Popen([*command, *map(str, group)], env=NO_DELAY) for group in groups]
        codes = [sender.wait(600) for sender in senders]
        seconds = time.perf_counter() - started
    stored = sum(path.is_file() and path.stat().st_size > 500_000 for path in folder.rglob("*"))
    if any(codes) or stored != INSTANCES:
        raise RuntimeError(f"{side.name} did not take everything: the benchmark means nothing.")
    return INSTANCES / seconds


@contextmanager
def _running(side: Side, folder: Path) -> Iterator[int]:
    port, log = free_port(), folder.with_suffix(".log")
    folder.mkdir(parents=True)
    process = start(side.command(port, folder), log, NO_DELAY | side.environment(port, folder), folder)
    try:
        wait_until(lambda: listens(port), side.name, 90, process, log)
        subprocess.run(["/usr/bin/echoscu", "-aec", "SLUICE", "127.0.0.1", str(port)], env=NO_DELAY, check=True)
        yield port
    finally:
        stop(process)


def _python() -> list[str | Path]:
    return [sys.executable, "-m", "benchmarks.receive"]


def _ours(name: str, server: EmbeddedPostgres, how: str) -> Side:
    """`python -m sluice receive`, or the same with fsync taken away, on an empty archive and ledger."""

    def environment(port: int, folder: Path) -> dict[str, str]:
        admin = psycopg2.connect(server.url("postgres"))
        admin.autocommit = True
        database = f"bench_{port}_{time.monotonic_ns()}"
        with admin.cursor() as cursor:
            cursor.execute(f"create database {database} template sluice")
        admin.close()
        return {
            "SLUICE_HOME": str(folder),
            "SLUICE_DATABASE_URL": server.url(database),
            "SLUICE_RECEIVER_PORT": str(port),
            "SLUICE_RECEIVER_MIN_FREE_BYTES": "1",
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        }

    return Side(name, lambda port, folder: [*_python(), how], environment)


def _storescp(port: int, folder: Path) -> list[str | Path]:
    return [STORESCP, "--fork", "-od", folder, "-aet", "SLUICE", str(port)]


def _orthanc(port: int, folder: Path) -> list[str | Path]:
    index = folder.with_suffix(".index")  # its database grows larger than an instance
    index.mkdir()
    configuration = {
        "Name": "bench", "StorageDirectory": str(folder), "IndexDirectory": str(index), "Plugins": [],
        "HttpServerEnabled": False, "DicomAet": "SLUICE", "DicomPort": port, "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True, "SyncStorageArea": True,
    }  # fmt: skip
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    return [ORTHANC, path]


def _plain(port: int, folder: Path) -> None:
    """The SCP of pynetdicom's documentation, writing what comes as it comes."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification

    from sluice.pacs.serving import no_delay

    def store(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    entity = AE(ae_title="SLUICE")
    entity.supported_contexts = AllStoragePresentationContexts
    entity.add_supported_context(Verification)
    entity.maximum_pdu_size = 131_072
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_CONN_OPEN, no_delay)])


def _serve(how: str) -> None:
    """A receiver of ours; `careless` takes away what makes files durable."""
    from sluice.pacs.receiver.receive import serve

    if how == "careless":
        os.fsync = lambda descriptor: None
    serve()


if __name__ == "__main__":
    if sys.argv[1] == "plain":
        _plain(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        _serve(sys.argv[1])

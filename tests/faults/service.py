"""`python -m sluice receive` as a process of its own, with settings as a site gives them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sluice.archive.receipts import LANES
from sluice.stack.processes import free_port, listens, start, stop, wait_until

CONNECTIONS = LANES + 1  # to Postgres, which each process opens when it first needs them, and keeps


@dataclass
class Service:
    """A receiver that runs.

    Attributes:
        port: where it listens.
        home: its folder; the archive is in it.
        process: the parent of those that serve.
        log: what it writes.
    """

    port: int
    home: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def archive(self) -> Path:
        return self.home / "archive"

    @property
    def incoming(self) -> list[Path]:
        return list((self.archive / ".incoming").iterdir())

    def processes(self) -> list[psutil.Process]:
        """The parent and those that serve, the oldest first."""
        parent = psutil.Process(self.process.pid)
        return [parent, *sorted(parent.children(recursive=True), key=lambda child: child.pid)]

    def descriptors(self) -> list[int]:
        """Open file descriptors of each process."""
        return [process.num_fds() for process in self.processes()]

    def threads(self) -> list[int]:
        """Threads of each process."""
        return [process.num_threads() for process in self.processes()]

    def peak_memory(self) -> int:
        """The most that any of its processes ever held, bytes."""
        peaks = []
        for process in self.processes():
            status = Path(f"/proc/{process.pid}/status").read_text()
            (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
            peaks.append(int(line.split()[1]) * 1024)
        return max(peaks)


@contextmanager
def service(url: str, home: Path, port: int | None = None, **settings: Any) -> Iterator[Service]:
    """A running receiver, by settings as environment variables; SIGTERM at the end."""
    port = port or free_port()
    given = {"database_url": url, "home": home, "receiver_port": port, "receiver_min_free_bytes": 1} | settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    environment |= {f"SLUICE_{name.upper()}": str(value) for name, value in given.items()}
    log = home.parent / f"{home.name}.log"
    process = start([sys.executable, "-m", "sluice", "receive"], log, environment)
    try:
        wait_until(lambda: listens(port), "The receiver", 90, process, log)
        yield Service(port, home, process, log)
    finally:
        stop(process)

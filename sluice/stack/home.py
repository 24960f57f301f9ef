"""A stack's folder: one stack at a time in it, ports that stay the same, leftovers of a crash cleaned up."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from sluice.stack.processes import StackError, free_port, is_free, kill_session

MIN_FREE_BYTES = 3 << 30  # a demo day, Airflow's logs and the receiver's own reserve fit
PATIENCE_S = 15.0


class HomeLock:
    """The right to run a stack in a folder; the kernel takes it back when its holder ends.

    Args:
        home: the stack's folder.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "run" / "lock"
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            StackError: another stack runs in this folder.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise StackError(
                f"A stack already runs in {self.path.parent.parent} (process {self.holder() or 'unknown'}). "
                "Stop it with `make down` or Ctrl-C where it runs, or choose another folder by SLUICE_HOME."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    @property
    def is_ours(self) -> bool:
        """Whether we hold it."""
        return self._file is not None

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None

    def is_held(self) -> bool:
        """Whether a stack runs in the folder now, ours or another process's."""
        try:
            with self.path.open("a+", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def holder(self) -> int | None:
        """Process id of the stack that runs in the folder, None when it cannot be told."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return None


def check_space(home: Path, wanted: int = MIN_FREE_BYTES) -> None:
    """Refuse to start on a disk that is nearly full.

    Raises:
        StackError: less than `wanted` bytes are free.
    """
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if free < wanted:
        raise StackError(
            f"Only {free / 1e9:.1f} GB are free under {home}; the stack needs {wanted / 1e9:.1f} GB. "
            "Free some space, or choose another folder by SLUICE_HOME. Nothing was changed."
        )


class Ports:
    """Ports by name, the same at each start unless another program took one meanwhile.

    Args:
        home: the stack's folder; the ports are kept in its `run/ports.json`.
        fixed: ports that the user chose; taken ones are an error rather than replaced.
    """

    def __init__(self, home: Path, fixed: dict[str, int]) -> None:
        self.path = home / "run" / "ports.json"
        self.fixed = fixed
        self._ports: dict[str, int] = _read(self.path, {})

    def of_running(self, name: str) -> int:
        """The port that `of` gave a part, which may listen on it by now; 0 when it was not asked."""
        return self.fixed.get(name) or self._ports.get(name, 0)

    def of(self, name: str) -> int:
        """The port of a part that is about to start.

        Raises:
            StackError: the user chose it and another program listens on it.
        """
        if name in self.fixed:
            port = self.fixed[name]
            if not is_free(port):
                raise StackError(
                    f"Port {port} for {name} is taken by another program. Choose another one, or none for a free one."
                )
            return port
        port = self._ports.get(name, 0)
        others = {other for key, other in self._ports.items() if key != name}
        while port == 0 or port in others or not is_free(port):
            port = free_port()
        self._ports[name] = port
        _write(self.path, self._ports)
        return port


class Leftovers:
    """The processes that a stack started, written down so that the next start can end what a crash left.

    Args:
        home: the stack's folder.
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "run" / "processes.json"

    def note(self, name: str, pid: int) -> None:
        """Write down a process that was started."""
        with suppress(psutil.NoSuchProcess):
            entry = {"name": name, "pid": pid, "started": psutil.Process(pid).create_time()}
            _write(self.path, [*_read(self.path, []), entry])

    def forget(self) -> None:
        """Everything was stopped."""
        self.path.unlink(missing_ok=True)

    def end(self) -> list[str]:
        """End the noted processes that still run; return their names. A recycled process id is left alone."""
        running = [(str(entry["name"]), int(entry["pid"])) for entry in _read(self.path, []) if _still_runs(entry)]
        for name, pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT if name == "postgres" else signal.SIGTERM)
        end = time.monotonic() + PATIENCE_S
        for _, pid in running:
            while psutil.pid_exists(pid) and time.monotonic() < end:
                time.sleep(0.1)
            kill_session(pid)
        self.forget()
        return [name for name, _ in running]


def _still_runs(entry: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(int(entry["pid"]))
        is_the_same = abs(process.create_time() - float(entry["started"])) < 1
        return is_the_same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


def _read(path: Path, default: Any) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default  # not written yet, or cut off by a crash
    return value if isinstance(value, type(default)) else default


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.rename(path)

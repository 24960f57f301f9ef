"""Child processes that never outlive us, ports that are free, secrets that are generated once."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class StackError(RuntimeError):
    """An embedded part cannot be started; the message says what to do."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def secret(path: Path, length: int = 24) -> str:
    """The secret kept in `path` (mode 0600), generated the first time."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.touch(mode=0o600)
        temporary.write_text(secrets.token_hex(length))
        try:
            os.link(temporary, path)  # two starts at once agree on the first
        except FileExistsError:
            pass
        temporary.unlink()
    return path.read_text().strip()


def start(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own; the kernel ends it when we die, even by SIGKILL."""
    parent = os.getpid()

    def die_with_parent() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=None if environment is None else dict(environment),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, patience_s: float = 15) -> None:
    """Stop a server and everything in its process group."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def wait_until(
    ready: Callable[[], bool], what: str, deadline_s: float, process: subprocess.Popen[bytes], log: Path
) -> None:
    """Wait until `ready()`; raise with the end of the log when the process ends or the deadline passes first.

    Raises:
        StackError: it did not become ready.
    """
    end = time.monotonic() + deadline_s
    while not ready():
        if process.poll() is not None:
            raise StackError(f"{what} ended with code {process.returncode}. Its log {log} ends:\n{_tail(log)}")
        if time.monotonic() > end:
            raise StackError(f"{what} was not ready after {deadline_s:.0f} s. Its log {log} ends:\n{_tail(log)}")
        time.sleep(0.1)


def _tail(log: Path, lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"

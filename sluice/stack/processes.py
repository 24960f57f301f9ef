"""Child processes that never outlive us, ports that are free, secrets that are generated once."""

from __future__ import annotations

import ctypes
import os
import random
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
PORT_RANGE = (20_000, 32_000)  # below the range that outgoing connections take theirs from
_libc = ctypes.CDLL(None, use_errno=True)


class StackError(RuntimeError):
    """An embedded part cannot be started; the message says what to do."""


def is_free(port: int) -> bool:
    """Whether nobody listens on this TCP port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections that linger do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Whether somebody accepts TCP connections on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    chance = random.SystemRandom()
    for _ in range(1_000):
        port = chance.randrange(*PORT_RANGE)
        if is_free(port):
            return port
    raise StackError(f"No free TCP port on 127.0.0.1 between {PORT_RANGE[0]} and {PORT_RANGE[1]}.")


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


def end_with_parent(parent: int) -> None:
    """Have the kernel send us SIGTERM when process `parent` ends, even by SIGKILL; end at once if it already has.

    The kernel forgets this wish when a program changes its user; `setpriv --pdeathsig` renews it.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def start(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own; the kernel ends it when we die, even by SIGKILL.

    Call it from the main thread: the kernel takes the end of the calling *thread* for our death.
    """
    parent = os.getpid()
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
            preexec_fn=lambda: end_with_parent(parent),
        )


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, patience_s: float = 15) -> None:
    """Stop a server and everything in its session."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            pass
    kill_session(process.pid)
    process.wait()


def kill_session(leader: int) -> None:
    """SIGKILL every process of the session that process `leader` opened, whatever process group it moved to."""
    for _ in range(50):  # one that was forking while we looked is met in the next round
        members = [pid for pid in _pids() if _session(pid) == leader]
        if not members:
            return
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
        if members == [leader]:
            return  # ours to reap


def run_to_end(
    command: Sequence[str | Path],
    what: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    deadline_s: float = 300,
) -> None:
    """Run a program that ends by itself.

    Raises:
        StackError: it failed or did not end in time; the message ends with its log's last lines.
    """
    process = start(command, log, environment)
    try:
        process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        raise StackError(f"{what} did not end within {deadline_s:.0f} s. Its log {log} ends:\n{tail(log)}") from None
    finally:
        stop(process)
    if process.returncode:
        raise StackError(f"{what} failed with code {process.returncode}. Its log {log} ends:\n{tail(log)}")


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
            raise StackError(f"{what} ended with code {process.returncode}. Its log {log} ends:\n{tail(log)}")
        if time.monotonic() > end:
            raise StackError(f"{what} was not ready after {deadline_s:.0f} s. Its log {log} ends:\n{tail(log)}")
        time.sleep(0.1)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None

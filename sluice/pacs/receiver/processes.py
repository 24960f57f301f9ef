"""The receiver's processes: one parent that accepts, children that serve.

Python runs one thread at a time in a process, so several processes are what uses several cores. The parent takes each
connection from the port and hands its descriptor to the child with the fewest associations, so that they spread evenly
whatever the senders do; it touches no DICOM, so nothing a sender does can stop it. A child that dies is replaced. The
children's channels to the parent are also how they learn that it is gone, even by SIGKILL: then they end.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import selectors
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from sluice.pacs.receiver.scp import StorageScp

log = logging.getLogger(__name__)

REPORT_EVERY_S = 60.0
STOP_S = 20.0
MOST_QUICK_DEATHS = 5
QUICK_S = 2.0
MESSAGE_BYTES = 1 << 16
CONNECTION, OVER = b"+", b"-"


class ProcessesError(RuntimeError):
    """The receiver's processes do not stay up; the message says what to do."""


@dataclass
class _Child:
    """A serving process as the parent knows it."""

    pid: int
    channel: socket.socket
    started: float
    associations: int = 0
    counts: Counter[str] = field(default_factory=Counter)


class ReceiverProcesses:
    """Serves a listening socket by several processes.

    Args:
        listener: the port.
        scp: makes the Storage SCP of a child, in the child.
        number: how many processes serve.
    """

    def __init__(self, listener: socket.socket, scp: Callable[[], StorageScp], number: int) -> None:
        self._listener = listener
        self._scp = scp
        self._number = number
        self._children: dict[int, _Child] = {}  # by the descriptor of the channel
        self._gone: Counter[str] = Counter()  # what children counted that have ended
        self._quick_deaths = 0
        self._stopping = False
        self._selector = selectors.DefaultSelector()

    def run(self) -> Counter[str]:
        """Serve until SIGTERM or SIGINT; what came in. Call it from the main thread of a process without others.

        Raises:
            ProcessesError: the children keep dying as soon as they start.
        """
        woken, wake = socket.socketpair()
        wake.setblocking(False)
        before = {number: signal.signal(number, self._asked_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        former_wake = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(512))
        try:
            for _ in range(self._number):
                self._start_child()
            self._watch()
        finally:
            self._stop_children()
            signal.set_wakeup_fd(former_wake)
            for number, handler in before.items():
                signal.signal(number, handler)
            for closed in (self._selector, woken, wake):
                closed.close()
        return self._counts()

    def _watch(self) -> None:
        reported: Counter[str] = Counter()
        next_report = time.monotonic() + REPORT_EVERY_S
        while not self._stopping:
            for key, _ in self._selector.select(max(0.0, next_report - time.monotonic())):
                key.data()
            if time.monotonic() >= next_report:
                next_report += REPORT_EVERY_S
                if (counts := self._counts()) != reported:
                    reported = counts
                    log.info("%s", in_words(counts))

    def _accept(self) -> None:
        """Hand one connection to the child that has the fewest."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(0.1)  # they are handed on and closed, so some come free
            return
        with connection:
            for child in sorted(self._children.values(), key=lambda child: child.associations):
                try:
                    socket.send_fds(child.channel, [CONNECTION], [connection.fileno()])
                except OSError:
                    continue  # it is dying, or does not keep up
                child.associations += 1
                return

    def _start_child(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become_child(theirs)
        theirs.close()
        ours.setblocking(False)
        child = _Child(pid, ours, time.monotonic())
        self._children[ours.fileno()] = child
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child))

    def _become_child(self, channel: socket.socket) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, lambda *_: channel.shutdown(socket.SHUT_RD))
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of us; the parent decides
            self._selector.close()
            self._listener.close()
            for sibling in self._children.values():
                sibling.channel.close()  # or it would not learn that the parent is gone
            _serve_channel(channel, self._scp())
            code = 0
        except Exception as error:
            log.error("A process of the receiver ends: %s: %s", type(error).__name__, error)
        finally:
            os._exit(code)

    def _hear(self, child: _Child) -> None:
        """Read what a child has to say; replace it when that is nothing any more."""
        try:
            message = child.channel.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message == OVER:
            child.associations -= 1
        elif message:
            child.counts = Counter(json.loads(message))
        else:
            self._bury(child)
            if not self._stopping:
                self._replace(child)

    def _bury(self, child: _Child) -> None:
        self._selector.unregister(child.channel)
        del self._children[child.channel.fileno()]
        child.channel.close()
        os.waitpid(child.pid, 0)
        self._gone += child.counts

    def _replace(self, child: _Child) -> None:
        log.error("A process of the receiver died; starting another. What it had not acknowledged will be sent again.")
        quick = time.monotonic() - child.started < QUICK_S
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        if self._quick_deaths >= MOST_QUICK_DEATHS:
            raise ProcessesError(
                "The receiver's processes die as soon as they start. What they log before says why; is there memory?"
            )
        self._start_child()

    def _stop_children(self) -> None:
        """Close their channels, and SIGKILL those that take too long; hear their last counts."""
        self._stopping = True
        self._selector.unregister(self._listener)
        self._listener.close()
        for child in self._children.values():
            child.channel.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + STOP_S
        while self._children:
            left = deadline - time.monotonic()
            if left <= 0:
                for child in self._children.values():
                    os.kill(child.pid, signal.SIGKILL)
            for key, _ in self._selector.select(min(max(left, 0.1), 1.0)):
                key.data()

    def _counts(self) -> Counter[str]:
        total = Counter(self._gone)
        for child in self._children.values():
            total += child.counts
        return total

    def _asked_to_stop(self, *_: object) -> None:
        self._stopping = True


def _serve_channel(channel: socket.socket, scp: StorageScp) -> None:
    """A child's life: serve what the parent hands over until the channel ends."""

    def over() -> None:
        _say(channel, OVER)

    scp.start()
    told: Counter[str] = Counter()
    channel.settimeout(1.0)
    while True:
        try:
            message, descriptors, _, _ = socket.recv_fds(channel, 16, 8)
        except TimeoutError:
            message, descriptors = CONNECTION, []
        if not message:
            break
        for descriptor in descriptors:
            scp.serve(socket.socket(fileno=descriptor), over)
        if scp.counts != told:
            told = Counter(scp.counts)
            _say(channel, json.dumps(told).encode())
    scp.stop()
    _say(channel, json.dumps(scp.counts).encode())


def _say(channel: socket.socket, message: bytes) -> None:
    try:
        channel.send(message)
    except OSError:
        pass  # the parent is gone, which the next receive tells


def in_words(counts: Counter[str]) -> str:
    """Counts for a log line."""
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "nothing received"

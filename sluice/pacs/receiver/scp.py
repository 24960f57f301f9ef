"""Our Storage SCP within one process: a thread for each association, an archive, a ledger."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from sluice.archive.files import Archive
from sluice.archive.intake import Intake
from sluice.archive.receipts import ReceiptWriter
from sluice.database import Database
from sluice.pacs.pdu import Wire
from sluice.pacs.receiver.commitment_reports import Reports
from sluice.pacs.receiver.served import ARTIM_S, Admitting, Committing, ServedAssociation, Terms
from sluice.pacs.tls import TlsError, secured

log = logging.getLogger(__name__)

MOST_ASSOCIATIONS = 100
MOST_REJECTIONS = 250  # connections above them that are told so at once; further ones are just closed
IDLE_S = 300.0  # a PACS may think that long between two instances of a move
STOP_S = 15.0  # associations that have not ended by then are left to the end of the process


class StorageScp:
    """Serves connections that are handed to it.

    Args:
        database: where receipts go.
        archive: root folder of received files.
        spool: folder for receipts while Postgres is away; `spool` beside the archive by default.
        min_free_bytes: with less free disk every instance is refused with A700.
        move_source_ae_titles: calling AE titles whose instances count as moved.
        idle_s: an association without a PDU for so long is aborted.
        artim_s: a connection without an association request for so long is closed.
        most_associations: more at once are rejected for now (local limit exceeded).
        admission: who may send; everybody when None.
        tls: each connection begins with a handshake by the context that this gives; plain when None.
        commitment: the Storage Commitment SCP; not offered when None.
        reports: tells what `commitment` was asked, while this serves.
    """

    def __init__(
        self,
        database: Database,
        archive: Path,
        *,
        spool: Path | None = None,
        min_free_bytes: int = 1 << 30,
        move_source_ae_titles: Sequence[str] = (),
        idle_s: float = IDLE_S,
        artim_s: float = ARTIM_S,
        most_associations: int = MOST_ASSOCIATIONS,
        admission: Admitting | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
        commitment: Committing | None = None,
        reports: Reports | None = None,
    ) -> None:
        self.archive = Archive(archive)
        self.counts: Counter[str] = Counter()
        self._most = most_associations
        self._tls = tls
        self._reports = reports
        self._writer = ReceiptWriter(database, spool or archive.parent / "spool")
        self._intake = Intake(self.archive, self._writer, min_free_bytes)
        self._terms = Terms(
            intake=self._intake,
            move_sources=frozenset(move_source_ae_titles),
            count=self._count,
            idle_s=idle_s,
            artim_s=artim_s,
            admission=admission,
            commitment=commitment,
        )
        self._lock = threading.Lock()
        self._serving: dict[threading.Thread, tuple[socket.socket, ServedAssociation | None]] = {}
        self._stopping = False

    def start(self) -> None:
        """Make ready to serve.

        Raises:
            ArchiveError: the archive cannot be written.
        """
        self.archive.prepare()
        self._writer.start()
        if self._reports is not None:
            self._reports.start()

    def serve(self, connection: socket.socket, over: Callable[[], None] | None = None) -> None:
        """Serve a connection in a thread of its own; it is closed at the end, and `over` is called.

        Beyond the limit it is rejected, and far beyond it just closed.
        """
        thread = threading.Thread(target=self._serve, args=(connection, over), name="association", daemon=True)
        with self._lock:
            number = len(self._serving)
            taken = not self._stopping and number < self._most + MOST_REJECTIONS
            if taken:
                self._serving[thread] = (connection, None)
        try:
            if taken:
                thread.start()
        except RuntimeError:  # no more threads to be had
            taken = False
        if not taken:
            self._count("connection closed at our limit")
            self._end(thread, connection, over)

    def stop(self) -> None:
        """Abort all associations, write what is queued."""
        with self._lock:
            self._stopping = True
            serving = dict(self._serving)
        for connection, association in serving.values():
            if association is not None:
                association.ended = True
            try:
                # wakes the thread; an answer that is due can still be sent, over TLS too
                socket.socket.shutdown(connection, socket.SHUT_RD)
            except OSError:
                pass
        deadline = time.monotonic() + STOP_S
        for thread in serving:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._writer.stop()
        if self._reports is not None:
            self._reports.stop()

    def _serve(self, connection: socket.socket, over: Callable[[], None] | None) -> None:
        me = threading.current_thread()
        try:
            address = str(connection.getpeername()[0])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                connection = secured(connection, self._tls())
            association = ServedAssociation(
                self._terms, Wire(connection, self._terms.artim_s), address, self._is_full(me)
            )
            with self._lock:
                self._serving[me] = (connection, association)
                association.ended = self._stopping
            association.serve()
        except TlsError as error:
            self._count("no TLS")
            log.info("%s", error)
        except OSError:
            pass  # gone before we looked
        except Exception as error:  # a fault of ours with one association is none of the others'
            log.error("An association ended by a fault of the receiver itself (%s).", type(error).__name__)
        finally:
            self._end(me, connection, over)

    def _is_full(self, thread: threading.Thread) -> bool:
        """Whether more connections than we bear came before this one."""
        with self._lock:
            return list(self._serving).index(thread) >= self._most

    def _end(self, thread: threading.Thread, connection: socket.socket, over: Callable[[], None] | None) -> None:
        connection.close()
        with self._lock:
            self._serving.pop(thread, None)
        if over is not None:
            over()

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.counts[outcome] += 1

"""Our Storage SCP: every storage class and transfer syntax as sent, acknowledged last.

0x0000 is answered when the bytes are durable in the archive and the receipt is in the ledger (or, while Postgres is
away, durable in the spool). Nothing is decoded: the dataset is written exactly as it came. `Receiver` serves in this
process; `serve` is the service, several processes behind one port (`sluice.pacs.receiver.processes`).
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sluice.database import Database, DatabaseError, DatabaseUrlError, lacking_migrations
from sluice.pacs.receiver.admission import Admission
from sluice.pacs.receiver.commitment import Commitment
from sluice.pacs.receiver.commitment_reports import Reports
from sluice.pacs.receiver.processes import ReceiverProcesses, in_words
from sluice.pacs.receiver.renewal import RenewedTls
from sluice.pacs.receiver.scp import StorageScp
from sluice.settings import Settings
from sluice.settings import settings as current_settings

log = logging.getLogger(__name__)

BACKLOG = 512
LEDGER_S = 3.0  # how long the start waits for the ledger


class ReceiverError(RuntimeError):
    """The receiver cannot run; the message says what to do."""


class Receiver(StorageScp):
    """The Storage SCP on a port, in this process; a context manager, or `start` and `stop`.

    Args:
        database: where receipts go.
        archive: root folder of received files.
        host, port: where it listens; port 0 takes a free one.
        options: of `StorageScp`.
    """

    def __init__(
        self, database: Database, archive: Path, *, host: str = "127.0.0.1", port: int = 0, **options: Any
    ) -> None:
        super().__init__(database, archive, **options)
        self.host = host
        self.port = port
        self._listener: socket.socket | None = None
        self._acceptor = threading.Thread(target=self._accept, name="acceptor", daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            ReceiverError: the port is taken or not ours to use.
            ArchiveError: the archive cannot be written.
        """
        self._listener = listen(self.host, self.port)
        self.port = int(self._listener.getsockname()[1])
        try:
            super().start()
        except BaseException:
            self._listener.close()
            raise
        self._acceptor.start()

    def stop(self) -> None:
        """End all associations, write what is queued, and stop listening."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the acceptor
            self._acceptor.join()
            self._listener.close()
            self._listener = None
            super().stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, _ = self._listener.accept()
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    threading.Event().wait(0.1)  # too many files are open; some will be closed
                    continue
                return
            self.serve(connection)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ReceiverError: the port is taken or not ours to use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ReceiverError(_cannot_listen(host, port, error)) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken, so the receiver cannot listen. Stop what uses it "
            f"(`ss -ltnp 'sport = :{port}'` shows it), or set SLUICE_RECEIVER_PORT to another one and tell the PACS."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} needs privileges that this user lacks. Set SLUICE_RECEIVER_PORT to one above 1023."
    why = str(error.strerror).partition(" (while ")[0]
    return f"The receiver cannot listen on {host}:{port} ({why}). Check SLUICE_RECEIVER_HOST."


def _look_at_ledger(database: Database) -> None:
    """Say at the start what would else show when the first object comes. It is no reason not to take objects.

    Raises:
        DatabaseUrlError: there will never be a ledger.
    """
    try:
        lacking = lacking_migrations(database, LEDGER_S)
    except DatabaseUrlError:
        raise
    except DatabaseError as error:
        log.warning("%s Until it is there, receipts are spooled to disk.", error)
        return
    if lacking:
        log.error(
            "The database lacks %d of Sluice's migrations, so that objects may be refused with 0110. "
            "Run: python -m sluice migrate",
            len(lacking),
        )


def serve(settings: Settings | None = None) -> None:
    """Run the receiver until SIGTERM or SIGINT, logging counts only.

    Raises:
        RuntimeError: a subclass that says why it cannot run and what to do (port, archive, allow-list, TLS, peers, a
            database URL that is none).
    """
    config = settings or current_settings()
    database = Database(config.database_url)
    admission = Admission.of(config)
    tls = RenewedTls.of(config)
    commitment = Commitment.of(config, database) if config.commitment_peers else None

    def scp() -> StorageScp:
        return StorageScp(
            database,
            config.archive,
            spool=config.home / "spool",
            min_free_bytes=config.receiver_min_free_bytes,
            move_source_ae_titles=config.move_source_ae_titles,
            most_associations=config.receiver_max_associations,
            idle_s=config.receiver_idle_s,
            admission=admission,
            tls=tls,
            commitment=commitment,
            reports=Reports.of(config, commitment) if commitment else None,
        )

    listener = listen(config.receiver_host, config.receiver_port)
    scp().archive.prepare()
    _look_at_ledger(database)
    port = listener.getsockname()[1]
    log.info("Receiving as %s on %s:%d.", config.receiver_ae_title, config.receiver_host, port)
    counts = ReceiverProcesses(listener, scp, config.receiver_processes).run()
    log.info("Stopped: %s.", in_words(counts))

"""Our Storage SCP: every storage class and transfer syntax as sent, acknowledged last.

0x0000 is answered when the bytes are durable in the archive and the receipt is in the ledger (or, while Postgres is
away, durable in the spool). Nothing is decoded: the dataset is written exactly as it came.
"""

from __future__ import annotations

import errno
import logging
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from sluice.database import Database
from sluice.pacs.archive import Archive
from sluice.pacs.association import MAX_PDU_BYTES, no_delay
from sluice.pacs.intake import Intake, Offered
from sluice.pacs.receipts import ReceiptWriter
from sluice.settings import Settings
from sluice.settings import settings as current_settings

log = logging.getLogger(__name__)

MOST_ASSOCIATIONS = 100
IDLE_S = 300.0  # a PACS may think that long between two instances of a move
REPORT_EVERY_S = 60.0


class ReceiverError(RuntimeError):
    """The receiver cannot run; the message says what to do."""


class Receiver:
    """Storage SCP over an archive and a ledger; a context manager, or `start` and `stop`.

    Args:
        database: where receipts go.
        archive: root folder of received files.
        spool: folder for receipts while Postgres is away; `spool` beside the archive by default.
        ae_title, host, port: where it listens; port 0 takes a free one.
        min_free_bytes: with less free disk every instance is refused with A700 before a byte is written.
        move_source_ae_titles: calling AE titles whose instances count as moved.
        idle_s: an association without a PDU for so long is aborted.
    """

    def __init__(
        self,
        database: Database,
        archive: Path,
        *,
        spool: Path | None = None,
        ae_title: str = "SLUICE",
        host: str = "127.0.0.1",
        port: int = 0,
        min_free_bytes: int = 1 << 30,
        move_source_ae_titles: Sequence[str] = (),
        idle_s: float = IDLE_S,
    ) -> None:
        self.archive = Archive(archive)
        self.ae_title = ae_title
        self.host = host
        self.port = port
        self.move_sources = frozenset(move_source_ae_titles)
        self.idle_s = idle_s
        self.counts: Counter[str] = Counter()
        self._writer = ReceiptWriter(database, spool or archive.parent / "spool")
        self._intake = Intake(self.archive, self._writer.write, min_free_bytes)
        self._server: Any = None

    def start(self) -> None:
        """Listen.

        Raises:
            ReceiverError: the port is taken or not ours to use.
            ArchiveError: the archive cannot be written.
        """
        self.archive.prepare()
        # With it pynetdicom takes every known, unknown and private storage class with the syntax proposed first;
        # without it at most 128 classes, each with its transfer syntaxes listed.
        _config.UNRESTRICTED_STORAGE_SERVICE = True
        entity = AE(ae_title=self.ae_title)
        entity.maximum_associations = MOST_ASSOCIATIONS
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.network_timeout = self.idle_s
        entity.add_supported_context(Verification)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, no_delay),
            (evt.EVT_ACCEPTED, _name_association),
            (evt.EVT_C_STORE, self._store),
        ]
        try:
            self._server = entity.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise ReceiverError(_cannot_listen(self.host, self.port, error)) from error
        self.port = int(self._server.server_address[1])
        self._writer.start()

    def stop(self) -> None:
        """End all associations, write what is queued, and stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
            self._writer.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _store(self, event: evt.Event) -> int:
        """Handler of EVT_C_STORE."""
        status, outcome = self._intake.take(self._offered(event))
        self.counts[outcome] += 1
        return status

    def _offered(self, event: evt.Event) -> Offered:
        request: Any = event.request
        association: Any = event.assoc
        calling = str(association.requestor.ae_title).strip()
        moved = calling in self.move_sources or bool(request.MoveOriginatorApplicationEntityTitle)
        asked: Any = association.requestor.primitive
        return Offered(
            sop_class=str(request.AffectedSOPClassUID or ""),
            sop_instance=str(request.AffectedSOPInstanceUID or ""),
            abstract_syntax=str(event.context.abstract_syntax),
            transfer_syntax=str(event.context.transfer_syntax),
            dataset=request.DataSet.getvalue() if request.DataSet is not None else b"",
            source="move" if moved else "push",
            calling_ae=calling,
            called_ae=str(asked.called_ae_title).strip(),
            peer=str(association.requestor.address),
            association=str(association.sluice_id),
        )


def _name_association(event: evt.Event) -> None:
    """Each association gets an id of its own for the receipts; pynetdicom has none."""
    association: Any = event.assoc
    association.sluice_id = uuid.uuid4()


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken, so the receiver cannot listen. Stop what uses it "
            f"(`ss -ltnp 'sport = :{port}'` shows it), or set SLUICE_RECEIVER_PORT to another one and tell the PACS."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} needs privileges that this user lacks. Set SLUICE_RECEIVER_PORT to one above 1023."
    return f"The receiver cannot listen on {host}:{port} ({error.strerror}). Check SLUICE_RECEIVER_HOST."


def serve(settings: Settings | None = None) -> None:
    """Run the receiver until SIGTERM or SIGINT, logging counts only."""
    config = settings or current_settings()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    receiver = Receiver(
        Database(config.database_url),
        config.archive,
        spool=config.home / "spool",
        ae_title=config.receiver_ae_title,
        host=config.receiver_host,
        port=config.receiver_port,
        min_free_bytes=config.receiver_min_free_bytes,
        move_source_ae_titles=config.move_source_ae_titles,
    )
    with receiver:
        log.info("Receiving as %s on %s:%d.", receiver.ae_title, receiver.host, receiver.port)
        reported = Counter[str]()
        while not ended.wait(REPORT_EVERY_S):
            if receiver.counts != reported:
                reported = Counter(receiver.counts)
                log.info("%s", _in_words(reported))
    log.info("Stopped. %s", _in_words(receiver.counts))


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "nothing received"

"""The hospital's PACS: an archive that is asked by C-FIND and sends by C-MOVE and C-GET.

It sends the bytes it stores, never decoding them: same transfer syntax, same mistakes. It can misbehave on
purpose; see `sluice.hospital.faults`.
"""

from __future__ import annotations

import functools
import logging
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from sluice.hospital.encoding import SYNTAXES
from sluice.hospital.equipment import stations
from sluice.hospital.faults import Faults
from sluice.hospital.headers import SOP_CLASSES
from sluice.hospital.index import Index, QueryError, Stored

LOGGER = logging.getLogger(__name__)
PENDING, SUCCESS, CANCELLED = 0xFF00, 0x0000, 0xFE00
CANNOT_STORE, OUT_OF_RESOURCES = 0xC000, 0xA700
VERIFICATION = UID("1.2.840.10008.1.1")
# Find, Move and Get of the two information models (PS3.4 C.6.1.3 and C.6.2.3).
PATIENT_ROOT = tuple(UID(f"1.2.840.10008.5.1.4.1.2.1.{service}") for service in (1, 2, 3))
STUDY_ROOT = tuple(UID(f"1.2.840.10008.5.1.4.1.2.2.{service}") for service in (1, 2, 3))
Answer = tuple[int, Dataset | None]


class HospitalPacs:
    """The PACS of a built hospital, served from threads of this process.

    Args:
        home: folder that `sluice.hospital.build.build` wrote.
        ae_title: its AE title; calls to any other are refused.
        port: TCP port; 0 takes a free one, see `port` after `start`.
        destinations: AE title → (host, port) that a C-MOVE may name.
        allowed_ae_titles: calling AE titles it serves beside the hospital's own scanners; None serves everyone.
        faults: how it misbehaves; None reads the day's own from `home/faults.json`.
        relational: answer queries although unique keys of higher levels are missing.

    Example:
        >>> with HospitalPacs(home, destinations={"SLUICE": ("127.0.0.1", 11112)}) as pacs:
        ...     pacs.faults.refuse = 0xA701
    """

    def __init__(
        self,
        home: Path,
        ae_title: str = "HOSPITAL_PACS",
        host: str = "127.0.0.1",
        port: int = 0,
        destinations: Mapping[str, tuple[str, int]] | None = None,
        allowed_ae_titles: Collection[str] | None = ("SLUICE",),
        faults: Faults | None = None,
        relational: bool = True,
    ) -> None:
        self.home, self.ae_title, self.host, self.port = home, ae_title, host, port
        self.destinations = dict(destinations or {})
        self.allowed_ae_titles = allowed_ae_titles
        self.faults = faults if faults is not None else Faults.load(home / "faults.json")
        self.relational = relational
        self.index = Index(home / "pacs", home / "index.json")
        self._server: Any = None
        self._lock = threading.Lock()
        self._failed_once: set[str] = set()
        self._aborted = 0

    def start(self) -> Self:
        """Listen; returns when associations are accepted.

        Raises:
            OSError: the port is taken.
        """
        # send_c_store of a path then streams the file's bytes as they are (pynetdicom's documented switch).
        _config.STORE_SEND_CHUNKED_DATASET = True
        ae = AE(ae_title=self.ae_title)
        ae.require_called_aet = True
        if self.allowed_ae_titles is not None:
            ae.require_calling_aet = [*self.allowed_ae_titles, *stations()]
        ae.maximum_associations = 32
        ae.maximum_pdu_size = 0
        ae.network_timeout = None  # a long move keeps its requestor silent; that is no reason to abort
        ae.add_supported_context(VERIFICATION)
        for uid in (*PATIENT_ROOT, *STUDY_ROOT):
            ae.add_supported_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        for sop_class, syntaxes in self._storage():
            ae.add_supported_context(sop_class, syntaxes, scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, no_delay),
            (evt.EVT_ESTABLISHED, self._on_established),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_C_MOVE, self._on_move),
            (evt.EVT_C_GET, self._on_get),
            (evt.EVT_C_STORE, self._on_store),
        ]
        self._server = ae.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]
        LOGGER.info("%s listens on %s:%d with %d objects", self.ae_title, self.host, self.port, len(self.index.objects))
        return self

    def stop(self) -> None:
        """Abort what is open and stop listening; again changes nothing."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *problem: object) -> None:
        self.stop()

    def _storage(self) -> Iterator[tuple[str, list[str]]]:
        """The SOP classes that the hospital's scanners make or the store holds, each in every syntax in use.

        Offering all of the standard's 180 classes would make each association a tenth of a second slower.
        """
        objects = self.index.objects.values()
        syntaxes = sorted({*map(str, SYNTAXES.values()), *(stored.transfer_syntax for stored in objects)})
        classes = {*map(str, SOP_CLASSES.values()), *(stored.one("SOPClassUID") for stored in objects)}
        for sop_class in sorted(classes):
            yield sop_class, syntaxes

    # --- query -------------------------------------------------------------------------------------------------

    def _on_find(self, event: evt.Event) -> Iterator[Answer]:
        faults = self.faults
        time.sleep(faults.delay_s)
        if faults.refuse_find is not None:
            yield faults.refuse_find, None
            return
        try:
            answers = self.index.find(_root(event), event.identifier, self.relational)
        except QueryError as problem:
            LOGGER.warning("C-FIND refused: %s", problem)
            yield problem.status, None
            return
        for number, answer in enumerate(answers):
            if event.is_cancelled:
                yield CANCELLED, None
                return
            if faults.find_error_after is not None and number >= faults.find_error_after:
                event.assoc.abort()
                return
            if faults.answer_cap is not None and number >= faults.answer_cap:
                if faults.cap_status != SUCCESS:
                    yield faults.cap_status, None
                return
            answer.RetrieveAETitle = self.ae_title
            yield PENDING, answer

    # --- retrieve ----------------------------------------------------------------------------------------------

    def _on_move(self, event: evt.Event) -> Iterator[Any]:
        destination = self.destinations.get(str(event.move_destination).strip())
        if destination is None:
            yield None, None
            return
        try:
            wanted = self.index.select(_root(event), event.identifier)
            status = self.faults.refuse
        except QueryError as problem:
            LOGGER.warning("C-MOVE refused: %s", problem)
            wanted, status = [], problem.status
        if status is not None:
            # pynetdicom calls the destination before it lets us refuse, so offer what any storage SCP takes.
            yield (*destination, {"contexts": [build_context(SOP_CLASSES["CT"])], "evt_handlers": []})
            yield 1
            yield status, None
            return
        handlers = [(evt.EVT_CONN_OPEN, no_delay), (evt.EVT_ESTABLISHED, self._on_established)]
        yield (*destination, {"contexts": _contexts(wanted), "max_pdu": 0, "evt_handlers": handlers})
        yield len(wanted)
        yield from self._suboperations(event, wanted)

    def _on_get(self, event: evt.Event) -> Iterator[Any]:
        try:
            wanted = self.index.select(_root(event), event.identifier)
            status = self.faults.refuse
        except QueryError as problem:
            wanted, status = [], problem.status
        if status is not None:
            yield 1
            yield status, None
            return
        yield len(wanted)
        yield from self._suboperations(event, wanted)

    def _suboperations(self, event: evt.Event, wanted: list[Stored]) -> Iterator[Answer]:
        """One pending answer for each object; pynetdicom sends it through `_send` and keeps the counts."""
        for number, stored in enumerate(wanted):
            if event.is_cancelled:
                yield CANCELLED, None
                return
            time.sleep(self.faults.delay_s)
            if self._must_abort(number):
                event.assoc.abort()
                return
            ticket = Dataset()
            ticket.SOPClassUID, ticket.SOPInstanceUID = stored.one("SOPClassUID"), stored.one("SOPInstanceUID")
            yield PENDING, ticket

    def _must_abort(self, done: int) -> bool:
        faults = self.faults
        with self._lock:
            spent = faults.abort_times is not None and self._aborted >= faults.abort_times
            if faults.abort_after is None or done < faults.abort_after or spent:
                return False
            self._aborted += 1
            return True

    def _on_established(self, event: evt.Event) -> None:
        """Let what pynetdicom sends on this association be the stored file instead of a re-encoded dataset."""
        association: Any = event.assoc
        association.send_c_store = functools.partial(self._send, event.assoc)

    def _send(self, association: Association, ticket: Dataset, **request: Any) -> Dataset:
        """Send the stored object that `ticket` names; returns the C-STORE status as `Association.send_c_store` does."""
        uid = str(ticket.SOPInstanceUID)
        if (fault := self._fault(uid)) is not None:
            return fault
        stored = self.index.objects[uid]
        try:
            return Association.send_c_store(association, stored.path, **request)
        except ValueError:
            # The peer took the class but not this syntax; only uncompressed data may be written otherwise.
            if UID(stored.transfer_syntax).is_compressed:
                raise
            return Association.send_c_store(association, dcmread(stored.path), **request)

    def _fault(self, uid: str) -> Dataset | None:
        """The status a faulty sub-operation ends with, without anything being sent."""
        status = Dataset()
        with self._lock:
            if uid in self.faults.drop_success:
                status.Status = SUCCESS
            elif uid in self.faults.fail_always:
                status.Status = CANNOT_STORE
            elif uid in self.faults.fail_once and uid not in self._failed_once:
                self._failed_once.add(uid)
                status.Status = OUT_OF_RESOURCES
            else:
                return None
        return status

    # --- storage -----------------------------------------------------------------------------------------------

    def _on_store(self, event: evt.Event) -> int:
        """Take an object from a scanner and stamp it with our clock (0008,0015)."""
        ds = event.dataset
        ds.file_meta = event.file_meta
        ds.InstanceCoercionDateTime = datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f%z")
        path = self.home / "pacs" / "INBOX" / f"{ds.SOPInstanceUID}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dcmwrite(path, ds, enforce_file_format=True)
        self.index.add(path)
        return SUCCESS


def _contexts(wanted: list[Stored]) -> list[PresentationContext]:
    """One context for each SOP class and stored transfer syntax, so that each object can go as it is."""
    pairs = sorted({(stored.one("SOPClassUID"), stored.transfer_syntax) for stored in wanted})
    return [build_context(sop_class, syntax) for sop_class, syntax in pairs[:128]]


def _root(event: evt.Event) -> str:
    return "PATIENT" if event.request.AffectedSOPClassUID in PATIENT_ROOT else "STUDY"


def no_delay(event: evt.Event) -> None:
    """DIMSE is small messages to and fro: Nagle's algorithm would hold each back for 40 ms."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

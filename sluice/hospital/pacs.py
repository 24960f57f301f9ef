"""The hospital's PACS: an archive that is asked by C-FIND and sends by C-MOVE and C-GET.

It sends the bytes it stores, never decoding them: same transfer syntax, same mistakes. It can misbehave on
purpose; see `sluice.hospital.faults`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydicom import Dataset, dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import build_context

from sluice.hospital.encoding import SYNTAXES
from sluice.hospital.equipment import stations
from sluice.hospital.faults import SERVICES as SERVICE_NAMES
from sluice.hospital.faults import Faults
from sluice.hospital.headers import SOP_CLASSES
from sluice.hospital.index import Index, QueryError, Stored
from sluice.hospital.presence import Presence
from sluice.hospital.queries import ABORT, CANCELLED, PENDING, SUCCESS, replies
from sluice.hospital.sending import Sender
from sluice.pacs.serving import no_delay

LOGGER = logging.getLogger(__name__)
MOST_MOVES_STATUS = 0xA702  # unable to perform sub-operations
MOST_ASSOCIATIONS = 32
VERIFICATION = UID("1.2.840.10008.1.1")
# Find, Move and Get of the two information models (PS3.4 C.6.1.3 and C.6.2.3).
PATIENT_ROOT = tuple(UID(f"1.2.840.10008.5.1.4.1.2.1.{service}") for service in (1, 2, 3))
STUDY_ROOT = tuple(UID(f"1.2.840.10008.5.1.4.1.2.2.{service}") for service in (1, 2, 3))
SERVICES = {uid: name for root in (PATIENT_ROOT, STUDY_ROOT) for uid, name in zip(root, SERVICE_NAMES, strict=True)}
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
        faults_file: JSON file of faults that is followed while it runs, instead of `faults`.
        relational: answer queries although unique keys of higher levels are missing.

    Attributes:
        associations: how many it has accepted.

    Example:
        >>> with HospitalPacs(home, destinations={"SLUICE": ("127.0.0.1", 11112)}) as pacs:
        ...     pacs.faults.refuse = 0xA701
        ...     pacs.go_away("closed", seconds=20)

    Raises:
        FaultsError: `faults_file` cannot be read.
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
        faults_file: Path | None = None,
    ) -> None:
        self.home, self.ae_title, self.host, self.port = home, ae_title, host, port
        self.destinations = dict(destinations or {})
        self.allowed_ae_titles = allowed_ae_titles
        self.relational = relational
        self.index = Index(home / "pacs", home / "index.json")
        self.index.faults = faults if faults is not None else Faults.load(faults_file or home / "faults.json")
        self._sender = Sender(self.index)
        self._presence = Presence(self, faults_file)
        self.associations = 0
        self._ae: Any = None
        self._server: Any = None
        self._lock = threading.Lock()
        self._aborted = self._moves = 0

    @property
    def faults(self) -> Faults:
        """How it misbehaves now."""
        return self.index.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.index.faults = faults

    def start(self) -> Self:
        """Listen; returns when associations are accepted.

        Raises:
            OSError: the port is taken.
        """
        # send_c_store of a path then streams the file's bytes as they are (pynetdicom's documented switch).
        _config.STORE_SEND_CHUNKED_DATASET = True
        self._ae = self._entity()
        self.listen()
        self._presence.start()
        LOGGER.info("%s listens on %s:%d with %d objects", self.ae_title, self.host, self.port, len(self.index.objects))
        return self

    def stop(self) -> None:
        """Abort what is open and stop listening; again changes nothing."""
        self._presence.stop()
        self.hang_up()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *problem: object) -> None:
        self.stop()

    def go_away(self, how: str, seconds: float | None = None) -> None:
        """Be `closed`, `refusing` or `silent`, for so many seconds or until `come_back`; see `Faults.away`."""
        self.faults.away_s, self.faults.away = seconds, how
        self._presence.settle()

    def come_back(self) -> None:
        """Listen and answer again."""
        self.faults.away = ""
        self._presence.settle()

    def listen(self) -> None:
        """Accept connections; again changes nothing.

        Raises:
            OSError: the port is taken.
        """
        if self._server is None:
            self._server = self._ae.start_server((self.host, self.port), block=False, evt_handlers=self._handlers())
            self.port = self._server.server_address[1]

    def hang_up(self) -> None:
        """Stop accepting connections and abort the associations; again changes nothing."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            for association in self._ae.active_associations:
                association.abort()

    def _entity(self) -> AE:
        ae = AE(ae_title=self.ae_title)
        ae.require_called_aet = True
        if self.allowed_ae_titles is not None:
            ae.require_calling_aet = [*self.allowed_ae_titles, *stations()]
        ae.maximum_associations = MOST_ASSOCIATIONS
        ae.maximum_pdu_size = 0
        ae.network_timeout = None  # a long move keeps its requestor silent; that is no reason to abort
        ae.add_supported_context(VERIFICATION)
        for uid in (*PATIENT_ROOT, *STUDY_ROOT):
            ae.add_supported_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        for sop_class, syntaxes in self._storage():
            ae.add_supported_context(sop_class, syntaxes, scu_role=True, scp_role=True)
        return ae

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_CONN_OPEN, no_delay),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ESTABLISHED, self._on_established),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_C_MOVE, self._on_move),
            (evt.EVT_C_GET, self._on_get),
            (evt.EVT_C_STORE, self._on_store),
        ]

    def _storage(self) -> Iterator[tuple[str, list[str]]]:
        """The SOP classes that the hospital's scanners make or the store holds, each in every syntax in use.

        Offering all of the standard's 180 classes would make each association a tenth of a second slower.
        """
        objects = self.index.objects.values()
        syntaxes = sorted({*map(str, SYNTAXES.values()), *(stored.transfer_syntax for stored in objects)})
        classes = {*map(str, SOP_CLASSES.values()), *(stored.one("SOPClassUID") for stored in objects)}
        for sop_class in sorted(classes):
            yield sop_class, syntaxes

    # --- associations ------------------------------------------------------------------------------------------

    def _on_requested(self, event: evt.Event) -> None:
        """Before an association is negotiated: be away, or offer less than we could."""
        association: Any = event.assoc
        while self.faults.away == "silent" and self._server is not None:
            time.sleep(0.05)
        if self.faults.away == "refusing":
            association.acse.send_reject(0x02, 0x03, 0x01)  # transient, temporary congestion (PS3.8 table 9-21)
            association.kill()
            association._is_rejected = True
            return
        hidden = {uid for uid, name in SERVICES.items() if name not in self.faults.services}
        offered = association.acceptor.supported_contexts
        association.acceptor.supported_contexts = [one for one in offered if one.abstract_syntax not in hidden]

    def _on_established(self, event: evt.Event) -> None:
        """Let what pynetdicom sends on this association be the stored file instead of a re-encoded dataset."""
        association: Any = event.assoc
        self._sender.attach(association)
        if association.is_acceptor:
            with self._lock:
                self.associations += 1
                every = self.faults.abort_every
                association.doomed = every is not None and self.associations % every == 0

    def _delay(self, event: evt.Event, seconds: float) -> None:
        crowd = sum(one.is_acceptor and one.is_established for one in self._ae.active_associations) - 1
        time.sleep(max(0.0, seconds + self.faults.crowd_delay_s * crowd))

    # --- query -------------------------------------------------------------------------------------------------

    def _on_find(self, event: evt.Event) -> Iterator[Answer]:
        association: Any = event.assoc
        if association.doomed:
            association.abort()
            return
        self._delay(event, self.faults.find_delay_s)
        answers = replies(self.index, self.faults, _root(event), event.identifier, self.relational, self.ae_title)
        for status, answer in answers:
            if event.is_cancelled:
                yield CANCELLED, None
                return
            if status == ABORT:
                association.abort()
                return
            yield status, answer

    # --- retrieve ----------------------------------------------------------------------------------------------

    def _on_move(self, event: evt.Event) -> Iterator[Any]:
        association: Any = event.assoc
        destination = self.destinations.get(str(event.move_destination).strip())
        if destination is None or self.faults.unknown_destination:
            yield None, None
            return
        with self._one_more_move():
            wanted, status = self._wanted(event)
            if status is not None:
                association.refuses = True
                # pynetdicom calls the destination before it lets us refuse, so offer what any storage SCP takes.
                yield (*destination, {"contexts": [build_context(SOP_CLASSES["CT"])], "evt_handlers": []})
                yield 1
                yield status, None
                return
            handlers = [(evt.EVT_CONN_OPEN, no_delay), (evt.EVT_ESTABLISHED, self._on_established)]
            yield (*destination, {"contexts": self._sender.contexts(wanted), "max_pdu": 0, "evt_handlers": handlers})
            yield len(wanted)
            yield from self._suboperations(event, wanted)

    def _on_get(self, event: evt.Event) -> Iterator[Any]:
        association: Any = event.assoc
        with self._one_more_move():
            wanted, status = self._wanted(event)
            if status is not None:
                association.refuses = True
                yield 1
                yield status, None
                return
            yield len(wanted)
            yield from self._suboperations(event, wanted)

    @contextmanager
    def _one_more_move(self) -> Iterator[None]:
        with self._lock:
            self._moves += 1
        try:
            yield
        finally:
            with self._lock:
                self._moves -= 1

    def _wanted(self, event: evt.Event) -> tuple[list[Stored], int | None]:
        """What a retrieve asks for, and the status that refuses it, if one does."""
        most = self.faults.most_moves
        if most is not None and self._moves > most:
            return [], MOST_MOVES_STATUS
        identifier = event.identifier
        if self.faults.first_of_list and identifier.get("StudyInstanceUID") and identifier["StudyInstanceUID"].VM > 1:
            identifier.StudyInstanceUID = identifier.StudyInstanceUID[0]
        try:
            return self.index.select(_root(event), identifier), self.faults.refuse
        except QueryError as problem:
            LOGGER.warning("Retrieve refused: %s", problem)
            return [], problem.status

    def _suboperations(self, event: evt.Event, wanted: list[Stored]) -> Iterator[Answer]:
        """One pending answer for each object; pynetdicom sends it through `Sender` and keeps the counts."""
        association: Any = event.assoc
        for number, stored in enumerate(wanted):
            if event.is_cancelled and not self.faults.ignore_cancel:
                yield CANCELLED, None
                return
            self._delay(event, self.faults.send_delay_s)
            if association.doomed or self._must_abort(number):
                association.abort()
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


def _root(event: evt.Event) -> str:
    return "PATIENT" if event.request.AffectedSOPClassUID in PATIENT_ROOT else "STUDY"

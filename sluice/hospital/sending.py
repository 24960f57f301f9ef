"""What the PACS sends for a C-MOVE or C-GET: the stored bytes, or what its faults make of them."""

from __future__ import annotations

import threading
import time
from io import BytesIO
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE, C_STORE
from pynetdicom.presentation import PresentationContext, build_context

from sluice.hospital.faults import Faults, hits
from sluice.hospital.index import Index, Stored
from sluice.pacs.serving import ReactorGate

SUCCESS, CANNOT_STORE, OUT_OF_RESOURCES = 0x0000, 0xC000, 0xA700
OTHER_UID = "2.25.303"  # what a misnamed object is called
PENDING = (0xFF00, 0xFF01)


class Sender:
    """Sends objects of `index` over associations that it was given, and bends what is said about it.

    Attributes:
        failed_once: SOP Instance UIDs that `Faults.fail_once` has spoiled already.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.failed_once: set[str] = set()
        self._lock = threading.Lock()
        self._free_at = 0.0

    @property
    def faults(self) -> Faults:
        """The faults of the PACS."""
        return self.index.faults

    def attach(self, association: Any) -> None:
        """Let what pynetdicom sends on this association pass through here."""
        gate = ReactorGate(association) if association.is_requestor else None
        tell = association.dimse.send_msg

        def send_c_store(ticket: Dataset, **request: Any) -> Dataset:
            return self._send(association, gate, ticket, request)

        association.refuses = False

        def send_msg(message: Any, context_id: int) -> None:
            if association.refuses and not isinstance(message, C_STORE):
                _without_counts(message)  # pynetdicom counts a refused request as a failed sub-operation
                association.refuses = False
            if self._bend(message):
                tell(message, context_id)

        association.send_c_store = send_c_store
        association.dimse.send_msg = send_msg

    def contexts(self, wanted: list[Stored]) -> list[PresentationContext]:
        """One context for each SOP class and transfer syntax to send, so that each object can go as it is."""
        pairs = sorted({(stored.one("SOPClassUID"), self._syntax(stored)) for stored in wanted})
        return [build_context(sop_class, syntax) for sop_class, syntax in pairs[:128]]

    def _syntax(self, stored: Stored) -> str:
        other = self.faults.send_as
        return stored.transfer_syntax if other is None or UID(stored.transfer_syntax).is_compressed else other

    def _send(self, association: Any, gate: ReactorGate | None, ticket: Dataset, request: dict[str, Any]) -> Dataset:
        """Send the stored object that `ticket` names; returns the C-STORE status as `Association.send_c_store` does."""
        uid = str(ticket.SOPInstanceUID)
        if (fault := self._fault(uid)) is not None:
            return fault
        stored = self.index.objects[uid]
        self._throttle(stored.path.stat().st_size)

        def store(what: Any) -> Dataset:
            if gate is not None:
                gate.park()
            return Association.send_c_store(association, what, **request)

        if hits(self.faults.altered, uid):
            return store(_altered(stored))
        if self._syntax(stored) != stored.transfer_syntax:
            return store(_encoded(stored, self._syntax(stored)))
        try:
            status = store(stored.path)
        except ValueError:
            # The peer took the class but not this syntax; only uncompressed data may be written otherwise.
            if UID(stored.transfer_syntax).is_compressed:
                raise
            status = store(dcmread(stored.path))
        if hits(self.faults.sent_twice, uid):
            store(_altered(stored))
        return status

    def _fault(self, uid: str) -> Dataset | None:
        """The status a faulty sub-operation ends with, without anything being sent."""
        faults, status = self.faults, Dataset()
        with self._lock:
            if hits(faults.drop_success, uid):
                status.Status = SUCCESS
            elif hits(faults.fail_always, uid):
                status.Status = CANNOT_STORE
            elif hits(faults.fail_once, uid) and uid not in self.failed_once:
                self.failed_once.add(uid)
                status.Status = OUT_OF_RESOURCES
            else:
                return None
        return status

    def _throttle(self, size: int) -> None:
        """Wait until the moves together are slow enough for `size` bytes more."""
        if (rate := self.faults.bytes_per_s) is None:
            return
        with self._lock:
            start = max(self._free_at, time.monotonic())
            self._free_at = start + size / rate
        time.sleep(max(0.0, self._free_at - time.monotonic()))

    def _bend(self, message: Any) -> bool:
        """Change what is said of a move, and what an object is called; False keeps the message to ourselves."""
        faults = self.faults
        if isinstance(message, C_STORE) and message.MessageIDBeingRespondedTo is None:
            if hits(faults.misnamed, str(message.AffectedSOPInstanceUID)):
                message.AffectedSOPInstanceUID = OTHER_UID
        elif isinstance(message, C_MOVE | C_GET) and message.MessageIDBeingRespondedTo is not None:
            if message.Status in PENDING:
                return faults.pending_responses
            _bend_final(message, faults)
        return True


def _bend_final(message: Any, faults: Faults) -> None:
    if faults.final_status is not None:
        message.Status = faults.final_status
    if not faults.failed_list:
        message.Identifier = None
    if message.NumberOfCompletedSuboperations is not None:
        message.NumberOfCompletedSuboperations = max(0, message.NumberOfCompletedSuboperations + faults.completed_off)
        message.NumberOfFailedSuboperations = max(0, message.NumberOfFailedSuboperations + faults.failed_off)
    if not faults.final_counts:
        _without_counts(message)


def _without_counts(message: Any) -> None:
    message.NumberOfRemainingSuboperations = message.NumberOfWarningSuboperations = None
    message.NumberOfCompletedSuboperations = message.NumberOfFailedSuboperations = None


def _altered(stored: Stored) -> Dataset:
    """The object with another Image Comments (0020,4000), so that its bytes differ and its pixels do not."""
    dataset = dcmread(stored.path)
    dataset.ImageComments = f"{dataset.get('ImageComments', '')} changed at the PACS".strip()
    return dataset


def _encoded(stored: Stored, syntax: str) -> Dataset:
    """An uncompressed object in another uncompressed transfer syntax (PS3.5 A.1, A.2, A.5)."""
    dataset = dcmread(stored.path)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=UID(syntax).is_implicit_VR, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer)

"""C-GET: the presentation contexts that we offer as storage SCP, and what takes the instances (PS3.4 C.4.3).

A context holds one transfer syntax, so that the PACS sends an object as it stores it: of several syntaxes in one
context it would choose one for all objects of the class and transcode the others.
"""

from __future__ import annotations

import io
import time
from collections.abc import Collection, Sequence
from typing import Any

from pydicom.uid import UID
from pynetdicom import build_context, build_role, evt
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.presentation import PresentationContext

from sluice.archive.intake import PROCESSING_FAILURE, SUCCESS, Taking
from sluice.archive.storing import Storing, offering, reason_of
from sluice.pacs.node import PacsNode

MOST_CONTEXTS = 124  # of 128 (PS3.8 9.3.2.2); the others are for Find, Move and Get
C_STORE_RQ = 0x0001

# Uncompressed first: a PACS that looks no further than the class takes the first, and can always send by it.
UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
COMPRESSED = (
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.5",  # RLE lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC/H.264 High Profile / Level 4.1
    "1.2.840.10008.1.2.4.103",  # the same, BD-compatible
    "1.2.840.10008.1.2.4.107",  # HEVC/H.265 Main Profile / Level 5.1
    "1.2.840.10008.1.2.4.100",  # MPEG2 Main Profile / Main Level
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 lossless
    "1.2.840.10008.1.2.4.202",  # the same, RPCL
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
)
SYNTAXES = UNCOMPRESSED + COMPRESSED

# For a PACS that does not say of which class an instance is (SOPClassUID is an optional return key).
USUAL_CLASSES = tuple(
    "1.2.840.10008.5.1.4.1.1." + tail
    for tail in (
        "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "2", "2.1", "3.1", "4", "4.1", "4.2", "6.1", "7", "7.1", "7.2",
        "7.3", "7.4", "11.1", "12.1", "12.1.1", "12.2", "13.1.3", "20", "66", "66.1", "66.4", "77.1.4", "77.1.4.1",
        "88.11", "88.22", "88.33", "88.59", "88.67", "104.1", "128", "130", "481.1", "481.2", "481.3", "481.5",
    )
)  # fmt: skip


def storage_contexts(classes: Sequence[str]) -> list[PresentationContext]:
    """Contexts for at most `MOST_CONTEXTS` SOP classes, each syntax in its own as long as there is room for that.

    With many classes the syntaxes that are left over share a class's last context.
    """
    room = MOST_CONTEXTS // max(1, len(classes))
    own = SYNTAXES if room >= len(SYNTAXES) else SYNTAXES[: room - 1]
    groups = [[syntax] for syntax in own] + ([list(SYNTAXES[len(own) :])] if len(own) < len(SYNTAXES) else [])
    return [build_context(uid, group) for uid in classes for group in groups]


class Fetching:
    """What an association for C-GET offers, and who takes what comes by it.

    Args:
        storing: where the instances go.
        node: the PACS.
        classes: SOP Class UIDs that are offered; at most `MOST_CONTEXTS`.
    """

    def __init__(self, storing: Storing, node: PacsNode, classes: Collection[str]) -> None:
        self.classes = frozenset(classes)
        self.contexts = storage_contexts(sorted(self.classes))
        self.roles: list[Any] = [build_role(uid, scp_role=True) for uid in sorted(self.classes)]
        self.handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_ESTABLISHED, self._established)]
        self._storing = storing
        self._offered = offering(node, node.host)
        self._refused: dict[str, tuple[str, str]] = {}
        self._pieces = 0
        self._busy = False
        self._coming: _Coming | None = None

    def progress(self) -> object:
        """A value that changes while anything arrives or is being written."""
        return self._pieces, time.monotonic() if self._busy else 0.0

    def refused(self) -> dict[str, tuple[str, str]]:
        """Reason code and status of the instances that we refused since the last call, by SOP Instance UID."""
        refused, self._refused = self._refused, {}
        return refused

    def end(self) -> None:
        """After the association: let go of an object that broke off in the middle."""
        if self._coming is not None and self._coming.taking is not None:
            self._coming.taking.abandon()

    def _established(self, event: evt.Event) -> None:
        """Let pynetdicom collect no dataset of a C-STORE in memory: each piece goes to the intake as it comes."""
        dimse: Any = event.assoc.dimse
        receive = dimse.receive_primitive

        def receive_primitive(primitive: Any) -> None:
            if dimse.message is None:
                dimse.message = DIMSEMessage()
                dimse.message.data_set = self._coming = _Coming(dimse.message, self._begin, event.assoc)
            self._pieces += 1
            receive(primitive)

        dimse.receive_primitive = receive_primitive

    def _begin(self, message: Any, association: Any) -> Taking | None:
        accepted = association._accepted_cx.get(message.context_id)
        if accepted is None:
            return None
        command = message.command_set
        return self._storing.begin(
            self._offered(
                str(command.get("AffectedSOPClassUID") or ""),
                str(command.get("AffectedSOPInstanceUID") or ""),
                str(accepted.abstract_syntax),
                str(accepted.transfer_syntax[0]),
            )
        )

    def _store(self, event: evt.Event) -> int:
        """Handler of EVT_C_STORE: 0x0000 when the bytes are durable and the receipt is written."""
        request: Any = event.request
        self._busy = True
        try:
            coming = request.DataSet
            taking = coming.taking if isinstance(coming, _Coming) else None
            status = taking.finish()[0] if taking is not None else PROCESSING_FAILURE
        finally:
            self._busy = False
        if status != SUCCESS:
            self._refused[str(request.AffectedSOPInstanceUID)] = reason_of(status), f"{status:04X}"
        return status


class _Coming(io.BytesIO):
    """The dataset of a message that is being received: of a C-STORE into the intake, of others into memory."""

    def __init__(self, message: Any, begin: Any, association: Any) -> None:
        super().__init__()
        self.taking: Taking | None = None
        self._message = message
        self._begin = begin
        self._association = association

    def write(self, data: Any) -> int:
        if self._message.command_set.CommandField != C_STORE_RQ:
            return super().write(data)
        if self.taking is None:
            self.taking = self._begin(self._message, self._association)
        if self.taking is not None:
            self.taking.write(data)
        return len(data)


def class_uids(values: Collection[str | None]) -> set[str]:
    """SOP classes to offer for instances of these; the usual ones where a PACS did not say one."""
    known = {str(UID(value)) for value in values if value}
    return known | set(USUAL_CLASSES) if None in values or "" in values else known

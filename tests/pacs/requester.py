"""Somebody who asks for storage commitment and listens for the report, as pynetdicom does both."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tests.pacs.pretend import UID_ROOT


def request_of(pairs: list[tuple[str, str]], transaction: str | None = None) -> Dataset:
    """Action Information that names (SOP class, SOP instance) pairs."""
    made = Dataset()
    made.TransactionUID = transaction or generate_uid(UID_ROOT)
    items = []
    for sop_class, sop_instance in pairs:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        items.append(item)
    made.ReferencedSOPSequence = items
    return made


def asked_for(instances: list[Dataset], transaction: str | None = None) -> Dataset:
    return request_of([(i.SOPClassUID, i.SOPInstanceUID) for i in instances], transaction)


@dataclass
class Heard:
    """A report as it came."""

    event_type: int
    calling_ae: str
    transaction: str
    committed: set[str]
    failed: dict[str, int]


@dataclass
class Requester:
    """Listens for reports; a context manager. `status` is answered to each."""

    ae_title: str = "MODALITY"
    port: int = 0
    status: int = 0x0000
    ssl_context: Any = None
    heard: list[Heard] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Requester:
        entity = AE(ae_title=self.ae_title)
        entity.require_called_aet = True
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        self._server: Any = entity.start_server(
            ("127.0.0.1", self.port), block=False, ssl_context=self.ssl_context,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._report)],
        )  # fmt: skip
        self.port = int(self._server.server_address[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _report(self, event: evt.Event) -> tuple[int, Dataset | None]:
        information: Any = event.event_information
        self.heard.append(
            Heard(
                int(event.request.EventTypeID),  # type: ignore[union-attr, arg-type]
                str(event.assoc.requestor.ae_title),
                str(information.TransactionUID),
                {str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence", [])},
                {
                    str(item.ReferencedSOPInstanceUID): int(item.FailureReason)
                    for item in information.get("FailedSOPSequence", [])
                },
            )
        )
        self.came.set()
        return self.status, None

    def ask(self, port: int, information: Dataset, called: str = "SLUICE", **changes: Any) -> int | None:
        """N-ACTION on an association of its own; the status, None when there was none."""
        entity = AE(ae_title=self.ae_title)
        entity.acse_timeout = entity.dimse_timeout = 20
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate("127.0.0.1", port, ae_title=called)
        assert association.is_established, "storage commitment is not offered"
        try:
            status, _ = association.send_n_action(
                information,
                changes.get("action", 1),
                StorageCommitmentPushModel,
                changes.get("instance", StorageCommitmentPushModelInstance),
            )
            return int(status.Status) if "Status" in status else None
        finally:
            association.release()

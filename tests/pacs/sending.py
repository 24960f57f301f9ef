"""Sending to our receiver, well-behaved and not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from sluice.database import Database, select
from sluice.pacs.serving import ReactorGate, no_delay


@contextmanager
def sender(
    port: int, contexts: Sequence[tuple[str, str]], ae_title: str = "SCANNER", called: str = "SLUICE"
) -> Iterator[Association]:
    """An association that proposes (abstract syntax, transfer syntax) pairs."""
    entity = AE(ae_title=ae_title)
    entity.dimse_timeout = entity.acse_timeout = 20
    proposed = [build_context(abstract, transfer) for abstract, transfer in contexts]
    association = entity.associate(
        "127.0.0.1", port, contexts=proposed, ae_title=called, evt_handlers=[(evt.EVT_CONN_OPEN, no_delay)]
    )
    assert association.is_established
    ReactorGate(association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def encoded(dataset: Dataset) -> bytes:
    data = encode(dataset, False, True)
    assert data is not None
    return data


def store_bytes(
    association: Association, data: bytes, sop_class: str, sop_instance: str, abstract: str | None = None
) -> int | None:
    """C-STORE of bytes as they are; the status, or None when the association ended."""
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = sop_instance
    request.Priority = 2
    request.DataSet = BytesIO(data)
    (context,) = [c for c in association.accepted_contexts if c.abstract_syntax == (abstract or sop_class)]
    gate = association._reactor_checkpoint
    assert isinstance(gate, ReactorGate)
    gate.park()
    association.dimse.send_msg(request, context.context_id)
    _, response = association.dimse.get_msg(block=True)
    gate.set()
    return None if response is None else int(response.Status)


def send(port: int, datasets: Sequence[Dataset], ae_title: str = "SCANNER") -> list[int | None]:
    """Each dataset by C-STORE; the statuses."""
    contexts = sorted({(d.SOPClassUID, ExplicitVRLittleEndian) for d in datasets})
    with sender(port, contexts, ae_title) as association:
        return [store_bytes(association, encoded(d), d.SOPClassUID, d.SOPInstanceUID) for d in datasets]


def rows(database: Database, statement: str) -> list[dict[str, object]]:
    with database.transaction() as connection:
        return select(connection, statement)

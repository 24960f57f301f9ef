"""A tiny hospital, built once, and a receiver that keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association

from sluice.hospital.build import build
from sluice.hospital.encoding import SYNTAXES
from sluice.hospital.faults import Faults
from sluice.hospital.headers import SOP_CLASSES
from sluice.hospital.pacs import PATIENT_ROOT, STUDY_ROOT, VERIFICATION, HospitalPacs
from sluice.hospital.truth import Truth
from sluice.pacs.serving import no_delay


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """A tiny hospital of drawn pictures; tests must not change it."""
    home = tmp_path_factory.mktemp("hospital")
    return home, build(home, None, scale="tiny")


class Receiver:
    """A Storage SCP that keeps the bytes it is sent, by SOP Instance UID."""

    def __init__(self) -> None:
        self.got: dict[str, bytes] = {}
        self.syntax: dict[str, str] = {}
        self.callers: set[str] = set()
        self.status = 0x0000
        self._lock = threading.Lock()
        ae = AE(ae_title="SLUICE")
        for sop_class in SOP_CLASSES.values():
            ae.add_supported_context(sop_class, list(SYNTAXES.values()))
        ae.maximum_pdu_size = 0
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_CONN_OPEN, no_delay)]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]

    def _store(self, event: evt.Event) -> int:
        with self._lock:
            uid = str(event.request.AffectedSOPInstanceUID)
            self.got[uid] = event.request.DataSet.getvalue()
            self.syntax[uid] = str(event.context.transfer_syntax)
            self.callers.add(event.assoc.requestor.ae_title)
        return self.status

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


@pytest.fixture
def pacs(hospital: tuple[Path, Truth], receiver: Receiver) -> Iterator[HospitalPacs]:
    """The tiny hospital's PACS without any fault."""
    destinations = {"SLUICE": ("127.0.0.1", receiver.port)}
    with HospitalPacs(hospital[0], destinations=destinations, faults=Faults()) as one:
        yield one


@contextmanager
def calling(pacs: HospitalPacs, title: str = "SLUICE", **more: object) -> Iterator[Association]:
    """An association with the PACS."""
    ae = AE(ae_title=title)
    for uid in (VERIFICATION, *PATIENT_ROOT, *STUDY_ROOT):
        ae.add_requested_context(uid)
    handlers = [(evt.EVT_CONN_OPEN, no_delay), *more.pop("evt_handlers", [])]  # type: ignore[misc]
    for context in more.pop("contexts", []):  # type: ignore[attr-defined]
        ae.requested_contexts = [*ae.requested_contexts, context]
    association = ae.associate("127.0.0.1", pacs.port, ae_title=pacs.ae_title, evt_handlers=handlers, **more)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


@pytest.fixture
def find(pacs: HospitalPacs) -> Callable[..., list[Dataset]]:
    """C-FIND: `find("STUDY", StudyDate="20261026", PatientName="")` gives the answers."""

    def ask(level: str, root: str = "STUDY", charset: str | None = None, **keys: object) -> list[Dataset]:
        query = Dataset()
        if charset:
            query.SpecificCharacterSet = charset
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        model = (PATIENT_ROOT if root == "PATIENT" else STUDY_ROOT)[0]
        with calling(pacs) as association:
            replies = list(association.send_c_find(query, model))
        assert replies[-1][0].Status == 0x0000
        return [answer for status, answer in replies if status.Status in (0xFF00, 0xFF01)]

    return ask


def move(pacs: HospitalPacs, level: str = "STUDY", destination: str = "SLUICE", **keys: object) -> Dataset:
    """C-MOVE; the final status, an empty one when the association was aborted."""
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    status = Dataset()
    with calling(pacs) as association:
        for status, _ in association.send_c_move(query, destination, STUDY_ROOT[1]):  # noqa: B007
            pass
    return status

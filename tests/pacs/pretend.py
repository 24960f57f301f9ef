"""A PACS small enough to read: C-ECHO, C-FIND, C-MOVE, C-GET over datasets in memory, with faults as a test wants."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from sluice.pacs.node import PacsNode

UID_ROOT = "1.2.826.0.1.3680043.10.999."


def make_instance(study: str, series: str, number: int, **elements: Any) -> Dataset:
    """A small CT instance."""
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.SOPClassUID = CTImageStorage
    instance.SOPInstanceUID = generate_uid(UID_ROOT)
    instance.StudyInstanceUID, instance.SeriesInstanceUID = study, series
    instance.StudyDate, instance.StudyTime = "20261026", "101500"
    instance.PatientID, instance.AccessionNumber = "P1", "A1"
    instance.Modality, instance.InstanceNumber = "CT", number
    instance.Rows = instance.Columns = 8
    instance.PixelData = bytes(128)
    instance["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(instance, keyword, value)
    return instance


def make_study(series: int = 2, instances: int = 3, **elements: Any) -> list[Dataset]:
    """Instances of one study."""
    study = generate_uid(UID_ROOT)
    return [
        make_instance(study, uid, number, **elements)
        for uid in [generate_uid(UID_ROOT) for _ in range(series)]
        for number in range(1, instances + 1)
    ]


@dataclass
class PretendPacs:
    """An SCP; a context manager.

    Attributes:
        holds: its instances.
        cap: STUDY-level answers after which it stops, silently with `cap_status` 0.
        omit: return keys that it never gives.
        offers_move, offers_get: whether it accepts a context for them.
        fail: SOP Instance UIDs whose sub-operation fails; `name_failed` says whether it lists them.
        lie: SOP Instance UIDs that it counts as sent without sending them.
        abort_after: sub-operations after which a move is aborted, once.
        hang: a C-MOVE never answers.
        move_status: answered to every C-MOVE at once.
        before: called with the event and the number of sub-operations so far before each; where it returns a status,
            the request ends with that.
    """

    holds: list[Dataset]
    destinations: dict[str, tuple[str, int]] = field(default_factory=dict)
    cap: int | None = None
    cap_status: int = 0x0000
    omit: tuple[str, ...] = ()
    offers_move: bool = True
    offers_get: bool = False
    fail: set[str] = field(default_factory=set)
    name_failed: bool = True
    lie: set[str] = field(default_factory=set)
    abort_after: int | None = None
    hang: threading.Event | None = None
    move_status: int | None = None
    before: Callable[[evt.Event, int], int | None] | None = None
    queries: list[Dataset] = field(default_factory=list)
    moves: list[Dataset] = field(default_factory=list)
    gets: list[Dataset] = field(default_factory=list)

    def __enter__(self) -> PretendPacs:
        entity = AE(ae_title="PRETEND")
        entity.require_called_aet = True
        entity.require_calling_aet = ["SLUICE_TEST"]
        models = [StudyRootQueryRetrieveInformationModelMove] * self.offers_move
        models += [StudyRootQueryRetrieveInformationModelGet] * self.offers_get
        for syntax in (Verification, StudyRootQueryRetrieveInformationModelFind, *models):
            entity.add_supported_context(syntax)
        for sop_class in {instance.SOPClassUID for instance in self.holds}:
            syntaxes = [ExplicitVRLittleEndian, *{instance.file_meta.TransferSyntaxUID for instance in self.holds}]
            entity.add_supported_context(sop_class, syntaxes, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move), (evt.EVT_C_GET, self._get)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self.server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        if self.hang is not None:
            self.hang.set()
        self.server.shutdown()

    def node(self, **changes: Any) -> PacsNode:
        """How to reach it."""
        values = {
            "name": "pretend",
            "host": "127.0.0.1",
            "port": self.port,
            "ae_title": "PRETEND",
            "calling_ae_title": "SLUICE_TEST",
            "move_destination": "SLUICE",
            "timeout_s": 10,
        }
        return PacsNode(**(values | changes))

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        self.queries.append(asked)
        level = asked.QueryRetrieveLevel
        key = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[level]
        groups: dict[str, list[Dataset]] = {}
        for instance in self.holds:
            if matches(asked, instance):
                groups.setdefault(str(instance[key].value), []).append(instance)
        for number, members in enumerate(groups.values()):
            if self.cap is not None and level == "STUDY" and number == self.cap:
                if self.cap_status:
                    yield self.cap_status, None
                return
            yield 0xFF00, self._answer(asked, members, level)

    def _answer(self, asked: Dataset, members: list[Dataset], level: str) -> Dataset:
        answer = Dataset()
        answer.QueryRetrieveLevel = level
        computed = {
            "ModalitiesInStudy": sorted({m.Modality for m in members}),
            "NumberOfStudyRelatedInstances": len(members),
            "NumberOfSeriesRelatedInstances": len(members),
        }
        if "SpecificCharacterSet" in members[0]:
            answer.SpecificCharacterSet = members[0].SpecificCharacterSet
        for element in asked:
            keyword = element.keyword
            if keyword in ("QueryRetrieveLevel", "SpecificCharacterSet") or keyword in self.omit:
                continue
            setattr(answer, keyword, computed.get(keyword, members[0].get(keyword)))
        return answer

    def _move(self, event: evt.Event) -> Iterator[Any]:
        self.moves.append(event.identifier)
        if self.hang is not None:
            self.hang.wait(60)
        if self.move_status is not None:
            yield 0  # pynetdicom wants an address first; an impossible one ends in A801
            return
        address = self.destinations.get(event.move_destination)
        if address is None:
            yield None, None
            return
        wanted = self._wanted(event)
        yield (*address, {"ae_title": "SLUICE", "contexts": _contexts(wanted) or [build_context(CTImageStorage)]})
        yield from self._suboperations(event, wanted)

    def _get(self, event: evt.Event) -> Iterator[Any]:
        self.gets.append(event.identifier)
        if self.hang is not None:
            self.hang.wait(60)
        yield from self._suboperations(event, self._wanted(event))

    def _wanted(self, event: evt.Event) -> list[Dataset]:
        return [instance for instance in self.holds if matches(event.identifier, instance)]

    def _suboperations(self, event: evt.Event, wanted: list[Dataset]) -> Iterator[Any]:
        yield len(wanted)
        for number, instance in enumerate(wanted):
            if self.abort_after is not None and number == self.abort_after:
                self.abort_after = None
                event.assoc.abort()
                return
            status = self.before(event, number) if self.before is not None else None
            if status is not None:
                yield status, None
                return
            uid = instance.SOPInstanceUID
            if uid in self.fail:
                broken = Dataset()
                broken.SOPInstanceUID = uid
                broken.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.1"  # not negotiated, so it cannot be sent
                yield 0xFF00, broken
            elif uid in self.lie:
                continue
            else:
                yield 0xFF00, instance


def _contexts(instances: list[Dataset]) -> list[Any]:
    return [build_context(uid, ExplicitVRLittleEndian) for uid in sorted({i.SOPClassUID for i in instances})]


def matches(asked: Dataset, instance: Dataset) -> bool:
    """PS3.4 C.2.2.2: single value, UID list, range and wildcard matching."""
    for element in asked:
        keyword, wanted = element.keyword, element.value
        if keyword in ("QueryRetrieveLevel", "SpecificCharacterSet") or wanted in (None, ""):
            continue
        if keyword == "ModalitiesInStudy":
            keyword = "Modality"
        held = str(instance.get(keyword) or "")
        if element.VR == "UI":
            if held not in ([wanted] if isinstance(wanted, str) else list(wanted)):
                return False
        elif element.VR in ("DA", "TM") and "-" in str(wanted):
            first, last = str(wanted).split("-")
            if not held or held < first or (last and held > last):
                return False
        elif not fnmatch.fnmatchcase(held, str(wanted).replace("[", "[[]")):
            return False
    return True

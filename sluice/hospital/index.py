"""What the PACS knows of its files, and how it answers a query at each level."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.errors import InvalidDicomError

from sluice.hospital.faults import Faults, hits
from sluice.hospital.matching import matches, values_of

LOGGER = logging.getLogger(__name__)
LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE_KEYS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
# What may be asked for at each level (PS3.4 Tables C.6-1 to C.6-5 and what PACSs commonly add).
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID"),
    "STUDY": (
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyID",
        "StudyDescription",
        "ReferringPhysicianName",
        "InstitutionName",
        "PatientAge",
    ),
    "SERIES": (
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "SeriesDate",
        "SeriesTime",
        "BodyPartExamined",
        "ProtocolName",
        "Laterality",
        "StationName",
        "Manufacturer",
        "ManufacturerModelName",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
    ),
    "IMAGE": (
        "SOPInstanceUID",
        "SOPClassUID",
        "InstanceNumber",
        "ContentDate",
        "ContentTime",
        "AcquisitionDate",
        "AcquisitionTime",
        "Rows",
        "Columns",
        "NumberOfFrames",
        "InstanceCoercionDateTime",
    ),
}
ALL_ATTRIBUTES = [keyword for level in LEVELS for keyword in ATTRIBUTES[level]]


@dataclass(frozen=True)
class Stored:
    """One object in the PACS's store; `values` hold what can be asked for, as text."""

    path: Path
    transfer_syntax: str
    charset: tuple[str, ...]
    values: dict[str, tuple[str, ...]]

    def one(self, keyword: str) -> str:
        """The first value, or nothing."""
        return next(iter(self.values.get(keyword, ())), "")

    def with_values(self, other: Mapping[str, str]) -> Stored:
        """The same file, listed with other values."""
        if not other:
            return self
        return replace(self, values=self.values | {keyword: (value,) for keyword, value in other.items()})


class QueryError(RuntimeError):
    """A query that cannot be answered; `status` is the DIMSE status to give."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


# Attributes that an answer computes from all objects of its entity (PS3.4 C.3.4).
COMPUTED: dict[str, Callable[[list[Stored]], list[str]]] = {
    "ModalitiesInStudy": lambda whole: sorted({stored.one("Modality") for stored in whole}),
    "SOPClassesInStudy": lambda whole: sorted({stored.one("SOPClassUID") for stored in whole}),
    "NumberOfPatientRelatedStudies": lambda whole: _count(whole, "StudyInstanceUID"),
    "NumberOfPatientRelatedSeries": lambda whole: _count(whole, "SeriesInstanceUID"),
    "NumberOfPatientRelatedInstances": lambda whole: [str(len(whole))],
    "NumberOfStudyRelatedSeries": lambda whole: _count(whole, "SeriesInstanceUID"),
    "NumberOfStudyRelatedInstances": lambda whole: [str(len(whole))],
    "NumberOfSeriesRelatedInstances": lambda whole: [str(len(whole))],
}


class Index:
    """The objects under a folder, in memory.

    Reading 2,000 headers takes seconds, so what was read is kept in `cache` and read again only for a file whose
    size or time changed. `faults` may make it forget, change or overlook things.
    """

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self.folder = folder
        self.objects: dict[str, Stored] = {}
        self.strays: list[Path] = []
        self.faults = Faults()
        self._lock = threading.Lock()
        known: dict[str, Any] = json.loads(cache.read_text()) if cache is not None and cache.exists() else {}
        seen: dict[str, Any] = {}
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            name, state = str(path.relative_to(folder)), [path.stat().st_size, path.stat().st_mtime_ns]
            remembered = known.get(name)
            if remembered is not None and remembered["state"] == state:
                self._list(_remembered(path, remembered) if remembered["syntax"] else None, path)
                seen[name] = remembered
            else:
                stored = self.add(path)
                seen[name] = {"state": state, "syntax": stored.transfer_syntax if stored else ""}
                if stored:
                    seen[name] |= {"charset": stored.charset, "values": stored.values}
        if cache is not None and seen != known:
            partial = cache.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            partial.write_text(json.dumps(seen))
            partial.replace(cache)
        if self.strays:
            LOGGER.info("%d files in the store are no DICOM objects; they are not listed", len(self.strays))

    def add(self, path: Path) -> Stored | None:
        """List the object in `path`; a file that is no DICOM object is noted and not listed."""
        stored = self._read(path)
        self._list(stored, path)
        return stored

    def _list(self, stored: Stored | None, path: Path) -> None:
        if stored is None:
            self.strays.append(path)
            return
        with self._lock:
            self.objects[stored.one("SOPInstanceUID")] = stored

    @staticmethod
    def _read(path: Path) -> Stored | None:
        try:
            ds = dcmread(path, stop_before_pixels=True, specific_tags=[*ALL_ATTRIBUTES, "SpecificCharacterSet"])
            syntax = str(ds.file_meta.TransferSyntaxUID)
        except (InvalidDicomError, AttributeError, EOFError):
            return None
        values = {keyword: tuple(values_of(ds[keyword])) for keyword in ALL_ATTRIBUTES if keyword in ds}
        charset = ds.get("SpecificCharacterSet", "") or ""
        return Stored(path, syntax, (charset,) if isinstance(charset, str) else tuple(charset), values)

    def find(self, root: str, identifier: Dataset, relational: bool = True) -> list[Dataset]:
        """Answers to a C-FIND identifier.

        Args:
            root: `PATIENT` or `STUDY`, the information model.
            identifier: the query with Query/Retrieve Level.
            relational: answer although unique keys of higher levels are missing (PS3.4 C.4.1.3.2.1).

        Raises:
            QueryError: with status A900 when level or keys do not fit the model.
        """
        level = self._level(root, identifier)
        self._check_hierarchy(root, level, identifier, relational)
        groups: dict[tuple[str, ...], list[Stored]] = {}
        for stored in self._matching(identifier, level, self.faults.ignore_keys):
            groups.setdefault(self._identity(stored, level), []).append(stored)
        answers = (self._answer(identifier, level, members) for members in groups.values())
        return [answer for answer in answers if answer is not None]

    def select(self, root: str, identifier: Dataset) -> list[Stored]:
        """The objects a C-MOVE or C-GET asks for: unique keys only, lists of UIDs allowed (PS3.4 C.4.2.1.4)."""
        level = self._level(root, identifier)
        unique = UNIQUE_KEYS[level]
        if unique not in identifier or not values_of(identifier[unique]):
            raise QueryError(f"A retrieve at {level} level needs {unique}.", 0xA900)
        keys = Dataset()
        for keyword in UNIQUE_KEYS.values():
            if keyword in identifier:
                keys[keyword] = identifier[keyword]
        return list(self._matching(keys, "IMAGE"))

    def _level(self, root: str, identifier: Dataset) -> str:
        level = str(identifier.get("QueryRetrieveLevel", ""))
        if level not in LEVELS or (root == "STUDY" and level == "PATIENT"):
            raise QueryError(f"Query/Retrieve Level {level!r} does not exist in the {root} root.", 0xA900)
        return level

    def _check_hierarchy(self, root: str, level: str, identifier: Dataset, relational: bool) -> None:
        first = LEVELS.index("PATIENT" if root == "PATIENT" else "STUDY")
        for above in LEVELS[first : LEVELS.index(level)]:
            keyword = UNIQUE_KEYS[above]
            if not relational and (keyword not in identifier or len(values_of(identifier[keyword])) != 1):
                raise QueryError(f"A query at {level} level needs one {keyword}.", 0xA900)

    def _matching(self, identifier: Dataset, level: str, ignored: Collection[str] = ()) -> Iterable[Stored]:
        """Objects that match the identifier's keys up to `level`."""
        known = {keyword for place in LEVELS[: LEVELS.index(level) + 1] for keyword in ATTRIBUTES[place]}
        keys = []
        for element in identifier:
            keyword = keyword_for_tag(element.tag)
            if keyword in known and keyword not in ignored and (wanted := values_of(element)):
                keys.append((keyword, dictionary_VR(element.tag), wanted))
        fold = self.faults.ignore_case
        for stored in self._held():
            if all(matches(vr, wanted, stored.values.get(keyword, ()), fold) for keyword, vr, wanted in keys):
                yield stored

    def _held(self) -> Iterable[Stored]:
        """Every object as the PACS knows it now, its faults of forgetting and changing included."""
        with self._lock:
            objects = list(self.objects.values())
        absent, changed = self.faults.absent, self.faults.changed
        if not absent and not changed:
            return objects
        return [
            stored.with_values(changed.get(stored.one("StudyInstanceUID"), {}))
            for stored in objects
            if not hits(
                absent, *(stored.one(key) for key in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"))
            )
        ]

    @staticmethod
    def _identity(stored: Stored, level: str) -> tuple[str, ...]:
        return (stored.one(UNIQUE_KEYS[level]),)

    def _answer(self, identifier: Dataset, level: str, members: list[Stored]) -> Dataset | None:
        """One answer for the entity whose matching objects are `members`; None if a computed key excludes it."""
        first = members[0]
        whole: list[Stored] | None = None
        known = {keyword for place in LEVELS[: LEVELS.index(level) + 1] for keyword in ATTRIBUTES[place]}
        answer = Dataset()
        if charset := [name for name in first.charset if name or len(first.charset) > 1]:
            answer.SpecificCharacterSet = charset if len(charset) > 1 else charset[0]
        for element in identifier:
            keyword = keyword_for_tag(element.tag)
            if keyword in ("SpecificCharacterSet", "QueryRetrieveLevel", "RetrieveAETitle"):
                continue
            values: list[str] = []
            if keyword in COMPUTED:
                whole = self._whole(first, level) if whole is None else whole
                values = COMPUTED[keyword](whole)
                wanted = [] if keyword in self.faults.ignore_keys else values_of(element)
                if not matches(dictionary_VR(element.tag), wanted, values, self.faults.ignore_case):
                    return None
            elif keyword in known:
                values = list(first.values.get(keyword, ()))
            elif element.VR == "SQ":
                continue
            answer.add_new(element.tag, element.VR, values if len(values) > 1 else next(iter(values), ""))
        answer.QueryRetrieveLevel = level
        answer.InstanceAvailability = "ONLINE"
        return answer

    def _whole(self, one: Stored, level: str) -> list[Stored]:
        """All objects of the entity, whether or not the query's other keys matched them."""
        key = UNIQUE_KEYS[level]
        return [stored for stored in self._held() if stored.one(key) == one.one(key)]


def _remembered(path: Path, values: dict[str, Any]) -> Stored:
    attributes = {keyword: tuple(value) for keyword, value in values["values"].items()}
    return Stored(path, values["syntax"], tuple(values["charset"]), attributes)


def _count(members: list[Stored], keyword: str) -> list[str]:
    return [str(len({stored.one(keyword) for stored in members}))]

"""A synthetic patient whose every text, UID, date and private element is a token that nobody else has.

One CR and three CT images with what scanners write, in the character sets that hospitals use. Pixels are black: what
reads text in pixels is proved elsewhere. Code strings (CS) carry no token: the profile keeps them by form.
"""

from __future__ import annotations

import base64
import csv
import io
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.resources import files

from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sluice.release.canaries.seeing import MARKER, MARKER_LETTERS

CR, CT = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.2"
TEXT_VRS = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
# What an option of the profile keeps on purpose, by its code of CID 7050: (column of the table, or what it is).
KEPT_BY = {
    "113109": "retain_device_identity",
    "113112": "retain_institution_identity",
    "113108": "retain_patient_characteristics",
    "113110": "retain_uids",
    "113106": "retain_longitudinal_full_dates",
}
# Specific Character Set, letters that it writes and a UTF-8 search does not find, and the encoding for a search.
CHARACTER_SETS = (
    (["ISO_IR 100"], "äëïöüÿàèìòùâêîôû", "latin_1"),
    (["", "ISO 2022 IR 87"], "鶴亀松竹梅桜菊蘭龍鳳雷霧霜霞露雪", "iso2022_jp"),
    (["GB18030"], "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨", "gb18030"),
    (["ISO_IR 192"], "αβγδεζηθικλμνξοπ", "utf_8"),
)
SIZE = 16  # pixels a side
REGION = "CHEST"  # what a canary is a picture of, so that no rule for faces holds it
CREATOR, PRIVATE_GROUPS = 0x0010, (0x0009, 0x0019, 0x0029, 0x0099)


@dataclass
class Canary:
    """A synthetic patient.

    Attributes:
        marker: begins each ASCII token; 8 characters.
        tokens: what must not be seen in anything produced.
        files: SOP Instance UID to DICOM file.
    """

    marker: str
    patient_id: str
    study_instance_uid: str
    tokens: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


def made(codes: tuple[str, ...] = ()) -> Canary:
    """A new canary.

    Args:
        codes: CID 7050 codes of the project's profiles: what an option keeps on purpose carries no token.
    """
    marker = MARKER + base64.b32encode(secrets.token_bytes(5)).decode()[: MARKER_LETTERS - len(MARKER)]
    canary = Canary(marker, f"{marker}PID", _uid())
    _Maker(canary, {KEPT_BY[code] for code in codes if code in KEPT_BY}).make()
    return canary


class _Maker:
    def __init__(self, canary: Canary, kept: set[str]) -> None:
        self.canary = canary
        self.kept = kept
        self.skipped = {int(row["tag"], 16) for row in _rows() if any(row[name] == "K" for name in kept)}
        self.frame, self.series = _uid(), {"CR": _uid(), "CT": _uid()}
        self.born = date(1903, 1, 1) + timedelta(days=secrets.randbelow(3000))
        self.studied = date(1971, 1, 1) + timedelta(days=secrets.randbelow(3000))
        self.count = 0

    def make(self) -> None:
        canary = self.canary
        canary.tokens.append(canary.patient_id)
        if "retain_uids" not in self.kept:
            canary.tokens += [canary.study_instance_uid, self.frame, *self.series.values()]
        canary.tokens.append(f"{self.born:%Y%m%d}")
        if "retain_longitudinal_full_dates" not in self.kept:
            canary.tokens.append(f"{self.studied:%Y%m%d}")
        for number, (character_set, letters, _) in enumerate(CHARACTER_SETS):
            dataset = self._image(number, "CR" if number == 0 else "CT", character_set, letters)
            uid = str(dataset.SOPInstanceUID)
            if "retain_uids" not in self.kept:
                canary.tokens.append(uid)
            buffer = io.BytesIO()
            dcmwrite(buffer, dataset, enforce_file_format=True)
            canary.files[uid] = buffer.getvalue()

    def _image(self, number: int, modality: str, character_set: list[str], letters: str) -> Dataset:
        dataset = Dataset()
        dataset.SpecificCharacterSet = character_set
        self._plant(dataset, _text_elements(self.skipped))
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if number % 2 else ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(CR if modality == "CR" else CT)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(_uid())
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = self.canary.study_instance_uid, self.series[modality]
        dataset.FrameOfReferenceUID = self.frame
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if modality == "CT" else ["ORIGINAL", "PRIMARY"]
        dataset.Modality = modality
        dataset.PatientID = self.canary.patient_id
        dataset.IssuerOfPatientID = ""
        dataset.PatientBirthDate = f"{self.born:%Y%m%d}"
        dataset.PatientSex, dataset.PatientAge = "O", "068Y"
        dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = f"{self.studied:%Y%m%d}"
        dataset.StudyTime, dataset.SeriesNumber, dataset.InstanceNumber = "120000", 1 + (modality == "CT"), number + 1
        self._name(dataset, letters)
        self._nest(dataset)
        self._private(dataset)
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows = dataset.Columns = SIZE
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = bytes(2 * SIZE * SIZE)
        return dataset

    def _token(self) -> str:
        self.count += 1
        counted = base64.b32encode(self.count.to_bytes(2, "big")).decode()[:4]
        self.canary.tokens.append(self.canary.marker + counted)
        return self.canary.tokens[-1]

    def _plant(self, dataset: Dataset, elements: Iterator[tuple[int, str]]) -> None:
        for tag, vr in elements:
            token = self._token()
            dataset.add_new(tag, vr, f"{token}^{token}" if vr == "PN" else token)

    def _name(self, dataset: Dataset, letters: str) -> None:
        """A name in the file's character set, twice: as the patient's, and in free text."""
        name = "".join(secrets.choice(letters) for _ in range(8))
        self.canary.tokens.append(name)
        dataset.PatientName = f"{self._token()}^Q={name[:4]}^{name[4:]}"
        self.canary.tokens += [name[:4], name[4:]]
        dataset.ImageComments = name
        dataset.StudyDescription = f"CHEST {name}"

    def _nest(self, dataset: Dataset) -> None:
        inner = Dataset()
        self._plant(inner, iter([(0x00400007, "LO"), (0x00401001, "SH"), (0x00100010, "PN")]))
        outer = Dataset()
        outer.RequestAttributesSequence = DicomSequence([inner])
        outer.ReferencedSOPInstanceUID = _uid()
        if "retain_uids" not in self.kept:
            self.canary.tokens.append(outer.ReferencedSOPInstanceUID)
        dataset.RequestAttributesSequence = DicomSequence([inner])
        dataset.ReferencedStudySequence = DicomSequence([outer])
        dataset.OriginalAttributesSequence = DicomSequence([outer])

    def _private(self, dataset: Dataset) -> None:
        for group in PRIVATE_GROUPS:
            dataset.add_new(group << 16 | CREATOR, "LO", self._token())
            dataset.add_new(group << 16 | 0x1001, "LO", self._token())
            dataset.add_new(group << 16 | 0x1002, "UN", self._token().encode() + b" ")
            dataset.add_new(group << 16 | 0x1003, "OB", self._token().encode() + b" ")
            inner = Dataset()
            self._plant(inner, iter([(0x00100020, "LO")]))
            dataset.add_new(group << 16 | 0x1004, "SQ", DicomSequence([inner]))
        dataset.add_new(0x60004000, "LT", self._token())  # an overlay's comment
        dataset.add_new(0x0010FFFE, "UN", self._token().encode() + b" ")  # no attribute of any dictionary


def _text_elements(skipped: set[int]) -> Iterator[tuple[int, str]]:
    """Every text attribute of the dictionary, but those that an option keeps and those that `_image` sets."""
    for tag, (vr, *_) in DicomDictionary.items():
        if vr in TEXT_VRS and 0x0008 <= tag >> 16 < 0x5000 and tag not in skipped:
            yield tag, vr


def _rows() -> list[dict[str, str]]:
    text = files("sluice.deid.tables").joinpath("basic_profile.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def _uid() -> str:
    return f"2.25.{uuid.uuid4().int}"

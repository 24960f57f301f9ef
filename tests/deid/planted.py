"""DICOM objects that carry planted identifiers, for the tests of de-identification and release."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
import pydicom
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ROOT = "1.2.826.0.1.3680043.9.9999"


def image(
    number: int = 1,
    patient_id: str = "PID-4711-77",
    name: str = "Quillfeather^Ottoline",
    sop_class: str = CT,
    study: int = 1,
    modality: str = "CT",
    edit: Callable[[Dataset], None] | None = None,
) -> Dataset:
    """A small valid 16-bit image of one patient."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.{study}.1.{number}"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = f"{ROOT}.{study}.1.{number}"
    dataset.SeriesInstanceUID = f"{ROOT}.{study}.1"
    dataset.StudyInstanceUID = f"{ROOT}.{study}"
    dataset.FrameOfReferenceUID = f"{ROOT}.{study}.99"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Modality = modality
    dataset.PatientID = patient_id
    dataset.PatientName = name
    dataset.PatientBirthDate = "19490317"
    dataset.PatientSex = "F"
    dataset.PatientAge = "077Y"
    dataset.AccessionNumber = "ACC9081726"
    dataset.StudyID = "ST77123"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = "20261026"
    dataset.StudyTime = dataset.ContentTime = "081530.25"
    dataset.StudyDescription = "CT Chest 55F Dr. Gravelbottom"
    dataset.ReferringPhysicianName = "Gravelbottom^Ignatius"
    dataset.InstitutionName = "Sankt Nimmerlein Hospital"
    dataset.Manufacturer = "SIEMENS"
    dataset.SeriesNumber, dataset.InstanceNumber = 2, number
    dataset.PixelSpacing = [0.5, 0.5]
    dataset.SliceThickness = 1.25
    dataset.KVP = 120
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = b"".join(((number * 7 + i) % 4096).to_bytes(2, "little") for i in range(256))
    if edit:
        edit(dataset)
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """The dataset as a DICOM file in the transfer syntax that its file meta names."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


TEXT = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
# What an image needs to be read at all, and what decides whether it is held.
STRUCTURE = {
    "SOPClassUID", "Modality", "ImageType", "ConversionType", "BurnedInAnnotation", "SpecificCharacterSet", "PatientID",
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "NumberOfFrames", "PixelData", "TransferSyntaxUID", "PlanarConfiguration",
}  # fmt: skip


class Needles:
    """Gives unique values that nothing but a leak can bring into the output."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def text(self) -> str:
        return self._note(f"zq{len(self.given):05d}x")

    def code(self) -> str:
        """A code string by its form, of letters alone."""
        number = len(self.given)
        return self._note("ZQ" + "".join(chr(65 + number // 26**place % 26) for place in range(5)))

    def uid(self) -> str:
        return self._note(f"{ROOT}.8.1{len(self.given):05d}")

    def date(self) -> str:
        number = len(self.given)
        return self._note(f"{1901 + number // 336:04d}{number // 28 % 12 + 1:02d}{number % 28 + 1:02d}")

    def _note(self, value: str) -> str:
        self.given.append(value.encode())
        return value

    def in_(self, data: bytes) -> list[bytes]:
        """Needles that stand in the bytes."""
        found = set(re.findall(rb"zq\d{5}x|ZQ[A-Z]{5}|1\.2\.826\.0\.1\.3680043\.9\.9999\.8\.\d{6}|19\d{6}", data))
        return sorted(found & set(self.given))


def plant_everywhere(dataset: Dataset, needles: Needles, skip: set[int], dates: bool) -> None:
    """A needle in each attribute of the dictionary that can hold text, a UID or (if `dates`) a date."""
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 < 8 or keyword in STRUCTURE or tag in skip or not keyword:
            continue
        if vr in TEXT:
            dataset.add(DataElement(tag, vr, needles.text()))
        elif vr == "CS":
            dataset.add(DataElement(tag, vr, needles.code()))
        elif vr == "UI":
            dataset.add(DataElement(tag, vr, needles.uid()))
        elif vr in ("DA", "DT") and dates:
            dataset.add(DataElement(tag, vr, needles.date() + ("112233" if vr == "DT" else "")))
        elif vr in ("OB", "UN"):
            dataset.add(DataElement(tag, vr, needles.text().encode()))


def with_syntax(dataset: Dataset, syntax: str) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:  # pydicom writes words of pixel data as they are given
        dataset["PixelData"] = DataElement(
            0x7FE00010, "OW", np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
        )
    return encoded(dataset)


def raw_element(tag: int, vr: str, value: bytes) -> pydicom.dataelem.RawDataElement:
    """An element that pydicom writes as it is, right or wrong."""
    return pydicom.dataelem.RawDataElement(pydicom.tag.Tag(tag), vr, len(value), value, 0, False, True, True, True)

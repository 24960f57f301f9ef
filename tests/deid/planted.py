"""DICOM objects that carry planted identifiers, for the tests of de-identification and release."""

from __future__ import annotations

import io
from collections.abc import Callable

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

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

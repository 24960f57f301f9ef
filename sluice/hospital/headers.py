"""The headers a scanner writes: correct where it must be, and as untidy as the vendor's are elsewhere.

Names, dates and numbers of the patient stand in many places on purpose: nested sequences, private elements,
comments. All date and time elements of the exam come from the scanner's own clock.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

from sluice.hospital.people import Patient
from sluice.hospital.plan import DOCUMENTS, Exam, Image, Series, uid
from sluice.hospital.words import body_part_written, sayable, spoken

HOSPITAL = "Städtisches Klinikum Am See"
ISSUER = "KLINIKUM"
SOP_CLASSES = {
    "CT": UID("1.2.840.10008.5.1.4.1.1.2"),
    "MR": UID("1.2.840.10008.5.1.4.1.1.4"),
    "CR": UID("1.2.840.10008.5.1.4.1.1.1"),
    "DX": UID("1.2.840.10008.5.1.4.1.1.1.1"),
    "MG": UID("1.2.840.10008.5.1.4.1.1.1.2"),
    "US": UID("1.2.840.10008.5.1.4.1.1.6.1"),
    "dose-screen": UID("1.2.840.10008.5.1.4.1.1.7"),
    "dose-report": UID("1.2.840.10008.5.1.4.1.1.88.67"),
    "letter": UID("1.2.840.10008.5.1.4.1.1.104.1"),
    "report": UID("1.2.840.10008.5.1.4.1.1.88.11"),
    "key-note": UID("1.2.840.10008.5.1.4.1.1.88.59"),
    "presentation": UID("1.2.840.10008.5.1.4.1.1.11.1"),
}
_DOCTORS = ("Brückner^Petra^^Dr. med.", "Albers^Joachim^^Prof. Dr.", "Novák^Tomáš", "Stein^Miriam^^Dr.")
_OPERATORS = ("mtra17", "Hansen^Silke", "KRAUSE^D")
_CODES = {"CHEST": "816094009", "ABDOMEN": "818981001", "LSPINE": "122496007", "KNEE": "72696002",
          "HAND": "85562004", "FOOT": "56459004", "PELVIS": "816092008", "SKULL": "89546000",
          "SHOULDER": "16982005", "CSPINE": "122494005", "TSPINE": "122495006", "BREAST": "76752008"}  # fmt: skip


def date_of(moment: datetime) -> str:
    """DA."""
    return moment.strftime("%Y%m%d")


def time_of(moment: datetime, fraction: bool = True) -> str:
    """TM, with microseconds where the vendor writes them."""
    return moment.strftime("%H%M%S.%f" if fraction else "%H%M%S")


def dataset(exam: Exam, series: Series, image: Image, seed: int) -> Dataset:
    """The header of one object, pixels and document not yet in it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    sop_class = SOP_CLASSES.get(series.kind, SOP_CLASSES.get(series.modality, SOP_CLASSES["CT"]))
    patient = exam.patient
    chance = random.Random(f"{seed}/{series.series_instance_uid}/header")
    ds.SpecificCharacterSet = patient.charset.split("\\") if patient.charset else "ISO_IR 6"
    if not patient.charset:
        del ds.SpecificCharacterSet
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, UID(image.sop_instance_uid)
    ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = UID(image.sop_instance_uid)
    ds.file_meta.SourceApplicationEntityTitle = exam.scanner.station_name
    _patient(ds, exam, image, chance)
    _study(ds, exam, chance)
    _series(ds, exam, series, image, chance)
    _times(ds, exam, series, image)
    _equipment(ds, exam)
    _requests(ds, exam, chance)
    _private(ds, exam)
    return ds


def _patient(ds: Dataset, exam: Exam, image: Image, chance: random.Random) -> None:
    patient = exam.patient
    ds.PatientName, ds.PatientID = patient.name, patient.patient_id
    ds.IssuerOfPatientID = ISSUER
    ds.PatientBirthDate, ds.PatientSex = date_of(datetime.combine(patient.born, datetime.min.time())), patient.sex
    age = patient.age_on(exam.begins_at.date())
    written = f"{age:03d}Y" if age >= 2 else f"{max(age * 12, 7):03d}M"
    oddity = chance.random()
    if oddity < 0.06:
        written = f"{(age + 37) % 99:03d}Y"
    elif oddity < 0.1:
        written = f"{age}"
    if oddity < 0.85:
        ds.PatientAge = written
    if image.mishap == "no-patient-id":
        ds.PatientID = ""
        del ds.IssuerOfPatientID
    if image.mishap == "two-patients" and image.sop_instance_uid != exam.series[0].images[0].sop_instance_uid:
        ds.PatientID = other_patient_id(patient)
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = f"ALT{patient.patient_id[-5:]}", "STADTKH", "TEXT"
    ds.OtherPatientIDsSequence = Sequence([other])
    if chance.random() < 0.3:
        ds.PatientAddress = sayable("Seestraße 14, 12345 Musterstadt", patient.charset)
        ds.PatientTelephoneNumbers = "+49 30 5550173"
    if chance.random() < 0.2:
        ds.PatientComments = sayable(f"Rückruf Tochter {patient.name.split('^')[0]}", "ISO_IR 192")
        ds.PatientComments = sayable(ds.PatientComments, patient.charset)


def other_patient_id(patient: Patient) -> str:
    """The id of the patient whose picture was filed under this one by mistake."""
    return f"{patient.patient_id[:-1]}{(int(patient.patient_id[-1]) + 5) % 10}"


def _study(ds: Dataset, exam: Exam, chance: random.Random) -> None:
    charset = exam.patient.charset
    modality = exam.scanner.modality
    words = {"DX": "Röntgen", "CR": "Röntgen", "CT": "CT", "MR": "MRT", "US": "Sono", "MG": "MG"}[modality]
    if exam.language == "en":
        words = {"Röntgen": "XR", "MRT": "MRI", "Sono": "US"}.get(words, words)
    ds.StudyInstanceUID = exam.study_instance_uid
    ds.AccessionNumber = exam.accession_number
    ds.StudyID = str(chance.randrange(1_000, 99_999))
    if exam.dirt != "missing" or chance.random() < 0.5:
        ds.StudyDescription = sayable(f"{words} {spoken(exam.region, exam.language)}", charset)
    ds.ReferringPhysicianName = sayable(chance.choice(_DOCTORS), charset) if charset == "ISO_IR 192" else "Stein^Miriam"


def _series(ds: Dataset, exam: Exam, series: Series, image: Image, chance: random.Random) -> None:
    charset = exam.patient.charset
    ds.Modality = series.modality
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = series.series_instance_uid, series.number, image.number
    ds.SeriesDescription = sayable(series.description, charset)
    if series.kind == "dose-screen" or series.kind in DOCUMENTS:
        return
    ds.ProtocolName = sayable(f"{spoken(exam.region, exam.language)} {exam.scanner.modality}", charset)
    written = body_part_written(exam.region, series.dirt, chance)
    if written is not None:
        codec = {"GB18030": "gb18030", "ISO_IR 192": "utf-8"}.get(charset, "latin-1")
        encoded = written.encode(codec, errors="replace")
        # Vendors put umlauts and Chinese into this CS although only A-Z, 0-9, space and _ are allowed (PS3.5 6.2).
        tag = Tag("BodyPartExamined")
        encoded += b" " * (len(encoded) % 2)
        ds[tag] = RawDataElement(tag, "CS", len(encoded), encoded, 0, False, True)
    ds.OperatorsName = sayable(chance.choice(_OPERATORS), charset)
    if series.modality in ("DX", "MG") and exam.dirt == "clean":
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = _CODES[exam.region], "SCT"
        code.CodeMeaning = spoken(exam.region, "en")
        ds.AnatomicRegionSequence = Sequence([code])
    if image.view:
        ds.ViewPosition = image.view
    if image.laterality:
        if series.modality in ("DX", "MG"):
            ds.ImageLaterality = image.laterality
        else:
            ds.Laterality = image.laterality
    elif series.modality == "DX":
        ds.ImageLaterality = "U"


def _times(ds: Dataset, exam: Exam, series: Series, image: Image) -> None:
    clock = exam.scanner.reads
    fraction = "FUJI" not in exam.scanner.manufacturer
    begins, taken = clock(series.images[0].acquired_at), clock(image.acquired_at)
    content = taken + timedelta(seconds=1.2 if series.kind == "stack" else 2.4)
    ds.StudyDate, ds.StudyTime = date_of(clock(exam.begins_at)), time_of(clock(exam.begins_at), fraction)
    ds.SeriesDate, ds.SeriesTime = date_of(begins), time_of(begins, fraction)
    ds.ContentDate, ds.ContentTime = date_of(content), time_of(content, fraction)
    if series.kind != "dose-screen" and series.kind not in DOCUMENTS:
        ds.AcquisitionDate, ds.AcquisitionTime = date_of(taken), time_of(taken, fraction)
        ds.AcquisitionNumber = series.number
    if exam.scanner.writes_offset:
        ds.TimezoneOffsetFromUTC = "+0100"


def _equipment(ds: Dataset, exam: Exam) -> None:
    scanner = exam.scanner
    ds.Manufacturer, ds.ManufacturerModelName = scanner.manufacturer, scanner.model_name
    ds.DeviceSerialNumber, ds.StationName = scanner.serial, scanner.station_name
    ds.SoftwareVersions = scanner.software.split("\\")
    ds.InstitutionName = sayable(HOSPITAL, exam.patient.charset)
    ds.InstitutionalDepartmentName = scanner.department


def _requests(ds: Dataset, exam: Exam, chance: random.Random) -> None:
    request = Dataset()
    request.RequestedProcedureID = f"RP{chance.randrange(10_000, 99_999)}"
    request.ScheduledProcedureStepID = f"SPS{chance.randrange(10_000, 99_999)}"
    request.AccessionNumber = exam.accession_number
    request.StudyInstanceUID = exam.study_instance_uid
    request.ScheduledProcedureStepDescription = sayable(spoken(exam.region, exam.language), exam.patient.charset)
    request.RequestedProcedureDescription = sayable(
        f"Verlauf {exam.patient.name.split('=')[0].split('^')[0]}", exam.patient.charset
    )
    ds.RequestAttributesSequence = Sequence([request])
    referenced = Dataset()
    referenced.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    referenced.ReferencedSOPInstanceUID = uid(exam.study_instance_uid, "performed")
    ds.ReferencedStudySequence = Sequence([referenced])
    ds.PerformedProcedureStepStartDate = date_of(exam.scanner.reads(exam.begins_at))
    ds.PerformedProcedureStepStartTime = time_of(exam.scanner.reads(exam.begins_at))
    ds.PerformedProcedureStepID = f"PPS{chance.randrange(10_000, 99_999)}"


def _private(ds: Dataset, exam: Exam) -> None:
    """Private blocks as the vendors' conformance statements name them, the patient repeated inside."""
    maker = exam.scanner.manufacturer.upper()
    name = exam.patient.name.split("=")[0].encode("ascii", "replace").decode()
    if maker.startswith("SIEMENS"):
        block = ds.private_block(0x0029, "SIEMENS MEDCOM HEADER", create=True)
        block.add_new(0x08, "CS", "MEDCOM 1")
        block.add_new(0x09, "LO", "20100202")
        block.add_new(0x20, "OB", b"ScanProtocol=" + exam.scanner.model_name.encode() + b"\0" * 9)
    elif maker.startswith("GE"):
        block = ds.private_block(0x0009, "GEMS_IDEN_01", create=True)
        block.add_new(0x01, "LO", "GE_GENESIS_FF")
        block.add_new(0x02, "SH", exam.scanner.station_name)
        block.add_new(0xE3, "UI", exam.study_instance_uid)
    elif maker.startswith("PHILIPS"):
        block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x6E, "SH", "ORIGINAL")
        item = Dataset()
        item.PatientID, item.StudyInstanceUID = ds.PatientID, exam.study_instance_uid
        block.add_new(0x5F, "SQ", Sequence([item]))
    elif maker.startswith("CANON"):
        block = ds.private_block(0x7005, "TOSHIBA_MEC_CT3", create=True)
        block.add_new(0x10, "LO", name)
        block.add_new(0x63, "SH", "HCT")
    elif maker.startswith("FUJI"):
        block = ds.private_block(0x0019, "FUJI PHOTO FILM Co., ltd.", create=True)
        block.add_new(0x40, "IS", "4")
    elif maker.startswith("AGFA"):
        block = ds.private_block(0x0019, "Agfa ADC NX", create=True)
        block.add_new(0x07, "CS", "YES")
        block.add_new(0x21, "LT", f"{name} {ds.PatientID}")
    elif maker.startswith("CARESTREAM"):
        block = ds.private_block(0x0029, "CARESTREAM IMAGE ATTRIBUTES", create=True)
        block.add_new(0x15, "DS", "1.0")
    elif maker.startswith("HOLOGIC"):
        block = ds.private_block(0x0019, "HOLOGIC, Inc.", create=True)
        block.add_new(0x06, "LO", "Selenia")

"""What each kind of object holds beside the common header: acquisition values, pixels, documents."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from sluice.hospital import documents, volumes
from sluice.hospital.encoding import set_pixels
from sluice.hospital.pictures import BITS, radiograph
from sluice.hospital.plan import Exam, Image, Series, Size

Film = npt.NDArray[np.uint16]


def seed_of(*parts: object) -> int:
    """A seed for numpy that depends on `parts` alone."""
    return zlib.crc32("/".join(map(str, parts)).encode())


def fill_stack(ds: Dataset, exam: Exam, series: Series, image: Image, stack: volumes.Stack) -> None:
    """A CT or MR slice (PS3.3 A.3, A.4)."""
    edge, place = stack.edge, image.number - 1
    spacing = round({"SKULL": 230, "CHEST": 380, "ABDOMEN": 390, "LSPINE": 300, "KNEE": 180}[exam.region] / edge, 4)
    thickness = 5.0 if series.modality == "CT" else 4.0
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if series.modality == "CT" else ["ORIGINAL", "PRIMARY", "M", "ND"]
    ds.FrameOfReferenceUID = exam.frame_of_reference_uid
    sagittal = exam.region in ("LSPINE", "KNEE") and series.modality == "MR"
    ds.ImageOrientationPatient = [0, 1, 0, 0, 0, -1] if sagittal else [1, 0, 0, 0, 1, 0]
    half = -spacing * edge / 2
    ds.ImagePositionPatient = (
        [place * thickness, half, -half] if sagittal else [half, half, round(-place * thickness, 2)]
    )
    ds.SliceThickness, ds.SliceLocation = thickness, round(-place * thickness, 2)
    ds.PixelSpacing = [spacing, spacing]
    ds.PatientPosition = "HFS"
    if series.modality == "CT":
        ds.KVP, ds.ExposureTime, ds.XRayTubeCurrent, ds.Exposure = 120, 500, 210, 105
        ds.ConvolutionKernel = {"LUNG": "Bl57", "BONE": "Hr64"}.get(series.contrast, "Br40")
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
        low = {"LUNG": (-500, 1500), "BONE": (500, 2000)}.get(series.contrast, (40, 400))
        ds.WindowCenter, ds.WindowWidth = low
        stored = (stack.slice(place) + 1024).astype(np.uint16)
    else:
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "SK", ""
        ds.MRAcquisitionType, ds.MagneticFieldStrength = "2D", 3
        ds.RepetitionTime, ds.EchoTime = {"T1": (520, 11), "DWI": (6200, 78)}.get(series.contrast, (3800, 92))
        ds.FlipAngle, ds.EchoTrainLength = 90, 9
        ds.WindowCenter, ds.WindowWidth = 450, 900
        stored = stack.slice(place).astype(np.uint16)
    set_pixels(ds, stored, exam.syntax, 12)


def fill_localizer(ds: Dataset, exam: Exam, series: Series, image: Image, size: Size) -> None:
    """A CT topogram or an MR survey picture."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    seed = seed_of(image.sop_instance_uid)
    ds.FrameOfReferenceUID = exam.frame_of_reference_uid
    ds.PatientPosition, ds.SliceThickness = "HFS", 1 if series.modality == "CT" else 8
    spacing = round(420 / size.edge, 4)
    ds.PixelSpacing = [spacing, spacing]
    ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [-210, 0, 210]
    if series.modality == "CT":
        ds.KVP, ds.RescaleIntercept, ds.RescaleSlope = 120, -1024, 1
        picture = (volumes.topogram(exam.region, size.edge, seed) + 1024).astype(np.uint16)
    else:
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "GR", "SP", "", "2D"
        ds.RepetitionTime, ds.EchoTime, ds.MagneticFieldStrength = 7.8, 3.7, 3
        stack = volumes.Stack(exam.region, "PD", "MR", size.edge, 3, seed)
        picture = stack.slice(image.number - 1).astype(np.uint16)
    set_pixels(ds, picture, exam.syntax, 12)


def fill_film(ds: Dataset, exam: Exam, series: Series, image: Image, film: Film, spacing_mm: float) -> None:
    """A radiograph, DX (PS3.3 A.26) or CR (A.2): 12 bits, every third one MONOCHROME1 as from old readers."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""] if series.modality == "CR" else ["DERIVED", "PRIMARY"]
    ds.KVP = {"CHEST": 125, "HAND": 50, "FOOT": 52}.get(exam.region, 77)
    ds.ExposureTime, ds.XRayTubeCurrent, ds.Exposure = 12, 320, 4
    ds.DistanceSourceToDetector = 1800 if exam.region == "CHEST" else 1150
    ds.BurnedInAnnotation = "YES" if image.mishap == "burned-in" else "NO"
    inverted = series.modality == "CR" and seed_of(exam.study_instance_uid) % 3 == 0
    picture = film
    if image.mishap == "burned-in":
        picture = _annotated(film, f"{exam.patient.name.split('=')[0]} {exam.patient.patient_id}")
    if inverted:
        picture = ((1 << BITS) - 1 - picture).astype(np.uint16)
    spacing = [round(spacing_mm, 4)] * 2
    if series.modality == "CR":
        ds.PixelSpacing, ds.PlateID, ds.CassetteSize = spacing, "P0417", "35CMX43CM"
    else:
        ds.ImagerPixelSpacing, ds.DetectorID = spacing, "D-4411"
        ds.DetectorType, ds.PresentationIntentType = "DIRECT", "FOR PRESENTATION"
        ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
        ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
        ds.PatientOrientation = ["L", "F"]
    # MONOCHROME1 and lossy 8-bit both exist, but a baseline JPEG of an inverted film does not in this hospital.
    syntax = "explicit" if inverted and exam.syntax == "jpeg-baseline" else exam.syntax
    set_pixels(ds, picture, syntax, BITS, "MONOCHROME1" if inverted else "MONOCHROME2")
    if ds.BitsStored == BITS:
        ds.WindowCenter, ds.WindowWidth = 2048, 4096
    else:
        ds.WindowCenter, ds.WindowWidth = 128, 256


def _annotated(film: Film, text: str) -> Film:
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    stamp = Picture.new("L", film.shape[::-1])
    ImageDraw.Draw(stamp).text((20, film.shape[0] - 40), text.encode("latin-1", "replace").decode("latin-1"), fill=255,
                               font=ImageFont.load_default(18))  # fmt: skip
    result = film.copy()
    result[np.asarray(stamp) > 96] = (1 << BITS) - 1
    return result


def drawn_film(exam: Exam, image: Image, size: Size) -> Film:
    """The hospital's own drawing of this exam."""
    child = exam.patient.age_on(exam.begins_at.date()) < 15
    return radiograph(
        exam.region, seed_of(image.sop_instance_uid), size.film_edge, child, exam.ivc_filter, image.laterality
    )


def fill_ultrasound(ds: Dataset, exam: Exam, series: Series, image: Image, size: Size) -> None:
    """An ultrasound screen with name and id burned into the banner (PS3.3 A.6)."""
    ds.ImageType, ds.BurnedInAnnotation = ["ORIGINAL", "PRIMARY", "ABDOMINAL"], "YES"
    name = exam.patient.name.split("=")[0].encode("latin-1", "replace").decode("latin-1")
    lines = [f"{name}  {exam.patient.patient_id}", f"{exam.scanner.model_name}  {image.acquired_at:%d.%m.%Y}"]
    picture = volumes.ultrasound(size.edge * 2, seed_of(image.sop_instance_uid), lines)
    set_pixels(ds, picture, exam.syntax, 8)


def fill_mammogram(ds: Dataset, exam: Exam, series: Series, image: Image, size: Size) -> None:
    """One of the four views of a screening mammography (PS3.3 A.27)."""
    ds.ImageType, ds.PresentationIntentType = ["DERIVED", "PRIMARY"], "FOR PRESENTATION"
    ds.KVP, ds.ExposureTime, ds.BodyPartThickness, ds.CompressionForce = 29, 900, 56, 82
    ds.ImagerPixelSpacing, ds.BurnedInAnnotation = [0.4, 0.4], "NO"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.PresentationLUTShape = "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    picture = volumes.mammogram(
        size.film_edge, seed_of(image.sop_instance_uid), image.view or "CC", image.laterality or "L"
    )
    set_pixels(ds, picture, exam.syntax, 12)


def fill_dose_screen(ds: Dataset, exam: Exam, series: Series, image: Image, size: Size) -> None:
    """The CT's dose page as Secondary Capture (PS3.3 A.8), with the patient's name on it."""
    ds.ImageType, ds.ConversionType, ds.BurnedInAnnotation = ["DERIVED", "SECONDARY", "OTHER"], "WSD", "YES"
    name = exam.patient.name.split("=")[0].encode("latin-1", "replace").decode("latin-1")
    picture = volumes.screen([name, exam.patient.patient_id, "Total DLP 412 mGy*cm", "CTDIvol 8.1 mGy"])
    set_pixels(ds, picture, "explicit", 8)


def fill_dose_report(ds: Dataset, exam: Exam, series: Series, image: Image, size: Size) -> None:
    """A small X-Ray Radiation Dose SR (PS3.16 TID 10011, its head only), the operator's name as text in it."""

    def code(value: str, scheme: str, meaning: str) -> Sequence:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
        return Sequence([item])

    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = code("113701", "DCM", "X-Ray Radiation Dose Report")
    person, dose = Dataset(), Dataset()
    person.RelationshipType, person.ValueType = "HAS OBS CONTEXT", "PNAME"
    person.ConceptNameCodeSequence = code("113870", "DCM", "Person Name")
    person.PersonName = exam.patient.name
    dose.RelationshipType, dose.ValueType = "CONTAINS", "NUM"
    dose.ConceptNameCodeSequence = code("113813", "DCM", "CT Dose Length Product Total")
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = "412.6", code("mGy.cm", "UCUM", "mGy.cm")
    dose.MeasuredValueSequence = Sequence([measured])
    ds.ContentSequence = Sequence([person, dose])


def fill_letter(ds: Dataset, exam: Exam, series: Series, image: Image, size: Size) -> None:
    """The referral as Encapsulated PDF (PS3.3 A.45.1)."""
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.BurnedInAnnotation, ds.DocumentTitle, ds.MIMETypeOfEncapsulatedDocument = "YES", "Anforderung", "application/pdf"
    pdf = _pdf(f"Anforderung fuer {exam.patient.name.split('=')[0]} ({exam.patient.patient_id})")
    ds.EncapsulatedDocumentLength = len(pdf)
    ds.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)


def _pdf(text: str) -> bytes:
    """A one-page PDF that says `text`."""
    words = text.encode("latin-1", "replace").replace(b"(", rb"\(").replace(b")", rb"\)")
    stream = b"BT /F1 14 Tf 60 760 Td (" + words + b") Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    result, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(result))
        result += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(result)
    result += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return result + b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % table


Fill = Callable[[Dataset, Exam, Series, Image, Any], None]
FILLS: dict[str, Fill] = {
    "localizer": fill_localizer,
    "ultrasound": fill_ultrasound,
    "mammogram": fill_mammogram,
    "dose-screen": fill_dose_screen,
    "dose-report": fill_dose_report,
    "letter": fill_letter,
    "report": documents.fill_report,
    "key-note": documents.fill_key_note,
    "presentation": documents.fill_presentation,
}

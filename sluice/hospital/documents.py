"""What people write about pictures: reports, key object notes and presentation states, with names in every corner.

They refer to the first picture of their exam, and to one of an earlier exam that this hospital no longer has.
"""

from __future__ import annotations

from datetime import timedelta

from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from sluice.hospital import headers
from sluice.hospital.plan import Exam, Image, Series, Size, uid
from sluice.hospital.words import sayable, spoken

TEXTS = {
    "de": ("{region} in einer Ebene. {title} {name} bekannt.", "Keine Fraktur.", "Befundet von Dr. Stein."),
    "en": ("{region} in one view. {title} {name} is known.", "No fracture.", "Reported by Dr. Stein."),
}  # fmt: skip


def fill_report(ds: Dataset, exam: Exam, series: Series, image: Image, size: Size) -> None:
    """A radiologist's report as Basic Text SR (PS3.3 A.35.1, PS3.16 TID 2000), dictated and signed."""
    _document(ds, ("18748-4", "LN", "Diagnostic Imaging Report"))
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    ds.VerifyingObserverSequence = Sequence([_verifier(ds, exam, image)])
    ds.ReferencedPerformedProcedureStepSequence, ds.PerformedProcedureCodeSequence = Sequence(), Sequence()
    ds.CurrentRequestedProcedureEvidenceSequence = Sequence([_evidence(exam)])
    finding, impression, signed = (_said(exam, text) for text in TEXTS[exam.language])
    language = ("de", "RFC5646", "Deutsch") if exam.language == "de" else ("en", "RFC5646", "English")
    below = [
        _item("TEXT", ("121071", "DCM", "Finding"), TextValue=finding),
        _item("IMAGE", None, ReferencedSOPSequence=_reference(*_picture(exam))),
        _item("IMAGE", None, ReferencedSOPSequence=_reference(*_earlier(exam))),
    ]
    ds.ContentSequence = Sequence([
        _item("CODE", ("121049", "DCM", "Language of Content Item and Descendants"), "HAS CONCEPT MOD",
              ConceptCodeSequence=_code(*language)),
        _item("PNAME", ("121008", "DCM", "Person Observer Name"), "HAS OBS CONTEXT", PersonName="Stein^Miriam"),
        _item("CONTAINER", ("121070", "DCM", "Findings"), ContentSequence=Sequence(below)),
        _item("CONTAINER", ("121072", "DCM", "Impressions"), ContentSequence=Sequence([
            _item("TEXT", ("121073", "DCM", "Impression"), TextValue=f"{impression} {signed}")])),
    ])  # fmt: skip


def fill_key_note(ds: Dataset, exam: Exam, series: Series, image: Image, size: Size) -> None:
    """A key object note (PS3.3 A.35.4, PS3.16 TID 2010)."""
    _document(ds, ("113000", "DCM", "Of Interest"))
    ds.ReferencedPerformedProcedureStepSequence = Sequence()
    ds.CurrentRequestedProcedureEvidenceSequence = Sequence([_evidence(exam)])
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    ds.ContentTemplateSequence = Sequence([template])
    ds.ContentSequence = Sequence([
        _item("TEXT", ("113012", "DCM", "Key Object Description"),
              TextValue=_said(exam, "{region}, {title} {name}")),
        _item("IMAGE", None, ReferencedSOPSequence=_reference(*_picture(exam))),
    ])  # fmt: skip


def fill_presentation(ds: Dataset, exam: Exam, series: Series, image: Image, size: Size) -> None:
    """A Grayscale Softcopy Presentation State (PS3.3 A.33.1): an arrow, and the patient's name beside it."""
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    clock = exam.scanner.reads(image.acquired_at)
    ds.ContentLabel, ds.ContentDescription = "ARROW", sayable(exam.patient.name.split("=")[0], exam.patient.charset)
    ds.ContentCreatorName = "Stein^Miriam"
    ds.PresentationCreationDate, ds.PresentationCreationTime = headers.date_of(clock), headers.time_of(clock)
    film = exam.series[0]
    of_series = Dataset()
    of_series.SeriesInstanceUID = film.series_instance_uid
    of_series.ReferencedImageSequence = _reference(*_picture(exam))
    ds.ReferencedSeriesSequence = Sequence([of_series])
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = [1, 1], [size.film_edge] * 2
    area.PresentationSizeMode, area.PresentationPixelAspectRatio = "SCALE TO FIT", [1, 1]
    ds.DisplayedAreaSelectionSequence = Sequence([area])
    ds.PresentationLUTShape = "IDENTITY"
    layer, mark, line, note = Dataset(), Dataset(), Dataset(), Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder = "DR STEIN", 1
    line.GraphicAnnotationUnits, line.GraphicDimensions, line.NumberOfGraphicPoints = "PIXEL", 2, 2
    line.GraphicData, line.GraphicType, line.GraphicFilled = [40.0, 40.0, 90.0, 120.0], "POLYLINE", "N"
    note.UnformattedTextValue = _said(exam, "{region} {title} {name}")
    note.AnchorPointAnnotationUnits, note.AnchorPoint, note.AnchorPointVisibility = "PIXEL", [40.0, 40.0], "N"
    mark.GraphicLayer = "DR STEIN"
    mark.GraphicObjectSequence, mark.TextObjectSequence = Sequence([line]), Sequence([note])
    ds.GraphicLayerSequence, ds.GraphicAnnotationSequence = Sequence([layer]), Sequence([mark])


def _document(ds: Dataset, title: tuple[str, str, str]) -> None:
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = _code(*title)


def _verifier(ds: Dataset, exam: Exam, image: Image) -> Dataset:
    verifier = Dataset()
    verifier.VerifyingObserverName, verifier.VerifyingOrganization = "Stein^Miriam^^Dr.", ds.InstitutionName
    signed = image.acquired_at + timedelta(minutes=2)
    verifier.VerificationDateTime = headers.date_of(signed) + headers.time_of(signed, fraction=False)
    verifier.VerifyingObserverIdentificationCodeSequence = Sequence()
    return verifier


def _evidence(exam: Exam) -> Dataset:
    """The study with the first picture of it (PS3.3 C.17.2)."""
    study, series = Dataset(), Dataset()
    series.SeriesInstanceUID = exam.series[0].series_instance_uid
    series.ReferencedSOPSequence = _reference(*_picture(exam))
    study.StudyInstanceUID, study.ReferencedSeriesSequence = exam.study_instance_uid, Sequence([series])
    return study


def _picture(exam: Exam) -> tuple[str, str]:
    """SOP class and instance of the exam's first picture."""
    first = exam.series[0]
    return headers.SOP_CLASSES.get(first.kind, headers.SOP_CLASSES[first.modality]), first.images[0].sop_instance_uid


def _earlier(exam: Exam) -> tuple[str, str]:
    """SOP class and instance of a picture that this hospital no longer has."""
    return _picture(exam)[0], uid(exam.study_instance_uid, "earlier")


def _said(exam: Exam, words: str) -> str:
    title = {"F": {"de": "Frau", "en": "Mrs."}, "M": {"de": "Herr", "en": "Mr."}}.get(exam.patient.sex, {})
    text = words.format(
        region=spoken(exam.region, exam.language),
        title=title.get(exam.language, "Patient"),
        name=exam.patient.name.split("=")[0].split("^")[0],
    )
    return sayable(text, exam.patient.charset)


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def _item(kind: str, concept: tuple[str, str, str] | None, relationship: str = "CONTAINS", **values: object) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relationship, kind
    if concept is not None:
        item.ConceptNameCodeSequence = _code(*concept)
    if kind == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _reference(sop_class: str, instance: str) -> Sequence:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
    return Sequence([item])

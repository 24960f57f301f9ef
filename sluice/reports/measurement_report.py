"""A study's answers as a Comprehensive SR of template TID 1500, "Measurement Report" (PS3.16).

For each image that a model read: a group (TID 1501) with the examined region as target region, the visible regions as
finding sites, and the certainty; for each place of an IVC filter a planar region (TID 1410) with its box in pixels of
the image. Which algorithm said so stands in every group (TID 4019).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComprehensiveSRStorage, ExplicitVRLittleEndian

from sluice.anatomy.regions import REGIONS
from sluice.archive.files import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from sluice.canonical.index import Geometry
from sluice.reports.items import (
    CONTAINS,
    HAS_CONCEPT,
    HAS_OBSERVATION,
    SELECTED,
    Code,
    coded,
    container,
    image,
    number,
    polyline,
    text,
    uid,
)

LAYOUT = 1  # of this report; a new one is a new report of the same answers
VENA_CAVA_FILTER = Code("257409000", "SCT", "Vena cava filter")  # CID 6404
INFERIOR_VENA_CAVA = Code("64131007", "SCT", "Inferior vena cava")
PERCENT = Code("%", "UCUM", "Percent")
FROM_STUDY = (
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "PatientName",
    "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID",
)  # fmt: skip


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


FINDING = _dcm("121071", "Finding")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
CERTAINTY = _dcm("111012", "Certainty of Finding")
GROUP = _dcm("125007", "Measurement Group")


def content_of(study_uid: str, images: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of what a report of these answers says; the same answers give the same."""
    said = [
        [
            row["sop_instance_uid"], row["body_part_model"], (row["body_part"] or {}).get("examined"),
            (row["body_part"] or {}).get("visible"), (row["body_part"] or {}).get("examined_score"), row["ivc_model"],
            row["ivc_filter"], row["ivc_score"], row["boxes"], row["said"],
            [row[name] for name in ("crop_row", "crop_column", "crop_rows", "crop_columns")],
        ]
        for row in images
    ]  # fmt: skip
    return hashlib.sha256(json.dumps([LAYOUT, study_uid, said], sort_keys=True).encode()).hexdigest()


def uid_of(*parts: str) -> str:
    """A UID that these parts always give (PS3.5 B.2, of 128 bits of SHA-256)."""
    return f"2.25.{int.from_bytes(hashlib.sha256(chr(31).join(parts).encode()).digest()[:16], 'big')}"


def measurement_report(
    header: Dataset,
    images: Sequence[Mapping[str, Any]],
    content_sha256: str,
    instance_number: int,
    made_at: datetime,
    predecessor: str | None = None,
) -> bytes:
    """The report as a DICOM file.

    Args:
        header: header of an image of the study, of which patient and study are taken.
        images: rows of the query `report_images`.
        content_sha256: `content_of` them, which decides the SOP Instance UID.
        instance_number: of the report in its series, from 1.
        made_at: with zone.
        predecessor: SOP Instance UID of the report that this one replaces.
    """
    study = str(header.StudyInstanceUID)
    report = Dataset()
    report.SpecificCharacterSet = "ISO_IR 192"
    for keyword in FROM_STUDY:
        setattr(report, keyword, header.get(keyword, None) if keyword in header else None)
    if not report.IssuerOfPatientID:
        del report.IssuerOfPatientID
    report.SOPClassUID, report.SOPInstanceUID = ComprehensiveSRStorage, uid_of("report", content_sha256)
    report.SeriesInstanceUID, report.SeriesNumber = uid_of("series of reports", study), "9001"
    report.Modality, report.SeriesDescription = "SR", "Sluice: what models saw"
    report.Manufacturer, report.ManufacturerModelName = "Sluice", "Sluice"
    report.SoftwareVersions = IMPLEMENTATION_VERSION
    report.InstanceNumber = str(instance_number)
    report.ContentDate, report.ContentTime = made_at.strftime("%Y%m%d"), made_at.strftime("%H%M%S.%f")
    report.TimezoneOffsetFromUTC = made_at.strftime("%z")
    report.ReferencedPerformedProcedureStepSequence = []
    report.PerformedProcedureCodeSequence = []
    report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag = "COMPLETE", "UNVERIFIED", "PRELIMINARY"
    report.CurrentRequestedProcedureEvidenceSequence = [_evidence(study, images)]
    if predecessor is not None:
        before = {"series_instance_uid": report.SeriesInstanceUID, "sop_class_uid": ComprehensiveSRStorage}
        report.PredecessorDocumentsSequence = [_evidence(study, [before | {"sop_instance_uid": predecessor}])]
    report.update(_root(images))
    return _file(report)


def _root(images: Sequence[Mapping[str, Any]]) -> Dataset:
    groups = [group for row in images for group in _groups(row)]
    library = container(
        CONTAINS,
        _dcm("126200", "Image Library Group"),
        [image(CONTAINS, None, row["sop_class_uid"], row["sop_instance_uid"]) for row in images],
    )
    english = coded(
        HAS_CONCEPT, _dcm("121049", "Language of Content Item and Descendants"), Code("en", "RFC5646", "English")
    )
    return container(
        None,
        _dcm("126000", "Imaging Measurement Report"),
        [
            english,
            coded(HAS_OBSERVATION, _dcm("121005", "Observer Type"), _dcm("121007", "Device")),
            uid(HAS_OBSERVATION, _dcm("121012", "Device Observer UID"), IMPLEMENTATION_CLASS_UID),
            text(HAS_OBSERVATION, _dcm("121013", "Device Observer Name"), "Sluice"),
            coded(
                HAS_CONCEPT,
                _dcm("121058", "Procedure reported"),
                Code("168537006", "SCT", "Plain radiography"),
            ),
            container(CONTAINS, _dcm("111028", "Image Library"), [library]),
            container(CONTAINS, _dcm("126010", "Imaging Measurements"), groups),
        ],
        "1500",
    )


def _groups(row: Mapping[str, Any]) -> list[Dataset]:
    made = []
    detail = row["body_part"] or {}
    if detail.get("examined") in REGIONS:
        made.append(_of_body_part(row, detail))
    if row["ivc_model"] and row["said"] != "not_a_filter" and row["ivc_filter"] == "present":
        placed = [(box, _in_frame(box["box"], row)) for box in row["boxes"] or []]
        for number_of_box, (box, corners) in enumerate(placed or [(None, None)], start=1):
            made.append(_of_filter(row, number_of_box, float(box["score"] if box else row["ivc_score"]), corners))
    return made


def _of_body_part(row: Mapping[str, Any], detail: Mapping[str, Any]) -> Dataset:
    """TID 1501: which region was examined, and which are seen."""
    visible = [key for key in detail.get("visible") or () if key in REGIONS]
    score = float(detail.get("examined_score", row["router5_score"]))
    return container(
        CONTAINS,
        GROUP,
        [
            *_tracking(row, "body part", row["body_part_model"]),
            *_algorithm(row["body_part_model"]),
            *(coded(HAS_CONCEPT, FINDING_SITE, _region(key)) for key in visible),
            image(CONTAINS, Code("260753009", "SCT", "Source"), row["sop_class_uid"], row["sop_instance_uid"]),
            number(CONTAINS, CERTAINTY, 100 * score, PERCENT),
            coded(CONTAINS, _dcm("123014", "Target Region"), _region(detail["examined"])),
        ],
        "1501",
    )


def _of_filter(row: Mapping[str, Any], which: int, score: float, corners: tuple[float, ...] | None) -> Dataset:
    """TID 1410 where the place in the frame is known, else TID 1501: an IVC filter."""
    if corners is None:
        where = image(CONTAINS, Code("260753009", "SCT", "Source"), row["sop_class_uid"], row["sop_instance_uid"])
    else:
        x0, y0, x1, y1 = corners
        where = polyline(
            CONTAINS,
            _dcm("111030", "Image Region"),
            [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)],
            image(SELECTED, None, row["sop_class_uid"], row["sop_instance_uid"]),
        )
    return container(
        CONTAINS,
        GROUP,
        [
            *_tracking(row, f"IVC filter {which}", row["ivc_model"]),
            coded(CONTAINS, FINDING, VENA_CAVA_FILTER),
            *_algorithm(row["ivc_model"]),
            coded(HAS_CONCEPT, FINDING_SITE, INFERIOR_VENA_CAVA),
            where,
            number(CONTAINS, CERTAINTY, 100 * score, PERCENT),
        ],
        "1501" if corners is None else "1410",
    )


def _in_frame(box: Sequence[float], row: Mapping[str, Any]) -> tuple[float, ...] | None:
    """A box of the canonical image, `[x0, y0, x1, y1]`, in pixels of the frame, within what the canonical image shows
    of it; None where that is not known."""
    if row["crop_rows"] is None:
        return None
    shown = Geometry(
        row["source_rows"], row["source_columns"], row["crop_row"], row["crop_column"], row["crop_rows"],
        row["crop_columns"],
    )  # fmt: skip
    corners = (*shown.in_frame(box[0], box[1]), *shown.in_frame(box[2], box[3]))
    least = (shown.crop_column, shown.crop_row) * 2
    most = (shown.crop_column + shown.crop_columns, shown.crop_row + shown.crop_rows) * 2
    return tuple(round(min(max(c, lo), hi), 2) for c, lo, hi in zip(corners, least, most, strict=True))


def _tracking(row: Mapping[str, Any], what: str, model: str) -> list[Dataset]:
    return [
        text(HAS_OBSERVATION, _dcm("112039", "Tracking Identifier"), what),
        uid(
            HAS_OBSERVATION,
            _dcm("112040", "Tracking Unique Identifier"),
            uid_of("tracked", row["sop_instance_uid"], what, model),
        ),
    ]


def _algorithm(model_id: str) -> list[Dataset]:
    """TID 4019; the version is the digest of the weights."""
    name, _, version = model_id.rpartition("-")
    return [
        text(HAS_CONCEPT, _dcm("111001", "Algorithm Name"), f"Sluice {name}"),
        text(HAS_CONCEPT, _dcm("111003", "Algorithm Version"), version),
    ]


def _region(key: str) -> Code:
    return Code(REGIONS[key].sct_code, "SCT", REGIONS[key].display[:64])


def _evidence(study: str, images: Sequence[Mapping[str, Any]]) -> Dataset:
    """Referenced objects by study and series (PS3.3 table C.17-3)."""
    by_series: dict[str, list[Dataset]] = {}
    for row in images:
        one = Dataset()
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = row["sop_class_uid"], row["sop_instance_uid"]
        by_series.setdefault(row["series_instance_uid"], []).append(one)
    made = Dataset()
    made.StudyInstanceUID = study
    made.ReferencedSeriesSequence = []
    for series, objects in by_series.items():
        of = Dataset()
        of.SeriesInstanceUID, of.ReferencedSOPSequence = series, objects
        made.ReferencedSeriesSequence.append(of)
    return made


def _file(report: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = report.SOPClassUID, report.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    report.file_meta = meta
    buffer = BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()

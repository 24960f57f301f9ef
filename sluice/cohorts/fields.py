"""The fields that a filter can name: one registry for the language, its SQL, its page and its documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Kind(StrEnum):
    """What a field's values are, and with that which operators it takes (`sluice.cohorts.criteria`)."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    BOOLEAN = "boolean"
    LIST = "list"
    UID = "uid"
    REGION = "region"


class Level(StrEnum):
    """What a value belongs to. A condition holds for all instances of it."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    BLOCK = "block"
    INSTANCE = "instance"


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: as the language writes it.
        sql: its value over the aliases `b` (cohort_block), `st` (study), `s` (series) and `i` (instance). A list is in
            small letters. The only SQL that a filter's text can choose.
        words: what it means, for people.
        unit: of a number.
        sensitive: identifies a patient; only who may see identifiers filters by it.
        find: the element of a C-FIND answer that decides it before the images are here, eight hex digits.
        tag: the element whose values it holds; a filter on that tag then reads this field instead of the header.
        promoted: name of the promoted column that it is.
        block_sql: of a promoted one, its value where all instances of a block have the same.
    """

    name: str
    kind: Kind
    level: Level
    sql: str
    words: str
    unit: str = ""
    sensitive: bool = False
    find: str | None = None
    tag: str | None = None
    promoted: str | None = None
    block_sql: str | None = None


P, ST, SE, B, I = Level.PATIENT, Level.STUDY, Level.SERIES, Level.BLOCK, Level.INSTANCE  # noqa: E741
T, N, D, F, L, U = Kind.TEXT, Kind.NUMBER, Kind.DATE, Kind.BOOLEAN, Kind.LIST, Kind.UID

FIELDS = (
    Field("patient_id", T, P, "st.patient_id", "Patient ID", sensitive=True, find="00100020"),
    Field("patient_name", T, P, "st.patient_name", "name as `family^given`", sensitive=True, find="00100010"),
    Field("birth_date", D, P, "st.patient_birth_date", "date of birth", sensitive=True, find="00100030"),
    Field("sex", T, P, "b.patient_sex", "M, F or O, as the study says", find="00100040"),
    Field("study_uid", U, ST, "st.study_instance_uid", "Study Instance UID", sensitive=True, find="0020000D"),
    Field("accession_number", T, ST, "st.accession_number", "Accession Number", sensitive=True, find="00080050"),
    Field("study_id", T, ST, "st.study_id", "Study ID of the department", sensitive=True, find="00200010"),
    Field("study_date", D, ST, "b.study_date", "date of the study", find="00080020"),
    Field("study_description", T, ST, "b.study_description", "what the study is called", find="00081030"),
    Field("institution", T, ST, "b.institution_name", "institution", find="00080080"),
    Field("series_uid", U, SE, "s.series_instance_uid", "Series Instance UID", sensitive=True),
    Field("modality", T, SE, "b.modality", "CT, MR, DX, CR, MG, US, …"),
    Field("series_number", N, SE, "b.series_number", "number of the series in its study"),
    Field("series_date", D, SE, "b.series_date", "date of the series"),
    Field("series_description", T, SE, "b.series_description", "what the series is called"),
    Field("protocol", T, SE, "b.protocol_name", "protocol name"),
    Field("body_part_examined", T, SE, "b.body_part_examined", "Body Part Examined as the scanner wrote it"),
    Field("laterality", T, SE, "b.laterality", "side read from the header's words: R, L or B"),
    Field("view", T, SE, "b.view", "view read from the header's words, e.g. PA"),
    Field("mr_sequence", T, SE, "b.mr_sequence", "T1, FLAIR, DWI, … read from the header; unknown: nobody can tell"),
    Field("mr_contrast", F, SE, "b.mr_contrast", "whether an MR has contrast medium; missing where nothing is said"),
    Field("mr_fat_suppressed", F, SE, "b.mr_fat_suppressed", "whether an MR is fat-suppressed; missing likewise"),
    Field("ct_phase", T, SE, "b.ct_phase", "plain, enhanced, angiographic, localizer or unknown"),
    Field("manufacturer", T, SE, "b.manufacturer", "who made the scanner"),
    Field("model", T, SE, "b.model_name", "model of the scanner"),
    Field("station", T, SE, "b.station_name", "station name of the scanner"),
    Field("device_serial_number", T, SE, "b.device_serial_number", "serial number of the scanner"),
    Field("software", T, SE, "b.software_versions", "software versions of the scanner"),
    Field("sop_class", U, B, "b.sop_class_uid", "SOP class, by UID or by name", tag="00080016"),
    Field("transfer_syntax", U, B, "b.transfer_syntax_uid", "transfer syntax, by UID or by name"),
    Field("image_type", L, B, "b.image_type", "values of Image Type, e.g. ORIGINAL, PRIMARY, AXIAL", tag="00080008"),
    Field("age", N, B, "b.patient_age_years", "age at the study", unit="years"),
    Field("view_position", T, B, "b.view_position", "View Position as the scanner wrote it"),
    Field("image_laterality", T, B, "b.image_laterality", "Image Laterality as the scanner wrote it"),
    Field("rows", N, B, "b.rows", "height of the image", unit="pixels", tag="00280010"),
    Field("columns", N, B, "b.columns", "width of the image", unit="pixels", tag="00280011"),
    Field("frames", N, B, "b.frames", "frames of an instance; 1 where nothing is said"),
    Field("bits_stored", N, B, "b.bits_stored", "bits a pixel", tag="00280101"),
    Field("photometric_interpretation", T, B, "b.photometric_interpretation", "e.g. MONOCHROME2", tag="00280004"),
    Field("pixel_spacing", N, B, "b.pixel_spacing", "larger of the two", unit="mm"),
    Field("slice_thickness", N, B, "b.slice_thickness", "Slice Thickness", unit="mm", tag="00180050"),
    Field("burned_in", F, B, "b.burned_in", "whether the header admits text in the pixels"),
    Field("indexed_at", D, B, "b.extracted_at::date", "day on which Sluice read the header"),
    Field("instance_uid", U, I, "i.sop_instance_uid", "SOP Instance UID", sensitive=True),
    Field("instance_number", N, I, "i.instance_number", "number of the instance in its series"),
    Field("acquired", D, I, "i.acquired_at::date", "day of acquisition by the scanner's clock"),
    Field("exposure_time", N, I, "i.exposure_time", "Exposure Time", unit="ms"),
)  # fmt: skip


@dataclass(frozen=True)
class Registry:
    """The fields that a filter may name here: those of this file, and columns that this site promoted."""

    fields: Mapping[str, Field]

    @classmethod
    def of(cls, promoted: Iterable[Field] = ()) -> Self:
        """The registry with further fields; a promoted column may not take a name that is taken."""
        return cls({field.name: field for field in (*promoted, *FIELDS)})

    def of_tag(self, tag: str) -> Field | None:
        """The field that holds the values of an element (eight hex digits), if there is one."""
        return next((field for field in self.fields.values() if field.tag == tag), None)


REGISTRY = Registry.of()

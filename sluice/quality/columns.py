"""The columns that rules can read, level by level, with what they hold. `sluice quality columns` prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from sluice.quality.suites import Level, Tag

Kind = Literal["number", "text", "bool", "flag", "uid"]

# What an object of a level is known by.
KEYS: Mapping[Level, str] = {
    "window": "window_key",
    "study": "study_instance_uid",
    "series": "series_instance_uid",
    "instance": "sop_instance_uid",
    "scanner": "scanner",
}


class Column(NamedTuple):
    """One column; its kind decides its type in the frame. A missing number is NaN; a `flag` is never missing."""

    kind: Kind
    words: str


def _scanner() -> dict[str, Column]:
    return {
        "scanner": Column("text", "Station Name (0008,1010), else Device Serial Number (0018,1000)"),
        "modality": Column("text", "Modality (0008,0060)"),
        "manufacturer": Column("text", "Manufacturer (0008,0070)"),
        "model_name": Column("text", "Manufacturer's Model Name (0008,1090)"),
        "software_versions": Column("text", "Software Versions (0018,1020), joined by a backslash"),
        "station_name": Column("text", "Station Name (0008,1010)"),
    }


WINDOW = {
    "window_key": Column("text", "key of the window"),
    "kind": Column("text", "day, cohort or import"),
    "members": Column("number", "instances expected or received"),
    "expected": Column("number", "instances that the PACS listed"),
    "received": Column("number", "instances that are here"),
    "indexed": Column("number", "instances whose header was read"),
    "missing": Column("number", "expected instances that are not here"),
    "missing_share": Column("number", "the same, 0 to 1"),
    "unreadable": Column("number", "received instances that cannot be read"),
    "unreadable_share": Column("number", "the same, 0 to 1"),
}

STUDY = {
    "study_instance_uid": Column("uid", "Study Instance UID"),
    "scanner": Column("text", "scanner of most of its series"),
    "header": Column("text", "`indexed` where a header of it was read"),
    "patient_id": Column("text", "`present` where there is one"),
    "accession_number": Column("text", "`present` where there is one"),
    "patient_ids": Column("number", "different Patient IDs in its instances"),
    "patient_id_variants": Column("number", "the same, and one more where some instances have none"),
    "birth_dates_of_patient_id": Column("number", "different birth dates in all studies of its Patient ID and issuer"),
    "sexes_of_patient_id": Column("number", "different sexes, M and F, in all studies of its Patient ID and issuer"),
    "names_of_patient_id": Column(
        "number", "names whose family and first name both differ, of its Patient ID and issuer"
    ),
    "study_date": Column("text", "`present` where there is one"),
    "days_outside_window": Column("number", "days between its date and the window of a day"),
    "days_in_future": Column("number", "days by which its date is after its arrival here"),
    "age_by_birth_date_years": Column("number", "study date minus birth date"),
    "age_difference_years": Column("number", "Patient's Age (0010,1010) against that"),
    "patient_age_years": Column("number", "Patient's Age (0010,1010)"),
    "patient_sex": Column("text", "Patient's Sex (0010,0040)"),
    "has_damaged_text": Column("bool", "a name or description holds replacement characters or doubly encoded UTF-8"),
    "instances_missing": Column("number", "expected instances that are not here"),
}

SERIES = _scanner() | {
    "series_instance_uid": Column("uid", "Series Instance UID"),
    "study_instance_uid": Column("uid", "Study Instance UID"),
    "body_part_examined": Column("text", "Body Part Examined (0018,0015)"),
    "region_key": Column("text", "body region that the header's words name"),
    "is_paired_region": Column("flag", "laterality means something for it (PS3.16, Table L-5)"),
    "laterality": Column("text", "Laterality (0020,0060)"),
    "side": Column("text", "the same, else from words, else `given` in Image Laterality (0020,0062)"),
    "series_days_after_study_date": Column("number", "series date minus study date"),
    "uid_is_the_studys": Column("bool", "the series has the UID of its study"),
    "has_damaged_text": Column("bool", "a description holds replacement characters or doubly encoded UTF-8"),
    "instances_missing": Column("number", "expected instances that are not here"),
    "studies": Column("number", "studies that its instances name"),
    "instances": Column("number", "instances that are indexed"),
    "instance_numbers_missing": Column("number", "holes in Instance Number (0020,0013) between its first and its last"),
    "instance_numbers_repeated": Column("number", "instances whose number another one of the series has"),
    "matrix_sizes": Column("number", "different rows x columns, localizers left out"),
    "stored_minutes_after_acquired": Column("number", "median of storing in the PACS minus acquisition"),
    "is_localizer": Column("bool", "an image type says LOCALIZER"),
    "orientations": Column("number", "different Image Orientation (Patient) (0020,0037)"),
    "frames_of_reference": Column("number", "different Frame of Reference UID (0020,0052)"),
    "slices": Column("number", "different positions along the normal, of stacks of one orientation, frames too"),
    "slice_distance_mm": Column("number", "median distance between neighbouring positions"),
    "slices_missing": Column("number", "positions that holes of whole distances leave out"),
    "slice_distance_varies": Column("number", "share of distances more than 10 % off the median, holes left out"),
}  # fmt: skip

INSTANCE = _scanner() | {
    "sop_instance_uid": Column("uid", "SOP Instance UID"),
    "series_instance_uid": Column("uid", "Series Instance UID"),
    "study_instance_uid": Column("uid", "Study Instance UID"),
    "sop_class_uid": Column("uid", "SOP Class UID (0008,0016)"),
    "transfer_syntax_uid": Column("uid", "transfer syntax under which it is kept"),
    "device_serial_number": Column("text", "Device Serial Number (0018,1000)"),
    "body_part_examined": Column("text", "Body Part Examined (0018,0015)"),
    "protocol_name": Column("text", "Protocol Name (0018,1030); shown as `not shown` where it is no code"),
    "region_key": Column("text", "body region that the header's words name"),
    "is_image": Column("flag", "its SOP class holds pixels"),
    "is_original": Column("flag", "Image Type (0008,0008) begins with ORIGINAL"),
    "is_localizer": Column("flag", "Image Type says LOCALIZER"),
    "image_type": Column("text", "Image Type (0008,0008), joined by a backslash"),
    "study_agrees_with_series": Column("bool", "names the same study as the rest of its series"),
    "hierarchy_agrees_with_receipt": Column("bool", "study and series are those under which it came"),
    "hierarchy_agrees_with_pacs": Column("bool", "study and series are those that the PACS listed it under"),
    "uid_is_a_parents": Column("bool", "its UID is that of its series or study"),
    "patient_id": Column("text", "`present` where there is one"),
    "patient_age_years": Column("number", "Patient's Age (0010,1010), else from the birth date"),
    "instance_number": Column("number", "Instance Number (0020,0013)"),
    "rows": Column("number", "Rows (0028,0010)"),
    "columns": Column("number", "Columns (0028,0011)"),
    "number_of_frames": Column("number", "Number of Frames (0028,0008)"),
    "bits_stored": Column("number", "Bits Stored (0028,0101)"),
    "photometric_interpretation": Column("text", "Photometric Interpretation (0028,0004)"),
    "pixel_spacing_row_mm": Column("number", "distance of rows: Pixel Spacing (0028,0030), else Imager Pixel Spacing"),
    "pixel_spacing_column_mm": Column("number", "distance of columns, likewise"),
    "slice_thickness_mm": Column("number", "Slice Thickness (0018,0050)"),
    "exposure_time_ms": Column("number", "Exposure Time (0018,1150)"),
    "image_laterality": Column("text", "Image Laterality (0020,0062)"),
    "view_position": Column("text", "View Position (0018,5101)"),
    "acquired_days_after_study_date": Column("number", "acquisition date minus study date"),
    "acquired_minutes_after_study": Column("number", "acquisition minus Study Date and Time"),
    "content_minutes_after_acquired": Column("number", "Content Date and Time minus acquisition"),
    "received_minutes_after_acquired": Column("number", "arrival here minus acquisition"),
    "received_minutes_after_content": Column("number", "arrival here minus Content Date and Time"),
    "hour": Column("number", "hour of the day of the acquisition"),
    "unreadable_dates": Column("number", "dates and times of study, series, acquisition and content that are none"),
    "sop_class_fits_modality": Column("bool", "its SOP class is one that this modality makes; empty where any goes"),
    "samples_fit_photometric": Column("bool", "Samples per Pixel (0028,0002) is what photometric interpretation needs"),
    "bits_fit": Column("bool", "Bits Stored is not above Bits Allocated (0028,0100)"),
    "pixel_bytes": Column("number", "length of Pixel Data (7FE0,0010)"),
    "pixel_bytes_off": Column("number", "native pixels: their length minus rows x columns x frames x samples x bits"),
    "compression_ratio": Column("number", "compressed pixels: what the header promises over their length"),
    "same_pixels": Column("number", "instances of the same patient with the same pixels; empty where not proven"),
    "same_pixels_other_patient": Column("number", "instances of another Patient ID with the same pixels"),
}  # fmt: skip

SCANNER = _scanner() | {
    "days": Column("number", "days of its last 30 that it is compared with"),
    "exams": Column("number", "studies of the day"),
    "series": Column("number", "series of the day"),
    "exams_z": Column("number", "exams against its days of the same kind (working day or weekend), robust z"),
    "new_software": Column("number", "software versions that none of those days had"),
    "new_serials": Column("number", "device serial numbers that none of those days had"),
    "is_new": Column("flag", "it never worked before, though others have for a week or more"),
    "new_manufacturers": Column("number", "manufacturers and models that none of those days had"),
}

CATEGORIES: Mapping[str, str] = {
    "modality_mix": "modalities of series",
    "regions": "body regions of series",
    "protocols": "protocols of series",
    "matrix": "rows x columns of series",
    "hours": "hours of the day of exams, in quarters of a day",
}
NUMBERS: Mapping[str, str] = {
    "pixel_spacing_mm": "pixel spacing of series",
    "slice_thickness_mm": "slice thickness of series",
    "kvp": "KVP (0018,0060) of series",
    "exposure_mas": "Exposure (0018,1152) of series, mAs",
    "age_years": "age of patients",
}
MISSING: Mapping[str, str] = {
    "body_part_examined": "series without Body Part Examined (0018,0015)",
    "protocol_name": "series without Protocol Name (0018,1030)",
    "region": "series without a body region that is known",
    "patient_id": "series without a Patient ID",
}
for _name, _words in CATEGORIES.items():
    SCANNER[f"{_name}_divergence"] = Column(
        "number", f"{_words}: Jensen-Shannon divergence from its last 30 days, 0 to 1"
    )
    SCANNER[f"{_name}_unusual"] = Column("number", f"{_words}: that, as a robust z among its own days")
for _name, _words in NUMBERS.items():
    SCANNER[f"{_name}_shift"] = Column(
        "number", f"{_words}: Wasserstein distance over the interquartile range of 30 days"
    )
    SCANNER[f"{_name}_unusual"] = Column("number", f"{_words}: that, as a robust z among its own days")
for _name, _words in MISSING.items():
    SCANNER[f"{_name}_missing_more"] = Column("number", f"{_words}: share minus that of its last 30 days")
    SCANNER[f"{_name}_missing_unusual"] = Column("number", f"{_words}: that, as a robust z among its own days")

COLUMNS: Mapping[Level, Mapping[str, Column]] = {
    "window": WINDOW,
    "study": STUDY,
    "series": SERIES,
    "instance": INSTANCE,
    "scanner": SCANNER,
}


def columns_of(level: Level, tags: Mapping[str, Tag]) -> Mapping[str, Column]:
    """The columns of a level, with those that suites take from header elements."""
    if level != "instance":
        return COLUMNS[level]
    kinds: dict[str, Kind] = {"number": "number", "count": "number", "present": "bool", "text": "text"}
    more = {name: Column(kinds[tag.kind], f"header element {tag.tag}, as {tag.kind}") for name, tag in tags.items()}
    return {**INSTANCE, **more}

"""What the tables say of a released instance: read from the produced file, so they tell nothing more."""

from __future__ import annotations

from typing import Any

from sluice.deid.elements import DataSet, read_file
from sluice.deid.gate import number, text

TEXTS = {
    "patient": 0x00100020,
    "study_instance_uid": 0x0020000D,
    "series_instance_uid": 0x0020000E,
    "sop_instance_uid": 0x00080018,
    "sop_class_uid": 0x00080016,
    "modality": 0x00080060,
    "patient_sex": 0x00100040,
    "patient_age": 0x00101010,
    "study_date": 0x00080020,
    "institution_name": 0x00080080,
    "station_name": 0x00081010,
    "study_description": 0x00081030,
    "series_description": 0x0008103E,
    "manufacturer": 0x00080070,
    "model_name": 0x00081090,
    "body_part_examined": 0x00180015,
    "view_position": 0x00185101,
    "image_laterality": 0x00200062,
    "image_type": 0x00080008,
    "photometric_interpretation": 0x00280004,
    "series_number": 0x00200011,
    "instance_number": 0x00200013,
    "pixel_spacing_mm": 0x00280030,
    "imager_pixel_spacing_mm": 0x00181164,
    "slice_thickness_mm": 0x00180050,
    "kvp_kv": 0x00180060,
    # Not in the tables: counted for the review, since headers may hold them.
    "patient_size_m": 0x00101020,
    "patient_weight_kg": 0x00101030,
    "ethnic_group": 0x00102160,
}
NUMBERS = {"rows": 0x00280010, "columns": 0x00280011, "number_of_frames": 0x00280008, "bits_stored": 0x00280101}


def columns_of(produced: bytes) -> dict[str, Any]:
    """Typed columns of a produced file; a backslash separates several values, as in DICOM."""
    file = read_file(produced)
    elements: DataSet = file.elements
    texts = {name: text(elements.get(tag)) or None for name, tag in TEXTS.items()}
    numbers = {name: number(elements.get(tag), 0) or None for name, tag in NUMBERS.items()}
    return texts | numbers | {"transfer_syntax_uid": file.transfer_syntax}

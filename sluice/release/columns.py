"""What the tables say of a released instance: read from the produced file, so they tell nothing more."""

from __future__ import annotations

from typing import Any, Literal

from sluice.deid.reread import BIG, Found, Reread

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


def columns_of(produced: Reread) -> dict[str, Any]:
    """Typed columns of a produced file; a backslash separates several values, as in DICOM."""
    elements = {one.tag: one for one in produced.elements if len(one.path) == 1}
    texts = {name: elements[tag].text() or None if tag in elements else None for name, tag in TEXTS.items()}
    order: Literal["little", "big"] = "big" if produced.syntax == BIG else "little"
    numbers = {name: _number(elements.get(tag), order) for name, tag in NUMBERS.items()}
    return texts | numbers | {"transfer_syntax_uid": produced.syntax}


def _number(element: Found | None, order: Literal["little", "big"]) -> int | None:
    """A US or IS value; None where it is missing, nought or no number."""
    if element is None:
        return None
    if element.vr in ("US", "SS", "UN", "OB") and len(element.data) == 2:
        return int.from_bytes(element.data, order) or None
    try:
        return int(element.text()) or None
    except ValueError:
        return None

"""What a de-identified object says of itself (PS3.15 E.1.1, E.3): claims, equipment, file meta. Never more."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sluice import __version__
from sluice.deid import text
from sluice.deid.elements import DataSet, Element, File
from sluice.deid.profile import BASIC, CLEAN_FACES, CLEAN_PIXELS, FULL_DATES, MODIFIED_DATES, OPTIONS

IMPLEMENTATION_UID = "2.25.147352897540297482934420731086271908442"  # a UUID of ours, PS3.5 B.2
REMOVED, METHOD, METHOD_CODES, TEMPORAL_INFORMATION = 0x00120062, 0x00120063, 0x00120064, 0x00280303
BURNED_IN, RECOGNIZABLE = 0x00280301, 0x00280302
CONTRIBUTING, PURPOSE, MANUFACTURER, MODEL, VERSIONS = 0x0018A001, 0x0040A170, 0x00080070, 0x00081090, 0x00181020
DEIDENTIFYING_EQUIPMENT = ("109104", "DCM", "De-identifying Equipment")


def codes_of(options: Collection[str], cleaned_pixels: bool, defaced: bool) -> tuple[tuple[str, str], ...]:
    """CID 7050 codes and meanings of what was done to one instance.

    Args:
        options: that decided about something in it.
    """
    codes = [BASIC]
    if cleaned_pixels:
        codes.append(CLEAN_PIXELS)
    if defaced:
        codes.append(CLEAN_FACES)
    return (*codes, *(OPTIONS[option] for option in OPTIONS if option in options))


def mark(
    cleaned: DataSet, original: File, codes: Sequence[tuple[str, str]], method: str, options: Collection[str]
) -> None:
    """Write the claims into the cleaned elements, added to what earlier de-identification claimed."""
    items = [text.code_item(value, "DCM", meaning) for value, meaning in codes]
    earlier = original.elements.get(METHOD_CODES)
    if earlier is not None and isinstance(earlier.value, list):
        ours = {value.encode() for value, _ in codes}
        kept = filter(None, map(text.coded_triplet, earlier.value))
        items = [item for item in kept if item[text.CODE_VALUE].value not in ours] + items
    cleaned[REMOVED] = Element(REMOVED, "CS", b"YES")
    cleaned[METHOD] = Element(METHOD, "LO", method[:64].encode())
    cleaned[METHOD_CODES] = Element(METHOD_CODES, "SQ", items)
    temporal = b"MODIFIED" if MODIFIED_DATES in options else b"UNMODIFIED" if FULL_DATES in options else b"REMOVED"
    cleaned[TEMPORAL_INFORMATION] = Element(TEMPORAL_INFORMATION, "CS", temporal)
    if CLEAN_PIXELS in codes:
        cleaned[BURNED_IN] = Element(BURNED_IN, "CS", b"NO")
    if CLEAN_FACES in codes:
        cleaned[RECOGNIZABLE] = Element(RECOGNIZABLE, "CS", b"NO")
    cleaned[CONTRIBUTING] = Element(CONTRIBUTING, "SQ", [_equipment()])


def _equipment() -> DataSet:
    """An item of Contributing Equipment Sequence (PS3.3 C.12.1.1.5) without a date: it would tell the shift."""
    return {
        MANUFACTURER: Element(MANUFACTURER, "LO", b"Sluice"),
        MODEL: Element(MODEL, "LO", b"Sluice"),
        VERSIONS: Element(VERSIONS, "LO", __version__.encode()),
        PURPOSE: Element(PURPOSE, "SQ", [text.code_item(*DEIDENTIFYING_EQUIPMENT)]),
    }


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> DataSet:
    """New file meta: nothing of the original's."""
    values = {
        0x00020001: ("OB", b"\0\1"),
        0x00020002: ("UI", sop_class.encode()),
        0x00020003: ("UI", sop_instance.encode()),
        0x00020010: ("UI", transfer_syntax.encode()),
        0x00020012: ("UI", IMPLEMENTATION_UID.encode()),
        0x00020013: ("SH", f"SLUICE_{__version__}"[:16].encode()),
    }
    return {tag: Element(tag, vr, value) for tag, (vr, value) in values.items()}

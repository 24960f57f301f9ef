"""Typed columns from a header in DICOM JSON: what people filter by.

A value that does not parse becomes NULL here and stays in the JSON as the scanner wrote it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

Element = dict[str, Any]
Elements = Mapping[int, Element]

STUDY_TEXTS = {
    "patient_id": 0x00100020,
    "patient_id_issuer": 0x00100021,
    "patient_sex": 0x00100040,
    "accession_number": 0x00080050,
    "study_id": 0x00200010,
    "study_description": 0x00081030,
    "institution_name": 0x00080080,
}
SERIES_TEXTS = {
    "modality": 0x00080060,
    "series_description": 0x0008103E,
    "protocol_name": 0x00181030,
    "body_part_examined": 0x00180015,
    "laterality": 0x00200060,
    "manufacturer": 0x00080070,
    "model_name": 0x00081090,
    "station_name": 0x00081010,
    "device_serial_number": 0x00181000,
}
PATIENT_NAME, BIRTH_DATE, AGE = 0x00100010, 0x00100030, 0x00101010
SOP_CLASS, STUDY_UID, SERIES_UID = 0x00080016, 0x0020000D, 0x0020000E
STUDY_DATE, STUDY_TIME, SERIES_DATE, SERIES_TIME = 0x00080020, 0x00080030, 0x00080021, 0x00080031
ACQUIRED, ACQUISITION_DATE, ACQUISITION_TIME = 0x0008002A, 0x00080022, 0x00080032
CONTENT_DATE, CONTENT_TIME = 0x00080023, 0x00080033
COERCED, TIMEZONE_OFFSET = 0x00080015, 0x00080201
SERIES_NUMBER, INSTANCE_NUMBER, IMAGE_TYPE, SOFTWARE = 0x00200011, 0x00200013, 0x00080008, 0x00181020
VIEW_POSITION, IMAGE_LATERALITY, BURNED_IN = 0x00185101, 0x00200062, 0x00280301
ROWS, COLUMNS, FRAMES, SAMPLES = 0x00280010, 0x00280011, 0x00280008, 0x00280002
BITS_ALLOCATED, BITS_STORED, PHOTOMETRIC = 0x00280100, 0x00280101, 0x00280004
PIXEL_SPACING, IMAGER_PIXEL_SPACING, SLICE_THICKNESS, EXPOSURE_TIME = 0x00280030, 0x00181164, 0x00180050, 0x00181150
SHARED_GROUPS, FRAME_GROUPS = 0x52009229, 0x52009230

_DATE = re.compile(r"(\d{4})[.:-]?(\d{2})[.:-]?(\d{2})").fullmatch
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?").fullmatch
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})").fullmatch
_DATETIME = re.compile(r"(\d{8})(\d{2}[0-9.]*)?([+-]\d{4})?").fullmatch
_AGE = re.compile(r"(\d{1,3})([DWMY])").fullmatch
_DAYS = {"D": 1, "W": 7, "M": 365.2425 / 12, "Y": 365.2425}
_INTEGER_LIMIT = 2**31


def study_row(elements: Elements) -> dict[str, Any]:
    """Columns of `study`, but for the UID."""
    return {name: text(elements, tag) for name, tag in STUDY_TEXTS.items()} | {
        "patient_name": person_name(elements),
        "patient_birth_date": parse_date(text(elements, BIRTH_DATE)),
        "study_date": parse_date(text(elements, STUDY_DATE)),
        "study_time": parse_time(text(elements, STUDY_TIME)),
    }


def series_row(elements: Elements) -> dict[str, Any]:
    """Columns of `series`, but for the UIDs."""
    return {name: text(elements, tag) for name, tag in SERIES_TEXTS.items()} | {
        "series_number": integer(elements, SERIES_NUMBER),
        "series_date": parse_date(text(elements, SERIES_DATE)),
        "series_time": parse_time(text(elements, SERIES_TIME)),
        "software_versions": "\\".join(str(item) for item in values(elements, SOFTWARE) if item is not None) or None,
    }


def values(elements: Elements, tag: int) -> list[Any]:
    """The element's values, empty where it is absent."""
    element = elements.get(tag)
    found = element.get("Value") if element else None
    return found if isinstance(found, list) else []


def text(elements: Elements, tag: int) -> str | None:
    """The first value as text, outer spaces removed; None where there is none."""
    for value in values(elements, tag):
        if value is None or isinstance(value, dict):
            return None
        return str(value).strip() or None
    return None


def person_name(elements: Elements) -> str | None:
    """The name's component groups as DICOM writes them, `Alphabetic=Ideographic=Phonetic`."""
    for name in values(elements, PATIENT_NAME):
        if not isinstance(name, dict):
            return str(name) if name else None
        groups = [str(name.get(key, "")) for key in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=") or None
    return None


def number(elements: Elements, tag: int) -> float | None:
    """The first value as a finite number."""
    found = values(elements, tag)
    return _finite(found[0]) if found else None


def numbers(elements: Elements, tag: int) -> list[float] | None:
    """All values as finite numbers; None where one of them is none."""
    found = [_finite(value) for value in values(elements, tag)]
    return [value for value in found if value is not None] if found and None not in found else None


def integer(elements: Elements, tag: int) -> int | None:
    """The first value as a 32-bit integer."""
    value = number(elements, tag)
    return int(value) if value is not None and value == int(value) and abs(value) < _INTEGER_LIMIT else None


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


def acquired_at(elements: Elements) -> datetime | None:
    """When the image was acquired, local time by the scanner's own clock.

    The first of Acquisition DateTime (0008,002A), Acquisition Date and Time (0008,0022) (0008,0032), Content
    Date and Time (0008,0023) (0008,0033) that has a date and a time. An offset in the first is not applied:
    this is what the scanner's clock showed; the offset stands in `timezone_offset`.
    """
    written = text(elements, ACQUIRED)
    if written and (match := _DATETIME(written)) and match[2]:
        found = joined(match[1], match[2])
        if found:
            return found
    return joined(text(elements, ACQUISITION_DATE), text(elements, ACQUISITION_TIME)) or joined(
        text(elements, CONTENT_DATE), text(elements, CONTENT_TIME)
    )


def timezone_offset(elements: Elements) -> str | None:
    """Timezone Offset From UTC (0008,0201), else the offset that Acquisition DateTime carries: `+0100`."""
    stated = text(elements, TIMEZONE_OFFSET)
    if stated and _OFFSET(stated):
        return stated
    match = _DATETIME(text(elements, ACQUIRED) or "")
    return match[3] if match else None


def age_years(elements: Elements) -> float | None:
    """Age from Patient's Age (0010,1010), else from birth date and study date, in years."""
    match = _AGE(text(elements, AGE) or "")
    if match:
        return round(int(match[1]) * _DAYS[match[2]] / _DAYS["Y"], 3)
    born, studied = parse_date(text(elements, BIRTH_DATE)), parse_date(text(elements, STUDY_DATE))
    if born is None or studied is None or studied < born:
        return None
    return round((studied - born).days / _DAYS["Y"], 3)


@lru_cache(maxsize=4096)
def parse_date(written: str | None) -> date | None:
    """A DA value (also the retired `YYYY.MM.DD`); None where it is none."""
    match = _DATE(written or "")
    if not match:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def parse_time(written: str | None) -> time | None:
    """A TM value (also the retired `HH:MM:SS`); None where it is none. Second 60 is read as 59."""
    match = _TIME(written or "")
    if not match:
        return None
    microsecond = int((match[4] or "0").ljust(6, "0"))
    try:
        return time(int(match[1]), int(match[2] or 0), min(int(match[3] or 0), 60) - (match[3] == "60"), microsecond)
    except ValueError:
        return None


def joined(day: str | None, clock: str | None) -> datetime | None:
    """A DA and a TM value together."""
    on, at = parse_date(day), parse_time(clock)
    return datetime.combine(on, at) if on and at else None


def parse_instant(written: str | None, zone: tzinfo) -> datetime | None:
    """A DT value with date and time as an instant; without an offset it is read in `zone`."""
    match = _DATETIME(written or "")
    if not match or not match[2]:
        return None
    local = joined(match[1], match[2])
    if local is None:
        return None
    return local.replace(tzinfo=_fixed_zone(match[3]) if match[3] else zone)


def _fixed_zone(offset: str) -> tzinfo:
    sign, hours, minutes = offset[0], int(offset[1:3]), int(offset[3:5])
    difference = min(timedelta(hours=hours, minutes=minutes), timedelta(hours=14))
    return timezone(-difference if sign == "-" else difference)


@lru_cache(maxsize=16)
def zone_of(name: str) -> tzinfo:
    """The time zone of an IANA name."""
    return ZoneInfo(name)


def _pixel_measures(elements: Elements) -> Elements:
    """Pixel Measures of an enhanced object by tag (PS3.3 C.7.6.16.2.1): shared, or what all frames say alike."""
    found: list[Any] = []
    for groups in (SHARED_GROUPS, FRAME_GROUPS):
        for group in values(elements, groups):
            found += (group.get("00289110", {}).get("Value") or ())[:1]
        if found:
            break
    alike = {
        key: element
        for key, element in (found[0] if found else {}).items()
        if all(element == one.get(key) for one in found)
    }
    return {int(key, 16): element for key, element in alike.items()}


def _image_type(elements: Elements) -> list[str] | None:
    return [str(item or "") for item in values(elements, IMAGE_TYPE)] or None


def _content_at(elements: Elements) -> datetime | None:
    return joined(text(elements, CONTENT_DATE), text(elements, CONTENT_TIME))


def _pixel_spacing(elements: Elements) -> list[float] | None:
    return (
        numbers(elements, PIXEL_SPACING)
        or numbers(_pixel_measures(elements), PIXEL_SPACING)
        or numbers(elements, IMAGER_PIXEL_SPACING)
    )


def _slice_thickness(elements: Elements) -> float | None:
    return number(elements, SLICE_THICKNESS) or number(_pixel_measures(elements), SLICE_THICKNESS)


@dataclass(frozen=True)
class Column:
    """A typed column: from which elements, and how."""

    tags: frozenset[int]
    read: Callable[[Elements], Any]


def _of(read: Callable[[Elements, int], Any], tag: int) -> Column:
    return Column(frozenset({tag}), lambda elements: read(elements, tag))


def instance_columns(zone: tzinfo) -> dict[str, Column]:
    """Columns of `instance` that come from the header, but for UIDs and transfer syntax.

    Args:
        zone: the hospital's time zone; a coercion time without an offset is read in it.
    """
    acquired = frozenset({ACQUIRED, ACQUISITION_DATE, ACQUISITION_TIME, CONTENT_DATE, CONTENT_TIME})
    return {
        "patient_id": _of(text, STUDY_TEXTS["patient_id"]),
        "instance_number": _of(integer, INSTANCE_NUMBER),
        "image_type": Column(frozenset({IMAGE_TYPE}), _image_type),
        "acquired_at": Column(acquired, acquired_at),
        "content_at": Column(frozenset({CONTENT_DATE, CONTENT_TIME}), _content_at),
        "stored_in_pacs_at": Column(
            frozenset({COERCED}), lambda elements: parse_instant(text(elements, COERCED), zone)
        ),
        "timezone_offset": Column(frozenset({TIMEZONE_OFFSET, ACQUIRED}), timezone_offset),
        "patient_age_years": Column(frozenset({AGE, BIRTH_DATE, STUDY_DATE}), age_years),
        "view_position": _of(text, VIEW_POSITION),
        "image_laterality": _of(text, IMAGE_LATERALITY),
        "rows": _of(integer, ROWS),
        "columns": _of(integer, COLUMNS),
        "number_of_frames": _of(integer, FRAMES),
        "bits_stored": _of(integer, BITS_STORED),
        "photometric_interpretation": _of(text, PHOTOMETRIC),
        "pixel_spacing": Column(
            frozenset({PIXEL_SPACING, SHARED_GROUPS, FRAME_GROUPS, IMAGER_PIXEL_SPACING}), _pixel_spacing
        ),
        "slice_thickness": Column(frozenset({SLICE_THICKNESS, SHARED_GROUPS, FRAME_GROUPS}), _slice_thickness),
        "exposure_time": _of(number, EXPOSURE_TIME),
        "burned_in_annotation": _of(text, BURNED_IN),
    }


SERIES_TAGS = frozenset(
    {*STUDY_TEXTS.values(), *SERIES_TEXTS.values(), PATIENT_NAME, BIRTH_DATE, STUDY_DATE, STUDY_TIME, SERIES_DATE}
    | {SERIES_TIME, SERIES_NUMBER, SOFTWARE}
)

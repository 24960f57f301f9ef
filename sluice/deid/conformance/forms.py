"""The form of values by their VR (PS3.5 Table 6.2-1) and their multiplicity by the dictionary (PS3.6)."""

from __future__ import annotations

import re
from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary

# What a value may be; DS and IS may be padded by spaces on either side.
FORMS = {
    "AE": re.compile(r"[ -\[\]-~]{0,16}"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]{0,16}"),
    "DA": re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"),
    "DS": re.compile(r" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *"),
    "DT": re.compile(
        r"\d{4}((0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])(([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?)?)?)?"
        r"([+-]\d{4})?"
    ),
    "IS": re.compile(r" *[+-]?\d{1,11} *"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"),
    "UI": re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*"),
}
LONGEST = {"AE": 16, "CS": 16, "DS": 16, "IS": 12, "LO": 64, "SH": 16, "UI": 64, "DT": 26, "TM": 14}
ONE_VALUE = frozenset(("LT", "ST", "UT", "UR"))
WIDTH = {"US": 2, "SS": 2, "AT": 4, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "SV": 8, "UV": 8}
TEXT = frozenset((*FORMS, "LO", "SH", "PN", "LT", "ST", "UT", "UC", "UR"))
CONTROL = re.compile(r"[\x00-\x09\x0b\x0e-\x1a\x1c-\x1f]")
CONTROL_OF_LINE = re.compile(r"[\x00-\x1a\x1c-\x1f]")


@lru_cache(maxsize=8192)
def fault_of_value(vr: str, text: str) -> str:
    """What is wrong with one value, in a word; empty where nothing is."""
    if not text:
        return ""
    form = FORMS.get(vr)
    if form is not None and not form.fullmatch(text):
        return "form"
    if vr == "PN":
        if text.count("=") > 2 or any(len(group) > 64 or group.count("^") > 4 for group in text.split("=")):
            return "form"
    elif len(text) > LONGEST.get(vr, 1 << 32):
        return "length"
    if (CONTROL if vr in ONE_VALUE else CONTROL_OF_LINE).search(text):
        return "control character"
    return ""


@lru_cache(maxsize=8192)
def vr_and_multiplicity(tag: int) -> tuple[frozenset[str], int, int, int]:
    """VRs that the dictionary allows, and the least, the most (-1: any) and the step of its multiplicity."""
    entry = DicomDictionary.get(tag)
    if entry is None:
        return frozenset(), 0, -1, 1
    vrs = frozenset(str(entry[0]).split(" or "))
    least, _, most = str(entry[1]).split(" or ")[0].partition("-")
    if not most:
        return vrs, int(least), (-1 if " or " in str(entry[1]) else int(least)), 1
    if most.endswith("n"):
        return vrs, int(least), -1, int(most[:-1] or 1)
    return vrs, int(least), int(most), 1

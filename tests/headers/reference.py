"""pydicom's answer for a file, in a form that ours can be compared with.

What may differ, and is levelled here: escapes of ISO 2022 IR 58 that pydicom leaves in the text, empty values
(`""` or null), trailing padding, empty component groups of
names, how a number is written, and values that we leave out by their length.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from sluice.headers.values import BINARY_LIMIT, TEXT_LIMIT

Json = dict[str, Any]
BULK_VRS = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
NUMBER_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8}


def by_pydicom(dataset: Dataset) -> Json:
    """Elements that pydicom can convert; group lengths left out."""
    found: Json = {}
    for tag in dataset.keys():  # noqa: SIM118
        if not tag & 0xFFFF or tag >> 16 == 0xFFFE:
            continue
        try:
            element = dataset[tag]
            if element.VR == "SQ":
                found[f"{tag:08X}"] = {"vr": "SQ", "Value": [by_pydicom(item) for item in element.value]}
            else:
                found[f"{tag:08X}"] = element.to_json_dict(None, 0)
        except Exception as error:  # pydicom's own refusal of one value
            found[f"{tag:08X}"] = {"refused": type(error).__name__}
    return found


def level(element: Json) -> Json:
    """An element in the common form."""
    vr = element["vr"]
    if vr == "SQ":
        items = [{key: level(value) for key, value in item.items()} for item in element.get("Value", [])]
        return {"vr": "SQ", "Value": items}
    if "InlineBinary" in element:
        raw = element["InlineBinary"]
        return {"bytes": len(base64.b64decode(raw)), "InlineBinary": raw}
    if "BulkDataURI" in element:
        return {"bytes": int(element["BulkDataURI"].rpartition("length=")[2])}
    values = [_value(vr, value) for value in element.get("Value", [])]
    return {"vr": vr, "Value": values if values != [None] else []}


def _value(vr: str, value: Any) -> Any:
    if isinstance(value, dict):
        groups = {key: group.replace("\x1b$)A", "").rstrip(" \0").replace("\0", "") for key, group in value.items()}
        return {key: group for key, group in groups.items() if group} or None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        number = float(value)
        return number if math.isfinite(number) else "NaN" if number != number else "inf" if number > 0 else "-inf"
    return str(value).replace("\x1b$)A", "").replace("\0", "").strip(" \r\n") or None


def same(ours: Json, theirs: Json) -> bool:
    """Whether two levelled elements agree."""
    if theirs == ours:
        return True
    if "bytes" in ours and "InlineBinary" not in ours:  # left out: only the length can be compared
        if "bytes" in theirs:
            return bool(ours["bytes"] == theirs["bytes"])
        size = NUMBER_SIZES.get(theirs["vr"], 0)
        return bool(len(theirs["Value"]) * size == ours["bytes"] > BINARY_LIMIT if size else ours["bytes"] > TEXT_LIMIT)
    if ours.get("vr") == theirs.get("vr") == "SQ":
        return len(ours["Value"]) == len(theirs["Value"]) and all(
            mine.keys() == other.keys() and all(same(mine[key], other[key]) for key in mine)
            for mine, other in zip(ours["Value"], theirs["Value"], strict=True)
        )
    return False


def differences(ours: Json, dataset: pydicom.FileDataset) -> list[str]:
    """What differs, in words, tag by tag."""
    theirs = by_pydicom(dataset)
    found = [f"{key} missing here" for key in theirs.keys() - ours.keys()]
    found += [f"{key} missing there" for key in ours.keys() - theirs.keys()]
    for key in theirs.keys() & ours.keys():
        if "refused" not in str(theirs[key]) and not same(level(ours[key]), level(theirs[key])):
            found.append(f"{key}: {str(level(ours[key]))[:150]} != {str(level(theirs[key]))[:150]}")
    return sorted(found)

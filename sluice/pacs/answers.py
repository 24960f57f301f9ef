"""Reading what a PACS answers, however it is written."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from pydicom.dataset import Dataset

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def text(answer: Dataset, keyword: str) -> str:
    """A value as trimmed text; empty when it is absent, empty or cannot be read."""
    try:
        value = answer.get(keyword)
    except Exception:  # a value that pydicom cannot convert is as good as none
        return ""
    if value is None:
        return ""
    if not isinstance(value, str) and hasattr(value, "__iter__") and not hasattr(value, "components"):
        return "\\".join(str(part).strip(" \x00") for part in value)
    return str(value).strip(" \x00")


def words(answer: Dataset, keyword: str) -> list[str]:
    """The values of a multi-valued element. Some PACS separate them by a comma or slash."""
    return [word for word in re.split(r"[\\,/\s]+", text(answer, keyword)) if word]


def is_uid(value: str) -> bool:
    """Whether it is a UID that can name a file: digits and dots, at most 64 (PS3.5 9.1; leading zeros allowed)."""
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def day_of(value: str) -> date | None:
    """A DA value as a date; None when it is none. The ACR-NEMA form `2026.10.26` is understood."""
    digits = value.strip(" \x00").replace(".", "")
    if not re.fullmatch(r"[0-9]{8}", digits):
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def seconds_of_day(value: str) -> int | None:
    """A TM value in whole seconds; None when it is none. The ACR-NEMA form `10:15:00` is understood."""
    matched = re.match(r"([0-9]{2})([0-9]{2})?([0-9]{2})?", value.replace(":", ""))
    if not matched:
        return None
    hours, minutes, seconds = (int(part or 0) for part in matched.groups())
    return hours * 3600 + minutes * 60 + seconds if hours < 24 and minutes < 60 else None


def as_json(answer: Dataset) -> dict[str, Any]:
    """The answer as DICOM JSON (PS3.18 Annex F); elements that cannot be converted are left out."""
    converted: dict[str, Any] = {}
    for tag in answer.keys():  # noqa: SIM118 - iterating the dataset itself would convert, and may fail
        try:
            element = answer[tag]
            converted[f"{element.tag:08X}"] = _storable(element.to_json_dict(None, 0))
        except Exception:  # one odd element must not lose the answer
            continue
    return converted


def _storable(value: Any) -> Any:
    """A JSON value without what Postgres cannot keep: NUL, and halves of surrogate pairs from a wrong character set."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {key: _storable(one) for key, one in value.items()}
    return [_storable(one) for one in value] if isinstance(value, list) else value

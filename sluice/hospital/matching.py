"""Attribute matching of C-FIND, C-MOVE and C-GET (PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from pydicom.dataelem import DataElement

NO_WILDCARD = {"DA", "TM", "DT", "SL", "SS", "US", "UL", "FL", "FD", "OB", "OW", "UN", "AT", "DS", "IS", "AS", "UI"}


def values_of(element: DataElement) -> list[str]:
    """The element's values as text, none for an empty one."""
    value = element.value
    if value is None or value == "":
        return []
    if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and element.VM > 1):
        return [str(one).strip() for one in value if str(one).strip()]
    return [text] if (text := str(value).strip(" \0")) else []


def matches(vr: str, wanted: Sequence[str], stored: Sequence[str], ignore_case: bool = False) -> bool:
    """Whether an entity whose attribute holds `stored` answers a key that asks for `wanted`.

    An empty key matches all (C.2.2.2.3). Several wanted values match by any of them: UID lists (C.2.2.2.2) and
    multi-valued keys such as Modalities in Study. Dates and times match by range (C.2.2.2.5), text by `*` and `?`
    (C.2.2.2.4). Names ignore case, all other text does only with `ignore_case`; a stored name matches by any of its
    groups.
    """
    if not wanted or list(wanted) == ["*"]:
        return True
    if ignore_case:
        wanted, stored = [key.casefold() for key in wanted], [value.casefold() for value in stored]
    return any(_one(vr, key, value) for key in wanted for value in stored)


def _one(vr: str, key: str, value: str) -> bool:
    if vr == "DA":
        return _in_range(key, value, _date)
    if vr == "TM":
        return _in_range(key, value, _time)
    if vr in ("IS", "DS"):
        return _number(key) == _number(value)
    if vr in NO_WILDCARD:
        return key == value
    if vr == "PN":
        pattern = _pattern(key.casefold().rstrip("^"))
        groups = [value, *value.split("=")]
        return any(pattern.fullmatch(group.casefold().rstrip("^")) for group in groups)
    return _pattern(key).fullmatch(value) is not None


@lru_cache(maxsize=4_096)
def _pattern(key: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in key), re.DOTALL)


def _in_range(key: str, value: str, bound: type[_date] | type[_time]) -> bool:
    if not value:
        return False
    first, dash, last = key.partition("-")
    if not dash:
        last = first
    here = bound.low(value)
    return (not first or bound.low(first) <= here) and (not last or here <= bound.high(last))


class _date:  # noqa: N801 - a pair of functions
    """YYYYMMDD, or the old YYYY.MM.DD."""

    @staticmethod
    def low(text: str) -> str:
        return text.strip().replace(".", "")

    high = low


class _time:  # noqa: N801 - a pair of functions
    """HH[MM[SS[.F]]]: what is left out means the whole hour, minute or second (C.2.2.2.5.1)."""

    @staticmethod
    def low(text: str) -> str:
        whole, _, fraction = text.strip().replace(":", "").partition(".")
        return f"{whole.ljust(6, '0')}.{fraction.ljust(6, '0')}"

    @staticmethod
    def high(text: str) -> str:
        whole, _, fraction = text.strip().replace(":", "").partition(".")
        missing = "235959"[len(whole) :]
        return f"{whole}{missing}.{fraction.ljust(6, '0' if fraction and not missing else '9')}"


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text

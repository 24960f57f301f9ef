"""One answer about a series, with where it was read and how sure that is; and how elements are looked into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

Element: TypeAlias = Mapping[str, Any]
Elements: TypeAlias = Mapping[int, Element]
SHARED_GROUPS = 0x52009229
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """An answer.

    Attributes:
        value: the answer; None where nothing says one.
        text: the words that decided, normalised, or the element and its value.
        source: where that stood, e.g. `(0008,103E)`.
        confidence: 0..1; orders answers, is no measured probability.
        detail: more of it, e.g. `STIR` of a T2.
        mapping_id: the mapping that decided, if one did.
    """

    value: str | None = None
    text: str | None = None
    source: str | None = None
    confidence: float = 0.0
    detail: str | None = None
    mapping_id: int | None = None

    def columns(self, name: str, value: Any = None) -> dict[str, Any]:
        """Columns `name`, `name_text`, `name_source`, `name_confidence`; `value` in place of the answer."""
        return {
            name: self.value if value is None else value,
            f"{name}_text": self.text,
            f"{name}_source": self.source,
            f"{name}_confidence": round(self.confidence, 3) if self.value is not None else None,
        }


@cache
def tag_text(tag: int) -> str:
    """A tag as people write it: `(0018,0015)`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def first_text(element: Element | None) -> str:
    """The first value as text, outer spaces removed; empty where there is none."""
    for value in (element or {}).get("Value") or ():
        return str(value).strip() if value is not None and not isinstance(value, Mapping) else ""
    return ""


def texts(element: Element | None) -> list[str]:
    """All values as texts in upper case."""
    return [str(value).strip().upper() for value in (element or {}).get("Value") or () if value is not None]


def items(element: Element | None) -> list[Mapping[str, Element]]:
    """The items of a sequence."""
    return [value for value in (element or {}).get("Value") or () if isinstance(value, Mapping)]


def nested(elements: Elements, tag: int) -> Element | None:
    """The element, at the top or in what all frames of an enhanced object share (PS3.3 C.7.6.16)."""
    if tag in elements:
        return elements[tag]
    key = f"{tag:08X}"
    for group in items(elements.get(SHARED_GROUPS)):
        for inner in group.values():
            for item in items(inner):
                if key in item:
                    return item[key]
                for deeper in (found for one in item.values() for found in items(one)):
                    if key in deeper:
                        return deeper[key]
    return None


def number(elements: Elements, tag: int) -> float | None:
    """The first value as a number, at the top or shared by all frames."""
    for value in (nested(elements, tag) or {}).get("Value") or ():
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        return None
    return None


def said_in(elements: Elements, sources: Mapping[int, float]) -> Iterator[tuple[int, str, float]]:
    """Texts of the sources in their order: tag, text, and how far that source is believed."""
    for tag, confidence in sources.items():
        for value in (elements.get(tag) or {}).get("Value") or ():
            if isinstance(value, Mapping):
                value = first_text(value.get("00080104"))
            if value:
                yield tag, str(value), confidence

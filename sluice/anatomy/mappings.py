"""Words that people taught: for a whole text as it stands in a header, what it means, and where that holds.

A mapping is data (`anatomy_mapping`), and this is its pure side: readers get all of them as one value that travels to
worker processes, and never ask the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sluice.anatomy.words import normalise

Kind: TypeAlias = Literal["region", "mr_sequence", "ct_phase"]
KINDS: tuple[Kind, ...] = ("region", "mr_sequence", "ct_phase")
LONGEST_TEXT = 200  # characters; what is longer is prose, and nobody maps it


@dataclass(frozen=True)
class Taught:
    """One mapping.

    Attributes:
        key: the whole text, normalised.
        value: region, sequence or phase; None where the text says nothing of this kind.
        source_tag, manufacturer, station_name: where it holds; None everywhere.
    """

    mapping_id: int
    kind: Kind
    key: str
    value: str | None
    laterality: str | None = None
    view: str | None = None
    source_tag: str | None = None
    manufacturer: str | None = None
    station_name: str | None = None


@dataclass(frozen=True)
class Device:
    """Who wrote a header, as far as mappings distinguish."""

    manufacturer: str = ""
    station_name: str = ""


class Mappings:
    """Mappings by kind and text. Of those that fit, the newest holds.

    Args:
        taught: those that are not withdrawn, in any order.
        version: tells one state of the table from another.
    """

    def __init__(self, taught: Iterable[Taught] = (), version: tuple[int, int] = (0, 0)) -> None:
        self.version = version
        self._by_text: dict[tuple[str, str], list[Taught]] = {}
        for one in sorted(taught, key=lambda one: -one.mapping_id):
            self._by_text.setdefault((one.kind, one.key), []).append(one)

    def __bool__(self) -> bool:
        return bool(self._by_text)

    def with_one(self, taught: Taught) -> Mappings:
        """These and one more, which is the newest."""
        return Mappings([*(one for found in self._by_text.values() for one in found), taught], self.version)

    def find(self, kind: Kind, text: str, source_tag: str, device: Device) -> Taught | None:
        """What was taught about a text that stands in this element of a header of this device."""
        if not self or len(text) > LONGEST_TEXT:
            return None
        for one in self._by_text.get((kind, normalise(text)), ()):
            if (
                one.source_tag in (None, source_tag)
                and one.manufacturer in (None, device.manufacturer)
                and one.station_name in (None, device.station_name)
            ):
                return one
        return None


NOTHING_TAUGHT = Mappings()
MANUFACTURER, STATION = 0x00080070, 0x00081010


def device_of(elements: Mapping[int, Any]) -> Device:
    """The device that a header names."""
    return Device(_first(elements.get(MANUFACTURER)), _first(elements.get(STATION)))


def _first(element: Any) -> str:
    for value in (element or {}).get("Value") or ():
        return str(value).strip() if value is not None else ""
    return ""

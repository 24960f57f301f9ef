"""Where an element stands in a header: a tag, a private one with its creator, or one within a sequence.

Written as `0018,0081` (or `00180081`, `(0018,0081)`, `EchoTime`); a private one as `0029,"SIEMENS CSA HEADER",10`,
since the block it stands in differs from file to file (PS3.5 7.8); within sequences with a slash, `00540016/00181074`,
where the first item counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TAG = re.compile(r"\(?([0-9a-fA-F]{4}),?([0-9a-fA-F]{4})\)?").fullmatch
_PRIVATE = re.compile(r'\(?([0-9a-fA-F]{4}),\s*"([^"]+)",\s*([0-9a-fA-F]{1,2})\)?').fullmatch
_STEPS = re.compile(r'((?:[^/"]|"[^"]*")+)(?:/|$)')
_BLOCKS = range(0x10, 0x100)

Json = Mapping[str, Any]


class PathError(ValueError):
    """A text that names no element; the message says how to write one."""


@dataclass(frozen=True)
class Step:
    """An element of one data set.

    Attributes:
        tag: of a private one group and the last two digits of the element.
        creator: of a private one, else empty.
    """

    tag: int
    creator: str = ""

    def __str__(self) -> str:
        if self.creator:
            return f'{self.tag >> 16:04X},"{self.creator}",{self.tag & 0xFF:02X}'
        return f"{self.tag >> 16:04X},{self.tag & 0xFFFF:04X}"

    def tags(self) -> frozenset[int]:
        """The tags that have to be looked at."""
        if not self.creator:
            return frozenset({self.tag})
        group, element = self.tag & 0xFFFF0000, self.tag & 0xFF
        return frozenset(group | block for block in _BLOCKS) | {group | block << 8 | element for block in _BLOCKS}

    def found_in(self, elements: Json) -> Json | None:
        """The element in DICOM JSON of a data set."""
        if not self.creator:
            return elements.get(f"{self.tag:08X}")
        group, element = self.tag >> 16, self.tag & 0xFF
        for block in _BLOCKS:
            values = (elements.get(f"{group:04X}{block:04X}") or {}).get("Value")
            if values and str(values[0]).strip() == self.creator:
                found: Json | None = elements.get(f"{group:04X}{block:02X}{element:02X}")
                if found is not None:
                    return found
        return None


@dataclass(frozen=True)
class ElementPath:
    """The steps to an element; all but the last are sequences."""

    steps: tuple[Step, ...]

    @classmethod
    def of(cls, written: str) -> ElementPath:
        """The path that a text names.

        Raises:
            PathError: it names none.
        """
        pieces = _STEPS.findall(written)
        if "/".join(pieces) != written or not pieces:
            raise PathError(f'{written!r} names no element: write 0018,0081, EchoTime or 0029,"CREATOR",10.')
        return cls(tuple(_step(piece.strip()) for piece in pieces))

    def __str__(self) -> str:
        return "/".join(map(str, self.steps))

    @property
    def tags(self) -> frozenset[int]:
        """Tags of the top level that have to be looked at."""
        return self.steps[0].tags()

    def found_in(self, elements: Json) -> Json | None:
        """The element in a header in DICOM JSON; None where it has none."""
        for step in self.steps[:-1]:
            items = (step.found_in(elements) or {}).get("Value") or [{}]
            elements = items[0] if isinstance(items[0], dict) else {}
        return self.steps[-1].found_in(elements)


def _step(written: str) -> Step:
    if match := _PRIVATE(written):
        group = int(match[1], 16)
        if not group & 1:
            raise PathError(f"{written}: {match[1]} is no private group, which has an odd number.")
        return Step(group << 16 | int(match[3], 16), match[2].strip())
    if match := _TAG(written):
        tag = int(match[1] + match[2], 16)
        if tag >> 16 & 1 and tag & 0xFFFF > 0xFF:
            raise PathError(
                f"{written} is private, and its block differs from file to file. "
                f'Name its creator: {match[1]},"CREATOR",{match[2][2:]}.'
            )
        return Step(tag)
    from pydicom.datadict import tag_for_keyword

    found = tag_for_keyword(written)
    if found is None:
        raise PathError(f"{written!r} is neither a tag like 0018,0081 nor a keyword like EchoTime.")
    return Step(int(found))

"""Where an element stands in a header, as people write it: the one reader of tags for promotion, filters and suites.

A tag is `0018,0081`, `(0018,0081)`, `00180081` or its keyword, `EchoTime`. A private one is named with its creator,
`0029,"SIEMENS CSA HEADER",10`, since the block it stands in differs from file to file (PS3.5 7.8); where the creator is
given beside it, `0029,xx10`. What stands in sequences is a path, `00540016/00181074` or
`RadiopharmaceuticalInformationSequence.RadionuclideHalfLife`. Whether the first item of a sequence counts or any
of them, who evaluates a path says; `ElementPath.found_in` takes the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

DEEPEST = 8
_TAG = re.compile(r"\(?([0-9a-fA-F]{4}),? ?([0-9a-fA-F]{4}|[xX]{2}[0-9a-fA-F]{2})\)?").fullmatch
_PRIVATE = re.compile(r'\(?([0-9a-fA-F]{4}), *"([^"]+)", *([0-9a-fA-F]{1,2})\)?').fullmatch
_STEP = r'(?:[^/."]|"[^"]*")+'
_PATH = re.compile(rf"{_STEP}(?:[/.]{_STEP})*").fullmatch
_STEPS = re.compile(_STEP).findall

Json = Mapping[str, Any]


class PathError(ValueError):
    """A text that names no element; the message says how to write one."""


class UnnamedCreatorError(PathError):
    """A private tag whose creator is not named: its block differs from file to file."""


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

    @property
    def hex(self) -> str:
        """The tag as DICOM JSON writes it; of a private one with `00` in place of its block."""
        return f"{self.tag:08X}"

    @property
    def is_private(self) -> bool:
        """Whether its group is odd."""
        return bool(self.tag >> 16 & 1)

    @property
    def vr(self) -> str | None:
        """What a dictionary says it is, e.g. `DS` or `US or SS`; None where none knows it."""
        from pydicom.datadict import dictionary_VR, private_dictionary_VR

        try:
            if self.creator:
                return private_dictionary_VR(self.tag | 0x1000, self.creator)
            return dictionary_VR(self.tag)
        except KeyError:
            return None

    @property
    def keyword(self) -> str:
        """Its keyword; empty where it has none."""
        from pydicom.datadict import keyword_for_tag

        return "" if self.creator else keyword_for_tag(self.tag)

    def tags(self) -> frozenset[int]:
        """The tags that have to be looked at."""
        if not self.creator:
            return frozenset({self.tag})
        group, element, blocks = self.tag & 0xFFFF0000, self.tag & 0xFF, range(0x10, 0x100)
        return frozenset(group | block for block in blocks) | {group | block << 8 | element for block in blocks}

    def patterns(self) -> tuple[str, ...]:
        """The same as patterns of SQL's `like`, of tags as DICOM JSON writes them."""
        if not self.creator:
            return (self.hex,)
        return f"{self.tag >> 16:04X}00__", f"{self.tag >> 16:04X}__{self.tag & 0xFF:02X}"

    def found_in(self, elements: Json) -> Json | None:
        """The element in DICOM JSON of a data set."""
        if not self.creator:
            return elements.get(self.hex)
        reserved = f"{self.tag >> 16:04X}00"
        for tag in sorted(tag for tag in elements if tag.startswith(reserved) and tag[6:] >= "10"):
            values = (elements[tag] or {}).get("Value")
            if values and str(values[0]).strip() == self.creator:
                found: Json | None = elements.get(f"{tag[:4]}{tag[6:]}{self.tag & 0xFF:02X}")
                if found is not None:
                    return found
        return None


@dataclass(frozen=True)
class ElementPath:
    """The steps to an element; all but the last are sequences."""

    steps: tuple[Step, ...]

    @classmethod
    def of(cls, written: str, creator: str = "") -> ElementPath:
        """The path that a text names.

        Args:
            creator: Private Creator of its private steps that name none.

        Raises:
            PathError: it names none.
        """
        if not _PATH(written):
            raise PathError(f'{_cut(written)} names no element: write 0018,0081, EchoTime or 0029,"CREATOR",10.')
        pieces = [piece.strip() for piece in _STEPS(written)]
        if len(pieces) > DEEPEST:
            raise PathError(f"a path of {len(pieces)} steps; at most {DEEPEST} are taken.")
        steps = tuple(_step(piece, creator.strip()) for piece in pieces)
        for piece, step in zip(pieces[:-1], steps, strict=False):
            if not step.is_private and step.vr != "SQ":
                raise PathError(f"{piece} is no sequence, so nothing can stand inside it.")
        if creator and not any(step.creator for step in steps):
            raise PathError("only a private tag (odd group) has a creator.")
        return cls(steps)

    def __str__(self) -> str:
        return "/".join(map(str, self.steps))

    @property
    def tags(self) -> frozenset[int]:
        """Tags of the top level that have to be looked at."""
        return self.steps[0].tags()

    def found_in(self, elements: Json) -> Json | None:
        """The element in a header in DICOM JSON, by the first item of each sequence; None where it has none."""
        for step in self.steps[:-1]:
            items = (step.found_in(elements) or {}).get("Value") or [{}]
            elements = items[0] if isinstance(items[0], dict) else {}
        return self.steps[-1].found_in(elements)


def looks_like_path(written: str) -> bool:
    """Whether a word is a tag, a keyword or a path, rather than a name in small letters."""
    first = written.split(".")[0]
    return bool(_TAG(first)) or (written[:1].isupper() and written.isprintable())


def patterns(paths: Iterable[ElementPath]) -> list[str]:
    """Patterns of SQL's `like` for the elements of the top level that these paths need."""
    return sorted({pattern for path in paths for pattern in path.steps[0].patterns()})


def _step(written: str, creator: str) -> Step:
    if match := _PRIVATE(written):
        group = int(match[1], 16)
        if not group & 1:
            raise PathError(f"{written}: {match[1]} is no private group, which has an odd number.")
        return Step(group << 16 | int(match[3], 16), match[2].strip())
    if match := _TAG(written):
        group, last = int(match[1], 16), match[2][2:]
        if group & 1 and creator:
            return Step(group << 16 | int(last, 16), creator)
        if group & 1 and not match[2].startswith("00"):
            raise UnnamedCreatorError(
                f"{written} is private, and its block differs from file to file. "
                f'Name its creator: {match[1]},"CREATOR",{last}.'
            )
        if match[2][:2].lower() != "xx":
            return Step(group << 16 | int(match[2], 16))
    from pydicom.datadict import tag_for_keyword

    found = tag_for_keyword(written)
    if found is None:
        raise PathError(f"there is no element {_cut(written)}{_meant(written)}")
    return Step(int(found))


def _cut(written: str) -> str:
    return repr(written[:64])


def _meant(written: str) -> str:
    names = {name.casefold(): name for name in _keywords()}
    close = get_close_matches(written[:100].casefold(), list(names), n=1, cutoff=0.6)
    return f". Did you mean {names[close[0]]}?" if close else ": write a tag like 0018,0081 or a keyword like EchoTime."


@cache
def _keywords() -> tuple[str, ...]:
    from pydicom.datadict import keyword_dict

    return tuple(keyword_dict)

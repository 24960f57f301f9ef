"""The strings that a produced file kept: what a person has to have seen before it leaves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sluice.deid.reread import Found, Reread

TEXT_VRS = frozenset(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
WHOLE_VRS = frozenset(("LT", "ST", "UR", "UT"))  # a backslash is a letter there
NUMBER_VRS = frozenset(("DS", "IS"))
PATIENT_GROUP = 0x0010
PRINTABLE = re.compile(rb"[\x20-\x7e]{3,}[\x00 ]?")
PSEUDONYM_OF_ACCESSION = re.compile(r"A[A-Z2-7]{10}")
ACCESSION = 0x00080050
# Said of every object by the engine itself, not kept of the original.
OURS = frozenset((0x00120063, 0x00120064, 0x00080005, 0x00120062, 0x00280303))


@dataclass(frozen=True, slots=True)
class Retained:
    """A string in a produced file.

    Attributes:
        path: where: `0008,103E`; elements of sequences joined by `>`; private ones as `0019,xx0C[CREATOR]`.
        kind: `text`; `code` for CS; `number` for ages, and for numbers about the patient.
        value: one value of the element, without padding.
    """

    path: str
    vr: str
    kind: str
    value: str

    @property
    def digest(self) -> str:
        """SHA-256 over path, VR and value: what the string is known by in every release."""
        return hashlib.sha256("\0".join((self.path, self.vr, self.value)).encode()).hexdigest()


def retained(file: Reread, pseudonym: str) -> tuple[Retained, ...]:
    """Every distinct string of a produced file, in a fixed order.

    Args:
        pseudonym: of the patient, which stands in each object and is not kept of the original.
    """
    creators: dict[tuple[tuple[int, ...], tuple[int, ...], int], str] = {}
    found: set[Retained] = set()
    for one in file.elements:
        tag = one.tag
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            creators[one.path[:-1], one.item, tag] = one.text()
        if not one.data or one.path[0] in OURS:
            continue
        kind = _kind(one)
        if kind is None:
            continue
        text = one.text()
        if kind == "text" and (text == pseudonym or (tag == ACCESSION and PSEUDONYM_OF_ACCESSION.fullmatch(text))):
            continue
        path = _path(one, creators)
        values = (text,) if one.vr in WHOLE_VRS else text.split("\\")
        found.update(Retained(path, one.vr, kind, value.strip()) for value in values if value.strip())
    return tuple(sorted(found, key=lambda one: (one.path, one.vr, one.value)))


def element_of(file: Reread, strings: Iterable[Retained]) -> list[Found]:
    """Elements of a produced file that hold one of these strings."""
    wanted = {(one.path, one.vr, one.value) for one in strings}
    creators: dict[tuple[tuple[int, ...], tuple[int, ...], int], str] = {}
    found = []
    for one in file.elements:
        if one.tag >> 16 & 1 and 0x10 <= one.tag & 0xFFFF <= 0xFF:
            creators[one.path[:-1], one.item, one.tag] = one.text()
        if not one.data or _kind(one) is None:
            continue
        values = (one.text(),) if one.vr in WHOLE_VRS else one.text().split("\\")
        if any((_path(one, creators), one.vr, value.strip()) in wanted for value in values):
            found.append(one)
    return found


def _kind(one: Found) -> str | None:
    if one.vr in TEXT_VRS:
        return "text"
    if one.vr == "CS":
        return "code"
    if one.vr == "AS" or (one.vr in NUMBER_VRS and one.tag >> 16 == PATIENT_GROUP):
        return "number"
    return "text" if one.vr == "UN" and PRINTABLE.fullmatch(one.data) else None


def _path(one: Found, creators: dict[tuple[tuple[int, ...], tuple[int, ...], int], str]) -> str:
    return ">".join(
        _step(tag, creators.get((one.path[:depth], one.item[:depth], (tag & 0xFFFF0000) | (tag & 0xFFFF) >> 8)))
        for depth, tag in enumerate(one.path)
    )


def _step(tag: int, creator: str | None) -> str:
    if tag >> 16 & 1 and tag & 0xFFFF >= 0x1000:
        return f"{tag >> 16:04X},xx{tag & 0xFF:02X}[{creator or ''}]"
    return f"{tag >> 16:04X},{tag & 0xFFFF:04X}"


def set_digest(strings: Iterable[Retained]) -> str:
    """What a set of strings is known by."""
    return hashlib.sha256("\n".join(one.digest for one in strings).encode()).hexdigest()

"""Any element of the header: by tag, keyword, private tag with its creator, or a path into sequences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sluice.cohorts.criteria import Reader
from sluice.cohorts.errors import meant
from sluice.cohorts.fields import Kind

DEEPEST_PATH = 8
# PS3.5 table 6.2-1, by what a filter can ask of a value.
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"), Kind.TEXT),
    **dict.fromkeys(("DS", "FL", "FD", "IS", "SL", "SS", "SV", "UL", "US", "UV"), Kind.NUMBER),
    **dict.fromkeys(("DA", "DT"), Kind.DATE),
    "UI": Kind.UID,
}
_WRITTEN = re.compile(r"\(?([0-9A-Fa-f]{4}),? ?([0-9A-Fa-fxX]{2})([0-9A-Fa-f]{2})\)?").fullmatch
# Patient, visit, reading; and what else names a person or is a key of the hospital: PS3.15 table E.1-1 would clean or
# remove them. Besides these every person's name, and every UID that is not one of DICOM's own.
SENSITIVE_GROUPS = ("0010", "0038", "4008")
SENSITIVE_VRS = ("PN", "UI", None)  # None: what no dictionary knows may hold anything
SENSITIVE = frozenset((
    "00080018", "00080050", "00080080", "00080081", "00080090", "00080092", "00080094", "00081048", "00081050",
    "00081060", "00081070", "00120040", "00120042",
    "0020000D", "0020000E", "00200010", "00200052", "00321032", "00380010", "00380300", "00400006", "00400244",
    "00400009", "00400253", "0040050A", "00400512", "00400551", "00401001", "00401102", "00401103", "00401104",
    "00402010", "00402011", "00402016", "00402017", "0040A353", "0040A354",
))  # fmt: skip
HARMLESS = frozenset((
    "00020002", "00020010", "00020012", "00080016", "0008001A", "00080062", "0008010C", "00080117", "00080118",
    "00081150", "00100040", "00101010", "00101020", "00101030", "00102160", "00102180", "001021A0", "001021C0",
))  # fmt: skip


@dataclass(frozen=True)
class TagPath:
    """An element, possibly inside sequences; any item of them counts.

    Attributes:
        steps: tags, outermost first, eight hex digits each; a private one has `00` in place of its block, which the
            creator's element names (PS3.5 7.8.1).
        creator: Private Creator of the only step, None for a standard element.
        vr: value representation of the last step; decides the operators.
        name: as people read it.
    """

    steps: tuple[str, ...]
    vr: str
    name: str
    creator: str | None = None

    @property
    def kind(self) -> Kind:
        """What its values are."""
        return KINDS[self.vr]

    @property
    def is_known(self) -> bool:
        """Whether the dictionary knows it, and so its VR."""
        return _vr(self.steps[-1], self.creator) is not None

    @property
    def sensitive(self) -> bool:
        """Whether it may identify a patient; private elements may hold anything."""
        return self.creator is not None or self.vr == "PN" or any(map(identifies, self.steps))

    def written(self) -> str:
        """As an expression writes it."""
        return ".".join(f"{step[:4]},{'xx' + step[6:] if self.creator else step[4:]}" for step in self.steps)


def identifies(tag: str) -> bool:
    """Whether a standard element (eight hex digits) may identify a patient or another person."""
    if tag in HARMLESS:
        return False
    return tag in SENSITIVE or tag.startswith(SENSITIVE_GROUPS) or _vr(tag, None) in SENSITIVE_VRS


def looks_like_tag(name: str) -> bool:
    """Whether a key of an expression is a tag, a keyword or a path rather than a field: fields are lower case."""
    return bool(_WRITTEN(name.split(".")[0])) or (name[:1].isupper() and name.isprintable())


def read_path(reader: Reader, given: Any, place: str, creator: Any = None, vr: Any = None) -> TagPath | None:
    """The element that is meant; None, with a fault noted, where there is none.

    Args:
        creator: Private Creator; needed for a tag of an odd group.
        vr: value representation; needed where no dictionary knows the element.
    """
    if not isinstance(given, str) or not given:
        reader.fault(place, 'a tag like "0018,0081", a keyword like EchoTime, or a path like Sequence.Keyword')
        return None
    names = given.split(".")
    if len(names) > DEEPEST_PATH:
        reader.fault(place, f"a path of {len(names)} steps; at most {DEEPEST_PATH} are taken")
        return None
    steps = [_step(name) for name in names]
    for name, step in zip(names, steps, strict=True):
        if step is None:
            reader.fault(place, f"there is no element {name[:64]!r}{meant(name, _keywords()) if name else ''}")
            return None
    tags = [step for step in steps if step is not None]
    private = [tag for tag in tags if int(tag[:4], 16) % 2]
    if private and (len(tags) > 1 or not isinstance(creator, str) or not creator.strip()):
        reader.fault(
            place,
            'a private tag is asked for alone, with its creator: {tag: "0019,xx0C", creator: "SIEMENS MR HEADER"}',
        )
        return None
    if creator is not None and not private:
        reader.fault(place, "only a private tag (odd group) has a creator")
        return None
    for outer, name in zip(tags[:-1], names[:-1], strict=True):
        if _vr(outer, None) != "SQ":
            reader.fault(place, f"{name} is no sequence, so nothing can stand inside it")
            return None
    if private:
        tags = [tags[0][:4] + "00" + tags[0][6:]]
    return _typed(reader, tags, given, creator.strip() if private else None, vr, place)


def _typed(reader: Reader, tags: list[str], given: str, creator: str | None, vr: Any, place: str) -> TagPath | None:
    known = _vr(tags[-1], creator)
    if vr is not None and (not isinstance(vr, str) or vr.upper() not in KINDS):
        reader.fault(f"{place}.vr", f"a value representation: {', '.join(sorted(KINDS))}")
        return None
    if vr is not None and creator is None and known is not None and vr.upper() not in known.split(" or "):
        reader.fault(f"{place}.vr", f"the dictionary says {known}")
        return None
    chosen = vr.upper() if vr is not None else next((one for one in (known or "").split(" or ") if one in KINDS), None)
    if chosen is None:
        what = f"has no values to filter by ({known})" if known else "is not in the dictionary; add its vr, like vr: DS"
        reader.fault(place, f"{given[:64]} {what}")
        return None
    name = f"{given} of {creator}" if creator else ".".join(_keyword(tag) or f"({tag[:4]},{tag[4:]})" for tag in tags)
    return TagPath(tuple(tags), chosen, name, creator)


def _step(name: str) -> str | None:
    """A tag of eight hex digits from a tag or keyword; None where the dictionary knows no such keyword."""
    from pydicom.datadict import tag_for_keyword

    written = _WRITTEN(name)
    if written:
        group, block, element = written.groups()
        if "x" in block.lower():
            block = "00" if int(group, 16) % 2 else ""
        return (group + block + element).upper() if block else None
    tag = tag_for_keyword(name)
    return None if tag is None else f"{tag:08X}"


def _vr(tag: str, creator: str | None) -> str | None:
    from pydicom.datadict import dictionary_VR, private_dictionary_VR

    try:
        if creator is not None:
            return private_dictionary_VR(int(tag[:4] + "10" + tag[6:], 16), creator)
        return dictionary_VR(int(tag, 16))
    except KeyError:
        return None


def _keyword(tag: str) -> str:
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(int(tag, 16))


@cache
def _keywords() -> tuple[str, ...]:
    from pydicom.datadict import keyword_dict

    return tuple(keyword_dict)

"""Any element of the header: by tag, keyword, private tag with its creator, or a path into sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluice.cohorts.criteria import Reader
from sluice.cohorts.fields import Kind
from sluice.headers.paths import ElementPath, PathError, Step, UnnamedCreatorError

PRIVATE = 'a private tag is asked for alone, with its creator: {tag: "0019,xx0C", creator: "SIEMENS MR HEADER"}'
# PS3.5 table 6.2-1, by what a filter can ask of a value.
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"), Kind.TEXT),
    **dict.fromkeys(("DS", "FL", "FD", "IS", "SL", "SS", "SV", "UL", "US", "UV"), Kind.NUMBER),
    **dict.fromkeys(("DA", "DT"), Kind.DATE),
    "UI": Kind.UID,
}
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
        path: where it stands.
        vr: value representation of the last step; decides the operators.
        name: as people read it.
    """

    path: ElementPath
    vr: str
    name: str

    @property
    def steps(self) -> tuple[str, ...]:
        """Tags, outermost first, eight hex digits each; a private one has `00` in place of its block."""
        return tuple(step.hex for step in self.path.steps)

    @property
    def creator(self) -> str | None:
        """Private Creator of the only step, None for a standard element."""
        return self.path.steps[0].creator or None

    @property
    def kind(self) -> Kind:
        """What its values are."""
        return KINDS[self.vr]

    @property
    def is_known(self) -> bool:
        """Whether the dictionary knows it, and so its VR."""
        return self.path.steps[-1].vr is not None

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
    return tag in SENSITIVE or tag.startswith(SENSITIVE_GROUPS) or Step(int(tag, 16)).vr in SENSITIVE_VRS


def read_path(reader: Reader, given: Any, place: str, creator: Any = None, vr: Any = None) -> TagPath | None:
    """The element that is meant; None, with a fault noted, where there is none.

    Args:
        creator: Private Creator; needed for a tag of an odd group that does not name it.
        vr: value representation; needed where no dictionary knows the element.
    """
    if not isinstance(given, str) or not given:
        reader.fault(place, 'a tag like "0018,0081", a keyword like EchoTime, or a path like Sequence.Keyword')
        return None
    if creator is not None and (not isinstance(creator, str) or not creator.strip()):
        reader.fault(place, PRIVATE)
        return None
    try:
        path = ElementPath.of(given, creator or "")
    except UnnamedCreatorError:
        reader.fault(place, PRIVATE)
        return None
    except PathError as error:
        reader.fault(place, str(error).removesuffix("."))
        return None
    private = [step for step in path.steps if step.is_private]
    if private and (len(path.steps) > 1 or not private[0].creator):
        reader.fault(place, PRIVATE)
        return None
    return _typed(reader, path, given, vr, place)


def _typed(reader: Reader, path: ElementPath, given: str, vr: Any, place: str) -> TagPath | None:
    known, creator = path.steps[-1].vr, path.steps[-1].creator
    if vr is not None and (not isinstance(vr, str) or vr.upper() not in KINDS):
        reader.fault(f"{place}.vr", f"a value representation: {', '.join(sorted(KINDS))}")
        return None
    if vr is not None and not creator and known is not None and vr.upper() not in known.split(" or "):
        reader.fault(f"{place}.vr", f"the dictionary says {known}")
        return None
    chosen = vr.upper() if vr is not None else next((one for one in (known or "").split(" or ") if one in KINDS), None)
    if chosen is None:
        what = f"has no values to filter by ({known})" if known else "is not in the dictionary; add its vr, like vr: DS"
        reader.fault(place, f"{given[:64]} {what}")
        return None
    if creator:
        tag = path.steps[0].hex
        return TagPath(path, chosen, f"{tag[:4]},xx{tag[6:]} of {creator}")
    return TagPath(path, chosen, ".".join(step.keyword or f"({step})" for step in path.steps))

"""The body region a header names, with where it was read and how sure that is.

Sources are asked in this order, the most deliberate first; the first that names a region wins, and a coarse
answer (`EXTREMITY`) stands only when no later source is more precise:

Anatomic Region Sequence, Body Part Examined, Image Comments, Series Description, Protocol Name, Performed
Protocol Code Sequence, Performed Procedure Step Description, Procedure Code Sequence, Study Description,
Acquisition Device Processing Description, Requested Procedure Description.

`confidence` orders readings, it is no measured probability: it falls with the source's distance from the
image, when other words or other regions stand beside the match, and when characters were lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from sluice.anatomy.regions import REGIONS, Meaning, composite_of, meanings_of_codes
from sluice.anatomy.words import VIEWS, Match, normalise, read_words

Element: TypeAlias = Mapping[str, Any]

ANATOMIC_REGION = 0x00082218
BODY_PART = 0x00180015
CODE_SOURCES = {ANATOMIC_REGION: 0.95, 0x00400260: 0.75, 0x00081032: 0.65}
TEXT_SOURCES = {
    BODY_PART: 0.9,
    0x00204000: 0.8,  # Image Comments
    0x0008103E: 0.8,  # Series Description
    0x00181030: 0.8,  # Protocol Name
    0x00400254: 0.7,  # Performed Procedure Step Description
    0x00081030: 0.65,  # Study Description
    0x00181400: 0.75,  # Acquisition Device Processing Description; Fuji writes the part here
    0x00321060: 0.6,  # Requested Procedure Description
}
ORDER = (
    ANATOMIC_REGION, BODY_PART, 0x00204000, 0x0008103E, 0x00181030, 0x00400260, 0x00400254, 0x00081032, 0x00081030,
    0x00181400, 0x00321060,
)  # fmt: skip
LATERALITY, IMAGE_LATERALITY, VIEW_POSITION = 0x00200060, 0x00200062, 0x00185101
SOURCE_TAGS = frozenset(ORDER) | {LATERALITY, IMAGE_LATERALITY, VIEW_POSITION}


@dataclass(frozen=True)
class AnatomyReading:
    """What a header says about the part that was examined.

    Attributes:
        region_key: one of the 36 regions, the first of a composite; None where nothing was recognised.
        sct_code: SNOMED CT code of the region, the composite, or a part that is none of the 36.
        laterality: `R`, `L`, `B`; only for paired regions, or as the header's element says.
        view: `AP`, `PA`, `LAT`, … from View Position, else from words; a hint, never the truth.
        matched_text: the words that decided, normalised, or `scheme:code`.
        source_tag: where they stood, e.g. `(0018,0015)`.
        confidence: 0..1, 0 where nothing was recognised.
        members: regions of a composite.
    """

    region_key: str | None = None
    sct_code: str | None = None
    laterality: str | None = None
    view: str | None = None
    matched_text: str | None = None
    source_tag: str | None = None
    confidence: float = 0.0
    members: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The columns of `header_anatomy`, but for the series and the time."""
        names = ("region_key", "sct_code", "laterality", "view", "matched_text", "source_tag", "confidence")
        return {name: getattr(self, name) for name in names}


def read_anatomy(dataset_or_values: Any) -> AnatomyReading:
    """Body region, laterality and view.

    Args:
        dataset_or_values: DICOM JSON elements by tag (`0x00180015` or `"00180015"`), or a pydicom Dataset.
    """
    elements = _elements(dataset_or_values)
    found: tuple[Meaning, str, int, float] | None = None
    side_in_words: str | None = None
    view_in_words: str | None = None
    for tag in ORDER:
        element = elements.get(tag)
        if not element:
            continue
        for meaning, span, confidence, side, view in _readings(tag, element):
            side_in_words, view_in_words = side_in_words or side, view_in_words or view
            if meaning is None or meaning.sct_code is None:
                continue
            if found is None or (found[0].weak and not meaning.weak):
                found = (meaning, span, tag, confidence)
    meaning = found[0] if found else None
    side = _stated_side(elements) or side_in_words
    if meaning and meaning.region_key and not REGIONS[meaning.region_key].paired:
        side = None
    view = _stated_view(elements) or view_in_words
    if found is None or meaning is None:
        return AnatomyReading(laterality=side, view=view)
    _, span, tag, confidence = found
    return AnatomyReading(
        meaning.region_key,
        meaning.sct_code,
        side,
        view,
        span,
        f"({tag >> 16:04X},{tag & 0xFFFF:04X})",
        round(confidence, 3),
        meaning.members,
    )


_Reading: TypeAlias = tuple[Meaning | None, str, float, str | None, str | None]


def _readings(tag: int, element: Element) -> Iterator[_Reading]:
    """What each value of a source says: meaning, words, confidence, side, view."""
    for value in element.get("Value") or ():
        if isinstance(value, Mapping):
            code = _text(value.get("00080100"))
            scheme = _text(value.get("00080102"))
            known = _meaning_of_code(scheme, code) if code and tag == ANATOMIC_REGION else None
            if known is not None:
                yield known, f"{scheme}:{code}", CODE_SOURCES[tag], None, None
                continue
            words = _text(value.get("00080104"))
            if words:
                yield _from_words(words, CODE_SOURCES[tag] - 0.05)
        elif value is not None:
            yield _from_words(str(value), TEXT_SOURCES.get(tag, 0.6))


def _from_words(text: str, confidence: float) -> _Reading:
    words = read_words(text)
    if not words.matches:
        return None, "", 0.0, words.side, words.view
    best: Match = words.matches[0]
    strong = [match for match in words.matches if not match.meaning.weak]
    keys = frozenset(match.meaning.region_key for match in strong if match.meaning.region_key)
    composite = composite_of(keys) if len(keys) > 1 else None
    meaning, span = best.meaning, best.span
    if composite is not None:
        meaning, span = composite, " + ".join(match.span for match in strong)
    elif len(keys) > 1:
        confidence *= 0.8
    if not best.whole:
        confidence *= 0.9
    if best.ambiguous and confidence < TEXT_SOURCES[BODY_PART]:  # `MAIN` elsewhere may be English
        confidence *= 0.6
    if best.damaged:
        confidence *= 0.8
    if meaning.weak:
        confidence *= 0.5
    return meaning, span, confidence, words.side, words.view


def _meaning_of_code(scheme: str | None, code: str) -> Meaning | None:
    if scheme in ("SRT", "SNM3", "99SDM"):
        converted = _sct_of_srt(code)
        return meanings_of_codes().get(converted) if converted else None
    return meanings_of_codes().get(code) if scheme in ("SCT", None) else None


@lru_cache(maxsize=512)
def _sct_of_srt(code: str) -> str | None:
    """SNOMED CT code of a SNOMED-RT one (`T-D3000`), as older scanners write them."""
    from pydicom.sr.coding import Code  # only here: it loads the whole dictionary

    wanted = Code(code, "SRT", "")
    return next((known for known in meanings_of_codes() if Code(known, "SCT", "") == wanted), None)


def _stated_side(elements: Mapping[int, Element]) -> str | None:
    for tag in (IMAGE_LATERALITY, LATERALITY):
        for value in (elements.get(tag) or {}).get("Value") or ():
            if value in ("R", "L", "B"):
                return str(value)
    return None


def _stated_view(elements: Mapping[int, Element]) -> str | None:
    for value in (elements.get(VIEW_POSITION) or {}).get("Value") or ():
        if value is None:
            return None
        key = normalise(str(value))
        if key in VIEWS:
            return VIEWS[key]
        found = read_words(str(value)).view
        return found or "AXIAL" if "axial" in key else found
    return None


def _text(element: Element | None) -> str | None:
    for value in (element or {}).get("Value") or ():
        return str(value) if value is not None else None
    return None


def _elements(given: Any) -> Mapping[int, Element]:
    if isinstance(given, Mapping):
        if all(isinstance(key, int) for key in given):
            return given
        return {int(str(key), 16): element for key, element in given.items()}
    return {tag: given[tag].to_json_dict(None, 0) for tag in SOURCE_TAGS if tag in given}

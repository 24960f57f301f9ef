"""The body region a header names, with where it was read and how sure that is.

Sources are asked in this order, the most deliberate first; the first that names a region wins, and a coarse
answer (`EXTREMITY`) stands only when no later source is more precise:

Anatomic Region Sequence, Body Part Examined, Image Comments, Series Description, Protocol Name, Performed
Protocol Code Sequence, Performed Procedure Step Description, Procedure Code Sequence, Study Description,
Acquisition Device Processing Description, Requested Procedure Description.

What people taught about a whole text (`sluice.anatomy.mappings`) goes before our own words for it, in the same order of
sources; where our reading is weak or doubtful, a mapping further down decides.

`confidence` orders readings, it is no measured probability: it falls with the source's distance from the
image, when other words or other regions stand beside the match, and when characters were lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sluice.anatomy.finding import SHARED_GROUPS, Element, first_text, items, tag_text
from sluice.anatomy.mappings import MANUFACTURER, NOTHING_TAUGHT, STATION, Device, Mappings, Taught, device_of
from sluice.anatomy.qualifiers import qualifiers
from sluice.anatomy.regions import REGIONS, Meaning, composite_of, meanings_of_codes, most_precise
from sluice.anatomy.words import Words, normalise, read_words

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
REGION_MODIFIER, VIEW_CODE, MODALITY = 0x00082220, 0x00540220, 0x00080060
SOURCE_TAGS = frozenset(ORDER) | {
    LATERALITY, IMAGE_LATERALITY, VIEW_POSITION, REGION_MODIFIER, VIEW_CODE, SHARED_GROUPS, MODALITY, MANUFACTURER,
    STATION,
}  # fmt: skip
# Cross-sectional: `AP` there is abdomen and pelvis, `axial` a plane; no view of a projection.
WITHOUT_VIEWS = frozenset({"CT", "MR", "PT", "NM", "US", "PET"})
DOUBTFUL = 0.5  # below, a reading waits on the page for a person's word
# CID 244 Laterality and the SNOMED-RT codes before it; CID 4010 DX View
SIDE_CODES = {
    "24028007": "R", "7771000": "L", "51440002": "B", "G-A100": "R", "G-A101": "L", "G-A102": "B",
}  # fmt: skip
VIEW_CODES = {
    "399348003": "AP", "272479007": "PA", "399067008": "LAT", "399182000": "OBL", "399033003": "FRONTAL",
    "399061009": "AXIAL", "R-10206": "AP", "R-10214": "PA", "R-10236": "LAT",
}  # fmt: skip


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
        mapping_id: the mapping that decided; None where our own words did.
    """

    region_key: str | None = None
    sct_code: str | None = None
    laterality: str | None = None
    view: str | None = None
    matched_text: str | None = None
    source_tag: str | None = None
    confidence: float = 0.0
    members: tuple[str, ...] = ()
    mapping_id: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The columns of `header_anatomy`, but for the series and the time."""
        names = ("region_key", "sct_code", "laterality", "view", "matched_text", "source_tag", "confidence")
        return {name: getattr(self, name) for name in (*names, "mapping_id")}


@dataclass(frozen=True)
class _Said:
    """What one value of a source says."""

    meaning: Meaning | None
    span: str
    confidence: float
    side: str | None = None
    view: str | None = None
    taught: Taught | None = None


def read_anatomy(dataset_or_values: Any, mappings: Mappings = NOTHING_TAUGHT) -> AnatomyReading:
    """Body region, laterality and view.

    Args:
        dataset_or_values: DICOM JSON elements by tag (`0x00180015` or `"00180015"`), or a pydicom Dataset.
        mappings: what people taught.
    """
    elements = _elements(dataset_or_values)
    device = device_of(elements)
    found: _Said | None = None
    source = 0
    side_in_words: str | None = None
    view_in_words: str | None = None
    for tag in ORDER:
        element = _region_in_frames(elements) if tag == ANATOMIC_REGION else elements.get(tag)
        if not element:
            continue
        for said in _sayings(tag, element, mappings, device):
            side_in_words, view_in_words = side_in_words or said.side, view_in_words or said.view
            if said.meaning is not None and said.meaning.sct_code is not None and _is_better(said, found):
                found, source = said, tag
    meaning = found.meaning if found else None
    side = _stated_side(elements) or side_in_words
    if meaning and meaning.region_key and not REGIONS[meaning.region_key].paired:
        side = None
    if first_text(elements.get(MODALITY)) in WITHOUT_VIEWS:
        view_in_words = None
    view = _stated_view(elements) or view_in_words
    if found is None or meaning is None:
        return AnatomyReading(laterality=side, view=view)
    return AnatomyReading(
        meaning.region_key,
        meaning.sct_code,
        side,
        view,
        found.span,
        tag_text(source),
        round(found.confidence, 3),
        meaning.members,
        found.taught.mapping_id if found.taught else None,
    )


def _is_better(said: _Said, found: _Said | None) -> bool:
    if found is None or found.meaning is None:
        return True
    if found.meaning.weak and said.meaning is not None and not said.meaning.weak:
        return True
    return said.taught is not None and found.taught is None and found.confidence < DOUBTFUL


def _sayings(tag: int, element: Element, mappings: Mappings, device: Device) -> Iterator[_Said]:
    """What each value of a source says."""
    for value in element.get("Value") or ():
        if isinstance(value, Mapping):
            code = first_text(value.get("00080100"))
            scheme = first_text(value.get("00080102"))
            known = _meaning_of_code(scheme, code) if code and tag == ANATOMIC_REGION else None
            if known is not None:
                yield _Said(known, f"{scheme}:{code}", CODE_SOURCES[tag])
                continue
            words = first_text(value.get("00080104"))
            if words:
                yield _from_text(words, tag, CODE_SOURCES[tag] - 0.05, mappings, device)
        elif value is not None:
            yield _from_text(str(value), tag, TEXT_SOURCES.get(tag, 0.6), mappings, device)


def _from_text(text: str, tag: int, confidence: float, mappings: Mappings, device: Device) -> _Said:
    taught = mappings.find("region", text, tag_text(tag), device) if mappings else None
    if taught is None:
        return _own_reading(text, confidence)
    words = read_words(text)
    side, view = taught.laterality or words.side, taught.view or words.view
    if taught.value is None:
        return _Said(None, "", 0.0, side, view, taught)
    region = REGIONS[taught.value]
    return _Said(Meaning(region.key, region.sct_code), taught.key, confidence, side, view, taught)


@lru_cache(maxsize=16384)
def _own_reading(text: str, confidence: float) -> _Said:
    """By our own words; a hospital repeats itself, so answers are remembered."""
    return _from_words(read_words(text), confidence)


def _from_words(words: Words, confidence: float) -> _Said:
    if not words.matches:
        return _Said(None, "", 0.0, words.side, words.view)
    strong = [match for match in words.matches if not match.meaning.weak]
    named = {
        key for match in strong for key in (match.meaning.members or (match.meaning.region_key,)) if key is not None
    }
    keys = most_precise(frozenset(named))
    best = next((match for match in words.matches if match.meaning.region_key in keys), words.matches[0])
    if best.ambiguous and confidence < TEXT_SOURCES[BODY_PART]:  # elsewhere `MAIN` may be English, `FACE` a view
        confidence *= 0.6
        for view in qualifiers().views_after.get(best.span, {}).values():
            return _Said(None, "", 0.0, words.side, words.view or view)
    composite = composite_of(keys) if len(keys) > 1 else None
    meaning, span = best.meaning, best.span
    if composite is not None:
        meaning, span = composite, " + ".join(match.span for match in strong)
    elif len(keys) > 1 and frozenset(meaning.members) != keys:
        confidence *= 0.8
    if not best.whole:
        confidence *= 0.9
    if best.damaged:
        confidence *= 0.8
    if meaning.weak:
        confidence *= 0.5
    return _Said(meaning, span, confidence, words.side, words.view)


def _meaning_of_code(scheme: str, code: str) -> Meaning | None:
    if scheme in ("SRT", "SNM3", "99SDM"):
        converted = _sct_of_srt(code)
        return meanings_of_codes().get(converted) if converted else None
    return meanings_of_codes().get(code) if scheme in ("SCT", "") else None


@lru_cache(maxsize=512)
def _sct_of_srt(code: str) -> str | None:
    """SNOMED CT code of a SNOMED-RT one (`T-D3000`), as older scanners write them."""
    from pydicom.sr.coding import Code  # only here: it loads the whole dictionary

    wanted = Code(code, "SRT", "")
    return next((known for known in meanings_of_codes() if Code(known, "SCT", "") == wanted), None)


def _stated_side(elements: Mapping[int, Element]) -> str | None:
    """Image Laterality, Frame Laterality, a modifier of the Anatomic Region, Laterality; the nearest to the pixels."""
    region = _region_in_frames(elements)
    for element in (elements.get(IMAGE_LATERALITY), _frame_anatomy(elements).get("00209072")):
        if (side := first_text(element)) in ("R", "L", "B"):
            return side
    modifiers = items(elements.get(REGION_MODIFIER))
    for item in items(region):
        modifiers += items(item.get("00082220"))
    for modifier in modifiers:
        if coded := SIDE_CODES.get(first_text(modifier.get("00080100"))):
            return coded
    side = first_text(elements.get(LATERALITY))
    return side if side in ("R", "L", "B") else None


def _region_in_frames(elements: Mapping[int, Element]) -> Element | None:
    """Anatomic Region Sequence, of the object or of all frames of an enhanced one (PS3.3 C.7.6.16.2.8)."""
    return elements.get(ANATOMIC_REGION) or _frame_anatomy(elements).get("00082218")


def _frame_anatomy(elements: Mapping[int, Element]) -> Mapping[str, Element]:
    for group in items(elements.get(SHARED_GROUPS)):
        for item in items(group.get("00209071")):
            return item
    return {}


def _stated_view(elements: Mapping[int, Element]) -> str | None:
    for value in (elements.get(VIEW_POSITION) or {}).get("Value") or ():
        if value is None:
            break
        key = normalise(str(value))
        if key in qualifiers().views:
            return qualifiers().views[key]
        found = read_words(str(value)).view
        if found or "axial" in key:
            return found or "AXIAL"
    for item in items(elements.get(VIEW_CODE)):
        view = VIEW_CODES.get(first_text(item.get("00080100")))
        return view or read_words(first_text(item.get("00080104"))).view
    return None


def _elements(given: Any) -> Mapping[int, Element]:
    if isinstance(given, Mapping):
        if all(isinstance(key, int) for key in given):
            return given
        return {int(str(key), 16): element for key, element in given.items()}
    return {tag: given[tag].to_json_dict(None, 0) for tag in SOURCE_TAGS if tag in given}

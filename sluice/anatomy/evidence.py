"""What of a header bears on anatomy, sequence and phase: kept once for all series that say the same.

Everything in `header_anatomy` is a function of one `Evidence` and of what people taught, so that a new word is applied
to every series that it concerns without a file or a header being opened.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import floor, log10
from typing import Any

from sluice.anatomy.contrast import CONTRAST_TAGS
from sluice.anatomy.finding import SHARED_GROUPS, Element, Elements, first_text, nested, said_in, tag_text
from sluice.anatomy.mappings import LONGEST_TEXT, MANUFACTURER, NOTHING_TAUGHT, STATION, Mappings
from sluice.anatomy.phases import PHASE_TAGS, read_ct
from sluice.anatomy.reading import MODALITY, ORDER, SOURCE_TAGS, AnatomyReading, read_anatomy
from sluice.anatomy.sequences import FLIP, PULSE_SEQUENCE, SEQUENCE_NAME, SEQUENCE_TAGS, TE, TI, TR, read_mr
from sluice.anatomy.words import normalise

EVIDENCE_TAGS = SOURCE_TAGS | SEQUENCE_TAGS | PHASE_TAGS | CONTRAST_TAGS
# What people may teach about. A text that stands in several of these is shown with each.
TAUGHT_SOURCES = dict.fromkeys((*ORDER, SEQUENCE_NAME, PULSE_SEQUENCE), 1.0)
_BY_MODALITY = {"MR": SEQUENCE_TAGS | CONTRAST_TAGS, "CT": PHASE_TAGS | CONTRAST_TAGS}
_CODE_PARTS = ("00080100", "00080102", "00080104", "00082220", "00180014")
_DEVICE = frozenset({MODALITY, MANUFACTURER, STATION})
_ROUNDED = frozenset({TR, TE, TI, FLIP})
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")  # NUL and halves of characters: jsonb holds none of them


@dataclass(frozen=True)
class Evidence:
    """Elements of one header, reduced to what readings look at.

    Attributes:
        modality, manufacturer, station_name: empty where the header says none.
        json: DICOM JSON of the elements by tag, sorted, so that equal evidence is equal text.
    """

    modality: str
    manufacturer: str
    station_name: str
    json: str

    @classmethod
    def of(cls, elements: Elements) -> Evidence:
        """The evidence of a header in DICOM JSON by tag.

        Times and angles of MR are rounded to three digits, and what frames of an enhanced object share is lifted to the
        top, so that series of one protocol say the same.
        """
        modality, manufacturer, station = (
            _clean(first_text(elements.get(tag))).strip() for tag in (MODALITY, MANUFACTURER, STATION)
        )
        modality = modality.upper()
        kept = {}
        for tag in (SOURCE_TAGS | _BY_MODALITY.get(modality, frozenset())) - _DEVICE - {SHARED_GROUPS}:
            element = nested(elements, tag) if modality in _BY_MODALITY else elements.get(tag)
            if element and (values := _reduced(tag, element.get("Value"))):
                kept[f"{tag:08X}"] = {"Value": values}
        for tag, text in ((MODALITY, modality), (MANUFACTURER, manufacturer), (STATION, station)):
            if text:
                kept[f"{tag:08X}"] = {"Value": [text]}
        if shared := _frame_anatomy(elements):
            kept[f"{SHARED_GROUPS:08X}"] = {"Value": [{"00209071": {"Value": [shared]}}]}
        written = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return cls(modality, manufacturer, station, written)

    @property
    def digest(self) -> bytes:
        """Names this evidence; 16 bytes."""
        parts = "\x1f".join((self.modality, self.manufacturer, self.station_name, self.json))
        return hashlib.blake2b(parts.encode(), digest_size=16).digest()

    @cached_property
    def elements(self) -> dict[int, Element]:
        """The elements by tag."""
        return {int(tag, 16): element for tag, element in json.loads(self.json).items()}

    def said(self) -> list[tuple[str, str, str]]:
        """What stands there in words: source tag, text, and the text normalised, as mappings match it."""
        found: dict[tuple[str, str], str] = {}
        for tag, text, _ in said_in(self.elements, TAUGHT_SOURCES):
            key = normalise(text)
            if key and len(text) <= LONGEST_TEXT:
                found.setdefault((tag_text(tag), key), text.strip())
        return [(tag, text, key) for (tag, key), text in found.items()]

    def anatomy(self, mappings: Mappings = NOTHING_TAUGHT) -> AnatomyReading:
        """Body region, side, view."""
        return read_anatomy(self.elements, mappings)

    def derived(self, mappings: Mappings = NOTHING_TAUGHT) -> dict[str, Any]:
        """Columns of `header_anatomy` that follow from it, all of them, in one order."""
        columns: dict[str, Any] = dict.fromkeys(DERIVED_COLUMNS)
        columns |= self.anatomy(mappings).as_dict()
        if self.modality == "MR":
            mr = read_mr(self.elements, mappings)
            columns |= mr.as_dict() | {"phase_mapping_id": mr.sequence.mapping_id}
        elif self.modality == "CT":
            ct = read_ct(self.elements, mappings)
            columns |= ct.as_dict() | {"phase_mapping_id": ct.phase.mapping_id}
        return columns


DERIVED_COLUMNS = (
    "region_key", "sct_code", "laterality", "view", "matched_text", "source_tag", "confidence", "mapping_id",
    "mr_sequence", "mr_sequence_text", "mr_sequence_source", "mr_sequence_confidence", "mr_sequence_detail",
    "mr_contrast", "mr_contrast_text", "mr_contrast_source", "mr_contrast_confidence",
    "mr_fat_suppressed", "mr_fat_suppressed_text", "mr_fat_suppressed_source", "mr_fat_suppressed_confidence",
    "ct_phase", "ct_phase_text", "ct_phase_source", "ct_phase_confidence", "ct_phase_detail", "phase_mapping_id",
)  # fmt: skip


def _reduced(tag: int, values: Any) -> list[Any]:
    reduced: list[Any] = []
    for value in values or ():
        if isinstance(value, Mapping):
            reduced.append(_code(value))
        elif tag in _ROUNDED and isinstance(value, int | float) and value:
            reduced.append(round(value, 2 - floor(log10(abs(value)))))
        elif value is not None:
            reduced.append(value if isinstance(value, int | float) else _clean(str(value)))
    return reduced


def _clean(text: str) -> str:
    return _NO_TEXT.sub("", text)


def _code(item: Mapping[str, Any]) -> dict[str, Any]:
    """A code sequence's item: code, scheme, meaning, modifiers."""
    kept = {}
    for part in _CODE_PARTS:
        values = (item.get(part) or {}).get("Value") or ()
        if reduced := _reduced(0, values):
            kept[part] = {"Value": reduced}
    return kept


def _frame_anatomy(elements: Elements) -> dict[str, Any]:
    for group in (elements.get(SHARED_GROUPS) or {}).get("Value") or ():
        for item in (group.get("00209071") or {}).get("Value") or () if isinstance(group, Mapping) else ():
            parts = {tag: _reduced(0, (item.get(tag) or {}).get("Value")) for tag in ("00082218", "00209072")}
            return {tag: {"Value": values} for tag, values in parts.items() if values}
    return {}

"""What a CT series shows of contrast medium: plain, enhanced (arterial, portal venous, delayed), angiographic.

Which wins: Image Type `LOCALIZER`, written by the scanner; then words of the series (Series Description, Protocol
Name), those that people taught first, because a technologist names the phase and no other element does; then
Contrast/Bolus Agent, which proves that something was planned for the examination and not that this series came after
it; then what was ordered (procedure step, study), which speaks of the examination. Contradictions lower confidence to
six tenths. `unknown` is an answer: no agent and no word is no proof of a plain series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sluice.anatomy.contrast import contrast_given, contrast_in_words
from sluice.anatomy.finding import UNKNOWN, Elements, Finding, said_in, tag_text, texts
from sluice.anatomy.mappings import NOTHING_TAUGHT, Mappings, device_of
from sluice.anatomy.sequence_words import signs

PHASES = ("localizer", "angiographic", "enhanced", "plain")
DETAILS = ("arterial", "portal venous", "delayed", "nephrographic")
IMAGE_TYPE = 0x00080008
OF_SERIES = {0x0008103E: 0.9, 0x00181030: 0.75}
OF_STUDY = {0x00400254: 0.55, 0x00081030: 0.55, 0x00321060: 0.5}
PHASE_TAGS = frozenset({IMAGE_TYPE, *OF_SERIES, *OF_STUDY})
_CONTRADICTED = 0.6


@dataclass(frozen=True)
class CtReading:
    """The phase, `unknown` where nothing tells; its `detail` is the phase of an enhanced series."""

    phase: Finding

    def as_dict(self) -> dict[str, Any]:
        """Columns of `header_anatomy`."""
        return {**self.phase.columns("ct_phase"), "ct_phase_detail": self.phase.detail}


def read_ct(elements: Elements, mappings: Mappings = NOTHING_TAUGHT) -> CtReading:
    """The phase of a CT series, from DICOM JSON elements by tag."""
    if "LOCALIZER" in texts(elements.get(IMAGE_TYPE)):
        return CtReading(Finding("localizer", "localizer", tag_text(IMAGE_TYPE), 0.95))
    given = contrast_given(elements)
    series = _in_words(elements, OF_SERIES, mappings)
    if series.value is not None:
        against = given.value == "yes" and series.value == "plain" and series.mapping_id is None
        return CtReading(replace(series, confidence=series.confidence * (_CONTRADICTED if against else 1)))
    study = _in_words(elements, OF_STUDY, mappings)
    if study.value == "angiographic" or study.mapping_id is not None:
        return CtReading(study)
    if given.value == "yes":
        against = study.value == "plain"
        confidence = given.confidence * (_CONTRADICTED if against else 1)
        return CtReading(Finding("enhanced", given.text, given.source, confidence))
    return CtReading(study if study.value is not None else Finding(UNKNOWN))


def _in_words(elements: Elements, sources: dict[int, float], mappings: Mappings) -> Finding:
    device = device_of(elements)
    for tag, text, confidence in said_in(elements, sources):
        taught = mappings.find("ct_phase", text, tag_text(tag), device)
        if taught is not None and taught.value is not None:
            value, _, detail = taught.value.partition(" ")
            return Finding(value, taught.key, tag_text(tag), confidence, detail or None, taught.mapping_id)
        if taught is not None:
            continue
        found = signs(text, "ct")
        if found:
            best = min(found, key=lambda sign: PHASES.index(sign.value))
            details = {sign.detail for sign in found if sign.value == "enhanced"}
            sure = (
                1.0 if len(details) < 2 else _CONTRADICTED
            )  # `arterial + portal`: one series of two phases, or a protocol
            return Finding(best.value, best.span, tag_text(tag), confidence * sure, best.detail)
        contrast = contrast_in_words({tag: {"Value": [text]}}, {tag: confidence})
        if contrast.value is not None:
            value = {"yes": "enhanced", "no": "plain"}[contrast.value]
            return Finding(value, contrast.text, contrast.source, contrast.confidence)
    return Finding()

"""What an MR series is: T1, T2, DWI, …, with contrast, with fat suppressed, as its header says.

Three witnesses, and which of them wins:

1. The scanner's own statement about these pixels (Image Type `ADC`, a b-value, Acquisition Contrast): reconstruction
   writes it, nobody types it. It wins.
2. Words (Series Description, Protocol Name, sequence names), and before our own, those that people taught. They win
   over times and angles, because weighting is an intention: one TR and TE can be a T1 at 3 T and none at 1.5 T, a
   T1-FLAIR has the times of nothing else, and a perfusion, an SWI and a BOLD series look alike.
3. Times and angles (TR, TE, TI, flip angle, ScanningSequence, SequenceVariant). They decide where words are silent, and
   where words name two weightings. Limits follow the usual ones of textbooks (spin echo: TR 1000 ms, TE 30 and 60 ms).

Where words and times contradict each other, confidence falls to six tenths, and such a series waits on the page.
`unknown` is an answer. Of a series the instance that was read first speaks for all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sluice.anatomy.contrast import contrast_given, contrast_in_words
from sluice.anatomy.finding import UNKNOWN, Elements, Finding, nested, number, said_in, tag_text, texts
from sluice.anatomy.mappings import NOTHING_TAUGHT, Mappings, device_of
from sluice.anatomy.sequence_words import Sign, signs

# The most telling first: what stands further left decides where a text names several.
SEQUENCES = (
    "LOCALIZER", "ADC", "MRS", "ASL", "DSC", "DCE", "PERFUSION", "BOLD", "SWI", "TOF", "MRA", "DWI", "BSSFP", "FLAIR",
    "T2*", "PD", "T1", "T2",
)  # fmt: skip
SURE_WHERE_TAUGHT = 0.6  # what a person said waits no more, however far its source is from the image
WITH_CONTRAST = "+C"  # what people teach may say it too: `T1+C`
WEIGHTINGS = frozenset({"T1", "T2", "PD", "T2*", "FLAIR"})
SERIES, PROTOCOL, SEQUENCE_NAME, PULSE_SEQUENCE, STEP = 0x0008103E, 0x00181030, 0x00180024, 0x00189005, 0x00400254
WORDS = {SERIES: 0.85, PROTOCOL: 0.75, SEQUENCE_NAME: 0.6, PULSE_SEQUENCE: 0.6}
IMAGE_TYPE, MODALITY = 0x00080008, 0x00080060
SCANNING_SEQUENCE, VARIANT, OPTIONS, ACQUISITION_TYPE = 0x00180020, 0x00180021, 0x00180022, 0x00180023
TR, TE, TI, FLIP, ECHO_TRAIN, EFFECTIVE_TE = 0x00180080, 0x00180081, 0x00180082, 0x00181314, 0x00180091, 0x00189082
B_VALUE, CONTRAST_OF_ACQUISITION, FAT, INVERSION = 0x00189087, 0x00089209, 0x00189025, 0x00189009
SEQUENCE_TAGS = frozenset(WORDS) | {
    IMAGE_TYPE, SCANNING_SEQUENCE, VARIANT, OPTIONS, ACQUISITION_TYPE, TR, TE, TI, FLIP, ECHO_TRAIN, EFFECTIVE_TE,
    B_VALUE, CONTRAST_OF_ACQUISITION, FAT, INVERSION,
}  # fmt: skip
# Values of Image Type that name what the pixels are, and of Acquisition Contrast (PS3.3 C.8.13.3.1.1)
_IMAGE_TYPES = {
    "LOCALIZER": "LOCALIZER", "ADC": "ADC", "ADC_MAP": "ADC", "TRACEW": "DWI", "DIFFUSION": "DWI", "FA": "DWI",
    "SWI": "SWI", "ASL": "ASL", "RELCBF": "ASL", "TTP": "PERFUSION", "RCBV": "PERFUSION", "RELCBV": "PERFUSION",
    "PERFUSION": "PERFUSION", "TOF": "TOF", "FMRI": "BOLD",
}  # fmt: skip
_CONTRASTS = {
    "DIFFUSION": "DWI", "FLUID_ATTENUATED": "FLAIR", "PERFUSION": "PERFUSION", "PROTON_DENSITY": "PD", "T1": "T1",
    "T2": "T2", "T2_STAR": "T2*", "STIR": "T2", "TOF": "TOF", "TIME_OF_FLIGHT": "TOF",
}  # fmt: skip
_FAT_OPTIONS = frozenset({"FS", "SFS", "FAT_SAT", "FATSAT", "SPIR", "SPAIR"})
_WATER = re.compile(r"(?:^|[\s_])(?:w|water|wasser)(?:$|[\s_])", re.IGNORECASE)


@dataclass(frozen=True)
class MrReading:
    """Sequence (`unknown` where nothing tells), contrast and fat suppression (`yes`, `no`, or not said)."""

    sequence: Finding
    contrast: Finding
    fat_suppressed: Finding

    def as_dict(self) -> dict[str, Any]:
        """Columns of `header_anatomy`."""
        said = {"yes": True, "no": False}
        return {
            **self.sequence.columns("mr_sequence"),
            "mr_sequence_detail": self.sequence.detail,
            **self.contrast.columns("mr_contrast", said.get(self.contrast.value or "")),
            **self.fat_suppressed.columns("mr_fat_suppressed", said.get(self.fat_suppressed.value or "")),
        }


def read_mr(elements: Elements, mappings: Mappings = NOTHING_TAUGHT) -> MrReading:
    """What an MR series is, from DICOM JSON elements by tag."""
    sequence = _sequence(elements, mappings)
    contrast = contrast_in_words(elements, {SERIES: 0.85, PROTOCOL: 0.7})
    given = contrast_given(elements)
    if sequence.value is not None and sequence.value.endswith(WITH_CONTRAST):
        sequence = Finding(**vars(sequence) | {"value": sequence.value.removesuffix(WITH_CONTRAST)})
        contrast = Finding("yes", sequence.text, sequence.source, sequence.confidence)
    elif contrast.value is None:
        contrast = given
    elif contrast.value == "no" and given.value == "yes":  # the agent of the protocol, most often
        contrast = Finding("no", contrast.text, contrast.source, contrast.confidence * 0.7)
    return MrReading(sequence, contrast, _fat(elements, sequence))


def _sequence(elements: Elements, mappings: Mappings) -> Finding:
    stated = _stated(elements)
    if stated.value is not None and stated.value not in WEIGHTINGS:
        return stated
    times = _by_times(elements)
    in_words = _in_words(elements, mappings, times)
    for found in (in_words, stated, times):
        if found.value is not None:
            return found if found.mapping_id is not None else _weighed(found, times)
    return Finding(UNKNOWN)


def _weighed(found: Finding, times: Finding) -> Finding:
    """Words beside times: agreement raises confidence, contradiction lowers it."""
    if found is times or times.value is None or found.value not in WEIGHTINGS:
        return found
    alike = found.value == times.value or {found.value, times.value} in ({"T2", "FLAIR"}, {"T2", "PD"}, {"T2", "T2*"})
    confidence = min(found.confidence + 0.05, 0.95) if alike else found.confidence * 0.6
    return Finding(found.value, found.text, found.source, confidence, found.detail or times.detail)


def _stated(elements: Elements) -> Finding:
    for value in texts(nested(elements, IMAGE_TYPE)):
        if sequence := _IMAGE_TYPES.get(value):
            return Finding(sequence, value.lower(), tag_text(IMAGE_TYPE), 0.95)
    b_value = number(elements, B_VALUE)
    if b_value is not None and b_value > 0:
        return Finding("DWI", f"b {b_value:g}", tag_text(B_VALUE), 0.9)
    for value in texts(nested(elements, CONTRAST_OF_ACQUISITION)):
        if sequence := _CONTRASTS.get(value):
            detail = "STIR" if value == "STIR" else None
            return Finding(sequence, value.lower(), tag_text(CONTRAST_OF_ACQUISITION), 0.85, detail)
    return Finding()


def _in_words(elements: Elements, mappings: Mappings, times: Finding) -> Finding:
    device = device_of(elements)
    for tag, text, confidence in said_in(elements, WORDS | {STEP: 0.4}):
        taught = mappings.find("mr_sequence", text, tag_text(tag), device)
        if taught is not None and taught.value is not None:
            sure = max(confidence, SURE_WHERE_TAUGHT)
            return Finding(taught.value, taught.key, tag_text(tag), sure, mapping_id=taught.mapping_id)
        if taught is not None:
            continue
        if sign := _most_telling(signs(text, "mr"), times):
            return Finding(sign.value, sign.span, tag_text(tag), confidence, sign.detail)
    return Finding()


def _most_telling(found: tuple[Sign, ...], times: Finding) -> Sign | None:
    if not found:
        return None
    if {sign.value for sign in found} <= {"T1", "T2", "PD"}:  # a double echo: the times tell which of the two
        for sign in found:
            if sign.value == times.value:
                return sign
    best = min(found, key=lambda sign: (SEQUENCES.index(sign.value), sign.detail is None))
    if best.value == "MRA" and any(sign.value in WEIGHTINGS for sign in found) and best.detail is None:
        return next(sign for sign in found if sign.value in WEIGHTINGS)
    return best


def _by_times(elements: Elements) -> Finding:
    """Weighting from times and angles (ms, degrees)."""
    kind = set(texts(nested(elements, SCANNING_SEQUENCE)))
    variant = set(texts(nested(elements, VARIANT)))
    tr, te, ti = number(elements, TR), number(elements, TE) or number(elements, EFFECTIVE_TE), number(elements, TI)
    flip = number(elements, FLIP)
    if tr is None or te is None:
        return Finding()
    sequence: str | None = None
    detail = None
    inverted = "IR" in kind or texts(nested(elements, INVERSION)) == ["YES"]
    if "EP" in kind:
        sequence = "T2*" if "GR" in kind else None  # without a b-value an echo-planar spin echo stays open
    elif inverted and ti and 80 <= ti <= 250 and tr >= 1200:
        sequence, detail = "T2", "STIR"
    elif inverted and ti and ti >= 1500 and te >= 60:
        sequence = "FLAIR"
    elif inverted and ti and 300 <= ti < 1500 and te <= 30:
        sequence, detail = "T1", "MPRAGE" if "GR" in kind and "MP" in variant else None
    elif "GR" in kind:
        if te >= 12 and (flip is None or flip <= 40):
            sequence = "T2*"
        elif "SS" in variant and "SP" not in variant and tr <= 12 and te >= 0.35 * tr:
            sequence = "BSSFP"
        elif te <= 8 and ("SP" in variant or tr <= 400):
            sequence = "T1"
    elif "SE" in kind:
        sequence = "T1" if tr <= 1000 and te <= 30 else "T2" if tr >= 1500 and te >= 60 else None
        if tr >= 1500 and te <= 45:
            sequence = "PD"
    words = " ".join(f"{name} {value:g}" for name, value in (("tr", tr), ("te", te), ("ti", ti)) if value)
    return Finding(sequence, words, tag_text(TR), 0.6, detail) if sequence else Finding()


def _fat(elements: Elements, sequence: Finding) -> Finding:
    for tag, text, confidence in said_in(elements, WORDS):
        by_value = {sign.value: sign.span for sign in reversed(signs(text, "fat"))}
        for value in ("no", "yes"):
            if value in by_value:
                return Finding(value, by_value[value], tag_text(tag), confidence)
        if "dixon" in by_value and _WATER.search(text):
            return Finding("yes", "dixon w", tag_text(tag), confidence)
    if sequence.detail == "STIR":
        return Finding("yes", sequence.text, sequence.source, sequence.confidence)
    for value in texts(nested(elements, FAT)):
        if value in ("FAT", "FAT_AND_WATER", "WATER"):
            return Finding("yes", value.lower(), tag_text(FAT), 0.85)
        return Finding("no", value.lower(), tag_text(FAT), 0.7)
    for value in texts(nested(elements, OPTIONS)):
        if value in _FAT_OPTIONS:
            return Finding("yes", value.lower(), tag_text(OPTIONS), 0.8)
    return Finding()

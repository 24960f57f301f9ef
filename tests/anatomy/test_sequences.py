"""Which witness wins: the scanner's statement, words, times and angles; the agent and the words of a CT."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.anatomy.phases import read_ct
from sluice.anatomy.reading import DOUBTFUL
from sluice.anatomy.sequences import read_mr

SERIES, STUDY, IMAGE_TYPE, B_VALUE, AGENT = 0x0008103E, 0x00081030, 0x00080008, 0x00189087, 0x00180010
T1_SPIN_ECHO = {0x00180020: ["SE"], 0x00180080: [500.0], 0x00180081: [12.0]}
T2_SPIN_ECHO = {0x00180020: ["SE"], 0x00180080: [4500.0], 0x00180081: [95.0]}


def header(*parts: dict[int, list[Any]], **texts: str) -> dict[int, dict[str, Any]]:
    values = {tag: value for part in parts for tag, value in part.items()}
    values |= {{"series": SERIES, "study": STUDY, "agent": AGENT}[name]: [text] for name, text in texts.items()}
    return {tag: {"vr": "LO", "Value": value} for tag, value in values.items()}


def test_the_scanner_s_own_statement_beats_words() -> None:
    adc = read_mr(header({IMAGE_TYPE: ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, series="Diffusion b1000"))
    assert adc.sequence.value in ("ADC", "DWI")
    diffusion = read_mr(header(T2_SPIN_ECHO, {B_VALUE: [800]}, series="t2_epi"))
    assert (diffusion.sequence.value, diffusion.sequence.source) == ("DWI", "(0018,9087)")
    assert read_mr(header(T2_SPIN_ECHO, {B_VALUE: [0]}, series="t2_tse")).sequence.value == "T2"


def test_words_beat_times_and_a_contradiction_is_doubted() -> None:
    agreed = read_mr(header(T1_SPIN_ECHO, series="t1_se_tra")).sequence
    alone = read_mr(header(series="t1_se_tra")).sequence
    against = read_mr(header(T2_SPIN_ECHO, series="t1_se_tra")).sequence
    assert {agreed.value, alone.value, against.value} == {"T1"}
    assert agreed.confidence > alone.confidence > against.confidence
    times = read_mr(header(T1_SPIN_ECHO, series="tra 5mm")).sequence
    assert (times.value, times.text, times.source) == ("T1", "tr 500 te 12", "(0018,0080)")


def test_a_double_echo_is_told_by_its_times() -> None:
    assert read_mr(header(T2_SPIN_ECHO, series="PD/T2 tra")).sequence.value == "T2"
    proton = {0x00180020: ["SE"], 0x00180080: [4500.0], 0x00180081: [15.0]}
    assert read_mr(header(proton, series="PD/T2 tra")).sequence.value == "PD"


def test_times_that_all_frames_share_are_found() -> None:
    timing = {"00180080": {"vr": "DS", "Value": [4500.0]}}
    echo = {"00189082": {"vr": "FD", "Value": [95.0]}}
    shared = {"00189112": {"vr": "SQ", "Value": [timing]}, "00189114": {"vr": "SQ", "Value": [echo]}}
    enhanced = header({0x00180020: ["SE"], 0x52009229: [shared]})
    assert read_mr(enhanced).sequence.value == "T2"


@pytest.mark.parametrize(
    ("texts", "contrast", "sure"),
    [
        ({"series": "T1 +KM"}, "yes", True), ({"series": "T1 nativ"}, "no", True), ({"series": "T1"}, None, False),
        ({"series": "T1", "agent": "Gadovist"}, "yes", True), ({"series": "T1", "agent": "NONE"}, None, False),
        ({"series": "T1 nativ", "agent": "Gadovist"}, "no", False), ({"series": "T1 mit und ohne KM"}, None, False),
        ({"series": "T1 post op"}, None, False), ({"series": "phase contrast"}, None, False),
    ],
)  # fmt: skip
def test_contrast_of_an_mr(texts: dict[str, str], contrast: str | None, sure: bool) -> None:
    found = read_mr(header(**texts)).contrast
    assert found.value == contrast
    assert (found.confidence > 0.6) == sure


@pytest.mark.parametrize(
    ("texts", "phase", "doubted"),
    [
        ({"series": "Thorax", "agent": "Imeron"}, "enhanced", False),
        ({"series": "Thorax nativ", "agent": "Imeron"}, "plain", False),
        ({"study": "CT ohne KM", "agent": "Imeron"}, "enhanced", True),
        ({"study": "CT Abdomen mit und ohne KM"}, "unknown", True),
        ({"series": "arteriell + portalvenös"}, "enhanced", False),
        ({"series": "2.0 B30f", "study": "CTA Thorax LAE", "agent": "Imeron"}, "angiographic", False),
        ({"series": "Abdomen", "agent": "Gastrografin oral"}, "unknown", True),
    ],
)
def test_phase_of_a_ct(texts: dict[str, str], phase: str, doubted: bool) -> None:
    found = read_ct(header(**texts)).phase
    assert found.value == phase
    assert (found.confidence < DOUBTFUL) == doubted


def test_columns_say_what_is_not_said() -> None:
    columns = read_mr(header()).as_dict()
    assert columns["mr_sequence"] == "unknown"
    assert {name for name, value in columns.items() if value is not None} == {"mr_sequence", "mr_sequence_confidence"}
    no_fat = read_mr(header(series="T1 ohne KM no fs")).as_dict()
    assert (no_fat["mr_contrast"], no_fat["mr_fat_suppressed"]) == (False, False)

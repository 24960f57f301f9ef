"""Evidence: equal for series that say the same, enough for every reading, and never in the way of an extraction."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from sluice.anatomy import EVIDENCE_TAGS, Evidence, read_anatomy
from sluice.anatomy.evidence import DERIVED_COLUMNS
from sluice.anatomy.phases import read_ct
from sluice.anatomy.sequences import read_mr

MODALITY, SERIES, TR = 0x00080060, 0x0008103E, 0x00180080

texts = st.one_of(
    st.text(max_size=40), st.sampled_from(["Knie li.", "T1 +KM", "T2*", "MR", "CT", "膝关节", "arteriell"])
)
plain = st.one_of(st.none(), texts, st.integers(-9, 99999), st.floats(allow_nan=False, allow_infinity=False))
tags = st.sampled_from([f"{tag:08X}" for tag in sorted(EVIDENCE_TAGS)] + ["00080100", "00080104", "00209071"])
elements = st.recursive(
    st.builds(lambda values: {"vr": "LO", "Value": values}, st.lists(plain, max_size=3)),
    lambda inner: st.builds(
        lambda items: {"vr": "SQ", "Value": items}, st.lists(st.dictionaries(tags, inner, max_size=3), max_size=2)
    ),
    max_leaves=8,
)
headers = st.dictionaries(st.sampled_from(sorted(EVIDENCE_TAGS)), elements, max_size=9)


@given(headers)
def test_any_header_is_read_and_its_evidence_says_the_same(header: dict[int, dict[str, Any]]) -> None:
    evidence = Evidence.of(header)
    assert tuple(evidence.derived()) == DERIVED_COLUMNS
    assert Evidence.of(evidence.elements).digest == evidence.digest
    assert all(key and key == key.strip() for _, _, key in evidence.said())
    evidence.json.encode()
    assert "\\u0000" not in evidence.json.replace("\\\\", "")


def simple(modality: str, **values: Any) -> dict[int, dict[str, Any]]:
    known = {"series": SERIES, "tr": TR, "te": 0x00180081, "name": 0x00100010}
    found: dict[int, dict[str, Any]] = {MODALITY: {"vr": "CS", "Value": [modality]}}
    return found | {known[name]: {"vr": "LO", "Value": [value]} for name, value in values.items()}


def test_series_of_one_protocol_share_their_evidence() -> None:
    one = Evidence.of(simple("MR", series="T1 tra", tr=612.4, te=12.01))
    assert Evidence.of(simple("MR", series="T1 tra", tr=612.31, te=12.0)).digest == one.digest
    assert Evidence.of(simple("MR", series="T1 tra", tr=712.4, te=12.0)).digest != one.digest
    assert Evidence.of(simple("DX", series="Knie", tr=1.0)).digest == Evidence.of(simple("DX", series="Knie")).digest


def test_nothing_but_what_readings_look_at_is_kept() -> None:
    evidence = Evidence.of(simple("CT", series="Thorax", name="Geheim^Person"))
    assert "Geheim" not in evidence.json


def test_evidence_reads_like_the_header() -> None:
    header = simple("MR", series="t2_tse_fs Knie links", tr=4500.0, te=95.0)
    evidence = Evidence.of(header)
    columns = evidence.derived()
    assert {name: columns[name] for name in read_anatomy(header).as_dict()} == read_anatomy(header).as_dict()
    assert {name: columns[name] for name in read_mr(header).as_dict()} == read_mr(header).as_dict()
    assert columns["ct_phase"] is None
    ct = simple("CT", series="Thorax arteriell")
    assert Evidence.of(ct).derived()["ct_phase_detail"] == read_ct(ct).phase.detail == "arterial"

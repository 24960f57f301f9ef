"""The one reader of tags, which promotion, filters and suites use."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary, keyword_dict

from sluice.cohorts.expressions import TagIs
from sluice.cohorts.language import parse
from sluice.headers.paths import ElementPath, PathError, Step, looks_like_path, patterns
from sluice.quality.suites import Tag


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("0018,0081", "0018,0081"),
        ("00180081", "0018,0081"),
        ("(0018,0081)", "0018,0081"),
        ("0018, 0081", "0018,0081"),
        ("EchoTime", "0018,0081"),
        ('0029,"ACME/1. x",a', '0029,"ACME/1. x",0A'),
        ("0029,0010", "0029,0010"),
        ("00540016/RadionuclideHalfLife", "0054,0016/0018,1075"),
        ("RadiopharmaceuticalInformationSequence.RadionuclideHalfLife", "0054,0016/0018,1075"),
        ('0040,0275/0029,"ACME",10', '0040,0275/0029,"ACME",10'),
    ],
)
def test_an_element_can_be_written_in_several_ways(written: str, path: str) -> None:
    assert str(ElementPath.of(written)) == path
    assert str(ElementPath.of(path)) == path


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "names no element"),
        ("EchoTim", "Did you mean EchoTime?"),
        ("0018", "there is no element"),
        ("0018,0081/", "names no element"),
        ("/", "names no element"),
        ('0028,"ACME",10', "no private group"),
        ("0029,1010", 'Name its creator: 0029,"CREATOR",10.'),
        ("0029,xx10", "Name its creator"),
        ("0028,xx10", "there is no element"),
        ("a'b", "there is no element"),
        ("EchoTime/CodeValue", "EchoTime is no sequence"),
        (".".join(["ContentSequence"] * 64), "64 steps; at most 8"),
    ],
)
def test_what_names_no_element_is_said(written: str, message: str) -> None:
    with pytest.raises(PathError) as raised:
        ElementPath.of(written)
    assert message in str(raised.value)


@given(st.text(max_size=40) | st.text('0123456789aAxX,/."() EchoTime', max_size=40))
def test_any_text_is_read_the_same_again_or_refused(written: str) -> None:
    try:
        path = ElementPath.of(written)
    except PathError:
        return
    assert ElementPath.of(str(path)) == path


STANDARD = st.sampled_from(sorted(tag for tag in DicomDictionary if tag >> 16 > 2)).map(Step)
PRIVATE = st.builds(
    lambda group, element, creator: Step(group << 16 | element, creator),
    st.sampled_from([0x0009, 0x0019, 0x7FE1]),
    st.integers(0, 255),
    st.text(st.characters(codec="ascii", exclude_characters='"', exclude_categories=["C"]), min_size=1).filter(
        lambda text: text == text.strip() and text
    ),
)


@given(STANDARD | PRIVATE)
def test_what_a_step_needs_its_tags_and_patterns_name_alike(step: Step) -> None:
    assert ElementPath.of(str(step)).steps == (step,)
    tags = {f"{tag:08X}" for tag in step.tags()}
    likes = patterns([ElementPath((step,))])
    assert {tag for tag in tags if not any(_like(tag, pattern) for pattern in likes)} == set()
    if not step.creator:
        assert likes == sorted(tags)


def _like(text: str, pattern: str) -> bool:
    return len(text) == len(pattern) and all(one in ("_", letter) for letter, one in zip(text, pattern, strict=True))


@given(st.sampled_from(sorted(keyword_dict.values())).filter(lambda tag: tag >> 16 > 2))
def test_filters_and_suites_read_what_promotion_reads(tag: int) -> None:
    written = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    path = ElementPath.of(written)
    assert Tag.model_validate({"tag": written, "as": "text"}).path == path
    if Step(tag).vr in ("LO", "CS", "DS"):
        expression = parse({"tag": written, "present": True})
        assert isinstance(expression, TagIs)
        assert expression.path.path == path
        assert expression.path.steps == (f"{tag:08X}",)


def test_a_private_element_is_found_in_whatever_block_its_creator_has() -> None:
    def header(block: int, **more: Any) -> dict[str, Any]:
        return {
            "00290010": {"vr": "LO", "Value": ["OTHER"]},
            "00291010": {"vr": "LO", "Value": ["wrong"]},
            f"002900{block:02X}": {"vr": "LO", "Value": ["ACME "]},
            f"0029{block:02X}10": {"vr": "LO", "Value": ["right"]},
        } | more

    path = ElementPath.of("0029,xx10", creator="ACME")
    assert path == ElementPath.of('0029,"ACME",10')
    for block in (0x11, 0x1F, 0xE0):
        assert path.found_in(header(block)) == {"vr": "LO", "Value": ["right"]}
    assert path.found_in({"00290010": {"vr": "LO"}, "00291010": {"vr": "LO", "Value": ["nobody's"]}}) is None
    nested = ElementPath.of('0040,0275/0029,"ACME",10')
    assert nested.found_in({"00400275": {"vr": "SQ", "Value": [header(0x11), {}]}}) == {"vr": "LO", "Value": ["right"]}
    assert nested.found_in({"00400275": {"vr": "SQ"}}) is None


@pytest.mark.parametrize(("word", "is_one"), [("0018,0081", True), ("EchoTime", True), ("echo_time", False)])
def test_a_path_looks_like_one(word: str, is_one: bool) -> None:
    assert looks_like_path(word) is is_one

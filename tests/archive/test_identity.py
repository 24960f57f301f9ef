"""Identity is read from any encoding, by our own walk where it can be, and whatever the bytes are."""

from __future__ import annotations

import random
import zlib
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dsutils import encode

from sluice.archive import elements, identity
from sluice.archive.elements import Unscannable, scan
from sluice.archive.identity import NoIdentity, peek
from tests.pacs.pretend import make_instance

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def encoded_as(dataset: Dataset, syntax: str) -> bytes:
    data = encode(dataset, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    assert data is not None
    if syntax == DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return deflater.compress(data) + deflater.flush()
    return data


def crowded(undefined: bool) -> Dataset:
    """An instance with nested sequences and long values before its series UID."""
    instance = make_instance("1.2.3", "1.2.3.4", 1, PatientComments="long " * 9000, PatientName="A^B")
    item = Dataset()
    item.CodeValue, item.StudyInstanceUID, item.SeriesInstanceUID = "1", "9.9.9", "9.9.9.9"
    outer = Dataset()
    outer.PurposeOfReferenceCodeSequence = Sequence([item, Dataset()])
    instance.ReferencedStudySequence = Sequence([outer, outer])
    instance.ReferencedPatientSequence = Sequence([])
    instance.add_new(0x00090010, "LO", "VENDOR")
    instance.add_new(0x00091001, "UN", b"\1\2\3\4")
    instance.add_new(0x00091002, "OB", bytes(70_000))
    for keyword in ("ReferencedStudySequence", "ReferencedPatientSequence"):
        instance[keyword].is_undefined_length = undefined
    for nested in instance.ReferencedStudySequence:
        nested.is_undefined_length_sequence_item = undefined
        nested["PurposeOfReferenceCodeSequence"].is_undefined_length = undefined
    return instance


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_every_encoding_is_walked_without_pydicom(
    syntax: str, undefined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = crowded(undefined)
    monkeypatch.delattr(identity, "_by_pydicom")
    peeked = peek(b"junk" + encoded_as(instance, syntax), syntax, 4)
    assert peeked.identity.study == "1.2.3"
    assert peeked.identity.series == "1.2.3.4"
    assert peeked.identity.sop_instance == instance.SOPInstanceUID
    assert peeked.identity.sop_class == instance.SOPClassUID
    assert str(peeked.study_date) == "2026-10-26"


def test_a_dataset_encoded_otherwise_than_it_claims_is_left_to_pydicom() -> None:
    instance = make_instance("1.2.3", "1.2.3.4", 1)
    assert peek(encoded_as(instance, ImplicitVRLittleEndian), ExplicitVRLittleEndian).identity.series == "1.2.3.4"


@pytest.mark.parametrize("syntax", SYNTAXES[:3])
def test_a_cut_at_any_place_gives_the_identity_or_says_that_there_is_none(syntax: str) -> None:
    data = encoded_as(make_instance("1.2.3", "1.2.3.4", 1), syntax)
    whole = peek(data, syntax).identity
    outcomes = []
    for length in range(len(data)):
        try:
            assert peek(data[:length], syntax).identity == whole
            outcomes.append(True)
        except NoIdentity:
            outcomes.append(False)
    assert outcomes == sorted(outcomes), "more bytes, less identity"
    assert True in outcomes


@given(st.binary(max_size=400), st.sampled_from(SYNTAXES))
@settings(max_examples=300)
def test_noise_has_no_identity_and_nothing_worse(noise: bytes, syntax: str) -> None:
    with pytest.raises(NoIdentity):
        peek(noise, syntax)


@given(st.integers(0, 2**32), st.sampled_from(SYNTAXES[:3]))
@settings(max_examples=150)
def test_a_damaged_dataset_says_the_same_or_nothing(seed: int, syntax: str) -> None:
    chance = random.Random(seed)
    data = bytearray(encoded_as(crowded(True), syntax))
    for _ in range(3):
        data[chance.randrange(400)] = chance.randrange(256)
    try:
        uids: Any = peek(bytes(data), syntax).identity
    except NoIdentity:
        return
    assert all(uid and set(uid) <= set("0123456789.") for uid in (uids.study, uids.series, uids.sop_instance))


def test_no_data_keeps_the_walk_busy_for_long() -> None:
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    many = b"\x08\0\x10\x11SQ\0\0\xff\xff\xff\xff" + item * (elements.MOST_ELEMENTS + 1)
    deep = b"\x08\0\x10\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 2
    nested = (b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x08\0\x10\x11SQ\0\0\xff\xff\xff\xff") * 200
    for hostile in (many, deep, b"\x08\0\x10\x11SQ\0\0\xff\xff\xff\xff" + nested):
        with pytest.raises(Unscannable):
            scan(hostile, 0, False, False, identity.WANTED)
    with pytest.raises(NoIdentity):
        peek(many, ExplicitVRLittleEndian)


def test_a_bomb_of_zeros_is_not_inflated_whole() -> None:
    bomb = BytesIO()
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    header = b"\x08\0\x05\0UN\0\0" + (1 << 30).to_bytes(4, "little")
    bomb.write(deflater.compress(header))
    for _ in range(100):
        bomb.write(deflater.compress(bytes(1 << 20)))
    bomb.write(deflater.flush())
    inflated, ended = identity._inflated(bomb.getvalue(), 0, identity.MOST_HEADER_BYTES)
    assert len(inflated) == identity.MOST_HEADER_BYTES
    assert not ended
    with pytest.raises(NoIdentity):
        peek(bomb.getvalue(), DeflatedExplicitVRLittleEndian)

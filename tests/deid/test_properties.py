"""Random nested objects, damaged ones and real ones: a leak-free file or a reason, never anything else."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sluice.deid.elements import read_file, walk
from sluice.deid.engine import deidentify
from sluice.deid.held import Held
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, findings
from sluice.deid.profile import Profile
from tests.deid.planted import ROOT, encoded, image

IDENTITIES = Identities(bytes(range(32)), "TST")
PROFILES = [Profile.preset("basic"), Profile.preset("longitudinal")]
TEXTS = [
    tag for tag, entry in DicomDictionary.items() if entry[0] in ("LO", "SH", "LT", "UT", "PN") and tag > 0x00100030
]
UIDS = [tag for tag, entry in DicomDictionary.items() if entry[0] == "UI" and tag >> 16 >= 0x0018]
SEQUENCES = [tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ" and tag >> 16 >= 8]
NEEDLE = "Quillfeather"

leaf = st.one_of(
    st.tuples(st.sampled_from(TEXTS), st.just("text")),
    st.tuples(st.sampled_from(UIDS), st.just("uid")),
    st.tuples(st.integers(0x0009, 0x00FF).map(lambda group: (group | 1) << 16 | 0x1001), st.just("private")),
)
tree = st.recursive(
    st.lists(leaf, max_size=4),
    lambda below: st.lists(st.one_of(leaf, st.tuples(st.sampled_from(SEQUENCES), below)), max_size=4),
    max_leaves=25,
)


def grow(dataset: Dataset, nodes: list[tuple[int, object]]) -> None:
    for number, (tag, kind) in enumerate(nodes):
        if kind == "text":
            dataset.add(DataElement(tag, DicomDictionary[tag][0], f"{NEEDLE} {number}"))
        elif kind == "uid":
            dataset.add(DataElement(tag, "UI", f"{ROOT}.5.{tag}.{number}"))
        elif kind == "private":
            dataset.add(DataElement(tag, "UN", NEEDLE.encode()))
        else:
            item = Dataset()
            grow(item, kind)  # type: ignore[arg-type]
            dataset.add(DataElement(tag, "SQ", [item, Dataset()]))


@given(tree, st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]), st.integers(0, 1))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_trees(nodes: list[tuple[int, object]], syntax: str, chosen: int) -> None:
    profile = PROFILES[chosen]
    dataset = image()
    grow(dataset, [node for node in nodes if node[0] not in (0x00100010, 0x00100020)])
    dataset.BitsStored, dataset.HighBit = 16, 15  # big endian pixels are not swapped by pydicom
    dataset.file_meta.TransferSyntaxUID = syntax
    data = encoded(dataset)
    try:
        result = deidentify(data, profile, IDENTITIES)
    except Held:
        assume(False)  # nothing leaves
    found = findings(data, result.data, Claims(result.shift_days, tuple(code for code, _ in result.codes)))
    if not found:  # an attribute that an option keeps as it is may hold the name: then it is held
        assert NEEDLE.encode() not in result.data
        assert ROOT.encode() not in result.data
    else:
        assert chosen == 1
        assert {finding.kind for finding in found} <= {"identifier", "raw-bytes"}
    pydicom.dcmread(io.BytesIO(result.data)).walk(lambda *_: None)
    again = deidentify(result.data, profile, IDENTITIES)
    assert shape(again.data) == shape(result.data)


def shape(data: bytes) -> list[tuple[tuple[int, ...], str]]:
    return [(path, element.vr) for path, element in walk(read_file(data).elements)]


def test_damaged_files_never_crash() -> None:
    chance = random.Random(20261026)
    good = encoded(image())
    for _ in range(400):
        data = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(128, len(data))] = chance.randrange(256)
        _leak_free_or_held(bytes(data[: chance.randint(200, len(data))] if chance.random() < 0.3 else data))


def _leak_free_or_held(data: bytes) -> str:
    profile = PROFILES[0]
    try:
        result = deidentify(data, profile, IDENTITIES)
    except Held as held:
        return held.reason_code
    found = findings(data, result.data, Claims(result.shift_days, tuple(code for code, _ in result.codes)))
    return "held-residual" if found else "released"


@pytest.mark.slow
def test_real_and_hostile_files(shared_data: Path) -> None:
    outcomes: dict[str, int] = {}
    for path in sorted((shared_data / "dicom").rglob("*")):
        if path.is_file():
            outcome = _leak_free_or_held(path.read_bytes())
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert set(outcomes) <= {"released", "held-class", "held-identity", "held-unreadable", "held-residual"}
    assert outcomes["released"] > 150
    assert outcomes.get("held-residual", 0) < 10

"""Random nested objects, damaged ones and real ones: a leak-free file or a reason, never anything else."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from sluice.deid.elements import read_file, walk
from sluice.deid.engine import deidentify
from sluice.deid.held import Held
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, findings
from sluice.deid.profile import FULL_DATES, OPTIONS, UIDS, Profile
from tests.deid.planted import ROOT, encoded, image, raw_element

IDENTITIES = Identities(bytes(range(32)), "TST")
PROFILES = [
    Profile.preset("basic"),
    Profile.preset("longitudinal"),
    Profile.preset("public"),
    Profile("all", tuple(option for option in OPTIONS if option not in (UIDS, FULL_DATES))),
]
KEEPING = {"longitudinal", "all"}  # options of theirs keep values as they are
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
    st.tuples(st.sampled_from(TEXTS), st.just("odd")),
    st.tuples(st.sampled_from(SEQUENCES), st.just("unknown")),
    st.tuples(st.sampled_from([0x7053, 0x00E1, 0x0029]), st.just("creators")),
    st.tuples(st.sampled_from(SEQUENCES), st.just("no items")),
)
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
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
        elif kind == "odd":
            dataset[tag] = raw_element(tag, DicomDictionary[tag][0], NEEDLE.encode() + b"x")
        elif kind == "unknown":  # a sequence whose items were written as UN, implicit little endian
            text = NEEDLE.encode()
            item = struct.pack("<HHL", 0x0010, 0x0010, len(text)) + text
            dataset[tag] = raw_element(tag, "UN", struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item)
        elif kind == "creators":  # the same creator twice, one block with what is safe and one with what is not
            for block in (0x10, 0x11):
                dataset.add(DataElement(tag << 16 | block, "LO", "Philips PET Private Group"))
                dataset.add(DataElement(tag << 16 | block << 8, "LO", NEEDLE))
                dataset.add(DataElement(tag << 16 | block << 8 | 9, "DS", "1.5"))
        elif kind == "no items":
            dataset.add(DataElement(tag, "SQ", []))
        else:
            item = Dataset()
            grow(item, kind)  # type: ignore[arg-type]
            dataset.add(DataElement(tag, "SQ", [item, Dataset()]))


@given(tree, st.sampled_from(SYNTAXES), st.sampled_from(PROFILES))
@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_trees(nodes: list[tuple[int, object]], syntax: str, profile: Profile) -> None:
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
        assert profile.name in KEEPING
        assert {finding.kind for finding in found} <= {"identifier", "raw-bytes"}
    produced = pydicom.dcmread(io.BytesIO(result.data))
    produced.walk(lambda *_: None)
    assert produced.file_meta.MediaStorageSOPInstanceUID == produced.SOPInstanceUID == result.sop_instance
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


REAL = ["pydicom-data/*eCT_Supplemental.dcm", "highdicom/*ct_image.dcm", "highdicom/*dx_image.dcm", "dcm4che/*MR01.dcm",
        "fo-dicom/*GH610.dcm", "highdicom/*sr_document.dcm"]  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize("pattern", ["CT_small.dcm", "MR_small.dcm", *REAL])
def test_real_files_stay_as_valid_as_they_were(pattern: str, request: pytest.FixtureRequest) -> None:
    if pattern in REAL:
        (path,) = sorted((request.getfixturevalue("shared_data") / "dicom").glob(pattern))
    else:
        path = Path(get_testdata_file(pattern))
    original = path.read_bytes()
    for profile in PROFILES[3:] if "sr_" in pattern else PROFILES:
        produced = deidentify(original, profile, IDENTITIES).data
        assert _errors(produced) - _errors(original) == Counter()


def _errors(data: bytes) -> Counter[str]:
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        done = subprocess.run(["dciodvfy", file.name], capture_output=True, text=True, errors="replace", check=False)
    return Counter(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error"))

"""Every SOP class that leaves, in every encoding and many character sets: no needle leaves, technical values do."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from sluice.deid.elements import read_file
from sluice.deid.engine import deidentify
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, findings
from sluice.deid.profile import Profile
from sluice.deid.tables import table
from tests.deid.planted import Needles, encoded, image, plant_everywhere, raw_element, with_syntax

IDENTITIES = Identities(bytes(range(32)), "TST")
CLASSES = {row["name"]: row["uid"] for row in table("sop_classes") if row["disposition"] == "release"}
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
COMPRESSED = [JPEGLSLossless, JPEG2000Lossless, RLELossless]
KEPT = {
    int(row["tag"], 16)
    for row in table("basic_profile")
    if "K" in (row["retain_device_identity"], row["retain_patient_characteristics"])
}
PROFILES = [Profile.preset(name) for name in ("basic", "public", "longitudinal")]
VALUES = {"DS": "71.125", "IS": "71125", "US": 7113, "SS": -7113, "UL": 71137113, "SL": -71137113, "FL": 71.125,
          "FD": 71.125, "UV": 7113, "SV": -7113, "AT": 0x00187113}  # fmt: skip
# Written by pydicom or of the pixels: other tests look at them.
STRUCTURE = {0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
             0x00283006}  # fmt: skip
# Names in character sets that pydicom cannot write, as bytes (PS3.5 annexes H to K), and what must not be left.
ENCODED_NAMES = {
    "ISO 2022 IR 58": (b"Zhang^D=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", [b"\xd5\xc5", b"\xd0\xa1\xb6", b"Zhang"]),
    "ISO 2022 IR 87": (b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=", [b";3ED", b"B@O:", b"Yamada"]),
    "ISO 2022 IR 159": (b"Yamada^Tarou=\x1b$(DB;R)\x1b(B=", [b"B;R)", b"Yamada"]),
    "ISO 2022 IR 149": (b"Hong^Gil=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=", [b"\xfb\xf3", b"\xd1\xce", b"Hong"]),
    "ISO_IR 203": (b"M\xfc\xdfigg\xe4nger^J\xf6rg", [b"M\xfc\xdfigg\xe4nger", b"J\xf6rg"]),
}  # fmt: skip


def planted_object(uid: str, needles: Needles, skip: set[int], dates: bool) -> Dataset:
    """An image of the class: needles at the top, in functional groups, in codes, in private and unknown places."""
    dataset = image(sop_class=uid)
    plant_everywhere(dataset, needles, skip, dates)
    bottom = Dataset()
    plant_everywhere(bottom, needles, skip, dates=False)
    for keyword in ("ReferencedImageSequence", "DerivationImageSequence", "FrameContentSequence",
                    "PerFrameFunctionalGroupsSequence"):  # fmt: skip
        parent = Dataset()
        setattr(parent, keyword, [bottom])
        bottom = parent
    dataset.update(bottom)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = needles.text(), "99LOCAL", needles.text()
    dataset.AnatomicRegionSequence = dataset.ViewCodeSequence = [code]
    block = dataset.private_block(0x0029, "Philips PET Private Group", create=True)
    block.add_new(0x00, "LO", needles.text())
    block.add_new(0x01, "SQ", Sequence([code]))
    return dataset


@pytest.mark.parametrize(("number", "name"), enumerate(CLASSES), ids=list(CLASSES))
def test_no_needle_leaves_an_object_of_any_class(number: int, name: str) -> None:
    for step, profile in enumerate(PROFILES):
        syntax = NATIVE[(number + step) % len(NATIVE)]
        needles = Needles()
        skip = KEPT if profile.name == "longitudinal" else set()
        dataset = planted_object(CLASSES[name], needles, skip, dates=profile.name == "basic")
        data = with_syntax(dataset, syntax)
        assert len(needles.given) > 3000
        result = deidentify(data, profile, IDENTITIES)
        assert needles.in_(result.data) == []
        assert pydicom.dcmread(io.BytesIO(result.data)).PixelData == image().PixelData


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: uid.name)
def test_no_needle_leaves_an_encapsulated_object(syntax: pydicom.uid.UID) -> None:
    needles = Needles()
    dataset = planted_object(CLASSES["MR Image"], needles, set(), dates=True)
    dataset.Rows = dataset.Columns = 64  # JPEG 2000 has no six resolutions of fewer
    dataset.PixelData = dataset.PixelData * 16
    before = dataset.pixel_array.copy()
    dataset.compress(syntax, generate_instance_uid=False)
    result = deidentify(encoded(dataset), PROFILES[0], IDENTITIES)
    assert needles.in_(result.data) == []
    assert (pydicom.dcmread(io.BytesIO(result.data)).pixel_array == before).all()


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.name)
def test_technical_values_of_every_rule_are_the_same_bytes(syntax: pydicom.uid.UID) -> None:
    def technical() -> Dataset:
        dataset = image()
        for row in table("allowed"):
            tag, vr = int(row["tag"], 16), row["vr"].split(" or ")[0]
            if row["kind"] == "number" and tag not in STRUCTURE:
                dataset.add(DataElement(tag, vr, VALUES[vr]))
            elif row["kind"] == "code" and tag not in (0x00080060, 0x00080008, 0x00080064, 0x00280301, 0x00280004):
                dataset.add(DataElement(tag, vr, "ORIGINAL"))
        return dataset

    before = read_file(encoded(technical())).elements
    kept = [int(row["tag"], 16) for row in table("allowed") if row["kind"] in ("number", "code")]
    for profile in PROFILES:
        after = read_file(deidentify(with_syntax(technical(), syntax), profile, IDENTITIES).data).elements
        same = [tag for tag in kept if tag in before and tag in after and after[tag].value == before[tag].value]
        assert [tag for tag in kept if tag in before and tag not in same] == []
        assert len(same) > 650
        assert after[0x7FE00010].value == before[0x7FE00010].value


@pytest.mark.parametrize("charset", ENCODED_NAMES)
def test_names_as_bytes_of_a_character_set(charset: str) -> None:
    written, needles = ENCODED_NAMES[charset]
    dataset = image()
    dataset.SpecificCharacterSet = ["", charset] if charset.startswith("ISO 2022") else charset
    for tag, vr in ((0x00100010, "PN"), (0x0008103E, "LO"), (0x00104000, "LT"), (0x00080090, "PN")):
        value = written + b" " * (len(written) % 2)
        dataset._dict[pydicom.tag.Tag(tag)] = raw_element(tag, vr, value)
    buffer = io.BytesIO()
    pydicom.filewriter.dcmwrite(buffer, dataset, enforce_file_format=True)
    data = buffer.getvalue()
    assert all(needle in data for needle in needles)
    for profile in PROFILES:
        result = deidentify(data, profile, IDENTITIES)
        assert not [needle for needle in needles if needle in result.data]
        assert findings(data, result.data, Claims(result.shift_days, tuple(code for code, _ in result.codes))) == []

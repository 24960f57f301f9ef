"""A header read by comparing it with those before it is the header that is read alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from sluice.headers import layout
from sluice.headers.building import split
from sluice.headers.parser import HeaderParser
from tests.headers.test_parser import VALUES, data_set, encoded

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
CHARSETS = ["ISO_IR 192", "ISO_IR 100", "ISO_IR 144"]
ELEMENTS = [(place, vr) for place, vr in enumerate(sorted(VALUES), 1)]
VALUES_OF_FILE = st.fixed_dictionaries({}, optional={place: VALUES[vr] for place, vr in ELEMENTS})
FILE = st.tuples(VALUES_OF_FILE, st.sampled_from(CHARSETS), st.integers(0, 2), st.sampled_from(["", "é", "ж", "日"]))


def write(path: Path, syntax: str, file: tuple[dict[int, Any], str, int, str]) -> None:
    values, charset, items, word = file
    ds = data_set(syntax, SpecificCharacterSet=charset, PixelRepresentation=items % 2, SmallestImagePixelValue=items)
    if charset == "ISO_IR 192":
        ds.PatientComments = word
    item = Dataset()
    item.CodeValue = word.encode("ascii", "ignore").decode() or "A"
    ds.ProcedureCodeSequence = Sequence([item] * items)
    ds["ProcedureCodeSequence"].is_undefined_length = bool(items)
    block = ds.private_block(0x0031, "TEST" if items else "OTHER", create=True)
    for place, value in values.items():
        block.add_new(place, dict(ELEMENTS)[place], value)
    if items:
        ds.PixelData = b"\7" * (2 * len(values))
        ds["PixelData"].VR = "OW"
    path.write_bytes(encoded(ds))


@given(st.sampled_from(SYNTAXES), st.lists(FILE, min_size=2, max_size=6))
def test_files_of_a_series_read_like_each_alone_and_come_back_from_their_block(
    tmp_path_factory: pytest.TempPathFactory, syntax: str, files: list[tuple[dict[int, Any], str, int, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    together, headers, alone = HeaderParser(), [], []
    with pydicom.config.disable_value_validation():
        for number, file in enumerate(files):
            path = folder / f"layout-{number}.dcm"
            write(path, syntax, file)
            headers.append(together.read(path, "series"))
            alone.append(HeaderParser().read(path))
    for header, other in zip(headers, alone, strict=True):
        assert json.loads(header.json) == json.loads(other.json)
        assert (header.kept, header.holes) == (other.kept, other.holes)
        assert (header.pixel_bytes, header.pixel_pieces) == (other.pixel_bytes, other.pixel_pieces)
    shared, differing = split(headers)
    common = json.loads("{" + ",".join(shared) + "}")
    for position, other in enumerate(alone):
        own = {f"{tag:08X}": json.loads(text)[position] for tag, text in differing.items()}
        assert not own.keys() & common.keys()
        whole = common | {tag: element for tag, element in own.items() if element is not None}
        assert whole == json.loads(other.json)


def test_a_series_is_compared_and_not_read_element_by_element(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = HeaderParser()
    read, original = [], layout.element_text
    monkeypatch.setattr(layout, "element_text", lambda *arguments: read.append(arguments[0]) or original(*arguments))
    for number in range(6):
        ds = data_set(SOPInstanceUID=f"2.25.{number}", InstanceNumber=str(number), PatientName="A^B", Rows=4)
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(encoded(ds))
        header = parser.read(path, "series")
        assert json.loads(header.json)["00200013"]["Value"] == [number]
    assert set(read) == {0x00080018, 0x00200013}
    assert len(read) == 10

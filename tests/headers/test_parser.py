from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from sluice.headers.lenient import read_leniently
from sluice.headers.parser import Header, HeaderParser
from sluice.headers.source import HeaderError, OddError
from tests.headers.reference import differences

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]


def data_set(syntax: str = ExplicitVRLittleEndian, **elements: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    ds = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=implicit, is_little_endian=little)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = meta.MediaStorageSOPClassUID, "2.25.1", "2.25.2"
    for name, value in elements.items():
        setattr(ds, name, value)
    return ds


def encoded(ds: FileDataset) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def read(path: Path, parser: HeaderParser | None = None) -> Header:
    try:
        return (parser or HeaderParser()).read(path)
    except OddError:
        return read_leniently(path)


def read_bytes(tmp_path: Path, data: bytes) -> dict[str, Any]:
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    return dict(json.loads(read(path).json))


def test_every_sample_file_reads_as_pydicom_reads_it(shared_data: Path) -> None:
    parser = HeaderParser()  # one for all, so that what it remembers is tested as well
    compared, fast, wrong = 0, 0, []
    for path in sorted(path for path in (shared_data / "dicom").rglob("*") if path.is_file()):
        started = time.monotonic()
        try:
            header = read(path, parser)
        except HeaderError:
            continue
        finally:
            assert time.monotonic() - started < 10, path.name
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            found = differences(json.loads(header.json), pydicom.dcmread(path, force=True))
        compared, fast = compared + 1, fast + (not header.lenient)
        wrong += [f"{path.name}: {difference}" for difference in found]
    assert not wrong, "\n".join(wrong[:20])
    assert compared > 400
    assert fast > 350


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_nested_private_and_binary_values_read_alike_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "T-1", "Näheres"
    item.private_block(0x0011, "ACME 1.0", create=True).add_new(1, "DS", ["1.50", "2"])
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    item.PurposeOfReferenceCodeSequence = Sequence([inner, Dataset()])
    ds = data_set(syntax, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", PatientID="4711")
    ds.ProcedureCodeSequence = Sequence([item])
    ds.PixelSpacing, ds.SmallestImagePixelValue, ds.PixelRepresentation = ["0.5", "0.25"], -5, 1
    ds.private_block(0x0099, "ACME 2.0", create=True).add_new(2, "FD", [1.5, float("inf")])
    ds.RedPaletteColorLookupTableData = b"\1\2" * 10
    header = read_bytes(tmp_path, encoded(ds))
    assert not differences(header, pydicom.dcmread(tmp_path / "a.dcm"))
    assert header["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    nested = header["00081032"]["Value"][0]
    assert nested["00080104"]["Value"] == ["Näheres"]
    assert nested["0040A170"]["Value"] == [{"00081155": {"vr": "UI", "Value": ["1.2.3"]}}, {}]
    assert header["00280106"] == {"vr": "SS", "Value": [-5]}
    if syntax != ImplicitVRLittleEndian:
        assert nested["00111001"]["Value"] == [1.5, 2]
        assert header["00991002"]["Value"] == [1.5, "inf"]


CHARSETS = [
    ("ISO_IR 100", "Buc^Jérôme"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 126", "Διονυσιος"),
    ("ISO_IR 127", "قباني^لنزار"),
    ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 166", "ประเทศไทย"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东=𧿹"),
    ("GB18030", "Wang^XiaoDong=王^小东="),
    ("GBK", "Wang^XiaoDong=王^小东="),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
]


@pytest.mark.parametrize(("charset", "name"), CHARSETS)
def test_every_character_set_is_decoded(tmp_path: Path, charset: Any, name: str) -> None:
    ds = data_set(SpecificCharacterSet=charset, PatientName=name, PatientComments="plain")
    header = read_bytes(tmp_path, encoded(ds))
    groups = header["00100010"]["Value"][0]
    assert "=".join(groups.get(key, "") for key in ("Alphabetic", "Ideographic", "Phonetic")).rstrip(
        "="
    ) == name.rstrip("=")
    assert not differences(header, pydicom.dcmread(tmp_path / "a.dcm"))


def test_chinese_with_code_extensions_is_decoded_where_pydicom_keeps_the_escapes(tmp_path: Path) -> None:
    """The example of PS3.5 Annex K.2."""
    ds = data_set(SpecificCharacterSet=["", "ISO 2022 IR 58"], PatientName="X")
    name = b"Zhang^XiaoDong=\x1b$)A" + "张".encode("gb2312") + b"^\x1b$)A" + "小东".encode("gb2312") + b"= "
    raw = encoded(ds).replace(
        b"\x10\x00\x10\x00PN\x02\x00X ", b"\x10\x00\x10\x00PN" + struct.pack("<H", len(name)) + name
    )
    header = read_bytes(tmp_path, raw)
    assert header["00100010"]["Value"] == [{"Alphabetic": "Zhang^XiaoDong", "Ideographic": "张^小东"}]


def test_nul_nan_and_numbers_that_are_none_are_json_that_postgres_takes(tmp_path: Path) -> None:
    ds = data_set(PatientComments="a", StudyDescription="b", PatientID="c")
    raw = encoded(ds).replace(b"\x08\x00\x30\x10LO\x02\x00b ", b"\x08\x00\x30\x10LO\x04\x00b\x00c ")
    raw += b"\x28\x00\x30\x00DS\x1a\x00" + b"+1\\.5\\1.\\nan\\1E999\\x\\1.500"
    raw += b"\x28\x00\x08\x00IS\x06\x00+7\\1.5"
    raw += struct.pack("<HH2sHddd", 0x0028, 0x0A02, b"FD", 24, float("nan"), float("-inf"), 0.1)
    header = read_bytes(tmp_path, raw)
    assert header["00081030"]["Value"] == ["bc"]
    assert header["00280030"]["Value"] == [1.0, 0.5, 1.0, "nan", "1E999", "x", 1.5]
    assert header["00280008"]["Value"] == [7, "1.5"]
    assert header["00280A02"]["Value"] == ["NaN", "-inf", 0.1]


def test_a_wrong_length_is_kept_as_bytes(tmp_path: Path) -> None:
    header = read_bytes(tmp_path, encoded(data_set()) + b"\x28\x00\x10\x00US\x03\x00abc")
    assert header["00280010"] == {"vr": "UN", "InlineBinary": "YWJj"}


def test_bulk_data_is_left_out_with_its_place(tmp_path: Path) -> None:
    ds = data_set(PixelData=b"\7" * 100_000, EncapsulatedDocument=b"x" * 200_000)
    ds["PixelData"].VR = "OW"
    data = encoded(ds)
    header = read_bytes(tmp_path, data)
    for key, length, byte in (("7FE00010", 100_000, b"\7"), ("00420011", 200_000, b"x")):
        offset = int(header[key]["BulkDataURI"].split("offset=")[1].split("&")[0])
        assert header[key]["BulkDataURI"].endswith(f"length={length}")
        assert data[offset : offset + length] == byte * length


def test_fragments_are_walked_and_what_follows_is_read(tmp_path: Path) -> None:
    ds = data_set(JPEG2000Lossless)
    ds.PixelData = pydicom.encaps.encapsulate([b"\1" * 70_000, b"\2" * 3_000])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.DataSetTrailingPadding = b"\0" * 40
    header = read_bytes(tmp_path, encoded(ds))
    assert header["7FE00010"]["vr"] == "OB"
    assert header["FFFCFFFC"]["vr"] == "OB"


def test_every_cut_of_a_file_is_truncated_or_a_whole_header(tmp_path: Path) -> None:
    item = Dataset()
    item.CodeValue = "1"
    ds = data_set(PatientName="A^B", ProcedureCodeSequence=Sequence([item]), Rows=2, PixelData=b"12345678")
    ds["PixelData"].VR = "OW"
    ds["ProcedureCodeSequence"].is_undefined_length = True
    data = encoded(ds)
    start = data.index(b"\x08\x00\x16\x00UI")
    whole, reasons = 0, set()
    for end in range(start + 1, len(data)):
        try:
            read_bytes(tmp_path, data[:end])
            whole += 1  # cut between two elements
        except HeaderError as error:
            reasons.add(error.reason_code)
    assert reasons == {"truncated"}
    assert whole <= len(ds)


def test_deep_sequences_are_read_and_bottomless_ones_refused(tmp_path: Path) -> None:
    def nested(depth: int) -> bytes:
        inner = b"\x08\x00\x00\x01SH\x02\x001 "
        for _ in range(depth):
            inner = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(inner)) + inner
            inner = b"\x08\x00\x32\x10SQ\0\0" + struct.pack("<L", len(inner)) + inner
        return encoded(data_set()) + inner

    header = read_bytes(tmp_path, nested(64))
    for _ in range(64):
        header = header["00081032"]["Value"][0]
    assert header["00080100"]["Value"] == ["1"]
    with pytest.raises(HeaderError, match="nested"):
        read_bytes(tmp_path, nested(2000))


def test_a_deflated_bomb_and_a_damaged_stream_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(data_set(DeflatedExplicitVRLittleEndian))
    with pytest.raises(HeaderError, match="ends early"):
        read_bytes(tmp_path, data[:-6])
    monkeypatch.setattr("sluice.headers.source.INFLATED_LIMIT", 1 << 20)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeeze.compress(b"\0" * (8 << 20)) + squeeze.flush()
    head = data[: 132 + 12 + struct.unpack_from("<L", data, 140)[0]]
    with pytest.raises(HeaderError, match="longer than"):
        read_bytes(tmp_path, head + bomb)


def odd(*elements: bytes, meta: str = ExplicitVRBigEndian) -> bytes:
    """A big endian file that ends in these elements; only pydicom reads it."""
    return encoded(data_set(meta)) + b"".join(elements)


def element_big(tag: int, vr: bytes, value: bytes) -> bytes:
    long = vr in (b"SQ", b"UN", b"OB")
    return struct.pack(">HH2s" + ("2xL" if long else "H"), tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def test_an_odd_file_that_would_fill_the_memory_is_refused_or_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = b"".join(element_big(0x77770000 + n, b"LO", b"") for n in range(0x10, 0x2000))
    assert "77771FFF" in read_bytes(tmp_path, odd(many))
    items = element_big(0x77778000, b"SQ", struct.pack(">HHL", 0xFFFE, 0xE000, 0) * 100_001)
    header = read_bytes(tmp_path, odd(many, items, element_big(0x77779000, b"LO", b"behind")))
    assert header["77778000"] == {"vr": "SQ", "BulkDataURI": "?length=800008"}
    assert header["77779000"]["Value"] == ["behind"]
    large = struct.pack(">HHL", 0xFFFE, 0xE000, 8 + (1 << 20)) + element_big(0x77770010, b"OB", bytes((1 << 20) - 4))
    several = b"".join(element_big(0x77778000 + n, b"SQ", large) for n in range(6))
    header = read_bytes(tmp_path, odd(several))
    assert ["Value" in header[f"7777{0x8000 + n:04X}"] for n in range(6)] == [True] * 3 + [False] * 3
    monkeypatch.setattr("sluice.headers.lenient.MOST_READS", 2000)
    with pytest.raises(HeaderError, match="odd file of more than 1000 elements") as caught:
        read_bytes(tmp_path, odd(many))
    assert caught.value.reason_code == "unreadable"


def test_an_odd_file_of_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(odd())
    with path.open("r+b") as file:
        file.truncate(3 << 30)  # a hole: it takes no room
    with pytest.raises(HeaderError, match="odd, and larger than 512 MiB"):
        read(path)


def test_a_deflated_bomb_behind_odd_file_meta_is_refused(tmp_path: Path) -> None:
    plain = encoded(data_set(DeflatedExplicitVRLittleEndian))
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeeze.compress(bytes(600 << 20)) + squeeze.flush()
    start = 132 + 12 + struct.unpack_from("<L", plain, 140)[0]
    for head, words in (
        (plain[:start], "longer than 256 MiB"),
        (plain[132:start], "behind file meta information"),  # no preamble
        (plain[:start].replace(b"UI", b"ZZ", 1), "behind file meta information"),
    ):
        tracemalloc.start()
        try:
            with pytest.raises(HeaderError, match=words):
                read_bytes(tmp_path, head + bomb)
            assert tracemalloc.get_traced_memory()[1] < 32 << 20
        finally:
            tracemalloc.stop()


VALUES = {
    "LO": st.text(st.characters(codec="utf-8", exclude_characters="\\"), max_size=64),
    "UT": st.text(st.characters(codec="utf-8"), max_size=300),
    "DS": st.floats(allow_nan=False, allow_infinity=False).map(lambda number: f"{number:.9g}"),
    "IS": st.integers(-(2**31), 2**31 - 1).map(str),
    "FD": st.floats(),
    "FL": st.floats(width=32),
    "UL": st.integers(0, 2**32 - 1),
    "SV": st.integers(-(2**63), 2**63 - 1),
    "AT": st.integers(0, 2**32 - 1),
    "OB": st.binary(max_size=100),
}


@given(st.lists(st.sampled_from(sorted(VALUES)).flatmap(lambda vr: st.tuples(st.just(vr), VALUES[vr])), max_size=12))
def test_whatever_stands_in_a_header_is_json_and_pydicom_agrees(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, Any]]
) -> None:
    ds = data_set(SpecificCharacterSet="ISO_IR 192")
    block = ds.private_block(0x0031, "TEST", create=True)
    with pydicom.config.disable_value_validation():
        for place, (vr, value) in enumerate(values, 1):
            block.add_new(place, vr, value)
        folder = tmp_path_factory.getbasetemp()
        header = read_bytes(folder, encoded(ds))
        assert "\x00" not in json.dumps(header, ensure_ascii=False)
        assert not differences(header, pydicom.dcmread(folder / "a.dcm"))


@given(st.binary(max_size=400), st.booleans())
def test_hostile_bytes_are_a_header_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, bare: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.dcm"
    path.write_bytes(tail if bare else encoded(data_set()) + tail)
    try:
        json.loads(read(path).json)
    except HeaderError:
        pass  # anything else than these two fails

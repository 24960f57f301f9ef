"""What scanners and gateways get wrong, from the bytes of a file to the rows in Postgres and back."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.database import Database
from sluice.headers.blocks import header_of, original_bytes
from sluice.headers.extract import extract
from tests.headers.archive import receive
from tests.headers.test_extract import assert_consistent, rows
from tests.headers.test_parser import data_set, encoded

UTF_8 = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192"


def short(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HH2sxxL", tag >> 16, tag & 0xFFFF, vr, len(value) if length is None else length) + value


def nested(depth: int) -> bytes:
    inner = short(0x00080100, b"SH", b"1 ")
    for _ in range(depth):
        inner = long(0x00081032, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner)
    return inner


def at_depth(header: dict[str, Any], depth: int) -> Any:
    for _ in range(depth):
        header = header["00081032"]["Value"][0]
    return header["00080100"]["Value"]


UNKNOWN_SEQUENCE = long(
    0x00081140,
    b"UN",
    bytes.fromhex("feff00e0ffffffff") + struct.pack("<HHL", 0x0008, 0x1155, 4) + b"1.2\0"
    + bytes.fromhex("feff0de000000000feffdde000000000"),
    0xFFFFFFFF,
)  # fmt: skip

Check = Callable[[dict[str, Any], dict[str, Any]], bool]
# What stands behind a correct beginning, and what must come of it: the header, and the row of `instance`.
CASES: dict[str, tuple[bytes, Check]] = {
    "NUL": (
        short(0x00100010, b"PN", b"M\0ller^A\0") + short(0x00100020, b"LO", b"4\x007\0\0\0"),
        lambda header, row: (header["00100010"]["Value"], row["patient_id"]) == ([{"Alphabetic": "Mller^A"}], "47"),
    ),
    "four-byte UTF-8": (
        UTF_8 + short(0x00100020, b"LO", "𧿹😀".encode()),
        lambda header, row: header["00100020"]["Value"] == [row["patient_id"]] == ["𧿹😀"],
    ),
    "broken UTF-8": (
        UTF_8 + short(0x00100020, b"LO", b"a\xff\xf0\x9f"),
        lambda header, row: row["patient_id"].startswith("a\ufffd"),
    ),
    "text of 10 MB": (
        short(0x00100020, b"LO", b"4711")
        + long(0x00204000, b"UT", b"long" * 2_621_440)
        + short(0x00280010, b"US", b"\2\0"),
        lambda header, row: "length=10485760" in header["00204000"]["BulkDataURI"] and row["rows"] == 2,
    ),
    "64 sequences deep": (nested(64), lambda header, row: at_depth(header, 64) == ["1"]),
    "UN of undefined length": (
        UNKNOWN_SEQUENCE + short(0x00100020, b"LO", b"4711"),
        lambda header, row: (
            header["00081140"]["Value"] == [{"00081155": {"vr": "UI", "Value": ["1.2"]}}]
            and row["patient_id"] == "4711"
        ),
    ),
    "wrong VRs": (
        short(0x00100020, b"US", b"\x07\0") + short(0x00280010, b"LO", b"many") + short(0x00200013, b"DA", b"20261026"),
        lambda header, row: (
            (header["00280010"], row["rows"], row["patient_id"], row["instance_number"])
            == ({"vr": "LO", "Value": ["many"]}, None, "7", None)
        ),
    ),
    "a VR that does not exist": (
        short(0x00100020, b"ZZ", b"4711") + short(0x00280010, b"US", b"\2\0"),
        lambda header, row: "00100020" in header and row["rows"] == 2,
    ),
    "a tag twice": (
        short(0x00100020, b"LO", b"first ") + short(0x00280010, b"US", b"\2\0") + short(0x00100020, b"LO", b"second"),
        lambda header, row: header["00100020"]["Value"] == [row["patient_id"]] == ["second"],
    ),
    "a tag twice, around the pixels": (
        short(0x00100020, b"LO", b"first ") + long(0x7FE00010, b"OB", b"1234") + short(0x00100020, b"LO", b"second"),
        lambda header, row: (
            header["00100020"]["Value"] == [row["patient_id"]] == ["second"] and row["pixel_bytes"] == 4
        ),
    ),
    "tags out of order": (
        short(0x00280010, b"US", b"\2\0") + short(0x00100020, b"LO", b"4711"),
        lambda header, row: (row["rows"], row["patient_id"]) == (2, "4711") and list(header) == sorted(header),
    ),
}


@pytest.mark.parametrize("copies", [1, 3])
def test_bad_input_is_read_kept_and_harms_no_other(database: Database, tmp_path: Path, copies: int) -> None:
    """Several copies go into one block, and are read by the layout of the first."""
    beginning = encoded(data_set(SeriesInstanceUID="2.25.3"))
    wrong = []
    for number, (name, (added, check)) in enumerate(CASES.items()):
        archive = tmp_path / str(number)
        archive.mkdir()
        uids = [f"2.25.{number}.{copy}" for copy in range(copies)]
        series = {"series_instance_uid": f"2.25.{number}"}
        batches = receive(database, archive, [(uid, beginning + added) for uid in uids], **series)
        summary = extract(database, archive, batches[-1], workers=0)
        assert summary.indexed == copies, name
        for uid in uids:
            header = header_of(database, uid)
            (row,) = rows(database, f"select * from instance where sop_instance_uid = '{uid}'")
            if not check(header, row):
                wrong.append(f"{name}: {str(header)[:300]} {row}")
            kept = original_bytes(database, uid)
            data = beginning + added
            assert all(data[at : at + len(piece)] == piece for at, piece in kept.pieces()), name
            assert len(kept.data) < 20_000
        with database.transaction() as connection, connection.cursor() as cursor:
            cursor.execute("delete from receipt")
    assert not wrong, "\n".join(wrong)
    assert_consistent(database)

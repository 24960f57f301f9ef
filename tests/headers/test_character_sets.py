"""Every character set of PS3.3 C.12.1.1.2, from the bytes of a file to the rows in Postgres."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from sluice.database import Database
from sluice.headers.blocks import headers_of
from sluice.headers.extract import extract
from tests.headers.archive import receive
from tests.headers.test_extract import rows
from tests.headers.test_parser import data_set, encoded

# Single-byte sets: defined term, the escape of its code extension (Table C.12-3), Python's codec, a name.
SINGLE = [
    ("100", b"\x1b-A", "iso8859_1", "Buc^Jérôme"),
    ("101", b"\x1b-B", "iso8859_2", "Wałęsa^Łukasz"),
    ("109", b"\x1b-C", "iso8859_3", "Ħal^Ġorġ"),
    ("110", b"\x1b-D", "iso8859_4", "Bērziņš^Jānis"),
    ("144", b"\x1b-L", "iso8859_5", "Люкceмбypг^Пётр"),
    ("127", b"\x1b-G", "iso8859_6", "قباني^لنزار"),
    ("126", b"\x1b-F", "iso8859_7", "Διονυσιος^Αθηνα"),
    ("138", b"\x1b-H", "iso8859_8", "שרון^דבורה"),
    ("148", b"\x1b-M", "iso8859_9", "Çağlar^Şükrü"),
    ("203", b"\x1b-b", "iso8859_15", "Œuvre^Šárka"),
    ("166", b"\x1b-T", "iso8859_11", "นามสกุล^ชื่อต้น"),
    ("13", b"\x1b)I", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
]
# Names of PS3.5 annexes H, I, J and K as their bytes are printed there, and others with escapes in each component.
EXTENDED = [
    (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    ("\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "Zhang^XiaoDong=张^小东"),
    (
        "\\ISO 2022 IR 87\\ISO 2022 IR 159",
        b"Sumi^Rin=\x1b$BCK\x1b$(D\x30\x21\x1b(B^\x1b$(D\x6d\x63\x1b(B=",
        "Sumi^Rin=男丂^龥",
    ),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东=𧿹".encode(), "Wang^XiaoDong=王^小东=𧿹"),
    ("GB18030", "Wang^XiaoDong=王^小东=𧿹".encode("gb18030"), "Wang^XiaoDong=王^小东=𧿹"),
    ("GBK", "Wang^XiaoDong=王^小東".encode("gbk"), "Wang^XiaoDong=王^小東"),
    ("", b"Plain^Name", "Plain^Name"),
    ("ISO_IR 6", b"Plain^Name", "Plain^Name"),
    (
        "ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144",
        b"\x1b-AB\xfccher^\x1b-L\xbf\xf1tr=",
        "Bücher^Пёtr",
    ),
]
CASES = [
    *((f"ISO_IR {number}", name.encode(codec), name) for number, _, codec, name in SINGLE),
    *(  # the first value is used without an escape
        (f"ISO 2022 IR {number}", name.encode(codec), name) for number, _, codec, name in SINGLE
    ),
    *(  # a delimiter ends an extension (PS3.5 6.1.2.5.3), so that each component begins with its escape
        (
            f"\\ISO 2022 IR {number}",
            b"^".join(escape + part.encode(codec) for part in name.split("^")),
            name,
        )
        for number, escape, codec, name in SINGLE
    ),
    *EXTENDED,
]


def file_of(charset: str, name: bytes, study: str) -> bytes:
    """A file whose (0008,0005) and (0010,0010) hold these bytes."""

    def element(tag: bytes, vr: bytes, value: bytes) -> bytes:
        value += b" " * (len(value) % 2)
        return tag + vr + struct.pack("<H", len(value)) + value

    data = encoded(data_set(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1"))
    first, rest = data.index(b"\x08\x00\x16\x00UI"), data.index(b"\x20\x00\x0d\x00UI")
    charset_element = element(b"\x08\x00\x05\x00", b"CS", charset.encode()) if charset else b""
    inserted = element(b"\x08\x00\x81\x00", b"ST", name) + element(b"\x10\x00\x10\x00", b"PN", name)
    return data[:first] + charset_element + data[first:rest] + inserted + data[rest:]


def test_every_character_set_comes_into_the_rows(database: Database, tmp_path: Path) -> None:
    files = [(f"2.25.{n}", file_of(*case[:2], f"2.25.9.{n}")) for n, case in enumerate(CASES)]
    (batch,) = receive(database, tmp_path, files)
    assert extract(database, tmp_path, batch).indexed == len(CASES)
    names = {
        row["study_instance_uid"]: row["patient_name"]
        for row in rows(database, "select study_instance_uid, patient_name from study")
    }
    headers = dict(headers_of(database, [uid for uid, _ in files]))
    wrong = []
    for n, (charset, _, name) in enumerate(CASES):
        groups = headers[f"2.25.{n}"]["00100010"]["Value"][0]
        parts = [groups.get(key, "") for key in ("Alphabetic", "Ideographic", "Phonetic")]
        address = headers[f"2.25.{n}"]["00080081"]["Value"][0].rstrip("= ")
        found = {"json": "=".join(parts).rstrip("="), "column": names[f"2.25.9.{n}"], "text": address}
        wrong += [f"{charset!r} {where}: {value!r} for {name!r}" for where, value in found.items() if value != name]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("charset", ["ISO_IR 999", "unicode_escape", "ISO 2022 IR 999\\ISO 2022 IR 87", "\x00"])
def test_an_unknown_one_is_read_as_latin_and_nothing_breaks(database: Database, tmp_path: Path, charset: str) -> None:
    (batch,) = receive(database, tmp_path, [("2.25.1", file_of(charset, b"M\xfcller\\u0041", "2.25.9"))])
    assert extract(database, tmp_path, batch).indexed == 1
    assert rows(database, "select patient_name from study")[0]["patient_name"].startswith("Müller")

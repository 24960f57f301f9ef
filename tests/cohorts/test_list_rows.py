"""Lists as spreadsheet programs write them: every row gets a place or a reason, and the rest goes on."""

from __future__ import annotations

import csv
import io
import struct
import zipfile
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.cohorts.list_rows import MOST_ROWS, ListedRow, ListReader
from sluice.cohorts.records import ListError
from tests.cohorts.workbooks import ods, xlsx, xlsx_of_xml

DAY = date(2026, 10, 26)
HEADING = ["Accession Number", "MRN", "Remark", "Study Date"]


def read(content: str | bytes) -> list[ListedRow]:
    return list(ListReader(io.BytesIO(content.encode() if isinstance(content, str) else content)))


def keys(rows: list[ListedRow]) -> list[tuple[Any, ...]]:
    return [(row.line, row.asked.accession, row.asked.patient_id, row.asked.starts_on) for row in rows if row.asked]


def problems(rows: list[ListedRow]) -> dict[int, str]:
    return {row.line: row.problem for row in rows if row.problem}


def test_spreadsheets_as_they_come() -> None:
    rows = read(
        '\ufeff\r\n;;;\r\nName;Accession Number;MRN;Study_Date\r\nDoe;A1;;\r\n\r\n;;;\r\nX;"=""0012""";;\r\n'
        ";;007;26.10.2026\r\n;;008;\r\n;A*;;\r\n;;;2026-10-26\r\n;A2;;yesterday\r\n;A3;;31.02.2026\r\n"
    )
    assert keys(rows) == [(4, "A1", None, None), (7, "0012", None, None), (8, None, "007", DAY)]
    said = problems(rows)
    assert list(said) == [9, 10, 11, 12, 13]
    assert "needs a study date" in said[9]
    assert "Wildcards" in said[10]
    assert "no accession number" in said[11]
    assert "2026-10-26" in said[12]


@pytest.mark.parametrize(
    ("heading", "row"),
    [
        ("StudyInstanceUID", "1.2.3"),
        ("patient_id,from,to", "P1,2026-10-01,2026-10-31"),
        ("PatientID\tStudyDate", "P1\t20261026"),
        ("00080050", "A1"),
        ("sep=|\nx|Accession", "1|A1"),
        ("Our cohort of 2026\n\nAccession,age", "A1,5"),
        ('"Accession\nNumber";"a;b,c,d,e"', "A1;x"),
    ],
)
def test_columns_in_several_spellings(heading: str, row: str) -> None:
    (only,) = read(f"{heading}\n{row}\n")
    assert only.asked is not None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("name,age\nx,1\n", "AccessionNumber"),
        (b"\xff\xfe\x00", "AccessionNumber"),
        (b"%PDF-1.7\n\x00\xff", "no text and is no workbook"),
        (b"\x00" * 99, "no text and is no workbook"),
    ],
)
def test_a_file_without_a_usable_column_says_so(content: str | bytes, said: str) -> None:
    with pytest.raises(ListError, match=said):
        read(content)


@pytest.mark.parametrize(
    ("cell", "word"),
    [
        ("=cmd|' /C calc'!A0", "formula"),
        ("@SUM(A1:A9)", "formula"),
        ("+1+cmd|' /C calc'!A0", "formula"),
        ("'=1+1", "formula"),
        ("1.23457E+11", "cut its digits"),
        ("123456789012345678.0", "cut its digits"),
        ("A?", "Wildcards"),
        ("A\x07B", "cannot be read"),
        ("A" * 17, "16 characters"),
        ("x" * 200_000, "quotation marks"),
    ],
)
def test_what_a_cell_may_not_hold_is_refused_by_its_line_without_being_repeated(cell: str, word: str) -> None:
    rows = read(f"accession\nA1\n{cell}\nA2\n")
    assert keys(rows) == [(2, "A1", None, None), (4, "A2", None, None)]
    (said,) = problems(rows).values()
    assert word in said
    assert cell not in said


@pytest.mark.parametrize(
    ("text", "starts_on"),
    [
        ("2026-10-26", DAY), ("20261026", DAY), ("26.10.2026", DAY), ("2026/10/26", DAY), ("20261026.0", DAY),
        ("2026-10-26 00:00:00", DAY), ("2026-10-26T12:30", DAY),
        ("10/26/2026", "not understood"), ("26.10.26", "not understood"), ("46321", "count of days"),
        ("31.02.2026", "not understood"),
    ],
)  # fmt: skip
def test_dates_that_could_be_mistaken_are_refused(text: str, starts_on: date | str) -> None:
    (row,) = read(f"patient_id;study_date\nP1;{text}\n")
    if isinstance(starts_on, str):
        assert starts_on in (row.problem or "")
    else:
        assert row.asked is not None
        assert row.asked.starts_on == starts_on


def test_a_number_says_that_zeros_may_be_lost() -> None:
    first, second = read("accession\n12345.0\n0012345\n")
    assert first.asked is not None
    assert first.asked.accession == "12345"
    assert "zeros" in (first.note or "")
    assert second.note is None


def test_columns_that_mean_the_same_may_not_differ() -> None:
    rows = read("accession,Acc Nr,MRN\nA1,A1,\nA2,,\nA3,A4,\n")
    assert keys(rows) == [(2, "A1", None, None), (3, "A2", None, None)]
    assert "differ" in problems(rows)[4]


def test_a_quotation_mark_that_nobody_closes_costs_its_own_row_only() -> None:
    rows = read('accession\nA1\n"A2\nA3\n"A4"x\n"A\n5"\nA6\n' + "A7\n" * 2000 + '"A8')
    assert [row[1] for row in keys(rows)] == ["A1", "A3", "A6"] + ["A7"] * 2000
    assert list(problems(rows)) == [3, 5, 6, 2009]


def test_an_unclosed_row_in_the_middle_of_a_long_file_does_not_swallow_it() -> None:
    rows = read("accession\n" + '"A\n' + "A1\n" * 5000)
    assert len(keys(rows)) == 5000


# Text that a spreadsheet program may hold in a cell, and that is no heading, number, formula or quote of Excel's.
remarks = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\n\r",;\t| '), max_size=12)
identifiers = st.text("ABCXYZ0123456789-_. äé", min_size=1, max_size=14).map(lambda text: f"A{text.strip()}")
tables = st.lists(
    st.tuples(st.just("") | identifiers, st.just("") | identifiers, remarks, st.just("") | st.dates(date(1990, 1, 1))),
    max_size=8,
)


@given(tables, st.sampled_from(",;\t|"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]),
       st.sampled_from(["\r\n", "\n", "\r"]), st.booleans())  # fmt: skip
def test_any_table_in_any_dialect_is_read_as_it_was_written(
    table: list[tuple[str, str, str, Any]], separator: str, encoding: str, ends: str, quoted: bool
) -> None:
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=separator, lineterminator=ends, quoting=quoting).writerows([HEADING, *table])
    if encoding == "cp1252":
        try:
            content = text.getvalue().encode(encoding)
        except UnicodeEncodeError:
            return
    else:
        content = text.getvalue().encode(encoding)
    assert _essence(read(content)) == _wanted(table)


@settings(max_examples=12)  # each starts a process
@given(tables)
def test_any_table_in_a_workbook_is_read_as_it_was_written(table: list[tuple[str, str, str, Any]]) -> None:
    writable = [tuple(value if isinstance(value, date) else _xml_safe(value) or None for value in row) for row in table]
    assert _essence(read(xlsx({"About": [["words"]], "List": [HEADING, *writable]}))) == _wanted(table)


def _xml_safe(text: str) -> str:
    return "".join(one for one in text if one not in "\r\ufffe\uffff")


def _wanted(table: list[tuple[str, str, str, Any]]) -> list[Any]:
    return [
        (accession or None, patient or None, day or None) if accession or (patient and day) else "refused"
        for accession, patient, remark, day in table
        if accession or patient or day or remark.strip()
    ]


def _essence(rows: list[ListedRow]) -> list[Any]:
    return [
        (row.asked.accession, row.asked.patient_id, row.asked.starts_on) if row.asked else "refused" for row in rows
    ]


@given(st.binary(max_size=300) | st.text(st.sampled_from('\ufeff"\n\r,;=a\x00'), max_size=80).map(str.encode))
def test_any_bytes_below_a_heading_give_rows_or_one_clear_error(content: bytes) -> None:
    for row in read(b"accession,x\n" + content):
        assert (row.asked is None) == (row.problem is not None)
    try:
        read(content)
    except ListError:
        pass


def test_a_workbook_gives_dates_numbers_and_the_sheet_with_a_heading() -> None:
    content = xlsx(
        {
            "About": [["made by", "X"]],
            "Old": [["accession"], ["A0"]],
            "List": [["title"], [], ["Accession", "MRN", "StudyDate"], ["A1", None, DAY], [12345, None, 20261026.0],
                     [1.5e17, None, None], [None, "P1", 46321], [1e999, None, None], ["=cmd()", None, None]],
        },
        hidden=["Old"],
    )  # fmt: skip
    rows = read(content)
    assert keys(rows) == [(4, "A1", None, DAY), (5, "12345", None, DAY)]
    assert list(problems(rows)) == [6, 7, 8, 9]
    assert "zeros" in (rows[1].note or "")


def test_an_opendocument_sheet_is_read() -> None:
    assert keys(read(ods([["accession", "x"], ["A1", "ä"]]))) == [(2, "A1", None, None)]


def corner() -> bytes:
    """One cell in the last corner of a sheet: 17 thousand million cells."""
    return xlsx_of_xml('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')


def bomb() -> bytes:
    """A workbook that unpacks to 2 GB, by what its directory says."""
    made = io.BytesIO(xlsx({"S": [["accession"]]}))
    with (
        zipfile.ZipFile(made, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/media/x", "w", force_zip64=True) as part,
    ):
        for _ in range(2048):
            part.write(bytes(1 << 20))
    return made.getvalue()


def protected() -> bytes:
    """The compound file (MS-CFB) in which Office puts an encrypted workbook."""
    free, end = 0xFFFFFFFF, 0xFFFFFFFE
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, end, 0, end, 0) + struct.pack("<109I", 0, *[free] * 108)
    fat = struct.pack("<128I", 0xFFFFFFFD, end, *[free] * 126)

    def entry(name: str, kind: int, child: int) -> bytes:
        text = name.encode("utf-16-le")
        return struct.pack(
            "<64sHBBIII16sI8s8sIQ", text, len(text) + 2, kind, 1, free, free, child, b"", 0, b"", b"", end, 0
        )

    return head + fat + entry("Root Entry", 5, 1) + entry("EncryptedPackage", 2, free) + bytes(256)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (corner(), "more than can be read"),
        (bomb(), "more than can be read"),
        (protected(), "password"),
        (xlsx({"S": [["accession"], ["A1"]]})[:-300], "damaged"),
        (b"PK\x03\x04 nothing", "damaged"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "damaged"),
        (xlsx({"S": [["colour"], ["red"]]}), "AccessionNumber"),
        (xlsx_of_xml("<row r='1'><c r='A1' t='inlineStr'><is><t>accession</t>"), "damaged"),
    ],
    ids=["corner", "bomb", "protected", "cut", "no workbook", "no compound file", "no heading", "broken XML"],
)
def test_a_hostile_or_broken_workbook_ends_in_one_message(content: bytes, word: str) -> None:
    with pytest.raises(ListError, match=word):
        read(content)


def test_more_rows_than_a_sheet_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_ROWS >= 1_000_000
    monkeypatch.setattr("sluice.cohorts.list_rows.MOST_ROWS", 3)
    with pytest.raises(ListError, match="Split it"):
        read("accession\n" + "A1\n" * 4)

"""Tables as spreadsheet programs write them, record by record: CSV in every dialect, and workbooks.

Nothing is ever evaluated: a formula in a CSV is its text, of a formula in a workbook the value is read that
the spreadsheet program stored beside it.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from sluice.cohorts.records import OLE, ZIP, Heading, ListError, Record, find_heading, no_heading
from sluice.cohorts.workbook import workbook_records

SEPARATORS = ",;\t|"
SAMPLE = 1 << 16  # characters
LONGEST_LINE = 1 << 20  # characters
LINES_A_RECORD = 1_000  # a quotation mark that nobody closes must not swallow the rest of the file
CHUNK = 1 << 20
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def records_of(source: BinaryIO, heading: Heading) -> Iterator[Record]:
    """The records below and with the heading, which comes first.

    Args:
        source: a seekable file; its content decides what it is, not its name.
        heading: how many columns it understands in the cells of a heading; 0 where they are none.

    Raises:
        ListError: no heading, or a workbook that cannot be read.
    """
    source.seek(0)
    begin = source.read(len(OLE))
    source.seek(0)
    if begin.startswith((ZIP, OLE)):
        yield from workbook_records(source)
        return
    yield from _csv_records(source, heading)


def _no_list(sample: str) -> ListError:
    """What to say of a file that is no list, by how it begins."""
    if not sample.strip("\ufeff \t\r\n"):
        return ListError("The file is empty.")
    if any(letter < " " and letter not in "\t\n\v\f\r" for letter in sample[:1000]):
        return ListError("The file holds no text and is no workbook. Save the list as CSV or XLSX.")
    return no_heading()


def _csv_records(source: BinaryIO, heading: Heading) -> Iterator[Record]:
    text = io.TextIOWrapper(source, _encoding(source), errors="replace", newline="")
    try:
        sample = text.read(SAMPLE)
        separators = _named_separator(sample) or SEPARATORS
        tried = [(find_heading(_split(io.StringIO(sample, newline=""), one), heading), one) for one in separators]
        (start, _), separator = max(tried, key=lambda each: each[0][1])
        if not start:
            raise _no_list(sample)
        text.seek(0)
        for record in _split(text, separator):
            if record[0] >= start:
                yield record
    finally:
        text.detach()


def _encoding(source: BinaryIO) -> str:
    """UTF-8 or UTF-16, with or without byte order mark; what is neither is taken for Windows-1252."""
    source.seek(0)
    head = source.read(1 << 12)
    for mark, name in _BOMS:
        if head.startswith(mark):
            source.seek(0)
            return name
    if head[1::2].count(0) > len(head) // 4:
        source.seek(0)
        return "utf-16-le"
    if head[0::2].count(0) > len(head) // 4:
        source.seek(0)
        return "utf-16-be"
    decoder = codecs.getincrementaldecoder("utf-8")()
    source.seek(0)
    try:
        while piece := source.read(CHUNK):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    finally:
        source.seek(0)
    return "utf-8"


def _named_separator(sample: str) -> str | None:
    """The separator that Excel's own first line `sep=;` names."""
    first = sample.partition("\n")[0].strip("\r\ufeff").lower()
    return first[4] if len(first) == 5 and first.startswith("sep=") and first[4] in SEPARATORS else None


def _split(text: io.TextIOBase, separator: str) -> Iterator[Record]:
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield lines.number, None
            lines.give_back()
            continue
        yield lines.number, cells  # type: ignore[misc]  # list[str] is a list of cells


class _Lines:
    """Lines for a csv reader, of which those after the first of a broken record can be had again."""

    def __init__(self, text: io.TextIOBase) -> None:
        self.number = 0  # of the record's first line, from 1
        self._text = text
        self._taken: list[str] = []
        self._again: deque[str] = deque()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self._taken) >= LINES_A_RECORD:
            raise csv.Error("too many lines")
        line = self._again.popleft() if self._again else self._text.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        self._taken.append(line)
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            while (rest := self._text.readline(LONGEST_LINE)) and rest[-1] not in "\r\n":
                pass
            raise csv.Error("too long a line")
        return line

    def begin(self) -> None:
        """The next line begins a record."""
        self.number += len(self._taken) or (0 if self.number else 1)
        self._taken.clear()

    def give_back(self) -> None:
        """Of the record that broke, have the lines after the first again."""
        self._again.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]

"""What the rows of a researcher's list ask for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import BinaryIO

from sluice.cohorts.headings import KEYS, columns_in, positions_of, text_of
from sluice.cohorts.records import Cell, ListError, Record
from sluice.cohorts.sheets import records_of
from sluice.pacs.answers import day_of
from sluice.pacs.find.cohort import CohortRow, problem_with

MOST_ROWS = 1_048_576  # as many as a sheet of a spreadsheet program has
_TIME = r"(?:[T ].*)?"
_DATES = (
    (re.compile(rf"(\d{{4}})[-/](\d{{1,2}})[-/](\d{{1,2}}){_TIME}"), "ymd"),
    (re.compile(rf"(\d{{1,2}})\.(\d{{1,2}})\.(\d{{4}}){_TIME}"), "dmy"),
)
_KEPT_AS_TEXT = re.compile(r'="([^"]*)"')  # what Excel writes to keep zeros
_FORMULA = re.compile(r"[=@]|[+-].*[(|!]", re.DOTALL)
_FLOAT = re.compile(r"(\d+)\.0+")
_SHORTENED = re.compile(r"\d(\.\d+)?[eE]\+\d+")
_UNREADABLE = re.compile("[\x00-\x1f\x7f\ufffd]")
_SERIAL = re.compile(r"\d{5}(\.\d+)?")
MOST_DIGITS = 15  # that a spreadsheet program keeps of a number
CUT = "The spreadsheet program made a number of it and cut its digits. Export the column again, formatted as text."
NUMBER = "The cell held a number: zeros before it, if there were any, are lost."


@dataclass(frozen=True, slots=True)
class ListedRow:
    """One row of a list.

    Attributes:
        line: in the file or the sheet, from 1; of a row over several lines the first.
        asked: what it asks for; None where it is refused.
        problem: why it is refused.
        note: what a person should know of how it was read.
    """

    line: int
    asked: CohortRow | None = None
    problem: str | None = None
    note: str | None = None


class ListReader:
    """A list, read row by row.

    Args:
        source: the file, seekable: CSV or a workbook (`sluice.cohorts.sheets`).

    Attributes:
        columns: the headings that are understood, by what they mean.
        ignored: how many other headings there are.

    Raises:
        ListError: the file cannot be used as a whole; also while rows are read.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._records = records_of(source, columns_in)
        _, heading = next(self._records)
        titles = [text_of(cell) for cell in heading or ()]
        self._positions = positions_of(titles)
        self.columns = {name: [titles[at] for at in places] for name, places in self._positions.items()}
        self.ignored = sum(bool(title) for title in titles) - sum(map(len, self._positions.values()))

    def __iter__(self) -> Iterator[ListedRow]:
        for number, record in enumerate(self._records, start=1):
            if number > MOST_ROWS:
                raise ListError(f"The list has more than {MOST_ROWS:,} rows. Split it into several.")
            row = self._row(record)
            if row is not None:
                yield row

    def _row(self, record: Record) -> ListedRow | None:
        line, cells = record
        if cells is None:
            return ListedRow(line, problem="The row's quotation marks are not in order, or the line is too long.")
        if not any(cell.strip() if isinstance(cell, str) else True for cell in cells):
            return None
        try:
            return self._understood(line, cells)
        except ValueError as error:
            return ListedRow(line, problem=str(error))

    def _understood(self, line: int, cells: Sequence[Cell]) -> ListedRow:
        note: str | None = None
        keys: dict[str, str | None] = dict.fromkeys(KEYS)
        days: dict[str, date | None] = {}
        for name, places in self._positions.items():
            held = _one_of([cells[at] for at in places if at < len(cells)])
            if name not in keys:
                days[name] = _day(held)
                continue
            value, was_number = _identifier(held)
            keys[name] = value or None
            if was_number and name != "study_uid":
                note = NUMBER
        if not any(keys.values()):
            raise ValueError("The row has no accession number, patient id or study UID.")
        day = days.get("date")
        row = CohortRow(line, **keys, starts_on=days.get("starts_on") or day, ends_on=days.get("ends_on") or day)
        if row.patient_id and not (row.accession or row.study_uid) and not row.starts_on:
            raise ValueError("A patient id needs a study date, or from and to: all studies of a patient are too many.")
        if problem := problem_with(row):
            raise ValueError(problem)
        return ListedRow(line, row, note=note)


def _one_of(cells: Sequence[Cell]) -> Cell:
    """The value of columns that mean the same."""
    held = [cell for cell in cells if not isinstance(cell, str) or cell.strip()]
    if not held:
        return ""
    if any(one != held[0] for one in held[1:]):
        raise ValueError("Two columns of the list mean the same, and differ in this row. Leave one of them out.")
    return held[0]


def _identifier(cell: Cell) -> tuple[str, bool]:
    """An identifier as it was before a spreadsheet program took hold of it, and whether it was a number there."""
    if isinstance(cell, str):
        value = cell.strip()
        if value[:1] in ("=", "'"):
            kept = _KEPT_AS_TEXT.fullmatch(value)
            value = kept[1].strip() if kept else value.removeprefix("'").strip()
        if _FORMULA.match(value):
            raise ValueError("The cell holds a formula. Formulas are not calculated: put the value in its place.")
        if _UNREADABLE.search(value):
            raise ValueError("The row holds characters that cannot be read. Save the list as CSV in UTF-8.")
        if matched := _FLOAT.fullmatch(value):
            value = matched[1]
        elif not _SHORTENED.fullmatch(value):
            return value, False
        else:
            raise ValueError(CUT)
    else:
        if not math.isfinite(cell) or cell != int(cell):
            raise ValueError("The cell holds a number with a fraction, which is no identifier.")
        value = f"{cell:.0f}"
    if len(value) > MOST_DIGITS:
        raise ValueError(CUT)
    return value, True


def _day(cell: Cell) -> date | None:
    value = cell.strip() if isinstance(cell, str) else f"{cell:.10g}"
    if not value:
        return None
    if found := day_of(_FLOAT.sub(r"\1", value)):
        return found
    for pattern, order in _DATES:
        if matched := pattern.fullmatch(value):
            parts = [int(part) for part in matched.groups()]
            try:
                return date(*parts) if order == "ymd" else date(*reversed(parts))
            except ValueError:
                break
    if _SERIAL.fullmatch(value):
        raise ValueError("The date is a spreadsheet program's count of days. Format the column as a date.")
    raise ValueError("The date is not understood: write it as 2026-10-26.")

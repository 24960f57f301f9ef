"""Records of a table, and the errors of a list: what the readers of CSV and of workbooks have in common.

A record is a line number and its cells; `None` instead of cells where the line cannot be taken apart, and the rest
goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Cell = str | int | float
Record = tuple[int, list[Cell] | None]
Heading = Callable[[list[Cell]], int]

ZIP, OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # XLSX, XLSB, ODS; XLS and encrypted workbooks
HEADING_WITHIN = 20  # records; above the heading some write a title


class ListError(ValueError):
    """The file cannot be used as a whole; the message says why, and what to do."""


def find_heading(records: Iterator[Record], heading: Heading) -> tuple[int, int]:
    """Line of the first record that is a heading, and how many columns it names; (0, 0) where there is none."""
    seen = 0
    for line, cells in records:
        if cells is None or not any(cells):
            continue
        if found := heading(cells):
            return line, found
        seen += 1
        if seen == HEADING_WITHIN:
            break
    return 0, 0


def no_heading() -> ListError:
    """What to say of a table without a heading."""
    return ListError(
        "The first line names no column to find a study by. Name one of them AccessionNumber, PatientID (with "
        "StudyDate, or From and To) or StudyInstanceUID."
    )

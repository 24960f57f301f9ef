"""A list's answers as a CSV that a spreadsheet program opens without running anything of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from sluice.cohorts.lists import every_row
from sluice.csv_cells import inert
from sluice.database import Database

COLUMNS = {
    "line": "line",
    "accession": "accession_number",
    "patient_id": "patient_id",
    "study_uid": "study_instance_uid",
    "starts_on": "from",
    "ends_on": "to",
    "answer": "answer",
    "words": "reason",
    "studies": "studies",
    "instances_here": "instances_here",
    "instances_listed": "instances_listed",
}
_PIECE = 1_000  # rows


def answers_csv(database: Database, list_id: int) -> Iterator[str]:
    """The answers by line, in pieces of text; with a byte order mark, which Excel needs to read UTF-8.

    `sluice.cohorts.list_rows` reads it again: what begins like a formula has an apostrophe before it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    text.write("\ufeff")
    writer.writerow(COLUMNS.values())
    for number, row in enumerate(every_row(database, list_id), start=1):
        writer.writerow([inert(row[name]) for name in COLUMNS])
        if number % _PIECE == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()

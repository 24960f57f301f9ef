"""Headings of a researcher's list: which columns are understood, however they are spelled."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sluice.cohorts.records import Cell

COLUMNS = {
    "accession": {"accession", "accessionnumber", "accessionno", "accnr", "acc", "accessionid", "00080050",
                  "akzessionsnummer"},
    "patient_id": {"patientid", "patid", "mrn", "pid", "patientnumber", "patient", "00100020", "patientennummer",
                   "patientenid"},
    "study_uid": {"studyinstanceuid", "studyuid", "siuid", "0020000d"},
    "date": {"studydate", "date", "day", "examdate", "00080020", "studiendatum", "untersuchungsdatum"},
    "starts_on": {"startson", "from", "start", "startdate", "datefrom", "studydatefrom", "firstdate", "von"},
    "ends_on": {"endson", "to", "until", "end", "enddate", "dateto", "studydateto", "lastdate", "bis"},
}  # fmt: skip
KEYS = ("accession", "patient_id", "study_uid")
_NAMES = {spelling: name for name, spellings in COLUMNS.items() for spelling in spellings}


def columns_in(cells: Sequence[Cell]) -> int:
    """How many columns of a heading are understood; 0 where none names a study."""
    found = positions_of([text_of(cell) for cell in cells])
    return len(found) if found.keys() & set(KEYS) else 0


def positions_of(titles: Sequence[str]) -> dict[str, list[int]]:
    """Where the columns are that are understood, by what they mean; more than one where headings mean the same."""
    found: dict[str, list[int]] = {}
    for at, title in enumerate(titles):
        if name := _NAMES.get(re.sub(r"[^a-z0-9]", "", title.casefold())):
            found.setdefault(name, []).append(at)
    return found


def text_of(cell: Cell) -> str:
    """A cell as text."""
    return cell.strip() if isinstance(cell, str) else str(cell)

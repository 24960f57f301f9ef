"""A researcher's list as it comes out of a spreadsheet: every row gets a place or an answer."""

from __future__ import annotations

import csv
import io
import re
from datetime import date

from sluice.pacs.answers import day_of
from sluice.pacs.find.cohort import CohortRow, RowAnswer

COLUMNS = {
    "accession": {"accession", "accessionnumber", "accessionno", "accnr", "acc", "accessionid", "00080050"},
    "patient_id": {"patientid", "patid", "mrn", "pid", "patientnumber", "patient", "00100020"},
    "study_uid": {"studyinstanceuid", "studyuid", "siuid", "0020000d"},
    "date": {"studydate", "date", "day", "examdate", "00080020"},
    "starts_on": {"startson", "from", "start", "startdate", "datefrom", "studydatefrom", "firstdate"},
    "ends_on": {"endson", "to", "until", "end", "enddate", "dateto", "studydateto", "lastdate"},
}
FORMATS = (
    (re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ].*)?"), "ymd"),
    (re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})"), "dmy"),
)


def read_cohort_csv(content: str | bytes) -> tuple[list[CohortRow], list[RowAnswer]]:
    """Rows of a list with a header line, and an answer for each row that cannot be asked.

    Comma, semicolon or tab; with or without BOM; UTF-8 or Windows-1252. Column names in several spellings (`Accession
    Number`, `MRN`, `StudyInstanceUID`, `study_date`, `from`, `to`, …); other columns are ignored. Dates as
    `2026-10-26`, `20261026` or `26.10.2026`; a form whose day and month could be mistaken is refused. Empty lines
    are passed over.

    Raises:
        ValueError: the header names no column to find a study by; the message says which are understood.
    """
    lines = _decoded(content).splitlines()
    start = next((number for number, line in enumerate(lines) if line.strip(" ,;\t")), len(lines))
    separator = max(",;\t", key=(lines[start] if start < len(lines) else "").count)
    table = csv.reader(io.StringIO("\n".join(lines[start:])), delimiter=separator)
    columns = _columns(next(table, []))
    rows: list[CohortRow] = []
    answers: list[RowAnswer] = []
    for cells in table:
        number = start + table.line_num
        if not any(cell.strip() for cell in cells):
            continue
        values = {name: cells[position].strip() for name, position in columns.items() if position < len(cells)}
        try:
            rows.append(_row(number, values))
        except ValueError as error:
            answers.append(RowAnswer(number, "refused", str(error)))
    return rows, answers


def _decoded(content: str | bytes) -> str:
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _columns(header: list[str]) -> dict[str, int]:
    columns: dict[str, int] = {}
    for position, title in enumerate(header):
        plain = re.sub(r"[^a-z0-9]", "", title.casefold())
        for name, spellings in COLUMNS.items():
            if plain in spellings:
                columns.setdefault(name, position)
    if not columns.keys() & {"accession", "patient_id", "study_uid"}:
        raise ValueError(
            "The first line names no column to find a study by. Name one of them AccessionNumber, PatientID (with "
            "StudyDate, or From and To) or StudyInstanceUID."
        )
    return columns


def _row(number: int, values: dict[str, str]) -> CohortRow:
    identifiers = {name: _plain(values.get(name, "")) for name in ("accession", "patient_id", "study_uid")}
    if not any(identifiers.values()):
        raise ValueError("The row has no accession number, patient id or study UID.")
    if any(set(value) & set("*?\\") for value in identifiers.values()):
        raise ValueError("Wildcards (* ? \\) are not taken: they could match other patients.")
    day = _date(values.get("date", ""))
    starts_on, ends_on = _date(values.get("starts_on", "")) or day, _date(values.get("ends_on", "")) or day
    if starts_on and ends_on and starts_on > ends_on:
        raise ValueError("The dates are in the wrong order.")
    if identifiers["patient_id"] and not (identifiers["accession"] or identifiers["study_uid"]) and not starts_on:
        raise ValueError("A patient id needs a study date, or from and to: all studies of a patient are too many.")
    return CohortRow(number, **{name: value or None for name, value in identifiers.items()}, starts_on=starts_on,
                     ends_on=ends_on)  # fmt: skip


def _plain(value: str) -> str:
    """A cell without what spreadsheets put around numbers to keep their zeros: `="0012"` or `'0012`."""
    matched = re.fullmatch(r'="?([^"]*)"?', value)
    return (matched[1] if matched else value.removeprefix("'")).strip()


def _date(value: str) -> date | None:
    if not value:
        return None
    if found := day_of(value):
        return found
    for pattern, order in FORMATS:
        if matched := pattern.fullmatch(value):
            parts = [int(part) for part in matched.groups()]
            try:
                return date(*parts) if order == "ymd" else date(*reversed(parts))
            except ValueError:
                break
    raise ValueError("The date is not understood: write it as 2026-10-26.")

"""Researchers' lists: kept row by row, each with an answer that follows what arrives.

    kept = add_list(database, "radiographs", "thorax-2019", file, "list.xlsx", "rita")
    answers = answer_list(database, kept.list_id)

A list's rows name patients. They stand in `cohort_list_row` and nowhere else: not in logs, messages, XCom or URLs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, BinaryIO, Literal, get_args

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import Json

from sluice.cohorts.list_rows import ListedRow, ListReader
from sluice.cohorts.records import ListError
from sluice.database import Database, copy_rows, named_query, select

Answer = Literal["found", "several", "not-found", "not-yet", "refused"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)
_COPIED = 20_000  # rows held in memory
_COLUMNS = (
    "list_id",
    "line",
    "accession",
    "patient_id",
    "study_uid",
    "starts_on",
    "ends_on",
    "note",
    "answer",
    "reason",
)


@dataclass(frozen=True)
class CohortList:
    """A list as it is kept.

    Attributes:
        list_id: its number; the only name it has in URLs.
        project, name: of the cohort that it asks for.
        file_name, sha256: of the file that was uploaded, which is not kept.
        columns: meaning to the headings that say it; `ignored` counts the others.
        answers: number of rows by answer.
        doubles: rows that ask for the same as an earlier one.
        answered_at: when its rows were last compared with what is known.
    """

    list_id: int
    project: str
    name: str
    file_name: str
    sha256: str
    columns: dict[str, list[str]]
    ignored: int
    uploaded_by: str
    uploaded_at: datetime
    answered_at: datetime | None
    answers: dict[str, int] = field(default_factory=dict)
    doubles: int = 0

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(self.answers.values())

    @property
    def window_key(self) -> str:
        """The window of its cohort."""
        return f"cohort/{self.project}/{self.name}"


def add_list(
    database: Database, project: str, name: str, source: BinaryIO, file_name: str, by: str, replace: bool = False
) -> CohortList:
    """Keep a list and answer its rows by what is known. The same file under the same name again changes nothing.

    Args:
        project, name: the cohort that it asks for.
        source: the file, seekable: CSV or a workbook.
        by: who uploads it.
        replace: take the place of another list of this name.

    Raises:
        ListError: the file cannot be used, or the name is another list's.
    """
    digest = _digest(source)
    before = find_list(database, project, name)
    if before is not None and before.sha256 == digest:
        answer_list(database, before.list_id)
        return before
    if before is not None and not replace:
        raise ListError(
            f"There is a list of the name {name} with other rows already. Replace it, or choose another name."
        )
    reader = ListReader(source)
    with database.transaction() as connection:
        if before is not None:
            _delete(connection, before.list_id)
        kept = select(
            connection,
            "insert into cohort_list (project, name, file_name, sha256, columns, ignored, uploaded_by) "
            "values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing returning list_id",
            (project, name, file_name[:200], digest, Json(reader.columns), reader.ignored, by),
        )
        if not kept:
            raise ListError(f"Somebody else uploads a list of the name {name} at this moment. Look at it first.")
        list_id = int(kept[0]["list_id"])
        rows = (_as_row(list_id, row) for row in reader)
        count = 0
        while part := list(islice(rows, _COPIED)):
            copy_rows(connection, "cohort_list_row", _COLUMNS, part, expect_new=True)
            count += len(part)
        if not count:
            raise ListError("The list has a heading and no rows.")
        with connection.cursor() as cursor:
            cursor.execute("analyze cohort_list_row")
            cursor.execute(named_query("list_doubles"), {"list_id": list_id})
        _answer(connection, list_id)
    found = find_list(database, project, name)
    assert found is not None
    return found


def answer_list(database: Database, list_id: int) -> dict[str, int]:
    """Answer the rows by what is known now; return the number of rows by answer."""
    with database.transaction() as connection:
        _answer(connection, list_id)
    (now,) = lists(database, list_id=list_id) or (None,)
    return now.answers if now else {}


def lists(
    database: Database, project: str | None = None, name: str | None = None, list_id: int | None = None
) -> list[CohortList]:
    """The lists that there are, newest first."""
    found = database.rows("cohort_lists", {"project": project, "name": name, "list_id": list_id})
    return [CohortList(**row) for row in found]


def find_list(database: Database, project: str, name: str) -> CohortList | None:
    """The list of a cohort, if it has one."""
    found = lists(database, project, name)
    return found[0] if found else None


def delete_list(database: Database, list_id: int) -> bool:
    """Forget a list with its rows; whether there was one. What was fetched for it stays."""
    with database.transaction() as connection:
        return _delete(connection, list_id)


def rows_of(
    database: Database, list_id: int, answer: Answer | None = None, after: int = 0, size: int = 100
) -> tuple[list[dict[str, Any]], int | None]:
    """Rows with their answers in words (`words`), some at a time, and after which line the next ones begin.

    Each is a dict with the columns of `cohort_list_row` that `sql/queries/list_rows.sql` names.
    """
    rows = database.rows("list_rows", {"list_id": list_id, "answer": answer, "after": after, "size": size + 1})
    shown = [row | {"words": words_for(row)} for row in rows[:size]]
    return shown, shown[-1]["line"] if len(rows) > size else None


def every_row(database: Database, list_id: int, size: int = 5_000) -> Iterator[dict[str, Any]]:
    """All rows as `rows_of` gives them, by line; memory stays flat."""
    after: int | None = 0
    while after is not None:
        rows, after = rows_of(database, list_id, after=after, size=size)
        yield from rows


def words_for(row: dict[str, Any]) -> str:
    """A row's answer as a sentence, without an identifier."""
    said = _sentence(row)
    if row["same_as"] is not None:
        said = f"Asks for the same as line {row['same_as']}. {said}"
    return f"{said} {row['note']}" if row["note"] else said


def _sentence(row: dict[str, Any]) -> str:
    here, listed, studies = row["instances_here"], row["instances_listed"], row["studies"]
    match row["answer"]:
        case "found":
            said = f"One study; {here} of {_instances(listed)} here."
        case "several":
            said = f"{studies} studies match; {here} of {_instances(listed)} here. All of them are taken."
        case "not-yet" if studies:
            said = f"The PACS lists it with {_instances(listed)}; nothing of it is here yet."
        case "not-yet":
            said = "Nothing of it is known here, and the PACS was not asked yet."
        case _:
            said = ""
    if row["reason"]:
        said = f"{said} {row['reason']}".strip()
    if row["answer"] == "not-found" and not row["note"] and (row["accession"] or "").isdigit():
        said = f"{said} Does it begin with zeros there? A spreadsheet program cuts them off."
    return said


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"


def _as_row(list_id: int, row: ListedRow) -> tuple[Any, ...]:
    asked = row.asked
    if asked is None:
        return (list_id, row.line, None, None, None, None, None, None, "refused", row.problem)
    keys = (asked.accession, asked.patient_id, asked.study_uid, asked.starts_on, asked.ends_on)
    return (list_id, row.line, *keys, row.note, "not-yet", None)


def _answer(connection: Connection, list_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select from cohort_list where list_id = %s for update", (list_id,))
        cursor.execute(
            f"create temporary table matched on commit drop as {named_query('list_matches')}", {"list_id": list_id}
        )
        cursor.execute(
            "delete from cohort_list_study k where list_id = %s and not asked and not exists "
            "(select from matched m where (m.line, m.study_instance_uid) = (k.line, k.study_instance_uid))",
            (list_id,),
        )
        cursor.execute(
            "insert into cohort_list_study (list_id, line, study_instance_uid, asked) "
            "select %s, line, study_instance_uid, false from matched on conflict do nothing",
            (list_id,),
        )
        cursor.execute("drop table matched")
        cursor.execute("analyze cohort_list_study")
        cursor.execute(named_query("list_answers"), {"list_id": list_id})
        cursor.execute("update cohort_list set answered_at = now() where list_id = %s", (list_id,))


def _delete(connection: Connection, list_id: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("delete from cohort_list where list_id = %s", (list_id,))
        return bool(cursor.rowcount)


def _digest(source: BinaryIO) -> str:
    source.seek(0)
    return hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]

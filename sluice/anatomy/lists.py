"""Mappings as CSV, so that hospitals share what they taught; and what waits, as lines for a terminal."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from sluice.anatomy.rederive import Rederived, apply_pending
from sluice.anatomy.teaching import Lesson, TeachingError, add_mapping
from sluice.csv_cells import as_written, inert
from sluice.database import Database, select

COLUMNS = tuple(field.name for field in fields(Lesson))  # kind, said, value, …; `value` empty: says nothing
PAGE = 200


def export(database: Database, out: TextIO, kind: str | None = None, language: str | None = None) -> int:
    """Write the mappings that stand, oldest first; how many. A text may name a patient: look before you share it."""
    with database.transaction() as connection:
        rows = select(
            connection,
            "select * from anatomy_mapping where withdrawn_at is null and (%(kind)s::text is null or kind = %(kind)s) "
            "and (%(language)s::text is null or language = %(language)s) order by mapping_id",
            {"kind": kind, "language": language},
        )
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if row[name] is None else inert(row[name]) for name in COLUMNS] for row in rows)
    return len(rows)


def read_lessons(path: Path) -> list[Lesson]:
    """The lessons of a CSV file; columns that are not ours are passed over.

    Raises:
        TeachingError: a line makes no sense; names the line, not its text.
    """
    lessons = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lacking = {"kind", "said", "value"}.difference(reader.fieldnames or ())
        if lacking:
            raise TeachingError(f"{path.name} has no column {', '.join(sorted(lacking))}. Export one to see the form.")
        for row in reader:
            given: dict[str, Any] = {name: as_written((row.get(name) or "").strip()) or None for name in COLUMNS}
            lesson = Lesson(**given | {"said": given["said"] or ""})
            try:
                lesson.check()
            except TeachingError as error:
                raise TeachingError(f"{path.name}, line {reader.line_num}: {error} Nothing was taken.") from None
            lessons.append(lesson)
    return lessons


def bring_in(
    database: Database, lessons: list[Lesson], by: str, progress: Callable[[Rederived], None] | None = None
) -> tuple[int, Rederived]:
    """Add all of them or none, and apply them; how many are new, and what changed."""
    with database.transaction() as connection:
        before = _newest(connection)
        for lesson in lessons:
            add_mapping(connection, lesson, by)
        new = select(connection, "select count(*) as n from anatomy_mapping where mapping_id > %s", (before,))[0]["n"]
    return int(new), apply_pending(database, progress)


def _newest(connection: Any) -> int:
    return int(select(connection, "select coalesce(max(mapping_id), 0) as newest from anatomy_mapping")[0]["newest"])


def waiting(database: Database, kind: str, modality: str | None, most: int) -> Iterator[dict[str, Any]]:
    """Texts that wait for a word, most frequent first, at most so many."""
    asked: dict[str, Any] = {"kind": kind, "modality": modality, "station": None, "source_tag": None}
    asked |= {"after_series": None, "after_key": "", "after_tag": ""}
    while most > 0:
        rows = database.rows("page_anatomy_pile", asked | {"page_size": min(PAGE, most)})
        yield from rows
        most -= len(rows)
        if len(rows) < PAGE:
            return
        asked |= {"after_series": rows[-1]["series"], "after_key": rows[-1]["key"], "after_tag": rows[-1]["source_tag"]}

"""What people confirmed, as training takes it: rows for the snapshot, and the CSV of labels that the form of
train_models and `sluice anatomy strategies --truth` read."""

from __future__ import annotations

import csv
from typing import IO, Any

from sluice.annotation.answers import check_task
from sluice.csv_cells import inert
from sluice.database import Database
from sluice.settings import settings

COLUMNS = ("sop_instance_uid", "region", "label", "examined", "origin", "readers", "adjudicator")


def confirmed(database: Database, task: str) -> list[dict[str, Any]]:
    """Films with labels that training may take, each with its `origin`: `adjudicated`, `agreed`, or `single` where
    `settings().annotation_single_reader` says that one reader is enough. Nothing opted out, nothing unclear.

    Raises:
        AnnotationError: there is no such task.
    """
    check_task(task)
    return database.rows("confirmed_films", {"task": task, "single": settings().annotation_single_reader})


def write_csv(database: Database, task: str, out: IO[str]) -> int:
    """Confirmed films as CSV, one line for each visible region of a film and one at least; how many films.

    Raises:
        AnnotationError: there is no such task.
    """
    films = confirmed(database, task)
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for film in films:
        readers = inert(" | ".join(film["reader_names"]))
        for region in film["visible"] or [""]:
            writer.writerow(
                [film["sop_instance_uid"], region, film["label"], film["examined"] or "", film["origin"], readers,
                 inert(film["adjudicator"] or "")]
            )  # fmt: skip
    return len(films)

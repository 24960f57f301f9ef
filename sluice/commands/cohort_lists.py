"""`sluice cohort list`: researchers' lists at a terminal, like on the page Cohorts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.cohorts.lists import CohortList
    from sluice.database import Database

FAILED = 1  # exit code


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The options of `cohort list`."""
    orders = added.add_subparsers(title="what to do", required=True, metavar="WHAT", dest="list_order")
    add = orders.add_parser("add", help="keep a list and answer its rows by what is known; nothing moves")
    add.add_argument("file", type=path, help="CSV, XLSX, XLS or ODS with a heading")
    add.add_argument("--replace", action="store_true", help="take the place of another list of this name")
    show = orders.add_parser("show", help="the lists, with how many rows have which answer")
    answers = orders.add_parser("answers", help="every row with its answer, as CSV on standard output")
    delete = orders.add_parser("delete", help="forget a list with its rows; what was fetched for it stays")
    for order in (add, show, answers, delete):
        if order is not show:
            order.add_argument("--project", type=said, required=True, help="whose cohort it is")
            order.add_argument("--name", type=said, required=True, help="of the cohort")
        order.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Do it; return the exit code."""
    from sluice.cohorts.records import ListError

    try:
        return {"add": _add, "show": _show, "answers": _answers, "delete": _delete}[options.list_order](
            options, database()
        )
    except ListError as error:
        print(f"sluice: {error}", file=sys.stderr)
        return FAILED


def _add(options: argparse.Namespace, database: Database) -> int:
    from getpass import getuser

    from sluice.cohorts.lists import add_list
    from sluice.release.projects import load_project

    load_project(options.project)
    with options.file.open("rb") as source:
        by = f"{getuser()} at a terminal"
        kept = add_list(database, options.project, options.name, source, options.file.name, by, options.replace)
    print(_line(kept))
    print(f"Trigger the DAG backfill_cohort with project {kept.project} and name {kept.name} to fetch and release it.")
    return 0


def _show(options: argparse.Namespace, database: Database) -> int:
    from sluice.cohorts.lists import lists

    print("\n".join(_line(one) for one in lists(database)) or "There are no lists.")
    return 0


def _answers(options: argparse.Namespace, database: Database) -> int:
    from sluice.cohorts.list_report import answers_csv
    from sluice.cohorts.lists import answer_list

    kept = _kept(options, database)
    answer_list(database, kept.list_id)
    for piece in answers_csv(database, kept.list_id):
        sys.stdout.write(piece)
    return 0


def _delete(options: argparse.Namespace, database: Database) -> int:
    from sluice.cohorts.lists import delete_list

    kept = _kept(options, database)
    delete_list(database, kept.list_id)
    print(f"The list {kept.name} of {kept.project} is forgotten, with its {kept.rows:,} rows.")
    return 0


def _kept(options: argparse.Namespace, database: Database) -> CohortList:
    from sluice.cohorts.lists import find_list
    from sluice.cohorts.records import ListError

    kept = find_list(database, options.project, options.name)
    if kept is None:
        raise ListError(f"There is no list {options.name!r} of {options.project}. See: sluice cohort list show")
    return kept


def _line(kept: CohortList) -> str:
    answers = ", ".join(f"{count:,} {answer}" for answer, count in sorted(kept.answers.items()))
    return f"{kept.project}/{kept.name}: {kept.rows:,} rows of {kept.file_name}: {answers}."

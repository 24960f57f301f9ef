"""`sluice anatomy …`: the same as the page Anatomy, at a terminal."""

from __future__ import annotations

import argparse
import csv
import sys
from getpass import getuser

from sluice.anatomy import lists
from sluice.anatomy.rederive import Rederived, apply_pending, rederive_all
from sluice.anatomy.teaching import Lesson, rehearse, teach, withdraw
from sluice.database import Database


def run(options: argparse.Namespace, database: Database) -> int:
    """Run the action that was asked for; return its exit code."""
    return {
        "map": _map,
        "withdraw": _withdraw,
        "unmapped": _unmapped,
        "rederive": _rederive,
        "export": _export,
        "import": _import,
    }[options.action](options, database)


def _map(options: argparse.Namespace, database: Database) -> int:
    value = None if options.value == "nothing" else options.value
    lesson = Lesson(
        options.kind,
        options.text,
        value,
        options.side,
        options.view,
        options.tag,
        options.manufacturer,
        options.station,
        options.language,
        options.why,
    )
    if options.dry_run:
        effect = rehearse(database, lesson)
        about = "about " if effect.estimated else ""
        print(f"{effect.concerned} series hold this text, {about}{effect.changed} would change.")
        return 0
    mapping_id, done = teach(database, lesson, _who(), _progress)
    print(f"Mapping {mapping_id}. {_done(done)}")
    return 0


def _withdraw(options: argparse.Namespace, database: Database) -> int:
    print(_done(withdraw(database, options.mapping, _who(), _progress)))
    return 0


def _unmapped(options: argparse.Namespace, database: Database) -> int:
    rows = lists.waiting(database, options.kind, options.modality, options.most)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("series", "said", "source_tag", "modalities", "scanners", "last_seen"))
    for row in rows:
        modalities = " ".join(filter(None, row["modalities"]))
        writer.writerow(
            (row["series"], row["said"], row["source_tag"], modalities, row["scanners"], row["last_seen"] or "")
        )
    return 0


def _rederive(options: argparse.Namespace, database: Database) -> int:
    done = rederive_all(database, _progress) if options.all else apply_pending(database, _progress)
    print(_done(done))
    return 0


def _export(options: argparse.Namespace, database: Database) -> int:
    lists.export(database, sys.stdout, options.kind, options.language)
    return 0


def _import(options: argparse.Namespace, database: Database) -> int:
    lessons = lists.read_lessons(options.file)
    new, done = lists.bring_in(database, lessons, _who(), _progress)
    print(f"{new} of {len(lessons)} mappings are new. {_done(done)}")
    return 0


def _who() -> str:
    return f"{getuser()} at a terminal"


def _done(done: Rederived) -> str:
    words = f"{done.changed} series changed; {done.evidence} different headers were read again"
    return f"{words}, {done.completed} series taken up." if done.completed else f"{words}."


def _progress(done: Rederived) -> None:
    if sys.stderr.isatty():
        print(f"\r{done.evidence} headers, {done.changed} series changed", end="", file=sys.stderr, flush=True)

"""`sluice anatomy …`: the same as the page Anatomy, at a terminal, and search strategies."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.anatomy.rederive import Rederived
    from sluice.database import Database


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The actions of `anatomy` (docs/anatomy.md)."""
    actions = added.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")

    def action(name: str, words: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=words, description=words)
        made.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")
        return made

    kinds = ("region", "mr_sequence", "ct_phase")
    teach = action("map", "say what a text means; all series that hold it are read again")
    teach.add_argument("text", type=said, help="the whole text as it stands in headers")
    teach.add_argument("value", type=said, help="e.g. KNEE, T1+C, 'enhanced arterial'; `nothing` if it says nothing")
    teach.add_argument("--kind", choices=kinds, default="region", help="what it is about (default %(default)s)")
    teach.add_argument("--side", choices=("R", "L", "B"), help="which side it says")
    teach.add_argument("--view", help="which view it says, e.g. AP")
    teach.add_argument("--tag", help="holds only in this element, like (0018,1030)")
    teach.add_argument("--manufacturer", help="holds only for this manufacturer")
    teach.add_argument("--station", help="holds only for this station")
    teach.add_argument("--language", help="of the word, for shared lists")
    teach.add_argument("--why", help="a remark that is kept")
    teach.add_argument("--dry-run", action="store_true", help="only say how many series would change")
    action("withdraw", "take a mapping back").add_argument("mapping", type=int, help="its number")
    unmapped = action("unmapped", "texts that wait for a word, as CSV, most frequent first")
    unmapped.add_argument("--kind", choices=kinds, default="region", help="of what (default %(default)s)")
    unmapped.add_argument("--modality", help="of series of this modality")
    unmapped.add_argument("--most", type=int, default=1000, help="at most so many (default %(default)s)")
    action("rederive", "apply what was taught and not applied yet").add_argument(
        "--all", action="store_true", help="read every series again, also those extracted by an older version"
    )
    export = action("export", "the mappings that stand, as CSV; look for patients' names before you share it")
    export.add_argument("--kind", choices=kinds, help="only these")
    export.add_argument("--language", help="only words of this language")
    action("import", "add the mappings of a CSV, all or none").add_argument("file", type=path, help="as export writes")
    strategies = action("strategies", "what each way to search by body part is worth here (docs/strategies.md)")
    strategies.add_argument("--truth", type=path, help="CSV with sop_instance_uid and region: measure on these films")
    action("fuse", "put header and model together anew for all films")


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Run the action that was asked for; return its exit code."""
    return {
        "map": _map,
        "withdraw": _withdraw,
        "unmapped": _unmapped,
        "rederive": _rederive,
        "export": _export,
        "import": _import,
        "strategies": _strategies,
        "fuse": _fuse,
    }[options.action](options, database())


def _map(options: argparse.Namespace, database: Database) -> int:
    from sluice.anatomy.teaching import Lesson, rehearse, teach

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
    from sluice.anatomy.teaching import withdraw

    print(_done(withdraw(database, options.mapping, _who(), _progress)))
    return 0


def _unmapped(options: argparse.Namespace, database: Database) -> int:
    from sluice.anatomy import lists
    from sluice.csv_cells import inert

    rows = lists.waiting(database, options.kind, options.modality, options.most)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("series", "said", "source_tag", "modalities", "scanners", "last_seen"))
    for row in rows:
        modalities = " ".join(filter(None, row["modalities"]))
        writer.writerow(
            (row["series"], inert(row["said"]), row["source_tag"], modalities, row["scanners"], row["last_seen"] or "")
        )
    return 0


def _rederive(options: argparse.Namespace, database: Database) -> int:
    from sluice.anatomy.rederive import apply_pending, rederive_all

    done = rederive_all(database, _progress) if options.all else apply_pending(database, _progress)
    print(_done(done))
    return 0


def _export(options: argparse.Namespace, database: Database) -> int:
    from sluice.anatomy import lists

    lists.export(database, sys.stdout, options.kind, options.language)
    return 0


def _import(options: argparse.Namespace, database: Database) -> int:
    from sluice.anatomy import lists

    lessons = lists.read_lessons(options.file)
    new, done = lists.bring_in(database, lessons, _who(), _progress)
    print(f"{new} of {len(lessons)} mappings are new. {_done(done)}")
    return 0


def _fuse(options: argparse.Namespace, database: Database) -> int:
    from sluice.anatomy.fusion import fuse

    done = fuse(database, anew=True)
    print(f"{done.fused} films, by what {done.learned_from} films taught of headers and models.")
    return 0


def _strategies(options: argparse.Namespace, database: Database) -> int:
    from sluice.anatomy import measures

    if options.truth is None:
        rows = measures.measured(database)
        if not rows:
            raise measures.NothingMeasured(
                "No strategy was measured here yet. Give labelled films: anatomy strategies --truth labels.csv"
            )
        of = rows[0]
        print(f"On {of['films']} films of {of['patients']} patients, model {of['model_id']}, {of['evaluated_at']:%F}\n")
        print(measures.report(measures.stored_measures(rows)))
        return 0
    found = measures.evaluate_labels(database, measures.read_labels(options.truth))
    measures.keep(database, found)
    print(f"On {found.films} films of {found.patients} patients, model {found.model_id}")
    for count, what in ((found.absent, "are not in this database"), (found.unread, "no model has read")):
        if count:
            print(f"{count} labelled films {what}")
    print(f"\n{measures.report(found.measures)}")
    return 0


def _who() -> str:
    return f"{getuser()} at a terminal"


def _done(done: Rederived) -> str:
    words = f"{done.changed} series changed; {done.evidence} different headers were read again"
    return f"{words}, {done.completed} series taken up." if done.completed else f"{words}."


def _progress(done: Rederived) -> None:
    if sys.stderr.isatty():
        print(f"\r{done.evidence} headers, {done.changed} series changed", end="", file=sys.stderr, flush=True)

"""Keys, the way back from pseudonyms, merged patients and canaries at a terminal (docs/identities.md)."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sluice.commands.usage import WrongUsage

if TYPE_CHECKING:
    from sluice.database import Database
    from sluice.release.linkage.disclosure import Answer
    from sluice.release.linkage.keys import Keyring, KeySource
    from sluice.settings import Settings

Said = Callable[[str], str]
AsPath = Callable[[str], Path]
Opened = Callable[[], "Database"]
MISSING = 3  # exit code


def add_key(added: argparse.ArgumentParser, path: AsPath, said: Said) -> None:
    """The commands below `key`."""
    orders = added.add_subparsers(dest="order", required=True, metavar="COMMAND")

    def add(name: str, words: str) -> argparse.ArgumentParser:
        order = orders.add_parser(name, help=words, description=words)
        order.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")
        return order

    add("list", "fingerprints of the projects' keys, whether they are at hand, and when a copy was last compared")
    make = add("make", "a project's first key; its first release does it otherwise")
    make.add_argument("project", type=said)
    make.add_argument("--to", type=path, metavar="FILE", help="write it here, for a secrets backend, and nowhere else")
    make.add_argument("--number", type=int, default=1, help="with --to: 2 or more takes the place of an earlier one")
    rotate = add("rotate", "a new key for new versions; the old ones stay for what was made with them")
    rotate.add_argument("project", type=said)
    rotate.add_argument("--lost", type=said, metavar="WHY", help="the newest key is lost for good: say why")
    check = add("check", "compare a copy of the keys with those in use; exit 3 where it lacks one")
    check.add_argument("project", type=said)
    check.add_argument("--backup", type=path, required=True, metavar="PATH", help="a folder of key files, or one file")


def add_reidentify(added: argparse.ArgumentParser, path: AsPath, said: Said) -> None:
    """The options of `reidentify`."""
    added.add_argument("project", type=said, nargs="?")
    added.add_argument("pseudonyms", nargs="*", type=said, metavar="PSEUDONYM", help="of patients, studies, files, …")
    added.add_argument("--from", dest="source", type=path, metavar="CSV", help="ask for each row's first column")
    added.add_argument("--log", action="store_true", help="who asked what, when and why; exit 3 where a row is missing")
    _add_asking(added, path, said)


def add_pseudonym(added: argparse.ArgumentParser, path: AsPath, said: Said) -> None:
    """The options of `pseudonym`."""
    added.add_argument("project", type=said)
    added.add_argument("--patient-id", type=said, action="append", default=[], metavar="ID", help="may be given again")
    added.add_argument("--issuer", default="", help="of these Patient IDs")
    added.add_argument("--from", dest="source", type=path, metavar="CSV", help="ask for each row: Patient ID, issuer")
    _add_asking(added, path, said)


def add_merge(added: argparse.ArgumentParser, path: AsPath, said: Said) -> None:
    """The options of `merge`."""
    added.add_argument(
        "csv", type=path, help="columns prior_id, surviving_id and, where there are several, their issuers"
    )
    added.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def add_canary(added: argparse.ArgumentParser, path: AsPath, said: Said) -> None:
    """The commands below `canary`."""
    orders = added.add_subparsers(dest="order", required=True, metavar="COMMAND")
    for name, words in (
        ("add", "make a synthetic patient of a project and import it"),
        ("list", "a project's synthetic patients, and how their last probes ended"),
        ("retire", "take a project's synthetic patients out of releases that begin from now on"),
        ("check", "look for them in folders of logs; exit 3 where one is seen"),
    ):
        order = orders.add_parser(name, help=words, description=words)
        order.add_argument("project", type=said)
        order.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")
        if name == "add":
            order.add_argument("--to", type=path, metavar="FOLDER", help="only write the files, to be sent by C-STORE")
        if name == "check":
            order.add_argument("--logs", type=path, nargs="+", required=True, metavar="FOLDER")


def run_key(options: argparse.Namespace, database: Opened, site: Callable[[], Settings]) -> int:
    """Make, list, rotate, compare keys."""
    from sluice.release.linkage import keys, registered

    if options.order == "make" and options.to is not None:
        made = keys.new_key(options.project, options.number)
        if not keys.write_key(options.to, made):
            raise WrongUsage(f"{options.to} is there already; a key is never overwritten.")
        print(f"Key {made.number} of {made.project}, fingerprint {made.key_id}, is in {options.to}.")
        return 0
    source = _source(site())
    if options.order == "list":
        return _list_keys(database(), source)
    if options.order == "rotate":
        made = registered.rotate(database(), options.project, source, options.lost)
        print(f"New versions of {options.project} are made with key {made.number}, fingerprint {made.key_id}.")
        print("Back it up now, and compare: python -m sluice key check", options.project, "--backup …")
        return 0
    if options.order == "make":
        with database().transaction() as connection:
            made = registered.current_key(connection, options.project, source)
        print(f"Key {made.number} of {options.project}, fingerprint {made.key_id}. Back it up now.")
        return 0
    copy = (keys.FolderKeys(options.backup) if options.backup.is_dir() else keys.text_of(options.backup)).ring(
        options.project
    )
    missing = registered.backed_up(database(), options.project, source.ring(options.project), copy)
    for key in missing:
        print(f"{copy.where} lacks key {key.number}, fingerprint {key.key_id}.")
    if not missing:
        print(f"{copy.where} has every key of {options.project}.")
    return MISSING if missing else 0


def run_reidentify(options: argparse.Namespace, database: Opened, site: Callable[[], Settings]) -> int:
    """Say who stands behind pseudonyms, or who asked."""
    from sluice.release.linkage.disclosure import disclosures, reidentify

    if options.log:
        return _print_log(disclosures(database(), options.project))
    if not options.project:
        raise WrongUsage("Name the project, and what to ask for.")
    asked = [*options.pseudonyms, *(row[0] for row in _rows(options.source))]
    _require_why(options, asked)
    answers = reidentify(database(), _ring(options, site), asked, options.why, _who())
    _write(options, ("pseudonym", "kind", "value", "issuer", "now_patient_id", "now_issuer"), map(_found, answers))
    return MISSING if any(answer.original is None for answer in answers) else 0


def run_pseudonym(options: argparse.Namespace, database: Opened, site: Callable[[], Settings]) -> int:
    """Say what patients are called in a project."""
    from sluice.release.linkage.disclosure import pseudonyms_of
    from sluice.release.linkage.people import Patient

    asked = [Patient(one, options.issuer) for one in options.patient_id]
    asked += [Patient(row[0], row[1] if len(row) > 1 else options.issuer) for row in _rows(options.source)]
    _require_why(options, asked)
    answers = pseudonyms_of(database(), _ring(options, site), asked, options.why, _who())
    _write(options, ("patient_id", "pseudonyms"), ((one.asked, " ".join(one.pseudonyms)) for one in answers))
    return MISSING if any(not answer.pseudonyms for answer in answers) else 0


def run_merge(options: argparse.Namespace, database: Opened, site: Callable[[], Settings]) -> int:
    """Keep merges of a CSV."""
    from sluice.release.linkage.merges import merge, read_merges

    merges = read_merges(options.csv)
    new = merge(database(), merges, _who())
    print(f"{len(merges):,} merges read, {new:,} new. They hold for versions that begin from now on.")
    return 0


def run_canary(options: argparse.Namespace, database: Opened, site: Callable[[], Settings]) -> int:
    """Add, list, retire canaries, or look for them in logs."""
    from sluice.release import canaries
    from sluice.release.projects import load_project

    if options.order == "add":
        project = load_project(options.project)
        made = canaries.add(database(), project, _who(), None if options.to else site(), options.to)
        where = f"is in {options.to}: send it to the receiver" if options.to else "is in the archive"
        print(
            f"The synthetic patient {made.patient_id} of {project.name} {where}. Each release that begins now takes it."
        )
        return 0
    if options.order == "retire":
        print(f"{canaries.retire(database(), options.project)} retired.")
        return 0
    if options.order == "check":
        seen = list(canaries.seen_in_logs(database(), options.project, options.logs))
        print("\n".join(f"A token is in {path}." for path in seen) or "No token is in any of these files.")
        return MISSING if seen else 0
    for row in canaries.canaries_of(database(), options.project):
        state = "retired" if row["retired_at"] else f"{row['received']} of {row['files']} files in the archive"
        print(f"{row['patient_id']}: added {row['added_at']:%Y-%m-%d}, {state}")
    return 0


def _add_asking(added: argparse.ArgumentParser, path: AsPath, said: Said) -> None:
    added.add_argument("--why", type=said, help="the reason, kept with your name")
    added.add_argument("--to", type=path, metavar="CSV", help="write the answers here, for this user only")
    added.add_argument("--key-file", type=path, metavar="FILE", help="a file with the project's key lines")
    added.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def _require_why(options: argparse.Namespace, asked: Iterable[Any]) -> None:
    if not list(asked):
        raise WrongUsage("Say what to ask for, or --from a CSV.")
    if not options.why and sys.stdin.isatty():
        options.why = input("Why? (kept with your name) ")
    if not options.why:
        raise WrongUsage("Say why, with --why.")


def _ring(options: argparse.Namespace, site: Callable[[], Settings]) -> Keyring:
    from sluice.release.linkage.keys import text_of

    source = text_of(options.key_file) if options.key_file else _source(site())
    return source.ring(options.project)


def _source(site: Settings) -> KeySource:
    from sluice.release.linkage.keys import FolderKeys, text_of

    return text_of(site.keys_file) if site.keys_file else FolderKeys(site.keys)


def _list_keys(database: Database, source: KeySource) -> int:
    from sluice.release.linkage.disclosure import what_separation_lacks
    from sluice.release.linkage.registered import known_keys

    lost = False
    for row in known_keys(database):
        at_hand = source.ring(row["project"]).by_id(row["key_id"]) is not None
        lost = lost or not (at_hand or row["lost_at"])
        compared = row["backup_checked_at"]
        checked = f"copy compared {compared:%Y-%m-%d}" if compared else "no copy compared"
        state = "at hand" if at_hand else f"lost: {row['lost_why']}" if row["lost_at"] else "MISSING: restore it"
        number = row["number"] if row["number"] is not None else "?"
        since = f"since {row['first_used_at']:%Y-%m-%d}"
        print(f"{row['project']}  key {number}  {row['key_id']}  {since}  {state}  {checked}")
    with database.transaction() as connection:
        lacks = what_separation_lacks(connection)
    if lacks:
        print(f"The linkage table is not separate from the pipeline. {lacks}")
    return MISSING if lost else 0


def _print_log(rows: list[dict[str, Any]]) -> int:
    for row in rows:
        broken = "" if row["is_chained"] else "  A ROW BEFORE THIS ONE WAS CHANGED OR IS MISSING"
        print(
            f"{row['asked_at']:%Y-%m-%d %H:%M:%S%z}  {row['asked_by']} as {row['database_user']}  {row['project']}  "
            f"{row['direction']}: {row['asked']} asked, {row['found']} found  {row['why']!r}  "
            f"{' '.join(row['pseudonyms'][:20])}{' …' if len(row['pseudonyms']) > 20 else ''}{broken}"
        )
    if not rows:
        print("Nobody has asked yet.")
    return 0 if all(row["is_chained"] for row in rows) else MISSING


def _found(answer: Answer) -> tuple[str, ...]:
    if answer.original is None:
        return answer.asked, "", "", "", "", ""
    now = answer.now or ("", "")
    return answer.asked, answer.original.kind, answer.original.value, answer.original.issuer, *now


def _rows(path: Path | None) -> list[list[str]]:
    """Rows of a CSV that have something in the first column, without a heading that names it."""
    from sluice.csv_cells import as_written

    if path is None:
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [[as_written(cell.strip()) for cell in row] for row in csv.reader(file) if row and row[0].strip()]
    named = ("pseudonym", "patient", "patient_id", "patientid", "uid", "study_instance_uid", "sop_instance_uid")
    return rows[1:] if rows and rows[0][0].lower() in named else rows


def _write(options: argparse.Namespace, heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    if options.to is None:
        _csv(sys.stdout, heading, rows)
        return
    descriptor = os.open(options.to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        _csv(file, heading, rows)
    print(f"The answers are in {options.to}. Delete it when it is not needed any more.")


def _csv(file: IO[str], heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from sluice.csv_cells import inert

    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows([inert(cell) for cell in row] for row in rows)


def _who() -> str:
    from getpass import getuser
    from socket import gethostname

    return f"{getuser()} at {gethostname()}"

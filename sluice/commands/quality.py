"""`sluice quality …`: the rules, the columns that they can read, and whether a folder of suites works."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.settings import settings

if TYPE_CHECKING:
    from sluice.database import Database


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The commands below `quality`."""
    asked = added.add_subparsers(dest="asked", required=True, metavar="COMMAND")
    words = "load a folder of suites over those that ship, and try every rule"
    tried = asked.add_parser("check-suites", help=words, description=words)
    tried.add_argument("folder", type=path, help="the hospital's own suites, as SLUICE_QUALITY_SUITES names it")
    words = "the rules that are switched on"
    rules = asked.add_parser("rules", help=words, description=words)
    rules.add_argument("--json", action="store_true", help="all of them, with everything they say")
    words = "the columns that rules can read"
    columns = asked.add_parser("columns", help=words, description=words)
    columns.add_argument("level", nargs="?", choices=("window", "study", "series", "instance", "scanner"))


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """List rules, or check suites."""
    from sluice.quality import command
    from sluice.quality.suites import LEVELS, SUITES, load_suites

    if options.asked == "check-suites":
        suites = command.try_suites(options.folder)
        print("\n".join(command.changed_by(options.folder)) or "Nothing is new, changed or switched off.")
        print(f"{len(suites.rules)} rules can be evaluated; version {suites.version}.")
        return 0
    suites = load_suites(SUITES, settings().quality_suites)
    if options.asked == "columns":
        print("\n".join(command.column_lines(suites, [options.level] if options.level else LEVELS)))
    elif options.json:
        print(command.rules_json(suites))
    else:
        print("\n".join(command.rule_lines(suites.rules)))
    return 0

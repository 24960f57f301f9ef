"""`sluice route …`: check the rules, see where a study would go, and what was decided of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.commands.usage import WrongUsage
from sluice.settings import settings

if TYPE_CHECKING:
    from sluice.database import Database


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The commands below `route`."""
    orders = added.add_subparsers(title="what to do", dest="order", required=True, metavar="WHAT")
    words = "read a file of rules and name each mistake by its line; needs no database"
    orders.add_parser("check", help=words, description=words).add_argument("rules", type=path, help="the YAML file")
    words = "where a study would go by the answers that count now; changes nothing"
    dry = orders.add_parser("dry-run", help=words, description=words)
    dry.add_argument("study", type=said, help="Study Instance UID")
    dry.add_argument("--rules", type=path, help="the YAML file (default: the one that SLUICE_ROUTING names)")
    words = "what was decided of a study, newest first, with what came of it"
    told = orders.add_parser("decisions", help=words, description=words)
    told.add_argument("study", type=said, help="Study Instance UID")
    for order in (dry, told):
        order.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Do it; return the exit code."""
    from sluice.routing.deciding import decisions, rules_here, would_go
    from sluice.routing.rules import load_rules

    if options.order == "check":
        rules = load_rules(options.rules)
        print("\n".join(f"{rule.name}: {rule.destination}" for rule in rules.rules))
        print(f"{len(rules.rules)} rules are right.")
        return 0
    store = database()
    if options.order == "decisions":
        for row in decisions(store, options.study, page_size=500):
            went = f"{row['sop_instance_uid']} to {row['destination']} by {row['rule']}"
            came = ", ".join(word for word in (row["outcome"] or "open", row["detail"]) if word)
            print(f"{row['decided_at']:%Y-%m-%d %H:%M} {went}: {came}; {_why(row['rests_on'])}")
        return 0
    here = rules_here(store, options.rules or settings().routing)
    if here is None:
        raise WrongUsage("No rules are named: pass --rules, or set SLUICE_ROUTING.")
    taken = would_go(store, here, options.study)
    for one in taken:
        print(f"{one.sop_instance_uid} to {one.destination} by {one.rule}; {_why(one.rests_on)}")
    if not taken:
        print("Nowhere: no rule takes an instance of it that a model has read.")
    return 0


def _why(rests_on: dict[str, dict[str, object]]) -> str:
    return ", ".join(f"{task} {said['label']} {said['score']}" for task, said in sorted(rests_on.items()))

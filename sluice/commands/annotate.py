"""`sluice annotate …`: how far readers agree, what is confirmed, and drift by station."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluice.database import Database

TASKS = ("body_part", "ivc_filter")


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path]) -> None:
    """The commands below `annotate`."""
    orders = added.add_subparsers(title="what to do", dest="order", required=True, metavar="WHAT")
    words = "how far readers agree (Cohen's and Fleiss' kappa), what they confuse, who decided"
    agreed = orders.add_parser("agreement", help=words, description=words)
    words = "confirmed labels as CSV, each with its origin"
    exported = orders.add_parser("export", help=words, description=words)
    words = "what the model says by station, the last days against those before; exit 3 if a station shifted"
    drifted = orders.add_parser("drift", help=words, description=words)
    drifted.add_argument("--days", type=int, default=14, help="length of the recent period (default %(default)s)")
    drifted.add_argument(
        "--reference-days", type=int, default=90, help="length of the period before (default %(default)s)"
    )
    drifted.add_argument("--until", type=date.fromisoformat, metavar="DAY", help="the day after the last (today)")
    for order in (agreed, drifted):
        order.add_argument("--json", action="store_true", help="the whole answer as JSON")
    for order in (agreed, exported, drifted):
        order.add_argument("--task", choices=TASKS, default="body_part", help="(default %(default)s)")
        order.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Do it; return the exit code."""
    from sluice.annotation.agreement import agreement
    from sluice.annotation.confirmed import write_csv
    from sluice.annotation.drift import drift

    store = database()
    if options.order == "export":
        write_csv(store, options.task, sys.stdout)
        return 0
    if options.order == "agreement":
        said = agreement(store, options.task)
        print(json.dumps(said, default=str) if options.json else "\n".join(_agreement_lines(said)))
        return 0
    rows = drift(store, options.task, options.until, options.days, options.reference_days)
    print(json.dumps(rows) if options.json else "\n".join(_drift_lines(rows)))
    return 3 if any(row["state"] == "shifted" for row in rows) else 0


def _agreement_lines(said: Mapping[str, Any]) -> list[str]:
    lines = [", ".join(f"{films} {standing}" for standing, films in said["films"].items()) or "Nobody annotated yet."]
    for name, one in said["fields"].items():
        for pair in one["pairs"]:
            readers = " and ".join(pair["readers"])
            lines.append(
                f"{name}: {readers}: kappa {_number(pair['kappa'])}, {pair['agreed']} of {pair['films']} films"
            )
        if films := one["fleiss"]["films"]:
            kappa = _number(one["fleiss"]["kappa"])
            lines.append(f"{name}: three readers or more: Fleiss' kappa {kappa}, {films} films")
        lines += [f"{name}: {' / '.join(pair['answers'])}: {pair['times']} times" for pair in one["confused"][:10]]
    lines += [
        f"decided by {row['adjudicator']}: {row['as_reader']} of {row['films']} films as {row['reader']} said"
        for row in said["adjudicators"]
    ]
    return lines


def _drift_lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"{row['station'] or '(no station)'}: {row['state']}; {row['recent']} films after {row['reference']}; "
        f"PSI of classes {_number(row['labels']['psi'])}, of scores {_number(row['scores']['psi'])}; "
        f"unknown {_number(row['unknown'])} after {_number(row['unknown_before'])}"
        for row in rows
    ]
    return lines or ["No model read a film of these days."]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

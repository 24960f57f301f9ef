"""`sluice annotate …`: how far readers agree, what is confirmed, drift by station, and films that look alike."""

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
    words = "films that look like one, nearest first, with what is said of them"
    near = orders.add_parser("neighbours", help=words, description=words)
    near.add_argument("film", metavar="UID", help="its SOP Instance UID")
    words = "films whose label their neighbours contradict, the clearest first"
    doubted = orders.add_parser("doubts", help=words, description=words)
    words = "films that are there twice; those of two patients, perhaps mixed up, first"
    twice = orders.add_parser("duplicates", help=words, description=words)
    words = "look for neighbours, duplicates and doubts now, as the DAG annotate does every night"
    looked = orders.add_parser("look", help=words, description=words)
    looked.add_argument("--again", action="store_true", help="at all films, not at new ones alone")
    words = "drop a model's features; the DAG annotate makes those of the model in production again"
    forgotten = orders.add_parser("forget", help=words, description=words)
    forgotten.add_argument("--model", required=True, metavar="ID", help="as `sluice models list` names it")
    for order in (near, doubted, twice):
        order.add_argument("--most", type=int, default=20, help="at most this many (default %(default)s)")
    for order in (near, doubted, twice, looked, forgotten):
        order.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")
    for order in (agreed, drifted, near, doubted, twice):
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
    if options.order in LOOKS:
        return LOOKS[options.order](options, store)
    rows = drift(store, options.task, options.until, options.days, options.reference_days)
    print(json.dumps(rows) if options.json else "\n".join(_drift_lines(rows)))
    return 3 if any(row["state"] == "shifted" for row in rows) else 0


def _neighbours(options: argparse.Namespace, store: Database) -> int:
    from sluice.neighbours.search import neighbours_of
    from sluice.settings import settings

    rows = neighbours_of(store, settings().canonical, options.film, options.most)
    return _told(options, rows, _neighbour_line, "Nobody is near it.")


def _neighbour_line(row: Mapping[str, Any]) -> str:
    said = [f"model {row['label'] or '–'}/{row['examined'] or '–'}", f"header {row['header_region'] or '–'}"]
    said += [f"readers {row['said_label']}/{row['said_examined'] or '–'}"] if row["standing"] else []
    belongs = "same study" if row["same_study"] else "same patient" if row["same_patient"] else "other patient"
    return f"{row['similarity']:.3f}  {row['sop_instance_uid']}  {', '.join(said)}; {belongs}"


def _doubts(options: argparse.Namespace, store: Database) -> int:
    from sluice.neighbours.doubts import doubts

    def line(row: Mapping[str, Any]) -> str:
        return (
            f"{row['sop_instance_uid']}  {row['said']} ({row['origin']}), its neighbours {row['suggested']}: "
            f"{row['share_suggested']:.0%} of them, {row['share_said']:.0%} as it is"
        )

    return _told(options, doubts(store, options.most), line, "No label is doubted.")


def _duplicates(options: argparse.Namespace, store: Database) -> int:
    from sluice.neighbours.duplicates import near_duplicates

    def line(row: Mapping[str, Any]) -> str:
        return f"{row['belongs']}: {row['first_uid']}  {row['second_uid']}  pictures correlate {row['correlation']:.4f}"

    return _told(options, near_duplicates(store, options.most), line, "No film is there twice.")


def _look(options: argparse.Namespace, store: Database) -> int:
    from sluice.neighbours.looking import look_for_all
    from sluice.settings import settings

    done = look_for_all(store, settings().canonical, options.again)
    print(
        f"Looked at {done.looked} films; {done.duplicates} new pairs are one film, {done.doubted} labels are doubted."
    )
    return 0


def _forget(options: argparse.Namespace, store: Database) -> int:
    from sluice.neighbours.embeddings import forget
    from sluice.settings import settings

    print(f"Features of {forget(store, settings().canonical, options.model)} films are gone.")
    return 0


LOOKS: dict[str, Callable[[argparse.Namespace, Database], int]] = {
    "neighbours": _neighbours,
    "doubts": _doubts,
    "duplicates": _duplicates,
    "look": _look,
    "forget": _forget,
}


def _told(
    options: argparse.Namespace, rows: list[dict[str, Any]], line: Callable[[Mapping[str, Any]], str], empty: str
) -> int:
    print(json.dumps(rows, default=str) if options.json else "\n".join(map(line, rows)) or empty)
    return 0


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

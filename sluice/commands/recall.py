"""`sluice opt-out …` and `sluice recall …`: whose images must not be used, and taking back what was released of them.

Identifiers come from standard input, so that none stands in a shell's history or a list of processes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import date
from getpass import getuser
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.commands.usage import WrongUsage

if TYPE_CHECKING:
    from sluice.database import Database
    from sluice.objects import ObjectStore
    from sluice.release.recall.recalls import RecallSummary

MISSING = 3  # exit code: it was done, and something is missing
StoreOf = Callable[[Path | None], "Callable[[str], ObjectStore] | None"]  # None: no bucket is named here


def add_opt_outs(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The options of `opt-out`."""
    orders = added.add_subparsers(title="what to do", required=True, metavar="WHAT", dest="order")
    words = (
        "keep opt-outs: from standard input a CSV with a heading, patient_id (and issuer), study_instance_uid, "
        "sop_instance_uid or release; what was released of them is taken back"
    )
    add = orders.add_parser("add", help="keep opt-outs from a CSV on standard input", description=words)
    _add_terms(add, said)
    add.add_argument("--from", dest="starts_on", type=date.fromisoformat, metavar="DAY", help="first day (today)")
    add.add_argument("--until", dest="ends_on", type=date.fromisoformat, metavar="DAY", help="last day (for ever)")
    add.add_argument("--project", action="append", type=said, help="for this project only; may be repeated")
    listed = orders.add_parser("list", help="the opt-outs in force, without identifiers")
    listed.add_argument("--all", action="store_true", help="those too that are over or withdrawn")
    listed.add_argument("--identifiers", action="store_true", help="say whom they name")
    withdraw = orders.add_parser("withdraw", help="end an opt-out; what was recalled does not come back by itself")
    withdraw.add_argument("opt_out", type=int, help="its number, as `list` says it")
    withdraw.add_argument("--why", type=said, required=True)
    for order in (add, listed, withdraw):
        order.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def add_recalls(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The options of `recall`."""
    added.add_argument(
        "what",
        type=said,
        help="a release like radiographs/v3, or a whole project; or one of: run (what opt-outs ask for), list, "
        "overdue, notice, ack, accesses (keep who read releases, from the bucket's access log on standard input)",
    )
    added.add_argument("number", nargs="?", type=int, help="of the recall, for notice and ack")
    _add_terms(added, said, required=False)
    added.add_argument("--recipient", type=said, help="for notice and ack: who, as `list` names them")
    added.add_argument("--note", type=said, help="for ack: what they said and when")
    added.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def _add_terms(added: argparse.ArgumentParser, said: Callable[[str], str], required: bool = True) -> None:
    added.add_argument("--why", type=said, required=required, help="in your words; it stays in the house")
    added.add_argument(
        "--reason",
        choices=("withdrawn", "error"),
        default="withdrawn" if required else "error",
        help="what recipients are told (default %(default)s)",
    )


def run_opt_outs(options: argparse.Namespace, database: Callable[[], Database], store_of: StoreOf) -> int:
    """Do it; return the exit code."""
    from sluice.release.recall.opt_outs import Terms, add, opt_outs, read_targets, withdraw

    if options.order == "list":
        print("\n".join(_lines(opt_outs(database(), options.all), options.identifiers)) or "There are no opt-outs.")
        return 0
    if options.order == "withdraw":
        withdraw(database(), options.opt_out, options.why, _me())
        print(f"Opt-out {options.opt_out} is withdrawn. A later release may take again whom it named.")
        return 0
    targets = list(read_targets(StringIO(sys.stdin.read())))
    projects = tuple(options.project) if options.project else None
    terms = Terms(options.reason, options.why, projects, options.starts_on, options.ends_on)
    kept = add(database(), targets, terms, _me())
    print(f"{len(set(kept))} opt-outs stand: {_ranges(kept)}.")
    return _carry_out(database(), store_of, options)


def run_recalls(options: argparse.Namespace, database: Callable[[], Database], store_of: StoreOf) -> int:
    """Do it; return the exit code."""
    from sluice.release.recall import notices
    from sluice.release.recall.access import note_accesses
    from sluice.release.recall.opt_outs import Terms, add, target_of_release

    match options.what:
        case "run":
            return _carry_out(database(), store_of, options)
        case "list" | "overdue":
            rows = notices.recalls(database(), options.what == "overdue")
            print("\n".join(_recall_lines(rows)) or "There are none.")
            return MISSING if options.what == "overdue" and rows else 0
        case "accesses":
            print(f"{note_accesses(database(), sys.stdin)} readers of releases are kept.")
            return 0
        case "notice" | "ack":
            if options.number is None or not options.recipient:
                raise WrongUsage(f"Say which: recall {options.what} NUMBER --recipient NAME.")
            if options.what == "ack":
                notices.acknowledge(database(), options.number, options.recipient, options.note or "", _me())
                print(f"Kept: {options.recipient} deleted what recall {options.number} names.")
                return 0
            recall = notices.recall_of(database(), options.number)
            print(notices.notice(recall, options.recipient, notices.keys_of(database(), options.number)), end="")
            return 0
    if not options.why:
        raise WrongUsage("Say --why: the data protection officer will be asked.")
    add(database(), [target_of_release(options.what)], Terms(options.reason, options.why), _me())
    return _carry_out(database(), store_of, options)


def _carry_out(database: Database, store_of: StoreOf, options: argparse.Namespace) -> int:
    from sluice.release.recall.recalls import carry_out

    stores = store_of(options.home)
    if stores is None:
        print("No bucket is named here (SLUICE_S3_ENDPOINT …): the DAG recall takes back what is due within the hour.")
        return MISSING if database.rows("recall_affected", {"release_id": None}) else 0
    return _told(carry_out(database, stores, _me()))


def _told(done: RecallSummary) -> int:
    print(f"{done.gone} of {done.objects} objects of {done.releases} releases are taken back and proven to be gone.")
    for release, words in done.waiting.items():
        print(f"{release}: {words}", file=sys.stderr)
    return MISSING if done.waiting else 0


def _lines(rows: Sequence[dict[str, Any]], identifiers: bool) -> list[str]:
    return [
        f"{row['opt_out_id']}: {_named(row, identifiers)}, {row['reason']}, by {row['said_by']}, for "
        f"{', '.join(row['projects'] or ['all projects'])}, from {row['starts_on']} "
        f"{'for ever' if row['ends_on'] is None else 'until ' + str(row['ends_on'])}: {row['why']}. "
        f"{row['recalled_objects']} objects recalled.{'' if row['in_force'] else ' Not in force.'}"
        for row in rows
    ]


def _named(row: dict[str, Any], identifiers: bool) -> str:
    if row["kind"] in ("release", "project"):
        return f"{row['project']}/v{row['version']}" if row["version"] else f"all of {row['project']}"
    if not identifiers:
        return f"a {row['kind']}"
    value = row["patient_id"] or row["study_instance_uid"] or row["sop_instance_uid"]
    return f"{row['kind']} {value}" + (f" of {row['patient_id_issuer']}" if row["patient_id_issuer"] else "")


def _recall_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        state = "gone" if row["is_gone"] else f"under way ({row['event'] or 'decided'})"
        release = f"{row['project']}/v{row['version']}"
        lines.append(
            f"{row['recall_id']}: {release}, {row['objects']} objects, {row['reason']}, {state}"
            + (f"; to be deleted by {row['due_on']}" if row["who"] else "; nobody has to delete anything")
        )
        for one in row["who"]:
            done = f"deleted ({one['note']})" if one["acknowledged_at"] else "has not answered"
            contact = f" <{one['contact']}>" if one["contact"] else ""
            lines.append(f"   {one['recipient']}{contact}: {done}")
    return lines


def _ranges(numbers: Sequence[int]) -> str:
    ordered = sorted(set(numbers))
    return str(ordered[0]) if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"


def _me() -> str:
    return f"{getuser()} at a terminal"

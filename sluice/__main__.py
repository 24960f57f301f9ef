"""The command line: `python -m sluice <command>`. Each command imports only what it needs."""

from __future__ import annotations

import argparse
import errno
import math
import os
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from sluice import pull
from sluice.commands import (
    WrongUsage,
    anatomy,
    annotate,
    cohorts,
    headers,
    identities,
    installation,
    ivc_filters,
    models,
    pixels,
    quality,
    recall,
    release,
    report,
    route,
)
from sluice.commands.installation import DEMO_HOME, UP_HOME
from sluice.settings import settings

if TYPE_CHECKING:
    from sluice.database import Database
    from sluice.settings import Settings

OF_A_PATH = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS)
NOT_MIGRATED = ("42P01", "42703", "42883")  # SQLSTATE: no such table, column, function
MISSING = 3  # exit code: it was done, and something is missing or was not taken


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    0 done, 1 failed with one clear line, 2 wrong usage, 3 done but something is missing (`missing`,
    `import`), 130 Ctrl-C.
    """
    options = command_line().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    return _caught(lambda: command(options))


def command_line() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="sluice", description="Imaging studies from a PACS to researchers.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words, description=words)
        added.set_defaults(command=command)
        return added

    def add_home(added: argparse.ArgumentParser, default: Path) -> None:
        home = Path(os.environ.get("SLUICE_HOME") or default)
        added.add_argument("--home", type=_path, default=home, help=f"folder of its data (default {home})")

    demo = add("demo", _demo, "a simulated hospital's day through Airflow, with a closing table")
    demo.add_argument("--once", action="store_true", help="end by itself; exit 0 only if every line of the table holds")
    demo.add_argument("--seed", type=int, default=None, help="seed of the hospital")
    demo.add_argument("--scale", type=_scale, default="day", help="size of the hospital: day, tiny, or a number")
    demo.add_argument("--port", type=_port, default=None, help="port of Airflow's UI (default: a free one)")
    add_home(demo, DEMO_HOME)

    up = add("up", _up, "start the embedded stack in the background")
    up.add_argument("--foreground", action="store_true", help="stay in the foreground until Ctrl-C")
    up.add_argument("--port", type=_port, default=None, help="port of Airflow's UI (default: a free one)")
    add_home(up, UP_HOME)
    add_home(add("down", _down, "stop what `up` started"), UP_HOME)

    add("migrate", _migrate, "bring the database up to date")
    add("receive", _receive, "our Storage SCP, until it is stopped")
    hospital = add("hospital", _hospital, "the simulated hospital's PACS, until it is stopped")
    hospital.add_argument("folder", type=_path, help="its data")
    hospital.add_argument("--build", action="store_true", help="make the data first where there is none")
    hospital.add_argument("--host", default="127.0.0.1", help="address that the PACS listens on (default %(default)s)")
    hospital.add_argument("--port", type=_port, required=True, help="where the PACS listens")
    hospital.add_argument("--receiver-host", default="127.0.0.1", help="where our receiver is (default %(default)s)")
    hospital.add_argument("--receiver-port", type=_port, help="where it sends what AE title SLUICE asks for")
    hospital.add_argument(
        "--faults", type=_path, help="JSON file of faults, followed while it runs (docs/rehearsal.md)"
    )
    pacs = add("pacs", _pacs, "who uses the PACS and what it bears; pause, resume or cancel a window's retrieval")
    pacs.add_argument("order", nargs="?", choices=("pause", "resume", "cancel"), help="what to do with a window")
    pacs.add_argument("window", nargs="?", help="a hospital day like 2026-10-26, or cohort/<project>/<name>")
    pacs.add_argument("--priority", choices=("urgent", "routine", "backfill"), help="who goes first, for this window")
    pacs.add_argument("--home", type=_path, default=None, help="stack to ask (default: the one that runs)")
    add_missing(add("missing", _missing, "what did not arrive, why, and when it is tried again; exit 3 if anything"))
    bring = add("import", _import, "bring in DICOM files from folders and ZIPs; exit 3 if a file was not taken")
    bring.add_argument("paths", nargs="+", type=_path, metavar="PATH", help="a folder, a ZIP or a file")
    bring.add_argument("--name", help="the window is import/NAME (default: one name for the same paths)")
    bring.add_argument("--home", type=_path, default=None, help="stack to bring them into (default: the one that runs)")
    words = "words that headers use: what waits for one, teach, take back, share; ways to search by body part"
    anatomy.add_orders(add("anatomy", _of_room(anatomy.run), words), _path, _said)
    headers.add_header(
        add("header", _of_room(headers.run_header), "the header of one instance, as DICOM JSON"), _path, _said
    )
    words = "make a typed column of an element, or list those that were made"
    headers.add_headers(add("headers", _of_owner(headers.run_headers), words), _path, _said)
    words = "the quality rules: list them, or check a hospital's own suites"
    quality.add_orders(add("quality", _of_room(quality.run), words), _path, _said)
    words = "text in pixels: check a hospital's own rules for devices, and try them on files"
    pixels.add_orders(add("pixels", _of_room(pixels.run), words), _path, _said)
    release.add_orders(add("release", _of_room(release.run), "the key that signs releases"), _path, _said)
    pull.add_options(
        add("pull", pull.run, "fetch a release, and check what the hospital signed; exit 3 if a file is missing")
    )
    words = "count what a filter takes, freeze it, list what a filter can name; lists of studies"
    cohorts.add_orders(add("cohort", _of_room(cohorts.run), words), _path, _said)
    words = "which models read, how they were measured, promotion and rollback"
    models.add_orders(add("models", _of_site(models.run), words), _path, _said)
    words = "what the models saw of a study, as a DICOM structured report (TID 1500)"
    report.add_orders(add("report", _of_room(report.run), words), _path, _said)
    words = "rules for where studies go by what was predicted: check, dry run, decisions"
    route.add_orders(add("route", _of_room(route.run), words), _path, _said)
    words = "what readers of films said: agreement, confirmed labels, drift of the model's answers by station"
    annotate.add_orders(add("annotate", _of_room(annotate.run), words), _path)
    words = "who has an IVC filter by the pictures, since when, whose retrieval is due; corrections"
    ivc_filters.add_orders(add("ivc-filters", _of_room(ivc_filters.run), words), _path, _said)
    _add_identities(add)
    words = "whose images must not be used: add from standard input, list, withdraw"
    recall.add_opt_outs(add("opt-out", _of_recall(recall.run_opt_outs), words), _path, _said)
    words = "take back what was released; who has to delete it, and who said that they did"
    recall.add_recalls(add("recall", _of_recall(recall.run_recalls), words), _path, _said)
    return parser


def _add_identities(add: Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]) -> None:
    words = "the projects' keys: list, make, rotate, compare with a copy"
    identities.add_key(add("key", _of_site(identities.run_key), words), _path, _said)
    words = "who stands behind pseudonyms; audited, and needs a reason, the key and the role"
    identities.add_reidentify(add("reidentify", _of_person(identities.run_reidentify), words), _path, _said)
    words = "what patients are called in a project; audited, and needs a reason, the key and the role"
    identities.add_pseudonym(add("pseudonym", _of_person(identities.run_pseudonym), words), _path, _said)
    words = "patients with two Patient IDs: one pseudonym in later versions"
    identities.add_merge(add("merge", _of_site(identities.run_merge), words), _path, _said)
    words = "synthetic patients that every release of a project takes along"
    identities.add_canary(add("canary", _of_site(identities.run_canary), words), _path, _said)


def _of_site(
    run: Callable[[argparse.Namespace, Callable[[], Database], Callable[[], Settings]], int],
) -> Callable[[argparse.Namespace], int]:
    """A command of `sluice.commands`, which needs the folders of the installation beside its database."""
    return lambda options: run(
        options, lambda: installation.database_of(options.home), lambda: installation.settings_of(options.home)
    )


def _of_person(
    run: Callable[[argparse.Namespace, Callable[[], Database], Callable[[], Settings]], int],
) -> Callable[[argparse.Namespace], int]:
    """A command of who may become the linkage's role: by their own login where a setting names it."""
    return lambda options: run(
        options, lambda: installation.owners_database_of(options.home), lambda: installation.settings_of(options.home)
    )


def _of_owner(run: Callable[[argparse.Namespace, Callable[[], Database]], int]) -> Callable[[argparse.Namespace], int]:
    """A command that changes what tables there are."""
    return lambda options: run(options, lambda: installation.owners_database_of(options.home))


def _of_recall(
    run: Callable[[argparse.Namespace, Callable[[], Database], recall.StoreOf], int],
) -> Callable[[argparse.Namespace], int]:
    return lambda options: run(options, lambda: installation.database_of(options.home), installation.stores_of)


def _of_room(run: Callable[[argparse.Namespace, Callable[[], Database]], int]) -> Callable[[argparse.Namespace], int]:
    """A command of `sluice.commands`, which opens the database when it needs it."""
    return lambda options: run(options, lambda: installation.database_of(options.home))


def add_missing(added: argparse.ArgumentParser) -> None:
    """The options of `missing`: what to ask about, and how to print the answer."""
    added.add_argument(
        "window", nargs="?", type=_said, help="a hospital day like 2026-10-26, cohort/<project>/<name>, import/<name>"
    )
    for name, words in (
        ("study", "a Study Instance UID"),
        ("series", "a Series Instance UID"),
        ("instance", "a SOP Instance UID"),
        ("accession", "an Accession Number"),
        ("patient", "a Patient ID"),
        ("pacs", "what this PACS listed, by the id of its connection"),
    ):
        added.add_argument(f"--{name}", type=_said, metavar="ID", help=words)
    form = added.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the whole answer as JSON")
    form.add_argument("--csv", action="store_true", help="one line an instance that is missing")
    added.add_argument("--home", type=_path, default=None, help="stack to ask (default: the one that runs)")


def _demo(options: argparse.Namespace) -> int:
    from sluice.stack.demo import run
    from sluice.stack.warden import guarded

    return guarded(
        lambda: _caught(
            lambda: run(
                options.home.resolve(), once=options.once, seed=options.seed, scale=options.scale, port=options.port
            )
        )
    )


def _scale(text: str) -> str | float:
    try:
        size = float(text)
    except ValueError:
        from sluice.hospital.plan import SIZES

        if text in SIZES:
            return text
        raise argparse.ArgumentTypeError(f"no hospital of size {text!r}: {', '.join(SIZES)}, or a number") from None
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError("a number above 0")
    return size


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port: they go from 1 to 65535")


def _said(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _path(text: str) -> Path:
    """A path; an empty one, of a variable that is not set, would be the folder we happen to be in."""
    return Path(_said(text))


def _up(options: argparse.Namespace) -> int:
    from sluice.stack.daily import serve, start_in_background
    from sluice.stack.warden import guarded

    home = options.home.resolve()
    if options.foreground:
        return guarded(lambda: _caught(lambda: serve(home, options.port)))
    start_in_background(home, options.port)
    return 0


def _down(options: argparse.Namespace) -> int:
    from sluice.stack.daily import stop_background

    stop_background(options.home.resolve())
    return 0


def _migrate(_: argparse.Namespace) -> int:
    from sluice.database import migrate
    from sluice.database_roles import separate

    ours, owner = settings().database_url, settings().database_owner_url
    applied = migrate(owner or ours)
    print("\n".join(f"applied {name}" for name in applied) or "The database is up to date.")
    if owner is not None and (lacks := separate(owner, ours)):
        print(f"Who is who is not separate: {lacks}. See docs/identities.md, Roles.", file=sys.stderr)
    return 0


def _receive(_: argparse.Namespace) -> int:
    from sluice.pacs.receiver.receive import serve

    _log_to_stderr()
    serve()
    return 0


def _hospital(options: argparse.Namespace) -> int:
    from sluice.hospital.serve import serve

    _log_to_stderr()
    if options.build:
        from sluice.stack.daily import build_hospital

        print(f"Building the simulated hospital in {options.folder}, unless it stands already …", flush=True)
        build_hospital(options.folder)
    receiver = (options.receiver_host, options.receiver_port)
    destinations = {settings().receiver_ae_title: receiver} if options.receiver_port else None
    serve(options.folder, options.port, destinations=destinations, host=options.host, faults_file=options.faults)
    return 0


def _pacs(options: argparse.Namespace) -> int:
    from getpass import getuser

    from sluice.pacs.governor.leases import Priority
    from sluice.pacs.governor.orders import order_retrieval, retrieval_state
    from sluice.pacs.governor.report import lines, pacs_now

    if options.order is None:
        if options.priority:
            return _wrong("A priority is a window's: say what to do with which, like resume 2026-10-26.")
        print("\n".join(lines(pacs_now(installation.database_of(options.home)))))
        return 0
    if not options.window:
        return _wrong(f"Name the window to {options.order}, like 2026-10-26 or cohort/<project>/<name>.")
    state = {"pause": "paused", "resume": "active", "cancel": "cancelled"}[options.order]
    priority = Priority[options.priority.upper()] if options.priority else None
    database = installation.database_of(options.home)
    before = retrieval_state(database, options.window)
    now = order_retrieval(database, options.window, f"{getuser()} at a terminal", state, priority)
    print(f"{options.window}: {now.state}{f', {now.priority.name.lower()}' if now.priority is not None else ''}")
    if (before.state, now.state) == ("cancelled", "active"):
        print(
            f"Trigger the DAG retrieve with the window {options.window}: what was cancelled does not go on by itself."
        )
    return 0


def _missing(options: argparse.Namespace) -> int:
    from sluice import ledger_report
    from sluice.ledger import Asked

    asked = Asked(
        options.window,
        options.pacs,
        options.study,
        options.series,
        options.instance,
        options.accession,
        options.patient,
    )
    if asked == Asked(pacs=options.pacs):
        return _wrong("Say what to look for: a window, or --study, --series, --instance, --accession or --patient.")
    database = installation.database_of(options.home)
    if options.window and not database.rows("window", {"window_key": options.window}):
        return _fail(_no_window(options.window))
    write = ledger_report.write_json if options.json else ledger_report.write_text
    write = ledger_report.write_csv if options.csv else write
    return MISSING if write(database, asked, sys.stdout) else 0


def _no_window(key: str) -> str:
    if key.startswith("import/"):
        return f"Nothing was imported under the name {key.removeprefix('import/')!r}."
    if key.startswith("cohort/"):
        return f"There is no cohort {key.removeprefix('cohort/')!r}. Run the DAG backfill_cohort."
    try:
        date.fromisoformat(key)
    except ValueError:
        return f"{key!r} is no window: write a day like 2026-10-26, cohort/<project>/<name> or import/<name>."
    return f"No window {key} was swept. Run the DAG sweep, or a backfill of it, for that day."


def _import(options: argparse.Namespace) -> int:
    from sluice.archive import import_report
    from sluice.archive.imports import import_files, import_window

    database = installation.database_of(options.home)
    site = installation.settings_of(options.home)
    window = import_window(options.paths, options.name)
    try:
        summary = import_files(database, site, window, options.paths, import_report.progress_line(sys.stderr))
    except KeyboardInterrupt:
        print("\nStopped. What was taken is safe; run the same command again to go on.", file=sys.stderr)
        raise
    print(import_report.report(summary, import_report.reasons(database)))
    return 0 if summary.is_complete else MISSING


def _caught(work: Callable[[], int]) -> int:
    """Run `work`; turn what went wrong into one clear line and an exit code."""
    try:
        return work()
    except KeyboardInterrupt:
        return 130
    except WrongUsage as error:
        return _wrong(str(error))
    except RuntimeError as error:
        return _fail(str(error))
    except BrokenPipeError:  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail("No space left on the device. Free some and run the command again: it goes on where it was.")
        if error.errno in OF_A_PATH and error.filename is not None and not os.environ.get("SLUICE_DEBUG"):
            return _fail(f"{os.fsdecode(error.filename)}: {error.strerror}. Check the path and its permissions.")
        return _unexpected(error)
    except Exception as error:
        return _unexpected(error)


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for talkative in ("pynetdicom", "openjpeg"):  # a line for each message, with its identifiers, or each image
        logging.getLogger(talkative).setLevel(logging.WARNING)


def _fail(message: str) -> int:
    print(f"sluice: {message}", file=sys.stderr)
    return 1


def _wrong(message: str) -> int:
    _fail(message)
    return 2


def _unexpected(error: Exception) -> int:
    if os.environ.get("SLUICE_DEBUG"):
        raise error
    if getattr(error, "pgcode", None) in NOT_MIGRATED:
        return _fail("The database is not up to date with this version of Sluice. Run: python -m sluice migrate")
    return _fail(
        f"{type(error).__name__}: {error}. This is a fault of Sluice itself; "
        "run the command again with SLUICE_DEBUG=1 and report what it prints."
    )


if __name__ == "__main__":
    sys.exit(main())

"""`sluice report`: what the models saw of a study, as a DICOM structured report."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.database import Database


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The options of `report`."""
    added.add_argument("study", type=said, help="Study Instance UID")
    how = added.add_mutually_exclusive_group(required=True)
    how.add_argument("--out", type=path, metavar="FILE", help="write it to a file")
    how.add_argument("--send", type=said, metavar="PACS", help="ask for it at a PACS, by the id of its connection")
    added.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Write it; return the exit code."""
    from sluice.reports.making import ask, report_of

    by = f"{getuser()} at a terminal"
    if options.send:
        ask(database(), options.study, options.send, by)
        print(f"Asked for: the DAG send_reports sends it to {options.send} at its next run.")
        return 0
    report = report_of(database(), options.study, by)
    options.out.write_bytes(report.file)
    print(f"{report.sop_instance_uid}, {'made now' if report.is_new else 'as it was made before'}.")
    return 0

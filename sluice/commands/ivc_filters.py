"""`sluice ivc-filters …`: the registry of IVC filters as text or CSV, and what people correct in it.

Patient IDs come from standard input, so that none stands in a shell's history or a list of processes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import date
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.database import Database


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The commands below `ivc-filters`."""
    orders = added.add_subparsers(title="what to do", dest="order", required=True, metavar="WHAT")
    words = "patients with a filter as CSV, the most pressing first"
    listed = orders.add_parser("list", help=words, description=words)
    listed.add_argument("--due", action="store_true", help="only those whose retrieval is due; exit 3 if there are any")
    words = "keep what a person says of an image, or of the patient whose Patient ID stands on standard input"
    corrected = orders.add_parser("say", help=words, description=words)
    corrected.add_argument("kind", choices=("confirmed", "not_a_filter", "retrieved", "withdrawn"))
    corrected.add_argument("--image", type=said, metavar="UID", help="SOP Instance UID, where it is said of an image")
    corrected.add_argument("--on", type=date.fromisoformat, metavar="DAY", help="of a retrieval, like 2026-10-26")
    corrected.add_argument("--issuer", type=said, help="issuer of the Patient ID, where several have it")
    corrected.add_argument("--note", type=said, help="for colleagues; no patient's name")
    for order in (listed, corrected):
        order.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Do it; return the exit code."""
    from sluice.ivc_filters.registry import Correction, correct, patient_of, patient_of_image, patients, write_csv

    store = database()
    if options.order == "list":
        due = write_csv(patients(store, "due" if options.due else None), sys.stdout)
        return 3 if options.due and due else 0
    if options.image:
        patient = patient_of_image(store, options.image)
    else:
        patient = patient_of(store, sys.stdin.readline().strip(), options.issuer)
    said = Correction(patient, options.kind, options.image, options.on, options.note or "")
    correct(store, said, f"{getuser()} at a terminal")
    print("Kept.")
    return 0

"""`sluice release`: the key that signs manifests."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.commands.usage import WrongUsage
from sluice.settings import settings

if TYPE_CHECKING:
    from sluice.database import Database

SHORTEST_WHY = 10  # characters


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The commands below `release`."""
    asked = added.add_subparsers(dest="asked", required=True, metavar="COMMAND")
    words = "the public key that readers pin, as PEM, and its id; made where there is none yet"
    key = asked.add_parser("key", help=words, description=words)
    key.add_argument(
        "--replace", type=said, metavar="WHY", help="from now on it signs, in the place of the house's key before"
    )
    key.add_argument("--home", type=path, default=None, help="folder of its data (default: SLUICE_HOME)")


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Print the public key."""
    from sluice.release.signing import announce, signing_key

    folder = options.home / "keys" if options.home else settings().keys
    if options.replace:
        if len(options.replace.strip()) < SHORTEST_WHY:
            raise WrongUsage("Say why, in a sentence: readers will ask.")
        key = announce(database(), folder, options.replace, getpass.getuser())
    else:
        key = signing_key(folder)
    print(f"# key {key.key_id}, Ed25519")
    print(key.public_pem.decode(), end="")
    return 0

"""`sluice header` and `sluice headers`: one header to look at, and elements as typed columns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.commands.usage import WrongUsage

if TYPE_CHECKING:
    from sluice.database import Database


def add_header(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The options of `header`."""
    added.add_argument("instance", type=said, metavar="SOP_INSTANCE_UID")
    form = added.add_mutually_exclusive_group()
    form.add_argument("--dump", action="store_true", help="a listing for people to read instead")
    form.add_argument("--bytes", type=path, metavar="FILE", help="write its bytes as they came, without pixels")
    added.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def add_headers(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The options of `headers`."""
    added.add_argument("order", choices=("promote", "promoted"), help="promote an element, or list what is promoted")
    added.add_argument("element", nargs="?", type=said, help='like 0018,0081, EchoTime or 0029,"CREATOR",10')
    added.add_argument("--as", dest="name", type=said, metavar="NAME", help="the column's name")
    added.add_argument("--type", choices=("text", "integer", "real", "date", "time", "timestamp"), default="text")
    added.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")


def run_header(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Show one header."""
    from sluice.headers import report

    if options.bytes:
        print(report.write_bytes(database(), options.instance, options.bytes))
    else:
        report.write_header(database(), options.instance, sys.stdout, options.dump)
    return 0


def run_headers(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Promote an element, or list what is promoted."""
    from sluice.headers import report
    from sluice.headers.paths import ElementPath, PathError

    if options.order == "promoted":
        report.write_promoted(database(), sys.stdout)
        return 0
    if not options.element or not options.name:
        raise WrongUsage("Say what to promote and as what: headers promote 0018,0081 --as echo_time --type real")
    try:
        ElementPath.of(options.element)
    except PathError as error:
        raise WrongUsage(str(error)) from None
    report.write_promotion(database(), options.element, options.name, options.type, sys.stdout)
    return 0

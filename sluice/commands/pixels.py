"""`sluice pixels check`: whether a folder of device rules works, and what it does to files of that device."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.database import Database

HELD = 3  # exit code: the rules are right, and a file would be held all the same


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The commands below `pixels`."""
    asked = added.add_subparsers(dest="asked", required=True, metavar="COMMAND")
    words = "check a folder of device rules, and say what they do to DICOM files; exit 3 if one of these is held"
    check = asked.add_parser("check", help=words, description=words)
    check.add_argument("folder", type=path, help="the hospital's rules, as SLUICE_DEVICE_RULES names it")
    check.add_argument("files", type=path, nargs="*", metavar="FILE", help="a DICOM file, or a folder of them")
    check.add_argument("--read", action="store_true", help="look for text that the rules leave, as a release would")
    words = "write PNGs of the first frames as the rules leave them, by the files' numbers, for your eyes only"
    check.add_argument("--previews", type=path, metavar="FOLDER", help=words)


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Say what is wrong with the rules, or what they do."""
    from sluice.deid.pixels.trying import read_rules

    rules, faults = read_rules(options.folder)
    for fault in faults:
        print(fault)
    if faults:
        print(f"{len(faults)} faults. A release would stop at the first that cannot be read.")
        return 1
    own = sum(not one.place.startswith("devices.csv,") for one in rules)
    print(f"{own} rules of the hospital, {len(rules) - own} that ship: all can be used.")
    held = 0
    for number, path in enumerate(_files(options.files), start=1):
        held += _try(number, path, rules, options.read, options.previews)
    return HELD if held else 0


def _try(number: int, path: Path, rules: Sequence[object], looks: bool, previews: Path | None) -> bool:
    """Print what happens to one file; whether it is held."""
    from sluice.deid.held import Held
    from sluice.deid.pixels.trying import preview, try_file

    try:
        data = path.read_bytes()
        tried = try_file(data, rules, looks)  # type: ignore[arg-type]
        named = f"rule {tried.rule.rule.rule} ({tried.rule.place})" if tried.rule else "no rule"
        print(f"file {number}: {tried.device}\n  {named}: {tried.said}")
        if tried.missed is not None:
            print(f"  text is left at {tried.missed} places; a release finds it, too, and masks or holds it")
        if previews is not None and tried.masks is not None:
            _write(previews / f"{number:03}.png", preview(data, tried.masks))
        return tried.masks is None
    except OSError as error:
        print(f"file {number}: cannot be read: {error.strerror}")
    except Held as held:
        print(f"file {number}: {held.reason_code}: {held.detail}")
    return True


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        else:
            yield path


def _write(path: Path, body: bytes) -> None:
    """Only the owner reads it: a wrong rule leaves a name in the picture."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(body)

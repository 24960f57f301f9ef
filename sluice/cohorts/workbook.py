"""Workbooks (XLSX, XLSB, XLS, ODS), read by a process of its own.

A sheet with one cell in its last corner makes the reader ask for half a terabyte, upon which the process ends. It must
not be the one that serves the page, so it is a child with little memory, whose records come as JSON lines.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from typing import IO, Any, BinaryIO

from sluice.cohorts.headings import columns_in
from sluice.cohorts.records import OLE, ListError, Record, find_heading, no_heading

MEMORY_BYTES = 3 << 30
CPU_S = 120
MOST_INFLATED_BYTES = 1 << 30  # of the parts of an XLSX or ODS; a full sheet of four columns has 0.2 GiB
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")  # where Office puts a protected workbook (MS-OFFCRYPTO 2.3.4.4)
PROBLEMS = {
    "encrypted": "The workbook is protected by a password. Save it without one, or as CSV.",
    "damaged": "The workbook is damaged, protected by a password, or of no known kind. Open it in a spreadsheet "
    "program and save it anew, or as CSV.",
    "large": "The workbook unpacks to more than can be read here. Save the sheet as CSV.",
}


def workbook_records(source: BinaryIO) -> Iterator[Record]:
    """The records of the first visible sheet that has a heading, the heading first; lines are rows of the sheet.

    Raises:
        ListError: it cannot be read, needs too much memory or time, or no sheet has a heading.
    """
    with tempfile.TemporaryFile() as copy:
        source.seek(0)
        while piece := source.read(1 << 20):
            copy.write(piece)
        copy.seek(0)
        # What it says goes nowhere: a crash would tell of memory, not of the workbook.
        child = subprocess.Popen(
            [sys.executable, "-m", "sluice.cohorts.workbook"],
            stdin=copy,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ.get("PATH", "")},
        )
    assert child.stdout is not None
    try:
        for text in child.stdout:
            said = json.loads(text)
            if isinstance(said, dict):
                raise no_heading() if said["problem"] == "heading" else ListError(PROBLEMS[said["problem"]])
            yield said[0], said[1]
        if child.wait() != 0:
            raise ListError(PROBLEMS["large"])
    finally:
        child.stdout.close()
        child.kill()
        child.wait()


def _main() -> None:
    """Read the workbook that is standard input, write its records to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads has heard enough
    try:
        _write(sys.stdin.buffer, sys.stdout)
    except _Problem as problem:
        print(json.dumps({"problem": problem.args[0]}))


class _Problem(Exception):  # noqa: N818
    """A key of `PROBLEMS`, or `heading`."""


def _write(source: IO[bytes], out: IO[str]) -> None:
    import python_calamine as calamine

    _check(source)
    try:
        with calamine.CalamineWorkbook.from_filelike(source) as workbook:
            sheets = [one.name for one in workbook.sheets_metadata if one.visible == calamine.SheetVisibleEnum.Visible]
            for name in sheets or workbook.sheet_names:
                sheet = workbook.get_sheet_by_name(name)
                start, _ = find_heading(_cells(sheet), columns_in)
                if not start:
                    continue
                for line, cells in _cells(sheet):
                    if line >= start:
                        out.write(json.dumps([line, cells], separators=(",", ":")) + "\n")
                return
    except calamine.PasswordError:
        raise _Problem("encrypted") from None
    except (calamine.CalamineError, OSError, ValueError):
        raise _Problem("damaged") from None
    raise _Problem("heading")


def _check(source: IO[bytes]) -> None:
    """What calamine does not tell, or not in time: encrypted contents, and how much a ZIP unpacks to."""
    if source.read(len(OLE)) == OLE:
        source.seek(0)
        if ENCRYPTED in source.read():
            raise _Problem("encrypted")
    else:
        try:
            with zipfile.ZipFile(source) as archive:
                if sum(part.file_size for part in archive.infolist()) > MOST_INFLATED_BYTES:
                    raise _Problem("large")
        except zipfile.BadZipFile:
            raise _Problem("damaged") from None
    source.seek(0)


def _cells(sheet: Any) -> Iterator[Record]:
    for line, row in enumerate(sheet.iter_rows(), start=1):
        yield line, [_cell(value) for value in row]


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return value
    if isinstance(value, datetime):
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)


if __name__ == "__main__":
    _main()

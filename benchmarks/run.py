"""Run benchmarks, print their tables, write `var/bench/<name>.json`.

    python -m benchmarks.run [--only NAME] [NAME …]

A benchmark is a module `benchmarks/<name>.py` with `run(work: Path) -> list[Row]`. It measures ours and the peer in
one run, on the same files, alternating, and gives medians: figures of a shared machine mean little by
themselves, their ratio means something.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Row:
    """One line of a benchmark's table.

    Attributes:
        name: what was measured.
        ours, peer: medians in `unit`.
        peer_name: beside whom.
        ratio: how many times better ours is, in the sense of the goal.
        goal: ratio to reach; None where a line only informs.
        holds: ratio reaches the goal.
    """

    name: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float
    goal: float | None
    holds: bool


def names() -> list[str]:
    """Benchmarks there are: modules beside this one that define `run(work)`."""
    modules = sorted(path for path in HERE.glob("*.py") if not path.stem.startswith("_") and path.stem != "run")
    return [path.stem for path in modules if "\ndef run(work: Path) -> list[Row]:" in path.read_text(encoding="utf-8")]


def results_folder() -> Path:
    """`var/bench` of this installation, made where it is missing."""
    folder = Path(os.environ.get("SLUICE_HOME", HERE.parent / "var")) / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def measure(name: str) -> list[Row]:
    """Run one benchmark in a folder of its own and keep its rows."""
    module = importlib.import_module(f"benchmarks.{name}")
    with tempfile.TemporaryDirectory(prefix=f"sluice-bench-{name}-") as work:
        rows: list[Row] = module.run(Path(work))
    text = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
    (results_folder() / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as text in columns."""
    lines = [("measured", "ours", "peer", "unit", "beside", "ratio", "goal", "")]
    lines += [
        (
            row.name,
            f"{row.ours:,.4g}",
            f"{row.peer:,.4g}",
            row.unit,
            row.peer_name,
            f"{row.ratio:.2f} ×",
            f"{row.goal:g} ×" if row.goal is not None else "–",
            "holds" if row.holds else "MISSED",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    left = {0, 3, 4, 7}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 when every goal was reached, 1 when one was missed, 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run benchmarks beside their peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; all without a name")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="the same, as an option")
    given = parser.parse_args(arguments)
    wanted = [*given.names, *given.only] or names()
    unknown = [name for name in wanted if name not in names()]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(names())}.", file=sys.stderr)
        return 2
    missed = 0
    for name in wanted:
        started = time.monotonic()
        rows = measure(name)
        missed += sum(not row.holds for row in rows)
        print(f"\n{name}  ({time.monotonic() - started:.0f} s, {results_folder() / f'{name}.json'})\n\n{table(rows)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The closing table as text, at most 120 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from sluice.stack.verdict import Line, Section

WIDTH = 118
WHAT = 38
SIGNS = {True: "✓", False: "✗", None: "·"}
COLOURS = {True: "32", False: "31", None: "2"}
HEADINGS = {"Instances": "studies series instances", "Scanners": "utilization, clock"}


def render(sections: Sequence[Section], colour: bool = False) -> str:
    """All sections, one under the other: what, expected, found, whether it holds."""
    lines = [line for section in sections for line in section.lines]
    widest = max((len(line.expected) for line in lines), default=8)
    expected = min(max(widest, len("studies series instances")), 34)
    found = WIDTH - WHAT - expected - 8
    out: list[str] = []
    for section in sections:
        kind = HEADINGS.get(section.title, "")
        head = f"  {section.title:<{WHAT}} {('expected ' + kind)[: expected + 9]:<{expected}}"
        out += ["", _painted(f"{head}  found", "1", colour), "  " + "─" * (WIDTH - 2)]
        for line in section.lines:
            out += _rows(line, expected, found, colour)
    return "\n".join(out)


def _rows(line: Line, expected: int, found: int, colour: bool) -> list[str]:
    sign = _painted(SIGNS[line.holds], COLOURS[line.holds], colour)
    text = f"  {line.what[:WHAT]:<{WHAT}} {line.expected[:expected]:<{expected}}  {line.found[:found]:<{found}} {sign}"
    rows = [text]
    if line.holds is False and line.note:
        rows += [_painted(f"      {part}", COLOURS[False], colour) for part in textwrap.wrap(line.note, WIDTH - 8)]
    return rows


def _painted(text: str, code: str, colour: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if colour else text

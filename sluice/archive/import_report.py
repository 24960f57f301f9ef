"""What an import did, as a person at a terminal reads it. File names appear here and in no log."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TextIO

from sluice.archive.imports import ImportSummary
from sluice.database import Database

WIDTH = 100
SHOWN = 5
STEPS = "extract_headers, check_quality, infer_body_part, detect_ivc_filter"


def progress_line(stream: TextIO) -> Callable[[ImportSummary], None]:
    """Shows the counts in place while the import runs; says nothing where `stream` is no terminal."""
    if not stream.isatty():
        return lambda _: None
    last = -1.0

    def show(summary: ImportSummary) -> None:
        nonlocal last
        if summary.seconds - last < 0.2:
            return
        last = summary.seconds
        rate = summary.files / summary.seconds if summary.seconds else 0.0
        line = f"{summary.files} files, {summary.taken} taken, {rate:.0f}/s, {summary.bytes / 1e6:.0f} MB"
        stream.write(f"\r\033[K{line}\r")
        stream.flush()

    return show


def report(summary: ImportSummary, reasons: dict[str, tuple[str, str]]) -> str:
    """The closing table, and what to do next.

    Args:
        reasons: meaning and advice by reason code.
    """
    lines = [
        f"Imported into window {summary.window_key} in {summary.seconds:.1f} s: {summary.files} files, "
        f"{summary.bytes / 1e6:.1f} MB.",
        "",
        _row("received", summary.received, "new in the archive"),
        _row("again", summary.again, "known already, with the same content"),
    ]
    if summary.directories:
        lines.append(_row("DICOMDIR", summary.directories, "passed over"))
    if summary.set_aside:
        lines.append(_row("set aside", summary.set_aside, "other content than the known one; both are kept"))
        lines += _names(summary, "set aside")
    for code, count in sorted(summary.not_taken.items(), key=lambda item: -item[1]):
        meaning, advice = reasons.get(code, ("", ""))
        lines.append(_row(code, count, f"not taken. {meaning} {advice}".strip()))
        lines += _names(summary, code)
    lines.append("")
    lines += [_wrapped(sentence) for sentence in _next(summary)]
    return "\n".join(lines)


def reasons(database: Database) -> dict[str, tuple[str, str]]:
    """Meaning and advice by reason code."""
    return {row["reason_code"]: (row["meaning"], row["advice"]) for row in database.rows("reasons")}


def _row(what: str, count: int, words: str) -> str:
    first, *more = textwrap.wrap(words, WIDTH - 30) or [""]
    return "\n".join([f"  {what:<18}{count:>8}  {first}", *(" " * 30 + line for line in more)])


def _names(summary: ImportSummary, reason: str) -> list[str]:
    shown = summary.examples.get(reason, [])[:SHOWN]
    count = summary.set_aside if reason == "set aside" else summary.not_taken[reason]
    lines = []
    for name, detail in shown:
        readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        readable = "".join(letter if letter.isprintable() else "?" for letter in readable)
        lines.append(
            f"      {_shortened(readable, WIDTH - 6)}"
            + (f"\n        {_shortened(detail, WIDTH - 8)}" if detail else "")
        )
    if count > len(shown):
        where = "receipt_conflict" if reason == "set aside" else "quarantine"
        lines.append(f"      … and {count - len(shown)} more; all of them are in the table {where}.")
    return lines


def _next(summary: ImportSummary) -> Sequence[str]:
    if not summary.files:
        return ["There was no file. Is it the right folder, and is its medium mounted?"]
    if not summary.taken:
        return ["Nothing was taken."]
    sentences = []
    if summary.days:
        days = ", ".join(f"{count} of {day}" for day, count in list(summary.days.items())[:5])
        more = f" and {len(summary.days) - 5} more days" if len(summary.days) > 5 else ""
        sentences.append(f"Instances of days that were swept belong to those, too: {days}{more}.")
    sentences.append(
        f"Next: trigger the DAGs {STEPS} in this order with the window {summary.window_key}, and export_release or the "
        f"Sluice page when they are done. `sluice missing {summary.window_key}` says how far it came."
    )
    return sentences


def _wrapped(sentence: str) -> str:
    return "\n".join(textwrap.wrap(sentence, WIDTH))


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[-(width - 1) :]

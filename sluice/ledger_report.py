"""The ledger's answer as a person at a terminal reads it (at most 100 columns), as JSON, and as CSV."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TextIO

from sluice import ledger
from sluice.csv_cells import inert
from sluice.database import Database
from sluice.ledger import Asked

WIDTH = 100
MOST_ROWS = 40  # of a table at a terminal
STEPS_LATER = ("indexed", "checked", "predicted", "released")
CSV_COLUMNS = (
    "study_instance_uid", "series_instance_uid", "sop_instance_uid", "modality", "windows", "pacs", "expected_at",
    "reason_code", "detail", "status", "attempts", "last_attempt_at", "next_attempt_at",
)  # fmt: skip


class NothingKnown(RuntimeError):  # noqa: N818
    """The ledger has no fact about what was asked."""


def write_text(database: Database, asked: Asked, out: TextIO) -> bool:
    """Write the answer in words; return whether something is missing that should be here.

    Raises:
        NothingKnown: no query ever listed what was asked about, and nothing of it came.
    """
    totals = _known(database, asked)
    reasons = ledger.reasons(database, asked)
    for line in _headline(totals):
        print(line, file=out)
    if asked.window_key and totals["missing"] and (now := ledger.under_way(database, asked.window_key)):
        print(now, file=out)
    for line in (*_reasons(reasons), *_detail(database, asked, totals)):
        print(line, file=out)
    if asked.window_key and asked == Asked(window_key=asked.window_key):
        for line in _later_steps(database, asked.window_key):
            print(line, file=out)
    return is_missing(reasons)


def write_json(database: Database, asked: Asked, out: TextIO) -> bool:
    """Write totals, reasons, the studies and every instance that is missing; of one study its timeline, too.

    Raises:
        NothingKnown: see `write_text`.
    """
    reasons = ledger.reasons(database, asked)
    everything = asked.instance is not None
    answer: dict[str, Any] = {
        "asked": {name: value for name, value in vars(asked).items() if value is not None},
        "totals": _known(database, asked),
        "under_way": ledger.under_way(database, asked.window_key) if asked.window_key else None,
        "reasons": reasons,
        "studies": list(ledger.rows(database, "studies", asked, missing_only=False)),
        "instances": list(ledger.rows(database, "instances", asked, missing_only=not everything)),
    }
    if asked.study is not None:
        answer["timeline"] = ledger.timeline(database, asked.study)
    json.dump(answer, out, default=str, indent=1)
    out.write("\n")
    return is_missing(reasons)


def write_csv(database: Database, asked: Asked, out: TextIO) -> bool:
    """Write one line an instance that is missing.

    Raises:
        NothingKnown: see `write_text`.
    """
    _known(database, asked)
    writer = csv.writer(out)
    writer.writerow(CSV_COLUMNS)
    for row in ledger.rows(database, "instances", asked):
        writer.writerow([inert(_cell(row[column])) for column in CSV_COLUMNS])
    return is_missing(ledger.reasons(database, asked))


def _known(database: Database, asked: Asked) -> dict[str, int]:
    totals = ledger.totals(database, asked)
    if totals["studies"] or asked == Asked(window_key=asked.window_key):
        return totals
    if asked == Asked(window_key=asked.window_key, pacs=asked.pacs):
        raise NothingKnown(f"No PACS {asked.pacs!r} listed anything of it. Is that the id of its connection?")
    if asked.window_key or asked.pacs:
        raise NothingKnown("The ledger knows nothing of it there. Ask without the window and without --pacs.")
    raise NothingKnown(
        "The ledger knows nothing of it: no query listed it and it never came. Check how it is written; if it is "
        "right, run the DAG sweep, or a backfill of it, for its day."
    )


def is_missing(reasons: Iterable[Mapping[str, Any]]) -> bool:
    """Whether an instance is missing for a reason that somebody can do something about."""
    return any(not reason["nothing_to_do"] for reason in reasons)


def _headline(totals: Mapping[str, int]) -> Iterator[str]:
    studies = _count(totals["studies"], "study", "studies")
    if totals["unexpected"] and not totals["expected"]:
        yield f"{_count(totals['unexpected'], 'instance')} of {studies} arrived; no PACS had listed any of it."
        return
    came = f"{totals['received'] - totals['unexpected']} of them arrived"
    more = f", {totals['unexpected']} more came without being listed" if totals["unexpected"] else ""
    yield f"{_count(totals['expected'], 'instance')} of {studies} expected, {came}{more}."
    if totals["missing"]:
        incomplete = _count(totals["incomplete_studies"], "study", "studies")
        yield f"{_count(totals['missing'], 'instance')} of {incomplete} missing."
    else:
        yield "Nothing is missing."


def _reasons(reasons: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for reason in reasons:
        yield ""
        instances = f"{_count(reason['instances'], 'instance')} of {_count(reason['studies'], 'study', 'studies')}"
        tried = f"last try {_moment(reason['last_attempt_at'])}, next {_next(reason['next_attempt_at'])}"
        yield f"  {reason['reason_code']}: {instances}, {tried}"
        yield from _wrapped(f"{reason['meaning']} {reason['advice']}", 4)


def _detail(database: Database, asked: Asked, totals: Mapping[str, int]) -> Iterator[str]:
    if asked.instance is not None:
        for row in ledger.rows(database, "instances", asked, missing_only=False):
            yield from _instance(row)
    elif asked.series is not None or totals["studies"] == 1:
        yield from _table(database, asked, "series" if asked.series is None else "instances")
        if asked.study is not None:
            yield from _timeline(ledger.timeline(database, asked.study))
    else:
        yield from _table(database, asked, "studies")


def _table(database: Database, asked: Asked, level: str) -> Iterator[str]:
    uid = {"studies": "study_instance_uid", "series": "series_instance_uid", "instances": "sop_instance_uid"}[level]
    found, more = ledger.page(database, level, asked, size=MOST_ROWS)
    if not found:
        return
    yield ""
    yield f"  {level:<57}{'missing':>22}  try  next try"
    for row in found:
        missing = f"{row['missing']}/{row['expected']}" if level != "instances" else row["reason_code"]
        due = "–" if row["next_attempt_at"] is None else _moment(row["next_attempt_at"])[5:]
        yield f"  {row[uid]:<57}{missing:>22}  {row['attempts']:>3}  {due}"
    if more:
        yield "  … and more; --csv lists every instance."


def _instance(row: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    for one in row["expected_by"] or ():
        query = ", ".join(f"{name} {_plain(value)}" for name, value in (one["query"] or {}).items() if value)
        yield f"  expected   {_moment(one['expected_at'])}, window {one['window']}, listed by {one['pacs']}"
        if query:
            yield from _wrapped(f"by the C-FIND at level {one['level']} with {query}", 13)
    if not row["expected_by"]:
        yield "  expected   by no query"
    if row["received_at"]:
        yield f"  received   {_moment(row['received_at'])}, {row['source']} from {row['calling_ae']} at {row['peer']}"
        yield f"             association {row['association']}"
        yield f"             {row['bytes']} bytes, SHA-256 {row['sha256']}"
        yield from _wrapped(f"archive/{row['path']}", 13)
        yield f"  indexed    {_moment(row['indexed_at'])}"
    elif row["reason_code"]:
        yield f"  missing    {row['reason_code']}" + (f", status {row['status']}" if row["status"] else "")
        yield from _wrapped(row["detail"] or "", 13)
        last = f", the last {_moment(row['last_attempt_at'])} by {row['last_kind']} from {row['last_pacs']}"
        yield f"  tries      {row['attempts']}{last if row['attempts'] else ''}"
        yield f"  next try   {_next(row['next_attempt_at'])}"
    for one in row["quarantined"] or ():
        yield f"  quarantine {_moment(one['at'])}, {one['reason_code']}"
        yield from _wrapped(one["detail"] or "", 13)
    for one in row["other_contents"] or ():
        yield f"  set aside  {_moment(one['at'])}, other content from {one['calling_ae']}, {one['bytes']} bytes"


def _timeline(events: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield ""
    for event in events:
        who = " ".join(str(event[name]) for name in ("who", "window_key") if event[name])
        count = f"{event['instances']} " if event["instances"] is not None else ""
        words = ", ".join(str(event[name]) for name in ("what", "reason_code") if event[name])
        told = ", ".join(part for part in (f"{count}{event['event']}", who) if part)
        first, *rest = textwrap.wrap(told + (f": {words}" if words else ""), WIDTH - 22)
        yield f"  {_moment(event['at']):<18}  {first}"
        yield from (" " * 22 + line for line in rest)


def _later_steps(database: Database, window_key: str) -> Iterator[str]:
    gaps = [row for row in database.rows("gaps_by_reason", {"window_key": window_key}) if row["step"] != "received"]
    open_ones = [row for row in gaps if not str(row["advice"]).startswith(ledger.NOTHING_TO_DO)]
    if open_ones:
        yield ""
        yield "Arrived, but not through every step yet:"
    for row in open_ones:
        yield ""
        instances = f"{_count(row['instances'], 'instance')} of {_count(row['studies'], 'study', 'studies')}"
        yield f"  not {row['step']}: {instances}, {row['reason_code']}"
        yield from _wrapped(f"{row['meaning']} {row['advice']}", 4)


def _wrapped(text: str, indent: int) -> list[str]:
    return [" " * indent + line for line in textwrap.wrap(text, WIDTH - indent)]


def _count(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _moment(when: datetime | str | None) -> str:
    if when is None:
        return "never"
    moment = datetime.fromisoformat(when) if isinstance(when, str) else when
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _next(when: datetime | None) -> str:
    return "is not planned" if when is None else _moment(when)


def _plain(value: Any) -> str:
    return "\\".join(map(str, value)) if isinstance(value, list) else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(str(part) for part in value if part is not None)
    return value.isoformat() if isinstance(value, datetime) else str(value)

"""`sluice cohort`: preview and freeze a filter in a file, what a filter can name, and lists."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sluice.commands import cohort_lists

if TYPE_CHECKING:
    from sluice.cohorts.expressions import Expression
    from sluice.cohorts.freeze import Frozen
    from sluice.cohorts.preview import Counts, Preview
    from sluice.database import Database

WRONG = 2  # exit code: the filter does not type-check
UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def add_orders(added: argparse.ArgumentParser, path: Callable[[str], Path], said: Callable[[str], str]) -> None:
    """The options of `cohort`."""
    orders = added.add_subparsers(title="what to do", required=True, metavar="WHAT", dest="order")
    preview = orders.add_parser("preview", help="count what a filter takes; nothing moves")
    freeze = orders.add_parser("freeze", help="keep what a filter takes now as a version of a cohort")
    for order in (preview, freeze):
        order.add_argument("file", type=path, help="the filter, YAML or JSON (docs/cohorts.md); - for standard input")
        order.add_argument("--project", type=said, help="only what this project may see")
        order.add_argument("--json", action="store_true", help="the whole answer as JSON")
        order.add_argument("--home", type=path, default=None, help="stack to ask (default: the one that runs)")
    freeze.add_argument("--name", type=said, required=True, help="of the cohort")
    freeze.add_argument("--why", type=said, required=True, help="what it is for")
    cohort_lists.add_orders(
        orders.add_parser("list", help="lists of studies, with an answer for every row"), path, said
    )
    fields = orders.add_parser("fields", help="what a filter can name")
    fields.add_argument("--markdown", action="store_true", help="as the table in docs/cohorts.md")


def run(options: argparse.Namespace, database: Callable[[], Database]) -> int:
    """Do it; return the exit code."""
    from sluice.cohorts.errors import ExpressionError

    if options.order == "fields":
        write_fields(sys.stdout, options.markdown)
        return 0
    if options.order == "list":
        return cohort_lists.run(options, database)
    try:
        expression, may_see = _asked(options, database)
    except ExpressionError as error:
        for fault in error.faults:
            print(f"sluice: {fault}", file=sys.stderr)
        return WRONG
    order = _preview if options.order == "preview" else _freeze
    return order(options, database(), expression, may_see)


def _asked(options: argparse.Namespace, database: Callable[[], Database]) -> tuple[Expression, Expression | None]:
    from sluice.cohorts.language import parse_file, parse_text
    from sluice.cohorts.promoted import registry_of
    from sluice.release.projects import load_project

    project = load_project(options.project) if options.project else None
    identifiers = project is None or project.may_use_identifiers
    registry = registry_of(database())
    if str(options.file) == "-":
        expression = parse_text(sys.stdin.read(), registry, identifiers)
    else:
        expression = parse_file(options.file, registry, identifiers)
    return expression, project.may_see if project else None


def _preview(options: argparse.Namespace, database: Database, asked: Expression, may_see: Expression | None) -> int:
    from sluice.cohorts.expressions import AllOf
    from sluice.cohorts.preview import preview

    seen = preview(database, AllOf((asked, may_see)) if may_see is not None else asked)
    print(json.dumps(seen.as_dict(), indent=1, ensure_ascii=False) if options.json else "\n".join(preview_lines(seen)))
    return 0


def _freeze(options: argparse.Namespace, database: Database, asked: Expression, may_see: Expression | None) -> int:
    from getpass import getuser

    from sluice.cohorts.freeze import freeze

    who = f"{getuser()} at a terminal"
    made = freeze(database, options.name, asked, who, options.why, options.project or "", may_see)
    print(json.dumps(made.as_dict(), indent=1) if options.json else _frozen_line(options.name, made))
    return 0


def _frozen_line(name: str, made: Frozen) -> str:
    what = "frozen" if made.is_new else "was frozen before with the same members"
    wanted = f" {made.wanted_studies:,} more studies are at the PACS." if made.wanted_studies else ""
    return (
        f"{name}, version {made.version}: {what}. {made.patients:,} patients, {made.studies:,} studies, "
        f"{made.series:,} series, {made.instances:,} instances, {size(made.bytes)}.{wanted}"
    )


def preview_lines(seen: Preview) -> Iterator[str]:
    """A preview for a terminal."""
    yield seen.words
    yield ""
    yield f"{'':<24}{'patients':>10}{'studies':>10}{'series':>10}{'instances':>12}{'size':>11}"
    yield f"{'here':<24}{_numbers(seen.here)}"
    for dimension, groups in seen.by.items():
        yield ""
        for group in groups:
            yield f"{dimension.replace('_', ' ') + ' ' + str(group.value or 'unknown'):<24.24}{_numbers(group.counts)}"
        if dimension in seen.rest:
            rest = seen.rest[dimension]
            yield f"{f'{rest.groups} more':<44}{rest.series:>10,}{rest.instances:>12,}{size(rest.bytes):>11}"
    yield ""
    taken = "and they are taken: the filter does not ask about quality" if seen.held_are_taken else "and left out"
    yield f"{seen.held:,} instances are held by quality{f', {taken}' if seen.held else ''}."
    if not seen.to_fetch:
        yield "No PACS lists more of it than is here, by the sweeps so far."
    for one in seen.to_fetch:
        certain = f"{one.certain_studies:,} studies with {one.certain_instances:,} instances certainly"
        possible = f"{one.possible_studies:,} with {one.possible_instances:,} possibly"
        yield f"{one.pacs} has more: {certain}, {possible}; about {size(one.bytes)}."
        if one.hours is not None and one.ready_at is not None:
            yield f"  {one.hours:,.1f} hours of transfer, ready {one.ready_at:%Y-%m-%d %H:%M %Z} if it began now."
        yield from (f"  {line}" for line in one.rests_on)


def _numbers(counts: Counts) -> str:
    first = "".join(f"{value:>10,}" for value in (counts.patients, counts.studies, counts.series))
    return f"{first}{counts.instances:>12,}{size(counts.bytes):>11}"


def size(count: int) -> str:
    """Bytes as people say them, in steps of a thousand."""
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def write_fields(out: TextIO, markdown: bool) -> None:
    """The fields of the registry, a line each."""
    from sluice.cohorts.criteria import OPERATORS
    from sluice.cohorts.fields import FIELDS

    if markdown:
        out.write("| field | kind | of | what it is |\n| --- | --- | --- | --- |\n")
    for field in FIELDS:
        words = field.words + (f", {field.unit}" if field.unit else "")
        words += "; identifies patients" if field.sensitive else ""
        if markdown:
            out.write(f"| `{field.name}` | {field.kind} | {field.level} | {words} |\n")
        else:
            out.write(f"{field.name:<26}{field.kind:<9}{field.level:<10}{words}\n")
    if not markdown:
        out.write("\n")
        for kind, operators in OPERATORS.items():
            out.write(f"{kind:<9}{', '.join(operators)}\n")

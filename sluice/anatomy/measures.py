"""What the search strategies are worth at this site: read its labels, evaluate, keep, and tell.

`sluice anatomy strategies --truth labels.csv` comes here. The figures stay in `strategy_measure`, so that a page can
show them beside the choice of a strategy.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.anatomy.fusion import fuse
from sluice.anatomy.regions import REGIONS
from sluice.anatomy.scores import MACRO, MICRO, Measure, evaluate
from sluice.anatomy.strategies import Strategy, matches
from sluice.database import Database, copy_rows, select

SHOWN_FROM = 20  # films of a region, below which its figures say little
COLUMNS = ("sop_instance_uid", "region")


class NothingMeasured(RuntimeError):  # noqa: N818
    """No strategy was measured yet; the message says how."""


class LabelsUnusable(RuntimeError):  # noqa: N818
    """A file of labels cannot be read as one, or has nothing to do with this database; the message says why."""


@dataclass(frozen=True)
class Labels:
    """Films whose regions people know.

    Attributes:
        name: file name, without its folder.
        sha256: of the file.
        regions: SOP Instance UID → regions; empty for a film that shows none of the 36.
    """

    name: str
    sha256: str
    regions: dict[str, frozenset[str]]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Attributes:
        films: labelled instances that the database has indexed.
        absent: labelled instances that it has not.
        unread: of the films, those that no model in production has read.
        measures: see `sluice.anatomy.scores`.
    """

    labels: Labels
    model_id: str | None
    films: int
    patients: int
    absent: int
    unread: int
    measures: list[Measure]


def read_labels(path: Path) -> Labels:
    """Labels from a CSV with the columns `sop_instance_uid` and `region`; other columns are ignored.

    A film with several regions has several lines, one with none of the 36 has a line with an empty region. Comma,
    semicolon or tab; UTF-8 with or without BOM.

    Raises:
        LabelsUnusable: it is no such file, or names a region that is none.
    """
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise LabelsUnusable(f"{path.name} is no UTF-8 text. Save it as CSV UTF-8.") from None
    separator = max(",;\t", key=(lines[0] if lines else "").count)
    rows = csv.DictReader(lines, delimiter=separator)
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    lacking = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if lacking:
        raise LabelsUnusable(f"{path.name} lacks the column {' and '.join(lacking)}. It needs {' and '.join(COLUMNS)}.")
    regions: dict[str, set[str]] = {}
    for row in rows:
        uid, region = ((row[name] or "").strip() for name in COLUMNS)
        if not uid:
            continue
        if region and region.upper() not in REGIONS:
            raise LabelsUnusable(
                f"{path.name}, line {rows.line_num}: {region[:40]!r} is no region. There are: {', '.join(REGIONS)}."
            )
        regions.setdefault(uid, set()).update({region.upper()} - {""})
    if not regions:
        raise LabelsUnusable(f"{path.name} labels no instance.")
    return Labels(
        path.name, hashlib.sha256(content).hexdigest(), {uid: frozenset(keys) for uid, keys in regions.items()}
    )


def evaluate_labels(database: Database, labels: Labels) -> Evaluation:
    """Measure every strategy on the labelled films that the database has, after putting together what it says of them.

    Raises:
        LabelsUnusable: it has none of them.
    """
    fuse(database)
    rows = database.rows("labelled_answers", {"uids": sorted(labels.regions)})
    if not rows:
        raise LabelsUnusable(
            f"None of the {len(labels.regions)} instances of {labels.name} is indexed in this database. "
            "Are they SOP Instance UIDs as the PACS has them?"
        )
    truth = {row["sop_instance_uid"]: labels.regions[row["sop_instance_uid"]] for row in rows}
    patients = {row["sop_instance_uid"]: row["patient"] for row in rows}
    answers = {row["sop_instance_uid"]: matches(row) for row in rows}
    models = Counter(row["model_id"] for row in rows if row["model_id"])
    return Evaluation(
        labels,
        models.most_common(1)[0][0] if models else None,
        len(rows),
        len(set(patients.values())),
        len(labels.regions) - len(rows),
        len(rows) - sum(models.values()),
        evaluate(answers, truth, patients),
    )


def keep(database: Database, evaluation: Evaluation) -> int:
    """Write an evaluation; the number that it got."""
    with database.transaction() as connection:
        (row,) = select(
            connection,
            "insert into strategy_evaluation (truth_name, truth_sha256, model_id, films, patients) "
            "values (%s, %s, %s, %s, %s) returning evaluation_id",
            (
                evaluation.labels.name,
                evaluation.labels.sha256,
                evaluation.model_id,
                evaluation.films,
                evaluation.patients,
            ),
        )
        evaluation_id = int(row["evaluation_id"])
        figures = ("positives", "found", "hits", "precision", "recall", "f1", "precision_ci", "recall_ci", "f1_ci")
        copy_rows(
            connection,
            "strategy_measure",
            ("evaluation_id", "strategy", "region_key", *figures),
            (
                (evaluation_id, one.strategy, one.region, *(getattr(one, figure) for figure in figures))
                for one in evaluation.measures
            ),
        )
    return evaluation_id


def measured(database: Database) -> list[dict[str, Any]]:
    """The last evaluation that was kept, one row a strategy and region (`macro`, `micro` first); none: an empty list.

    Each row has `strategy`, `region_key`, `positives`, `found`, `hits`, `precision`, `recall`, `f1` and their `…_ci`
    (95 %, lower and upper; None where the figure is), and of the evaluation `evaluation_id`, `evaluated_at`, `films`,
    `patients`, `model_id`, `truth_name` and `truth_sha256`.
    """
    return database.rows("strategy_measures")


def report(measures: Iterable[Measure], shown_from: int = SHOWN_FROM) -> str:
    """The measures as text: all strategies over all regions, then region by region where films are enough."""
    rows = list(measures)
    lines: list[tuple[str, ...]] = [("", "", "precision", "recall", "F1", "films")]
    for scope in (MICRO, MACRO):
        lines += [_line(scope, one) for one in rows if one.region == scope]
    regions = [key for key in REGIONS if any(one.region == key and one.positives >= shown_from for one in rows)]
    for key in regions:
        lines += [_line(key, one) for one in rows if one.region == key]
    return "\n".join(_columns(lines))


def _line(scope: str, one: Measure) -> tuple[str, ...]:
    films = f"{one.hits} of {one.found} found, {one.positives} there are"
    figures = ((one.precision, one.precision_ci), (one.recall, one.recall_ci), (one.f1, one.f1_ci))
    return (scope, one.strategy, *(_figure(*figure) for figure in figures), films)


def _figure(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({interval[0]:.3f}–{interval[1]:.3f})" if interval else "")


def _columns(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown: list[str] = []
    for before, line in zip([lines[0], *lines], lines, strict=False):
        if before[0] != line[0]:
            shown.append("")
        shown.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return shown


def stored_measures(rows: Iterable[Mapping[str, Any]]) -> list[Measure]:
    """The measures of rows that `measured` gave."""

    def interval(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
        return None if row[name] is None else (row[name][0], row[name][1])

    return [
        Measure(
            Strategy(row["strategy"]),
            row["region_key"],
            *(row[name] for name in ("positives", "found", "hits", "precision", "recall", "f1")),
            *(interval(row, name) for name in ("precision_ci", "recall_ci", "f1_ci")),
        )
        for row in rows
    ]

"""Quality of a window: Great Expectations over its objects; findings by UID, what is held, trends, Data Docs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database
from sluice.quality.suites import LEVELS, SEVERITIES, SUITES, Level, QualityError, load_suites
from sluice.settings import settings

# Instances first: what they say of slices and of scanners is gathered while they are read.
ORDER: tuple[Level, ...] = ("window", "instance", "study", "series", "scanner")


class WindowHalted(QualityError):  # noqa: N818
    """A rule that halts holds the whole window; the findings are kept, and the message says what to do."""

    permanent = True


@dataclass(frozen=True)
class QualitySummary:
    """What a check of a window found.

    Attributes:
        checked: instances that were checked.
        rules: rules that were evaluated.
        broken_rules: rules with at least one finding.
        findings: findings in all.
        findings_by_severity: findings by `warn`, `quarantine`, `stop`.
        stops: findings that a person has to look at: of severity `stop`, and not accepted.
        held: instances of the window that are held back from cohorts and releases.
        halted_by: rules that hold the whole window, and that nobody accepted.
        suite_version: digest of the suites' text.
        docs_index: the published Data Docs' first page.
        seconds: how long it took.
    """

    window_key: str
    checked: int
    rules: int
    broken_rules: int
    findings: int
    findings_by_severity: dict[str, int]
    stops: int
    held: int
    halted_by: list[str]
    suite_version: str
    docs_index: Path
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self) | {"docs_index": str(self.docs_index)}

    def raise_if_halted(self) -> None:
        """Raise where the whole window is held.

        Raises:
            WindowHalted: it is.
        """
        if self.halted_by:
            raise WindowHalted(
                f"The window {self.window_key} is held by the quality rule {', '.join(self.halted_by)}. Repair what it "
                "says and clear this task, or accept the finding on the page Quality trend and clear this task."
            )


def check(
    database: Database,
    window_key: str,
    docs: Path,
    suites: Path = SUITES,
    site: Path | None = None,
    archive: Path | None = None,
) -> QualitySummary:
    """Check everything indexed of a window and publish its Data Docs.

    Checking a window again replaces its findings, in one transaction. A rule that an object no longer breaks
    is also closed where another window had found it.

    Args:
        docs: root of the Data Docs; the window's pages stand in `<docs>/<window_key>/`.
        suites: folder of the rules.
        site: folder of the hospital's own; `settings().quality_suites` when None.
        archive: root of received files, whose pixels are compared where they may be alike; `settings().archive`
            when None.

    Raises:
        QualityError: a suite is not valid, or a rule cannot be evaluated.
    """
    from sluice.cohorts.promoted import registry_of
    from sluice.quality import duplicates, scanner_days
    from sluice.quality.documents import folder, publish, publish_overview
    from sluice.quality.evaluation import Evaluation, complete
    from sluice.quality.frames import Frames
    from sluice.quality.record import Record
    from sluice.quality.selecting import selecting

    started = time.monotonic()
    rules = load_suites(suites, site or settings().quality_suites)
    folder(docs, window_key)  # a key that can name none is refused before anything is done
    duplicates.prove(database, archive or settings().archive, window_key)
    registry = registry_of(database)
    results: dict[Level, Any] = {}
    rows: Counter[Level] = Counter()
    with _snapshot(database) as reading, database.transaction() as writing:
        record = Record(writing, window_key, rules)  # waits for another check of this window, before anything is read
        select = selecting(reading, window_key, registry)
        frames = Frames(reading, window_key, settings().time_zone, rules)
        for level in ORDER:
            evaluation = None
            for frame in frames.of_level(level):
                evaluation = evaluation or Evaluation(level, rules, select, frames.said)
                rows[level] += len(frame)
                record.checked(level, frame)
                record.found(evaluation.check(frame))
            if evaluation is not None and evaluation.result is not None:
                results[level] = complete(evaluation.result)
        scanner_days.keep(writing, frames.days)
        state = record.finish(rows["instance"], started)
    index = publish(docs, window_key, rules, results, {level: rows[level] for level in LEVELS}, record.counts)
    publish_overview(docs, database.rows("quality_windows"))
    return QualitySummary(
        window_key=window_key,
        checked=rows["instance"],
        rules=len(rules.rules),
        broken_rules=len(record.counts),
        findings=record.counts.total(),
        findings_by_severity={severity: record.severities[severity] for severity in SEVERITIES},
        suite_version=rules.version,
        docs_index=index,
        seconds=round(time.monotonic() - started, 1),
        **state,
    )


@contextmanager
def _snapshot(database: Database) -> Iterator[Connection]:
    """A transaction that reads the state of one moment."""
    with database.transaction() as connection:
        connection.set_session(isolation_level="REPEATABLE READ")
        yield connection

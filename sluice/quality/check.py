"""Quality of a window: Great Expectations over its studies, series and instances; findings by UID; Data Docs."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.database import Database, copy_rows
from sluice.quality.finding import Finding
from sluice.quality.suites import LEVELS, SEVERITIES, SUITES, Level, QualityError, Rule, Suites, load_suites
from sluice.settings import settings

if TYPE_CHECKING:
    import pandas
    from psycopg2.extensions import connection as Connection  # noqa: N812

# What an observed value may look like to be shown: a code string (PS3.5, VR CS) that is no number of a patient.
CODE_STRING = re.compile(r"(?!.*\d{4})[A-Z0-9_ ]{1,16}")

FINDING_COLUMNS = (
    "window_key", "rule", "severity", "level", "study_instance_uid", "series_instance_uid", "sop_instance_uid",
    "observed",
)  # fmt: skip


@dataclass(frozen=True)
class QualitySummary:
    """What a check of a window found.

    Attributes:
        checked: instances that were checked.
        rules: rules that were evaluated.
        broken_rules: rules with at least one finding.
        findings: findings in all.
        findings_by_severity: findings by `warn`, `quarantine`, `stop`.
        suite_version: digest of the suites' text.
        docs_index: the published Data Docs' first page.
    """

    window_key: str
    checked: int
    rules: int
    broken_rules: int
    findings: int
    findings_by_severity: dict[str, int]
    suite_version: str
    docs_index: Path

    def as_dict(self) -> dict[str, Any]:
        """The summary as XCom carries it."""
        return asdict(self) | {"docs_index": str(self.docs_index)}


def check(database: Database, window_key: str, docs: Path, suites: Path = SUITES) -> QualitySummary:
    """Check everything indexed of a window and publish its Data Docs.

    Checking a window again replaces its findings, in one transaction. A rule that an object no longer breaks
    is also closed where another window had found it.

    Args:
        docs: root of the Data Docs; the window's pages stand in `<docs>/<window_key>/`.
        suites: folder of the rules.

    Raises:
        QualityError: a suite is not valid, or a rule cannot be evaluated.
    """
    from sluice.quality.documents import publish
    from sluice.quality.frames import read_frames

    rules = load_suites(suites)
    with database.transaction() as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        frames = read_frames(connection, window_key, settings().time_zone)
    results = _evaluate(rules, frames)
    findings = [finding for level in LEVELS for finding in _findings(level, frames[level], rules, results.get(level))]
    with database.transaction() as connection:
        _replace(connection, window_key, rules, frames, findings)
    index = publish(docs, window_key, rules, results, {level: len(frames[level]) for level in LEVELS}, findings)
    severities = Counter(finding.rule.severity for finding in findings)
    return QualitySummary(
        window_key=window_key,
        checked=len(frames["instance"]),
        rules=len(rules.rules),
        broken_rules=len({finding.rule.name for finding in findings}),
        findings=len(findings),
        findings_by_severity={severity: severities[severity] for severity in SEVERITIES},
        suite_version=rules.version,
        docs_index=index,
    )


def _evaluate(rules: Suites, frames: dict[Level, pandas.DataFrame]) -> dict[Level, Any]:
    """Great Expectations' validation result for each level that has rows."""
    # Read when the library is imported: nothing is reported to anyone, no progress bars in task logs.
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("window")
    results: dict[Level, Any] = {}
    for level in LEVELS:
        frame = frames[level]
        for rule in rules.of_level(level):
            unknown = [column for column in rule.columns if column not in frame.columns]
            if unknown:
                raise QualityError(
                    f"Quality rule {rule.name!r} reads {unknown[0]!r}, which is no column of level {level}. "
                    f"There are: {', '.join(frame.columns)}."
                )
        if frame.empty or not rules.of_level(level):
            continue
        suite = gx.ExpectationSuite(name=level, expectations=[_expectation(rule) for rule in rules.of_level(level)])
        batch = source.add_dataframe_asset(level).add_batch_definition_whole_dataframe("window")
        results[level] = batch.get_batch({"dataframe": frame}).validate(
            suite,
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": [_key(level)],
                "include_unexpected_rows": False,
                "return_unexpected_index_query": False,
            },
        )
    return results


def _expectation(rule: Rule) -> Any:
    from great_expectations.expectations.metadata_types import FailureSeverity
    from great_expectations.expectations.registry import get_expectation_impl

    kwargs: dict[str, Any] = dict(rule.kwargs)
    if rule.where:
        kwargs |= {"row_condition": rule.where, "condition_parser": "pandas"}
    severity = FailureSeverity.WARNING if rule.severity == "warn" else FailureSeverity.CRITICAL
    try:
        return get_expectation_impl(rule.expectation)(**kwargs, meta={"rule": rule.name}, severity=severity)
    except Exception as error:  # a wrong argument surfaces as whatever class the library's own models raise
        problem = re.sub(r"\s+", " ", str(error))
        raise QualityError(f"Quality rule {rule.name!r} is no valid {rule.expectation}: {problem}") from error


def _findings(level: Level, frame: pandas.DataFrame, rules: Suites, result: Any) -> Iterator[Finding]:
    if result is None:
        return
    rows = frame.set_index(_key(level), drop=False)
    for outcome in result.results:
        rule = rules.by_name[outcome.expectation_config.meta["rule"]]
        problem = (outcome.exception_info or {}).get("exception_message")
        if problem is None and outcome.exception_info:
            nested = [value for value in outcome.exception_info.values() if isinstance(value, dict)]
            problem = next((value["exception_message"] for value in nested if value.get("raised_exception")), None)
        if problem:
            raise QualityError(f"Quality rule {rule.name!r} could not be evaluated: {problem}")
        if not outcome.success and "unexpected_index_list" not in outcome.result:
            raise QualityError(
                f"Quality rule {rule.name!r}: {rule.expectation} does not say which rows failed. Use one about rows."
            )
        for failed in outcome.result.get("unexpected_index_list") or ():
            row = rows.loc[failed[_key(level)]]
            yield Finding(
                rule,
                row["study_instance_uid"],
                row["series_instance_uid"] if level != "study" else None,
                row["sop_instance_uid"] if level == "instance" else None,
                ", ".join(f"{column}: {_shown(row[column])}" for column in rule.columns),
            )


def _shown(value: Any) -> str:
    """An observed value as findings show it; text only where it looks like a code."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, str):
        return value if CODE_STRING.fullmatch(value) else "not shown"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _key(level: Level) -> str:
    from sluice.quality.frames import KEYS

    return KEYS[level]


def _replace(
    connection: Connection,
    window_key: str,
    rules: Suites,
    frames: dict[Level, pandas.DataFrame],
    findings: Sequence[Finding],
) -> None:
    with connection.cursor() as cursor:
        # Two checks of the same window at once: the second waits, then replaces what the first wrote.
        cursor.execute("select pg_advisory_xact_lock(hashtext('quality'), hashtext(%s))", (window_key,))
        cursor.execute("delete from quality_finding where window_key = %s", (window_key,))
        copy_rows(
            connection,
            "quality_finding",
            FINDING_COLUMNS,
            (
                (
                    window_key,
                    finding.rule.name,
                    finding.rule.severity,
                    finding.rule.level,
                    finding.study_instance_uid,
                    finding.series_instance_uid,
                    finding.sop_instance_uid,
                    finding.observed,
                )
                for finding in findings
            ),
        )
        for level in LEVELS:
            key = _key(level)
            cursor.execute(
                f"""
                delete from quality_finding old
                 where old.window_key <> %(window_key)s and old.level = %(level)s and old.{key} = any(%(checked)s)
                   and not exists (select from quality_finding new
                                    where new.window_key = %(window_key)s and new.rule = old.rule
                                      and new.level = old.level and new.{key} = old.{key})
                """,
                {"window_key": window_key, "level": level, "checked": frames[level][key].tolist()},
            )
    copy_rows(
        connection,
        "quality_check",
        ("sop_instance_uid", "window_key", "suite_version"),
        ((uid, window_key, rules.version) for uid in frames["instance"]["sop_instance_uid"]),
        on_conflict="(sop_instance_uid) do update set window_key = excluded.window_key, "
        "suite_version = excluded.suite_version, checked_at = now()",
    )

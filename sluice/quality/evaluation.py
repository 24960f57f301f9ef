"""Great Expectations over one level's frames: results added up over the frames, and each failed row as a finding."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sluice.quality.columns import KEYS
from sluice.quality.finding import Finding, shown
from sluice.quality.selecting import Select, nothing
from sluice.quality.suites import APPLIES_TO, Applies, Level, QualityError, Rule, Suites

if TYPE_CHECKING:
    import pandas

COUNTS = ("element_count", "unexpected_count", "missing_count")


class Evaluation:
    """One level's rules, evaluated frame by frame; memory holds one frame and the counts.

    Args:
        select: what understands `select` of a rule; it names nothing where there is no window.
        said: words about what was observed, by key and column, where the value alone says little.

    Raises:
        QualityError: a rule reads a column that there is not, or cannot be evaluated.
    """

    def __init__(
        self,
        level: Level,
        suites: Suites,
        select: Select = nothing,
        said: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self.level = level
        self.result: Any = None
        self._rules = suites.of_level(level)
        self._key = KEYS[level]
        self._said = said or {}
        self._unsaid = {name for name, tag in suites.tags.items() if tag.names_somebody}
        self._selected = {rule.name: select(rule) for rule in self._rules if rule.select is not None}
        self._expectations = {rule.name: expectation(rule) for rule in self._rules}

    def check(self, frame: pandas.DataFrame) -> Iterator[Finding]:
        """Evaluate one frame; its findings."""
        for rule in self._rules:
            unknown = [column for column in rule.columns if column not in frame.columns]
            if unknown:
                raise QualityError(
                    f"Quality rule {rule.name!r} reads {unknown[0]!r}, which is no column of level {self.level}. "
                    f"There are: {', '.join(frame.columns)}."
                )
        if frame.empty or not self._rules:
            return
        asked, conditions = [], {}
        masks = Masks(frame)
        for rule in self._rules:
            mask = masks.of(rule)
            if rule.name in self._selected:
                named = frame[self._key].isin(self._selected[rule.name])
                mask = named if mask is None else mask & named
            if mask is None or mask.all():
                asked.append(self._expectations[rule.name])
            elif mask.any():
                conditions[f"rows_of_{rule.name.replace('-', '_')}"] = mask
                asked.append(expectation(rule, f"rows_of_{rule.name.replace('-', '_')}"))
        if not asked:
            return
        result = _validate(self.level, asked, frame.assign(**conditions), self._key)
        rules = {rule.name: rule for rule in self._rules}
        rows = frame.set_index(self._key, drop=False)
        for outcome in result.results:
            rule = rules[outcome.expectation_config.meta["rule"]]
            _raise_problems(rule, outcome)
            for failed in outcome.result.get("unexpected_index_list") or ():
                yield self._finding(rule, rows.loc[failed[self._key]])
            outcome.result = {name: outcome.result[name] for name in COUNTS if name in outcome.result}
        self.result = result if self.result is None else _added(self.result, result)

    def _finding(self, rule: Rule, row: pandas.Series) -> Finding:
        key = row[self._key]
        return Finding(
            rule=rule,
            object=key,
            study_instance_uid=row.get("study_instance_uid"),
            series_instance_uid=row.get("series_instance_uid"),
            sop_instance_uid=row.get("sop_instance_uid"),
            scanner=row.get("scanner"),
            observed=", ".join(self._observed(key, column, row) for column in rule.columns),
        )

    def _observed(self, key: str, column: str, row: pandas.Series) -> str:
        if column in self._unsaid:  # findings stand on pages and in files that everybody reads
            return f"{column}: not shown, it may name a patient"
        text = f"{column}: {shown(row[column])}"
        words = self._said.get((key, column))
        if column.startswith("same_pixels"):
            words = f"the same as {', '.join(row['same_pixels_uids'] or ())}"
        return f"{text} ({words})" if words else text


class Masks:
    """Which rows of a frame each rule is about: its `where` and its `for`, each worked out once."""

    def __init__(self, frame: pandas.DataFrame) -> None:
        self._frame = frame
        self._columns = {str(name): frame[name] for name in frame.columns}
        self._wheres: dict[str, Any] = {}
        self._scanners: Any = None

    def of(self, rule: Rule) -> Any:
        """A column of truth values; None where the rule is about every row."""
        mask = None
        if rule.where is not None:
            if rule.where not in self._wheres:
                self._wheres[rule.where] = self._where(rule, rule.where)
            mask = self._wheres[rule.where]
        if rule.applies is not None:
            applies = self._applies(rule.applies)
            mask = applies if mask is None else mask & applies
        return mask

    def _where(self, rule: Rule, where: str) -> Any:
        import pandas

        try:
            found = pandas.eval(where, engine="python", local_dict={}, global_dict={}, resolvers=[self._columns])
            return pandas.Series(found, index=self._frame.index).astype(bool)
        except Exception as error:  # whatever an expression makes of pandas
            problem = re.sub(r"\s+", " ", str(error))
            raise QualityError(
                f"Quality rule {rule.name!r} could not be evaluated: {type(error).__name__} in `where`, {problem}."
            ) from error

    def _applies(self, applies: Applies) -> Any:
        import pandas

        names = list(APPLIES_TO.values())
        if self._scanners is None:
            self._scanners = list(self._frame[names].itertuples(index=False, name=None))
        known = {key: applies.matches(dict(zip(names, key, strict=True))) for key in set(self._scanners)}
        return pandas.Series([known[key] for key in self._scanners], index=self._frame.index, dtype=bool)


def expectation(rule: Rule, condition: str | None = None) -> Any:
    """The rule as Great Expectations knows it.

    Args:
        condition: column that is true in the rows that it is about; None where it is about all.

    Raises:
        QualityError: the library has no such expectation, or not with these arguments.
    """
    quietly()
    from great_expectations.expectations.metadata_types import FailureSeverity
    from great_expectations.expectations.registry import get_expectation_impl

    kwargs: dict[str, Any] = dict(rule.kwargs)
    if condition:
        kwargs |= {"row_condition": condition, "condition_parser": "pandas"}
    severity = FailureSeverity.WARNING if rule.severity == "warn" else FailureSeverity.CRITICAL
    try:
        return get_expectation_impl(rule.expectation)(**kwargs, meta={"rule": rule.name}, severity=severity)
    except Exception as error:  # a wrong argument surfaces as whatever class the library's own models raise
        problem = re.sub(r"\s+", " ", str(error))
        raise QualityError(f"Quality rule {rule.name!r} is no valid {rule.expectation}: {problem}") from error


def quietly() -> None:
    """Have the library report nothing to anyone, at which it looks when it is imported, and log only what is wrong: its
    some hundred lines a window would hide the one that says why a task is red."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    for name in ["great_expectations", *logging.root.manager.loggerDict]:  # some of its modules set a level themselves
        if name.partition(".")[0] == "great_expectations":
            logging.getLogger(name).setLevel(logging.WARNING)


def _validate(level: Level, expectations: list[Any], frame: pandas.DataFrame, key: str) -> Any:
    """Great Expectations' validation result of one frame.

    In a context of its own: one that is kept would keep every frame that it has seen.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    quietly()
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("window")
    batch = source.add_dataframe_asset(level).add_batch_definition_whole_dataframe("window")
    return batch.get_batch({"dataframe": frame}).validate(
        gx.ExpectationSuite(name=level, expectations=expectations),
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": [key],
            "include_unexpected_rows": False,
            "return_unexpected_index_query": False,
        },
    )


def _raise_problems(rule: Rule, outcome: Any) -> None:
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


def _added(before: Any, more: Any) -> Any:
    """Two results of one suite as if their rows had been in one frame; a rule without rows in one is in the other."""
    others = {outcome.expectation_config.meta["rule"]: outcome for outcome in more.results}
    for outcome in before.results:
        other = others.pop(outcome.expectation_config.meta["rule"], None)
        if other is None:
            continue
        outcome.success = outcome.success and other.success
        for name in COUNTS:
            if name in other.result:
                outcome.result[name] = outcome.result.get(name, 0) + other.result[name]
    before.results.extend(others.values())
    return before


def complete(result: Any) -> Any:
    """A result that was added up, with its percentages and its own success."""
    for outcome in result.results:
        total = outcome.result.get("element_count") or 0
        missing, unexpected = outcome.result.get("missing_count") or 0, outcome.result.get("unexpected_count") or 0
        there = total - missing
        outcome.result |= {
            "missing_percent": 100 * missing / total if total else None,
            "unexpected_percent": 100 * unexpected / there if there else None,
            "unexpected_percent_total": 100 * unexpected / total if total else None,
            "unexpected_percent_nonmissing": 100 * unexpected / there if there else None,
        }
    met = sum(outcome.success for outcome in result.results)
    result.success = met == len(result.results)
    result.statistics |= {
        "evaluated_expectations": len(result.results),
        "successful_expectations": met,
        "unsuccessful_expectations": len(result.results) - met,
        "success_percent": 100 * met / len(result.results) if result.results else None,
    }
    return result

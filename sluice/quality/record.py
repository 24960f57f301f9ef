"""What a check leaves in the database: findings in place of earlier ones, who was checked, the day's trend."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import copy_rows, select
from sluice.quality.columns import KEYS
from sluice.quality.finding import Finding
from sluice.quality.suites import Level, Suites

if TYPE_CHECKING:
    import pandas

BATCH = 5_000
FOUND = ("rule", "severity", "level", "halts", "study_instance_uid", "series_instance_uid", "sop_instance_uid",
         "scanner", "observed")  # fmt: skip


class Record:
    """Gathers what a check finds in temporary tables, and puts it in place at its end; all in one transaction.

    Two checks of the same window at once: the second waits here, then replaces what the first wrote.
    """

    def __init__(self, connection: Connection, window_key: str, suites: Suites) -> None:
        self._connection = connection
        self._key = {"window_key": window_key}
        self._suites = suites
        self.counts: Counter[str] = Counter()
        self.severities: Counter[str] = Counter()
        self._run(
            """
            select pg_advisory_xact_lock(hashtext('quality'), hashtext(%(window_key)s));
            create temporary table found on commit drop as
                select rule, severity, level, halts, study_instance_uid, series_instance_uid, sop_instance_uid,
                       scanner, observed from quality_finding with no data;
            create temporary table checked (level text, object text, scanner text) on commit drop;
            """
        )

    def checked(self, level: Level, frame: pandas.DataFrame) -> None:
        """Note the objects of a frame."""
        if frame.empty:
            return
        scanners = frame["scanner"] if "scanner" in frame.columns else [None] * len(frame)
        rows = zip([level] * len(frame), frame[KEYS[level]], scanners, strict=True)
        copy_rows(self._connection, "checked", ("level", "object", "scanner"), rows, expect_new=True)

    def found(self, findings: Iterable[Finding]) -> None:
        """Note findings."""
        remaining = iter(findings)
        while batch := list(islice(remaining, BATCH)):
            for finding in batch:
                self.counts[finding.rule.name] += 1
                self.severities[finding.rule.severity] += 1
            copy_rows(self._connection, "found", FOUND, map(_row, batch), expect_new=True)

    def finish(self, checked: int, started: float) -> dict[str, Any]:
        """Put everything in place; what holds now, as the fields of the summary."""
        self._run("analyze found; analyze checked")
        self._add_twins()
        touched = self._replace()
        self._note_checked()
        for window_key in sorted({self._key["window_key"], *touched}):
            self._count_again(window_key)
        self._note_rules()
        state = self._state()
        self._run(
            """
            insert into quality_run (window_key, suite_version, checked, warns, quarantines, stops, halted, seconds)
            values (%(window_key)s, %(version)s, %(checked)s, %(warn)s, %(quarantine)s, %(stop)s, %(halted)s,
                    %(seconds)s)
            """,
            version=self._suites.version,
            checked=checked,
            halted=bool(state["halted_by"]),
            seconds=round(time.monotonic() - started, 1),
            **{severity: self.severities[severity] for severity in ("warn", "quarantine", "stop")},
        )
        return state

    def _add_twins(self) -> None:
        """The other of two instances with the same pixels breaks the rule as well, whichever window it is in."""
        added = select(
            self._connection,
            """
            insert into found (rule, severity, level, halts, study_instance_uid, series_instance_uid,
                               sop_instance_uid, scanner, observed)
            select distinct on (f.rule, twin.sop_instance_uid)
                   f.rule, f.severity, f.level, f.halts, twin.study_instance_uid, twin.series_instance_uid,
                   twin.sop_instance_uid,
                   coalesce(nullif(trim(s.station_name), ''), nullif(trim(s.device_serial_number), '')),
                   'the same pixels as ' || f.sop_instance_uid
              from found f
              join instance mine on mine.sop_instance_uid = f.sop_instance_uid
              join pixel_proof p on p.sop_instance_uid = f.sop_instance_uid
              join pixel_proof q on q.digest = p.digest and q.sop_instance_uid <> p.sop_instance_uid
              join instance twin on twin.sop_instance_uid = q.sop_instance_uid
              join series s on s.series_instance_uid = twin.series_instance_uid
             where f.rule = any(%(rules)s) and not p.is_blank
               and (f.rule <> all(%(of_others)s)
                    or coalesce(trim(twin.patient_id) <> trim(mine.patient_id), false))
               and not exists (select from checked c
                                where c.level = 'instance' and c.object = twin.sop_instance_uid)
             order by f.rule, twin.sop_instance_uid, f.sop_instance_uid
            returning rule, severity
            """,
            {
                "rules": [rule.name for rule in self._suites.rules if set(rule.columns) & set(TWINS)],
                "of_others": [rule.name for rule in self._suites.rules if TWINS[1] in rule.columns],
            },
        )
        self.counts.update(row["rule"] for row in added)
        self.severities.update(row["severity"] for row in added)

    def _replace(self) -> list[str]:
        """Put the findings in place of the window's earlier ones; other windows whose findings were closed."""
        self._run("delete from quality_finding where window_key = %(window_key)s")
        self._run(
            f"insert into quality_finding (window_key, {', '.join(FOUND)}) "
            f"select %(window_key)s, {', '.join(FOUND)} from found"
        )
        closed = select(
            self._connection,
            """
            with closed as (
                delete from quality_finding old
                 using checked c
                 where old.object = c.object and old.level = c.level and old.window_key <> %(window_key)s
                   and old.level in ('study', 'series', 'instance')
                   and not exists (select from quality_finding new
                                    where new.window_key = %(window_key)s and new.rule = old.rule
                                      and new.level = old.level and new.object = old.object)
                returning old.window_key
            )
            select distinct window_key from closed
            """,
            self._key,
        )
        return [row["window_key"] for row in closed]

    def _note_checked(self) -> None:
        self._run(
            """
            insert into quality_check (sop_instance_uid, window_key, suite_version)
            select object, %(window_key)s, %(version)s from checked where level = 'instance' order by object
            on conflict (sop_instance_uid) do update
               set window_key = excluded.window_key, suite_version = excluded.suite_version, checked_at = now()
            """,
            version=self._suites.version,
        )
        self._run(
            """
            delete from quality_objects where window_key = %(window_key)s;
            insert into quality_objects (window_key, scanner, level, day, objects)
            select w.window_key, coalesce(c.scanner, ''), c.level, w.starts_on, count(*)
              from checked c join sweep_window w on w.window_key = %(window_key)s
             group by 1, 2, 3, 4
            """
        )

    def _count_again(self, window_key: str) -> None:
        self._run(
            """
            delete from quality_trend where window_key = %(counted)s;
            insert into quality_trend (window_key, scanner, rule, day, severity, findings)
            select w.window_key, coalesce(f.scanner, ''), f.rule, w.starts_on, max(f.severity), count(*)
              from quality_finding f join sweep_window w using (window_key)
             where f.window_key = %(counted)s
             group by 1, 2, 3, 4
            """,
            counted=window_key,
        )

    def _note_rules(self) -> None:
        names = ("rule", "suite", "level", "severity", "halts", "why", "advice", "suite_version")
        copy_rows(
            self._connection,
            "quality_rule",
            names,
            (
                (
                    rule.name,
                    rule.suite,
                    rule.level,
                    rule.severity,
                    rule.halts,
                    rule.why,
                    rule.advice,
                    self._suites.version,
                )
                for rule in sorted(self._suites.rules, key=lambda rule: rule.name)
            ),
            on_conflict="(rule) do update set "
            + ", ".join(f"{name} = excluded.{name}" for name in names[1:])
            + ", updated_at = now() where quality_rule.suite_version <> excluded.suite_version",
        )

    def _state(self) -> dict[str, Any]:
        (counts,) = select(
            self._connection,
            """
            with held as materialized (select level, object, severity from quality_held)
            select (select count(*) from quality_finding f
                     where f.window_key = %(window_key)s and f.severity = 'stop'
                       and coalesce((select d.decision from quality_decision d
                                      where d.rule = f.rule and d.level = f.level and d.object = f.object
                                      order by d.decision_id desc limit 1), '') <> 'accept')     as stops,
                   (select count(*)
                      from (select c.object from checked c
                             where c.level = 'instance'
                               and exists (select from held where held.level = 'instance' and held.object = c.object)
                            union
                            select i.sop_instance_uid
                              from held join instance i on i.series_instance_uid = held.object
                              join checked c on c.level = 'instance' and c.object = i.sop_instance_uid
                             where held.level = 'series'
                            union
                            select i.sop_instance_uid
                              from held join instance i on i.study_instance_uid = held.object
                              join checked c on c.level = 'instance' and c.object = i.sop_instance_uid
                             where held.level = 'study') mine)                                   as held
            """,
            self._key,
        )
        halting = select(
            self._connection,
            "select rule from quality_held where level = 'window' and object = %(window_key)s order by rule",
            self._key,
        )
        return counts | {"halted_by": [row["rule"] for row in halting]}

    def _run(self, statement: str, **more: Any) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, self._key | more)


TWINS = ("same_pixels", "same_pixels_other_patient")


def _row(finding: Finding) -> tuple[Any, ...]:
    rule = finding.rule
    return (rule.name, rule.severity, rule.level, rule.halts, finding.study_instance_uid,
            finding.series_instance_uid, finding.sop_instance_uid, finding.scanner, finding.observed)  # fmt: skip

"""What a filter would take, before anything moves: what is here, what the PACS has, how long that would take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.cohorts.compile import Compiler
from sluice.cohorts.errors import CohortError
from sluice.cohorts.expressions import AllOf, Expression, FieldIs, Not, QualityIs, TagIs, walk
from sluice.cohorts.language import as_json, digest
from sluice.cohorts.listed import lacking
from sluice.cohorts.wording import describe
from sluice.database import Database, select
from sluice.pacs.governor.estimate import experience, pace, time_needed
from sluice.pacs.governor.pace import current_bearing
from sluice.pacs.governor.policy import current_policy

SHOWN = 20
LIMIT_S = 20.0
DIMENSIONS = ("modality", "scanner", "year", "body_part")
COUNTED = {
    "patient_key": "b.patient_key",
    "study_date": "b.study_date",
    "kind_key": "b.kind_key",
    "modality": "b.modality",
    "scanner": "coalesce(b.station_name, b.device_serial_number)",
    "body_part": "b.region_key",
}
# Equal texts are equal in every collation; this one is the quickest to sort by.
OF_KIND = ", ".join(f'any_value({name}) collate "C" as {name}' for name in ("modality", "scanner", "body_part"))


@dataclass(frozen=True)
class Counts:
    """How many; a patient is a Patient ID with its issuer, and who has none is not counted.

    Attributes:
        bytes: of the files as they came; in proportion where only a part of a block is taken.
    """

    patients: int
    studies: int
    series: int
    instances: int
    bytes: int


@dataclass(frozen=True)
class Group:
    """The counts of one value; None where it is missing. Patients and studies stand in several groups."""

    value: str | int | None
    counts: Counts


@dataclass(frozen=True)
class Rest:
    """What stands in groups that are not shown."""

    groups: int
    series: int
    instances: int
    bytes: int


@dataclass(frozen=True)
class ToFetch:
    """What one PACS lists and is not all here.

    Attributes:
        certain_studies, certain_instances: taken by what its answers say.
        possible_studies, possible_instances: only their images can tell.
        unnumbered_studies: of both, those of which it does not say how many instances they have.
        bytes: of the instances of both, by what instances here have on average.
        hours: of transfer for both; None where it cannot be told, and `rests_on` says why.
        ready_at: when the last would come if it began now.
        rests_on: sentences.
    """

    pacs: str
    certain_studies: int
    certain_instances: int
    possible_studies: int
    possible_instances: int
    unnumbered_studies: int
    bytes: int
    hours: float | None
    ready_at: datetime | None
    rests_on: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What a filter takes.

    Attributes:
        expression, digest, words: the filter, canonically and in English.
        as_of: what `last_days` counted from.
        here: instances that are here and match.
        by: groups by modality, scanner, year and body part (by header), the largest first.
        rest: of the dimensions with more groups than are shown.
        held: instances that match but for quality, which holds them.
        held_are_taken: the filter does not ask about quality, so they are among `here`.
        to_fetch: one a PACS that has more.
    """

    expression: dict[str, Any]
    digest: str
    words: str
    as_of: date
    here: Counts
    by: Mapping[str, tuple[Group, ...]]
    rest: Mapping[str, Rest]
    held: int
    held_are_taken: bool
    to_fetch: tuple[ToFetch, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; dates and times as ISO 8601."""
        plain = asdict(self)
        plain["as_of"] = self.as_of.isoformat()
        for one in plain["to_fetch"]:
            one["ready_at"] = one["ready_at"].isoformat() if one["ready_at"] else None
        return plain


def preview(database: Database, expression: Expression, today: date | None = None, limit_s: float = LIMIT_S) -> Preview:
    """Count what a filter takes. Nothing is written, no PACS is asked.

    Args:
        today: what `last_days` counts from.
        limit_s: how long a statement may take.

    Raises:
        CohortError: it takes too long; the message says by what to narrow it.
    """
    today = today or date.today()
    with ThreadPoolExecutor(3) as pool:  # three questions, a connection each
        asked = [pool.submit(_ask, database, expression, limit_s, part, today) for part in (_here, _held, _lacking)]
        (here, by, rest), (held, taken), lacks = (one.result() for one in asked)
    with reading(database, expression, limit_s) as connection:
        to_fetch = _to_fetch(connection, lacks, by["modality"])
    return Preview(
        as_json(expression), digest(expression), describe(expression), today, here, by, rest, held, taken, to_fetch
    )


def _ask(database: Database, expression: Expression, limit_s: float, part: Callable[..., Any], today: date) -> Any:
    with reading(database, expression, limit_s) as connection:
        return part(connection, expression, today)


@contextmanager
def reading(database: Database, expression: Expression, limit_s: float) -> Iterator[Connection]:
    """A transaction that can only read, in which no statement takes longer than the limit.

    Raises:
        CohortError: one did.
    """
    with database.transaction() as connection:
        with connection.cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read read only")
            tune(connection, limit_s)
        try:
            yield connection
        except psycopg2.errors.QueryCanceled:
            raise too_slow(expression, limit_s) from None


def tune(connection: Connection, limit_s: float) -> None:
    """Settings of this transaction for statements over all blocks: compiling them costs more than it gains."""
    with connection.cursor() as cursor:
        cursor.execute("set local jit = off")
        cursor.execute("set local work_mem = '128MB'")
        cursor.execute("select set_config('statement_timeout', %s, true)", (str(max(1, int(limit_s * 1000))),))


def too_slow(expression: Expression, limit_s: float) -> CohortError:
    """The error, with what the filter could be narrowed by."""
    parts = list(walk(expression))
    named = {part.field.name for part in parts if isinstance(part, FieldIs)}
    advice = [f"`{name}`" for name in ("study_date", "modality", "body_part") if name not in named]
    tags = [part.path.name for part in parts if isinstance(part, TagIs)]
    asked = f" {tags[0]} is read from the whole header; have it promoted to a column." if tags else ""
    narrow = f" Narrow it by {' or '.join(advice)}." if advice else " Narrow its dates."
    return CohortError(f"The filter is too slow: it did not end within {limit_s:g} s.{narrow}{asked}")


def _here(
    connection: Connection, expression: Expression, today: date
) -> tuple[Counts, dict[str, tuple[Group, ...]], dict[str, Rest]]:
    compiler = Compiler(today)
    matched = compiler.matched(expression, COUNTED)
    compiler.tables.append(
        (  # what one study has of one kind: fewer rows for what comes then
            "alike",
            f"select study_key, {OF_KIND}, any_value(patient_key) as patient_key, "
            "extract(year from any_value(study_date))::integer as year, count(distinct series_key) as series, "
            "sum(instances)::bigint as instances, sum(bytes::float8) as bytes "
            f"from {matched} group by study_key, kind_key",
        )
    )
    sets = ", ".join(f"({name})" for name in DIMENSIONS)
    said = ", ".join(f"{name}::text as {name}, grouping({name}) = 0 as by_{name}" for name in DIMENSIONS)
    statement = compiler.statement(
        f"select {said}, count(distinct patient_key) as patients, count(distinct study_key) as studies, "
        "coalesce(sum(series), 0) as series, coalesce(sum(instances), 0) as instances, "
        "coalesce(sum(bytes), 0) as bytes "
        f"from alike group by grouping sets ((), {sets})"
    )
    rows = select(connection, *_pair(statement))
    here, by, rest = Counts(0, 0, 0, 0, 0), dict[str, tuple[Group, ...]](), dict[str, Rest]()
    for dimension in DIMENSIONS:
        groups = [Group(_value(dimension, row), _counts(row)) for row in rows if row[f"by_{dimension}"]]
        groups.sort(key=lambda group: (-group.counts.instances, str(group.value)))
        if dimension == "year":
            groups.sort(key=lambda group: -int(group.value or 0))
        by[dimension] = tuple(groups[:SHOWN])
        if groups[SHOWN:]:
            others = [group.counts for group in groups[SHOWN:]]
            rest[dimension] = Rest(
                len(others),
                sum(one.series for one in others),
                sum(one.instances for one in others),
                sum(one.bytes for one in others),
            )
    for row in rows:
        if not any(row[f"by_{dimension}"] for dimension in DIMENSIONS):
            here = _counts(row)
    return here, by, rest


def _pair(statement: Any) -> tuple[str, dict[str, Any]]:
    return statement.sql, statement.params


def _value(dimension: str, row: Mapping[str, Any]) -> str | int | None:
    value = row[dimension]
    return int(value) if dimension == "year" and value is not None else value


def _counts(row: Mapping[str, Any]) -> Counts:
    return Counts(*(int(row[name]) for name in ("patients", "studies", "series", "instances", "bytes")))


def _held(connection: Connection, expression: Expression, today: date) -> tuple[int, bool]:
    """Instances that quality holds and that match but for that; and whether the filter takes them."""
    parts = expression.parts if isinstance(expression, AllOf) else (expression,)
    others = tuple(part for part in parts if part not in (QualityIs(False), Not(QualityIs(True))))
    compiler = Compiler(today)
    matched = compiler.matched(AllOf((*others, QualityIs(True))))
    statement = compiler.statement(f"select coalesce(sum(m.instances), 0)::bigint as instances from {matched} m")
    (row,) = select(connection, *_pair(statement))
    return row["instances"], len(others) == len(parts)


def _lacking(connection: Connection, expression: Expression, today: date) -> list[dict[str, Any]]:
    statement = lacking(
        expression,
        "select pacs, count(*) filter (where is_certain) as certain_studies, "
        "coalesce(sum(lacks) filter (where is_certain), 0)::bigint as certain_instances, "
        "count(*) filter (where not is_certain) as possible_studies, "
        "coalesce(sum(lacks) filter (where not is_certain), 0)::bigint as possible_instances, "
        "count(*) filter (where lacks is null) as unnumbered_studies from judged group by pacs order by pacs",
        today,
    )
    return select(connection, *_pair(statement))


def _to_fetch(connection: Connection, rows: list[dict[str, Any]], modalities: tuple[Group, ...]) -> tuple[ToFetch, ...]:
    if not rows:
        return ()
    instances = sum(group.counts.instances for group in modalities)
    average = sum(group.counts.bytes for group in modalities) / instances if instances else None
    of = "those of this filter that are here"
    if average is None:
        (every,) = select(connection, "select sum(file_bytes)::float8 / sum(instances) as average from cohort_block")
        average, of = every["average"], "all that are here"
    return tuple(of_pacs(connection, row, average, of) for row in rows)


def of_pacs(connection: Connection, row: dict[str, Any], average: float | None, of: str) -> ToFetch:
    """How long what a PACS has takes within its hours; `average` bytes an instance, `of` which ones."""
    pacs, instances = row["pacs"], row["certain_instances"] + row["possible_instances"]
    size = int(instances * (average or 0))
    policy, learned = current_policy(connection, pacs), experience(connection, pacs)
    hours, ready_at, rests_on = None, None, list[str]()
    if average is None:
        rests_on.append("Nothing is here yet, so nobody knows how large an instance is.")
    else:
        rests_on.append(f"An instance is taken for {average / 1e6:.2f} MB, the average of {of}.")
    if learned is None:
        rests_on.append(f"Nothing was fetched from {pacs} yet, so its pace is not known.")
    if policy is None:
        rests_on.append(f"{pacs} has no policy yet; it gets one when it is first asked.")
    if average is not None and learned is not None and policy is not None:
        bearing = current_bearing(connection, pacs)
        needed = time_needed(policy, bearing, learned.bytes_per_s, size, datetime.now(UTC))
        rests_on.append(
            f"{learned.requests} requests since {learned.since:%Y-%m-%d} brought {learned.bytes_per_s / 1e6:.2f} MB/s "
            f"an association; {pacs} bears {bearing.within(policy.full.concurrency)} at once, which is "
            f"{pace(policy.full, bearing, learned.bytes_per_s) / 1e6:.2f} MB/s in full hours and "
            f"{pace(policy.gentle, bearing, learned.bytes_per_s) / 1e6:.2f} MB/s in gentle ones."
        )
        if needed is None:
            rests_on.append(f"Within the hours of {pacs} it would take years, or it never opens.")
        else:
            hours, ready_at = round(needed.hours, 2), needed.ready_at
        if row["unnumbered_studies"]:
            rests_on.append(f"Studies of which {pacs} does not say how many instances they have are not counted in it.")
    return ToFetch(**row, bytes=size, hours=hours, ready_at=ready_at, rests_on=tuple(rests_on))

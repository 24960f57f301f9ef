"""From a filter to SQL: which instances of which blocks.

A header block (0012) holds instances of one series that agree in nearly everything a filter asks for, so the statement
decides block by block. A condition that tells instances of one block apart comes as a set of instances, and only those
are looked at one by one: an instance outside all sets answers as its block does. Whatever text a filter came from, its
values are bound and its identifiers come from the registry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sluice.cohorts.conditions import Parameters, number
from sluice.cohorts.criteria import Criterion
from sluice.cohorts.expressions import (
    AllOf,
    AnyOf,
    Expression,
    FieldIs,
    Holds,
    Not,
    PredictionIs,
    QualityIs,
    RegionIs,
    TagIs,
)
from sluice.cohorts.fields import Level
from sluice.cohorts.leaves import (
    Leaf,
    OfBlock,
    OfInstance,
    of_field,
    of_prediction,
    of_quality,
    of_region,
    of_tag,
)

# What the narrow rows of blocks are joined with, where a statement names an alias of it.
JOINS = {
    "s": " join series s on s.series_key = b.series_key",
    "st": " join study st on st.study_key = b.study_key",
    "hb": " join header_block hb on hb.block_id = b.block_id",
}
INLINED = ("plain", "matched")
COUNTED_APART = 4  # sets; of more, what instances have in common is too manifold for a column each
_ALIASES = re.compile(r"\b(s|st|hb)\.").findall


@dataclass(frozen=True)
class Statement:
    """SQL with bound values, to run or to put into another statement as a subquery."""

    sql: str
    params: dict[str, Any]


@dataclass(frozen=True)
class _All:
    parts: tuple[_Formula, ...]


@dataclass(frozen=True)
class _Any:
    parts: tuple[_Formula, ...]


@dataclass(frozen=True)
class _Not:
    part: _Formula


_Formula = _All | _Any | _Not | Leaf


@dataclass
class Compiler:
    """One statement being written: its common table expressions and its values.

    Attributes:
        today: what `last_days` counts from.
        studies: the only studies to look at, where not None; what patients and studies hold besides is looked at whole.
        bound: its values.
    """

    today: date
    studies: Sequence[str] | None = None
    bound: Parameters = field(default_factory=Parameters)
    tables: list[tuple[str, str]] = field(default_factory=list)

    def matched(self, expression: Expression, columns: Mapping[str, str] | None = None, positions: bool = False) -> str:
        """Add the table of what a filter selects and return its name.

        Its columns: block_id; study_key and series_key as the block says; `instances`, the number
        that match, above 0; `bytes`, of their files (in proportion where not the whole block matches); with
        `positions` the positions of those that match, NULL for all; and `columns`.

        Args:
            columns: further ones by their names, SQL over the aliases.
        """
        parts = _lowered_all(self._lower(expression))
        alike = [part for part in parts if not _sets(part)]
        mixed = [part for part in parts if _sets(part)]
        where = [_truth(part, {}) for part in alike]
        if self.studies is not None:
            uids = self.bound.bind(list(self.studies), "text[]")
            where.append(f"b.study_key in (select study_key from study where study_instance_uid = any({uids}))")
        standing = {name: f"b.{name}" for name in ("block_id", "study_key", "series_key", "file_bytes")}
        standing |= columns or {}
        if not mixed:
            return self._table("plain", _whole_blocks(standing, where, positions))
        return self._mixed(mixed, where, standing, positions)

    def _mixed(self, mixed: list[_Formula], where: list[str], standing: dict[str, str], positions: bool) -> str:
        sets = [one for part in mixed for one in _sets(part)]
        blocks = [leaf for part in mixed for leaf in _leaves(part) if isinstance(leaf, OfBlock)]
        as_columns = {id(leaf): f"c{number}" for number, leaf in enumerate([*blocks, *sets])}
        answers = [f"({leaf.sql}) as {as_columns[id(leaf)]}" for leaf in blocks]
        answers += [f"({leaf.otherwise}) as {as_columns[id(leaf)]}" for leaf in sets]
        chosen = ", ".join([_named(standing), "b.instances as held", *answers])
        names = {id(one): self._table("few", one.members) for one in sets if one.few}
        if len(names) == len(sets):  # what the sets have is known beforehand: one scan decides all blocks
            looked = self._looked([names[id(one)] for one in sets], positions)
            where = [*where, *(_upper(part, dict.fromkeys(names, "l.looked_id is not null")) for part in mixed)]
            scanned = f"{_from(chosen, *where)} left join {looked} l on l.looked_id = b.block_id{_where(where)}"
            base = f"(select {chosen}, l.* from {scanned} offset 0)"  # the offset keeps each answer worked out once
        else:
            possible = {id(one): _possible(one, names) for one in sets}
            where = [*where, *(_upper(part, possible) for part in mixed)]
            scanned = self._table("base", f"select {chosen} from {_from(chosen, *where)}{_where(where)}")
            for one in sets:
                if not one.few:
                    names[id(one)] = self._table("many", one.members.replace("{base}", scanned))
            looked = self._looked([names[id(one)] for one in sets], positions)
            base = f"(select b.*, l.* from {scanned} b left join {looked} l on l.looked_id = b.block_id)"
        by_block = {id(leaf): f"base.{as_columns[id(leaf)]}" for leaf in [*blocks, *sets]}

        def wanted(*in_set: str) -> str:
            by_one = by_block | {
                id(one): f"({by_block[id(one)]} or {bit})" for one, bit in zip(sets, in_set, strict=True)
            }
            return " and ".join(_truth(part, by_one) for part in mixed)

        whole = " and ".join(_truth(part, by_block) for part in mixed)
        counted = (
            f"select base.*, ({whole}) is true as whole, {_yes(wanted, len(sets))} "
            f"+ case when ({whole}) is true then base.held - coalesce(base.looked, 0) else 0 end as instances"
            f"{_taken_and_left(wanted(*_bits(len(sets)))) if positions else ''} from {base} base"
        )
        listed = (
            ", case when c.instances = c.held then null when not c.whole then c.taken "
            "else array(select g from generate_series(0, c.held - 1) g where g <> all(c.left)) end as positions"
        )
        kept = ", ".join(f"c.{name}" for name in standing)
        return self._table(
            "matched",
            f"select {kept}, c.instances, c.file_bytes * c.instances / c.held as bytes"
            f"{listed if positions else ''} from ({counted}) c where c.instances > 0",
        )

    def _looked(self, names: Sequence[str], positions: bool) -> str:
        """Add the table of blocks with instances in the sets, `looked_id`: how many are `looked` at one by one; how
        many are in the same sets (`n5`: in the first and the third), or in which each is, as `bits`; with `positions`
        where each is, as `places` in the order of `bits`."""
        members = " union all ".join(
            f"select block_id, block_position, {1 << number} as bit from {name}" for number, name in enumerate(names)
        )
        if len(names) > COUNTED_APART:
            counted = ""
        else:
            counted = "".join(
                f", count(*) filter (where u.bits = {bits}) as n{bits}" for bits in range(1, 1 << len(names))
            )
        several = ", array_agg(u.bits) as bits" if positions or not counted else ""
        places = ", array_agg(u.block_position) as places" if positions else ""
        return self._table(
            "looked",
            f"select u.block_id as looked_id, count(*)::integer as looked{counted}{several}{places} "
            "from (select block_id, block_position, bit_or(bit) as bits "
            f"from ({members}) m group by block_id, block_position) u group by u.block_id",
        )

    def statement(self, select: str) -> Statement:
        """The statement with everything added so far in front of `select`."""
        # what comes together from sets is worked out once; a plain scan is best planned with what reads it
        tables = ", ".join(
            f"{name} as {'' if name.startswith(INLINED) else 'materialized '}({query})" for name, query in self.tables
        )
        return Statement(f"with {tables} {select}" if tables else select, self.bound.values)

    def _table(self, word: str, query: str) -> str:
        name = f"{word}_{len(self.tables)}"
        self.tables.append((name, query))
        return name

    def _lower(self, expression: Expression) -> _Formula:
        match expression:
            case AllOf(parts):
                return _All(tuple(self._lower(part) for part in parts))
            case AnyOf(parts):
                return _Any(tuple(self._lower(part) for part in parts))
            case Not(part):
                return _Not(self._lower(part))
            case Holds():
                return OfBlock(self._holds(expression))
            case FieldIs():
                return of_field(expression, self.today, self.bound)
            case TagIs():
                return of_tag(expression, self.today, self.bound)
            case QualityIs(held):
                some = _Any(tuple(of_quality(expression, self.bound, self._table)))
                return some if held else _Not(some)
            case PredictionIs():
                return of_prediction(expression, self.bound)
            case RegionIs():
                return self._region(expression)

    def _region(self, condition: RegionIs) -> _Formula:
        of_each: list[_Formula] = []
        for criterion in condition.criteria:
            ways: list[_Formula] = []
            for how, leaves in of_region(RegionIs(condition.by, (criterion,)), self.bound):
                ways.append(_All((leaves[0], _Not(leaves[1]))) if how == "unless" else _All(tuple(leaves)))
            of_each.append(_Any(tuple(ways)))
        return _All(tuple(of_each))

    def _holds(self, holds: Holds) -> str:
        """A condition on the alias `b` that the patient, study or series holds what is asked for."""
        of_these = self.studies
        if holds.level is Level.PATIENT:
            self.studies = None
        of_patient = {"patient_key": "b.patient_key", "study_date": "b.study_date"}
        others = self.matched(holds.part, of_patient if holds.level is Level.PATIENT else None)
        self.studies = of_these
        if holds.level is not Level.PATIENT:
            key = f"{holds.level.value}_key"
            having = self._having(holds, "m.series_key", "m.instances")
            of = self._table("holding", f"select m.{key} from {others} m group by m.{key}{having}")
            return f"b.{key} in (select {key} from {of})"
        per_study = self._table(
            "per_study",
            "select m.study_key, m.patient_key, m.study_date, "
            "count(distinct m.series_key) as series, sum(m.instances) as instances "
            f"from {others} m where m.patient_key is not null group by m.study_key, m.patient_key, m.study_date",
        )
        having = self._having(holds, "", "o.instances", "sum(o.series)", "count(*)")
        if not holds.days_before:
            of = self._table("holding", f"select o.patient_key from {per_study} o group by o.patient_key{having}")
            return f"b.patient_key in (select patient_key from {of})"
        days = " and ".join(number("(st.study_date - o.study_date)", one, self.bound) for one in holds.days_before)
        of = self._table(
            "holding",
            f"select st.study_key from study st join {per_study} o on st.patient_key = o.patient_key "
            f"where {days} group by st.study_key{having}",
        )
        return f"b.study_key in (select study_key from {of})"

    def _having(self, holds: Holds, series: str, instances: str, of_series: str = "", of_studies: str = "") -> str:
        counted: tuple[tuple[tuple[Criterion, ...], str], ...] = (
            (holds.studies, of_studies),
            (holds.series, of_series or f"count(distinct {series})"),
            (holds.instances, f"sum({instances})"),
        )
        asked = [number(what, one, self.bound) for criteria, what in counted for one in criteria]
        return f" having {' and '.join(asked)}" if asked else ""


def selected(
    expression: Expression,
    level: Level,
    today: date | None = None,
    studies: Sequence[str] | None = None,
    prefix: str = "v",
) -> Statement:
    """The UIDs that a filter selects, as one column `uid` without repeats.

    Args:
        level: STUDY or SERIES: those with an instance that matches; INSTANCE.
        today: what `last_days` counts from; the present day when None.
        studies: Study Instance UIDs to look at; all when None.
        prefix: of the names of its values, where it will stand in a statement with other values.
    """
    compiler = Compiler(today or date.today(), studies, Parameters(prefix))
    if level is Level.INSTANCE:
        matched = compiler.matched(expression, positions=True)
        return compiler.statement(
            f"select i.sop_instance_uid as uid from {matched} m join instance i on i.block_id = m.block_id "
            "where m.positions is null or i.block_position = any(m.positions)"
        )
    if level not in (Level.STUDY, Level.SERIES):
        raise ValueError(f"UIDs are those of studies, series or instances, not of {level}s")
    matched = compiler.matched(expression)
    return compiler.statement(
        f"select t.{level.value}_instance_uid as uid from {level.value} t "
        f"where t.{level.value}_key in (select m.{level.value}_key from {matched} m)"
    )


def _lowered_all(formula: _Formula) -> list[_Formula]:
    """The parts that all have to hold."""
    if isinstance(formula, _All):
        return [one for part in formula.parts for one in _lowered_all(part)]
    return [formula]


def _leaves(formula: _Formula) -> list[Leaf]:
    match formula:
        case _All(parts) | _Any(parts):
            return [leaf for part in parts for leaf in _leaves(part)]
        case _Not(part):
            return _leaves(part)
    return [formula]


def _sets(formula: _Formula) -> list[OfInstance]:
    return [leaf for leaf in _leaves(formula) if isinstance(leaf, OfInstance)]


def _truth(formula: _Formula, answers: dict[int, str]) -> str:
    """The formula as SQL; what is NULL counts as false, and `not` makes it true."""
    match formula:
        case _All(parts):
            return f"({' and '.join(_truth(part, answers) for part in parts)})" if parts else "true"
        case _Any(parts):
            return f"({' or '.join(_truth(part, answers) for part in parts)})" if parts else "false"
        case _Not(part):
            return f"(({_truth(part, answers)}) is not true)"
        case OfBlock(sql):
            return answers.get(id(formula), f"({sql})")
        case OfInstance():
            return answers[id(formula)]


def _bits(sets: int) -> list[str]:
    """Whether an instance is in each set, by the bits of `looked`."""
    return [f"(x.bits & {1 << number} > 0)" for number in range(sets)]


def _yes(wanted: Callable[..., str], sets: int) -> str:
    """How many of the instances of `base` that are in sets are wanted."""
    if sets > COUNTED_APART:
        counted = f"(select count(*) from unnest(base.bits) x(bits) where {wanted(*_bits(sets))})"
        return f"case when base.looked is null then 0 else {counted} end"
    each = (
        f"case when {wanted(*(str(bits >> number & 1 == 1).lower() for number in range(sets)))} "
        f"then coalesce(base.n{bits}, 0) else 0 end"
        for bits in range(1, 1 << sets)
    )
    return " + ".join(each)


def _taken_and_left(wanted: str) -> str:
    """Where those that are wanted are in their block, and those that are not."""
    places = "from unnest(base.bits, base.places) x(bits, place) where"
    taken = f"array(select x.place {places} ({wanted}))"
    left = f"array(select x.place {places} ({wanted}) is not true)"
    return f", {taken} as taken, {left} as left"


def _possible(one: OfInstance, names: dict[int, str]) -> str:
    """Whether an instance of the block can be in the set."""
    if not one.few:
        return one.within
    return f"b.block_id in (select block_id from {names[id(one)]})"


def _upper(formula: _Formula, possible: dict[int, str], negated: bool = False) -> str:
    """A condition on a block that holds at least where one of its instances satisfies the formula (with `negated`: at
    most where all of them do)."""
    match formula:
        case _All(parts) | _Any(parts):
            word = " and " if isinstance(formula, _All) else " or "
            said = word.join(_upper(part, possible, negated) for part in parts)
            return f"({said})" if parts else ("true" if isinstance(formula, _All) else "false")
        case _Not(part):
            return f"(({_upper(part, possible, not negated)}) is not true)"
        case OfBlock(sql):
            return f"({sql})"
        case OfInstance(otherwise=otherwise):
            return "false" if negated else f"({otherwise} or {possible[id(formula)]})"


def _named(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{sql} as {name}" for name, sql in columns.items())


def _whole_blocks(standing: Mapping[str, str], where: Sequence[str], positions: bool) -> str:
    """A query of blocks that match as a whole, with the columns of `Compiler.matched`."""
    own = ", b.instances, b.file_bytes as bytes" + (", null::integer[] as positions" if positions else "")
    chosen = _named(standing)
    return f"select {chosen}{own} from {_from(chosen, *where)}{_where(where)}"


def _from(*used: str) -> str:
    named = {alias for text in used for alias in _ALIASES(text)}
    return "cohort_block b" + "".join(join for alias, join in JOINS.items() if alias in named)


def _where(conditions: Sequence[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""

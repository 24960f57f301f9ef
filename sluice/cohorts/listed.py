"""What a PACS lists and we lack: which studies a filter takes as far as C-FIND answers can tell.

Three answers: certainly, possibly, no. SQL's own logic has them: what an answer does not say is NULL. A study is taken
certainly where one of its modalities, with all else that the answer says, satisfies the filter.
"""

from __future__ import annotations

from datetime import date

from sluice.cohorts.compile import Statement
from sluice.cohorts.conditions import Parameters, element_asks, number, text
from sluice.cohorts.criteria import Criterion
from sluice.cohorts.expressions import AllOf, AnyOf, Expression, FieldIs, Holds, Not, QualityIs
from sluice.cohorts.fields import Field, Kind, Level

UNKNOWN = "null::boolean"
DAY = 0.01  # years; some more than one
_VRS = {Kind.DATE: "DA", Kind.UID: "UI", Kind.TEXT: "LO", Kind.NUMBER: "DS"}

# One row for each modality of each study that is not all here. Where two PACS list a study, the one that has more.
LACKING = """
with here as (
    select s.study_instance_uid, b.instances
      from (select study_key, sum(instances) as instances from cohort_block group by study_key) b
      join study s using (study_key)
), fewer as materialized (
    select f.pacs, f.study_instance_uid, f.window_key, f.listed, h.instances as here
      from found_study f left join here h on h.study_instance_uid = f.study_instance_uid
     where f.listed is null or f.listed > coalesce(h.instances, 0)
), lacking as (
    select distinct on (f.study_instance_uid) f.pacs, f.study_instance_uid, found.answer,
           counted.listed, counted.listed - came.instances as lacks
      from fewer f
      join found_study found using (pacs, study_instance_uid, window_key)
      cross join lateral (select coalesce(f.listed, (select nullif(count(*), 0)::integer from expectation e
                                                      where e.study_instance_uid = f.study_instance_uid
                                                        and e.window_key = f.window_key)) as listed) counted
      cross join lateral (select count(*) as instances from receipt r
                           where r.study_instance_uid = f.study_instance_uid) came
     where (counted.listed > came.instances or counted.listed is null and came.instances = 0)
       and not exists (select from study_event v
                        where v.study_instance_uid = f.study_instance_uid and v.pacs = f.pacs
                          and v.window_key = f.window_key and v.event in ('gone', 'moved')
                          and v.event_id = (select max(event_id) from study_event l
                                             where l.study_instance_uid = v.study_instance_uid
                                               and l.window_key = v.window_key and l.pacs = v.pacs))
     order by f.study_instance_uid, counted.listed desc nulls last, f.pacs
), f as (
    select l.*, m.modality
      from lacking l
      left join lateral (select v #>> '{{}}' as modality
                           from jsonb_path_query(l.answer, '$."00080061".Value[*]') v) m on true
), judged as (
    select f.pacs, f.study_instance_uid, max(f.lacks) as lacks, bool_or(({taken}) is true) as is_certain
      from f
     where ({taken}) is not false
     group by f.pacs, f.study_instance_uid
)
{select}
"""


def lacking(expression: Expression, select: str, today: date) -> Statement:
    """A statement over `judged`: (pacs, study_instance_uid, lacks, is_certain); `lacks` are instances not here, NULL
    where the PACS did not say how many it has.

    Args:
        select: our own SQL that reads `judged`.
    """
    bound = Parameters()
    return Statement(LACKING.format(taken=_taken(expression, today, bound), select=select), bound.values)


def _taken(expression: Expression, today: date, bound: Parameters) -> str:
    match expression:
        case AllOf(parts):
            return f"({' and '.join(_taken(part, today, bound) for part in parts)})" if parts else "true"
        case AnyOf(parts):
            return f"({' or '.join(_taken(part, today, bound) for part in parts)})"
        case Not(part):
            return f"(not {_taken(part, today, bound)})"
        case QualityIs(held):
            return "false" if held else "true"  # nothing holds what is not here yet
        case FieldIs(field, criteria) if field.name == "modality":
            asked = [_modality(one, bound) for one in criteria]
            return f"({' and '.join(asked)})"
        case FieldIs(field, criteria) if field.name == "age":
            return f"({' and '.join(_age(one, bound) for one in criteria)})"
        case FieldIs(field, criteria) if field.find is not None:
            return _in_answer(field, criteria, today, bound)
        case Holds(level=Level.STUDY, part=part, series=(), instances=()):
            # the study has it where one of its modalities does; else what is here of it may
            return f"(nullif(({_taken(part, today, bound)}) is true, false))"
    return UNKNOWN


def _modality(criterion: Criterion, bound: Parameters) -> str:
    if criterion.operator == "missing":
        return UNKNOWN
    return text("f.modality", criterion, bound)


def _age(criterion: Criterion, bound: Parameters) -> str:
    """By dates of birth and study as they are written, so that an impossible date is no error.

    A header's Patient's Age counts whole years, months or weeks that have passed, so it is up to a year less than what
    the dates say; a day is for years of different lengths. Where the year decides, only the images can tell.
    """
    if criterion.operator == "missing":
        return UNKNOWN
    digits = [f"f.answer #>> '{{{tag},Value,0}}'" for tag in ("00080020", "00100030")]
    years = [
        f"(substr({one}, 1, 4)::float8 + substr({one}, 5, 2)::float8 / 12 + substr({one}, 7, 2)::float8 / 365.25)"
        for one in digits
    ]
    known = " and ".join(f"{one} ~ '^[0-9]{{8}}$'" for one in digits)
    least, most = f"({years[0]} - {years[1]} - {1 + DAY})", f"({years[0]} - {years[1]} + {DAY})"
    if criterion.operator == "is":
        ages = bound.bind([float(one) for one in criterion.values], "float8[]")  # type: ignore[arg-type]
        possible = f"exists (select from unnest({ages}) x where x between {least} and {most})"
        return f"(case when {known} then nullif({possible}, true) end)"
    one, other = (number(age, criterion, bound) for age in (least, most))
    decided = f"case when {one} and {other} then true when not ({one} or {other}) then false end"
    return f"(case when {known} then {decided} end)"


def _in_answer(field: Field, criteria: tuple[Criterion, ...], today: date, bound: Parameters) -> str:
    asked = tuple(one for one in criteria if one.operator != "missing")
    if asked != criteria or not asked:
        return UNKNOWN
    element = f"(f.answer -> {bound.bind(field.find, 'text')})"
    vr = "PN" if field.name == "patient_name" else _VRS[field.kind]
    said = element_asks(field.kind, vr, element, "$.Value[*]", asked, today, bound)
    return f"(case when ({element} #>> '{{Value,0}}') is not null then {said} end)"

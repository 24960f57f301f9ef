"""Each condition as SQL: of a block, or as the set of instances for which it holds.

Aliases: `b` cohort_block, `hb` header_block, `s` series, `st` study; in sets also `i` instance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from sluice.anatomy.strategies import PEDIATRIC_BELOW_YEARS, Part, Strategy, readings_sql
from sluice.cohorts.conditions import Parameters, asks, element_asks, number
from sluice.cohorts.criteria import Criterion
from sluice.cohorts.expressions import FieldIs, PredictionIs, QualityIs, RegionIs, TagIs
from sluice.cohorts.fields import Level


@dataclass(frozen=True)
class OfBlock:
    """A condition that all instances of a block answer alike.

    Attributes:
        sql: a boolean over the aliases.
    """

    sql: str


@dataclass(frozen=True)
class OfInstance:
    """A condition that instances of one block answer differently.

    It holds for the instances of `members`, and for all instances of a block for which `otherwise` holds.

    Attributes:
        members: a query of (block_id, block_position).
        otherwise: a boolean over the aliases.
        few: `members` is worth finding before the blocks are: a filter then begins there. Else `{base}` stands in it
            for the blocks that can still match.
        within: where not few, a boolean over the aliases: which blocks may have members.
    """

    members: str
    otherwise: str = "false"
    few: bool = True
    within: str = "true"


Leaf = OfBlock | OfInstance
OF_FILM = (  # only radiographs have predictions of a body part
    "select p.block_id, p.block_position from prediction p where p.task = 'body_part' and p.block_id is not null and {}"
)


def of_field(condition: FieldIs, today: date, bound: Parameters) -> Leaf:
    """A field of the registry."""
    asked = asks(condition.field.kind, condition.field.sql, condition.criteria, today, bound)
    if condition.field.level is not Level.INSTANCE:
        return OfBlock(asked)
    if condition.field.block_sql is not None:
        return _of_promoted(condition, today, bound)
    few = condition.field.name == "instance_uid" and all(one.operator == "is" for one in condition.criteria)
    within = "i.block_id is not null" if few else "i.block_id in (select block_id from {base})"
    return OfInstance(f"select i.block_id, i.block_position from instance i where {within} and {asked}", few=few)


def _of_promoted(condition: FieldIs, today: date, bound: Parameters) -> OfInstance:
    """A promoted element: of the block where all of it have the same, else of each instance."""
    field = condition.field
    alike = asks(field.kind, str(field.block_sql), condition.criteria, today, bound)
    asked = asks(field.kind, field.sql, condition.criteria, today, bound)
    name = bound.bind(field.promoted, "text")
    return OfInstance(
        "select i.block_id, i.block_position from instance i where i.block_id in (select d.block_id "
        f"from cohort_block d where {name} = any(d.promoted_differ) "
        f"and d.block_id in (select block_id from {{base}})) and {asked}",
        otherwise=f"({alike} and {name} <> all(b.promoted_differ))",
        few=False,
        within=f"{name} = any(b.promoted_differ)",
    )


def of_tag(condition: TagIs, today: date, bound: Parameters) -> Leaf:
    """An element: of what the block has alike, unless its instances differ in it."""
    path = condition.path
    inside = "".join(f'."{step}".Value[*]' for step in path.steps[1:])
    values = f"$.Value[*]{inside}"
    if path.creator is None:
        tag = bound.bind(path.steps[0], "text")
        differing = f"select d.block_id from header_difference d where d.tag = {tag}"
        differs, among = f"b.block_id in ({differing})", f"d.tag = {tag}"
        shared = f"shared_element(hb.*, {tag})"
    else:
        group, last = path.steps[0][:4], path.steps[0][6:]
        said = ", ".join(bound.bind(part, "text") for part in (group, path.creator, last))
        like = bound.bind(f"{group}__{last}", "text")
        shared = f"hb.shared -> private_tag(hb.shared, {said})"
        differs = (
            f"(b.block_id, private_tag(hb.shared, {said})) in "
            f"(select d.block_id, d.tag from header_difference d where d.tag like {like})"
        )
        among = f"d.tag = (select private_tag(hb.shared, {said}) from header_block hb where hb.block_id = d.block_id)"
    alike = element_asks(path.kind, path.vr, f"({shared})", values, condition.criteria, today, bound)
    one = element_asks(path.kind, path.vr, "nullif(x.element, 'null')", values, condition.criteria, today, bound)
    return OfInstance(
        "select d.block_id, (x.nth - 1)::integer as block_position from header_difference d "
        "cross join lateral jsonb_array_elements(d.elements) with ordinality x(element, nth) "
        f"where {among} and d.block_id in (select block_id from {{base}}) and {one}",
        otherwise=f"({alike} and not {differs})",
        few=False,
    )


def of_region(condition: RegionIs, bound: Parameters) -> list[tuple[str, list[Leaf]]]:
    """A body part: alternatives, each `all` of some leaves, or `header unless` the second of them holds."""
    found: list[tuple[str, list[Leaf]]] = []
    for criterion in condition.criteria:
        if criterion.operator == "missing":
            unknown = "(b.region_key is null and b.sct_code is null)"
            found.append(("all", [OfBlock(unknown if criterion.values[0] else f"not {unknown}")]))
            continue
        for value in criterion.values:
            part = Part.of(str(value))
            found += _of_part(Strategy(condition.by), part, bound)
    return found


def _of_part(strategy: Strategy, part: Part, bound: Parameters) -> list[tuple[str, list[Leaf]]]:
    match strategy:
        case Strategy.HEADER:
            return [("all", [_by_header(part, bound)])]
        case Strategy.EXAMINED | Strategy.VISIBLE:
            return [("all", [_by_model(strategy, part, bound)])]
        case Strategy.UNION:
            return [("all", [_by_header(part, bound)]), ("all", [_by_model(Strategy.VISIBLE, part, bound)])]
        case Strategy.INTERSECTION:
            return [("all", [_by_header(part, bound), _by_model(Strategy.VISIBLE, part, bound)])]
        case Strategy.FUSED:
            fused = (
                "select f.sop_instance_uid from fused_anatomy f join body_part_reading r "
                "on r.sop_instance_uid = f.sop_instance_uid and r.model_id = f.model_id"
            )
            of_part = (
                f"{fused} join instance x on x.sop_instance_uid = f.sop_instance_uid "
                f"where f.region_key = any({bound.bind(list(part.regions), 'text[]')}) "
                f"and {_age(part, 'x.patient_age_years')}"
            )
            return [
                ("all", [OfInstance(OF_FILM.format(f"p.sop_instance_uid in ({of_part})"))]),
                ("unless", [_by_header(part, bound), OfInstance(OF_FILM.format(f"p.sop_instance_uid in ({fused})"))]),
            ]


def _by_header(part: Part, bound: Parameters) -> OfBlock:
    """As `sluice.anatomy.strategies` has it, but of blocks."""
    from sluice.anatomy.strategies import COARSE

    regions, codes = bound.bind(list(part.regions), "text[]"), bound.bind(list(part.codes), "text[]")
    coarse = bound.bind(list(COARSE), "text[]")
    named = (
        f"(b.region_key = any({regions}) or b.sct_code = any({codes}) "
        f"and (b.region_key is not null or b.sct_code = any({coarse})))"
    )
    return OfBlock(f"({named} and {_age(part, 'b.patient_age_years')})")


def _by_model(strategy: Strategy, part: Part, bound: Parameters) -> OfInstance:
    members, params = readings_sql(strategy, part, f"{bound.next_name()}_part")
    bound.values.update(params)
    return OfInstance(members)


def _age(part: Part, age: str) -> str:
    if part.router5 == "pediatric_chest":
        return f"{age} < {PEDIATRIC_BELOW_YEARS}"
    return f"coalesce({age} >= {PEDIATRIC_BELOW_YEARS}, true)" if part.router5 == "adult_chest" else "true"


def of_quality(condition: QualityIs, bound: Parameters, table: Callable[[str, str], str]) -> list[Leaf]:
    """Held by a rule, by what is held: whole studies, whole series, or instances. One of the leaves suffices.

    Args:
        table: adds a common table expression, by a word for its name and a query, and returns its name.
    """
    named = ""
    if condition.rules:
        named += f" and h.rule = any({bound.bind(list(condition.rules), 'text[]')})"
    if condition.severities:
        named += f" and h.severity = any({bound.bind(list(condition.severities), 'text[]')})"
    held = table(
        "held", f"select h.level, h.object, h.block_id, h.block_position from quality_held h where true{named}"
    )
    of_studies = table(
        "held",
        f"select x.study_key from {held} h join study x on x.study_instance_uid = h.object where h.level = 'study'",
    )
    of_series = table(
        "held",
        f"select x.series_key from {held} h join series x on x.series_instance_uid = h.object where h.level = 'series'",
    )
    # findings know their place; a decision about an instance without a finding has to look for it
    of_instances = (
        f"select h.block_id, h.block_position from {held} h where h.level = 'instance' and h.block_id is not null "
        f"union all select i.block_id, i.block_position from {held} h join instance i on i.sop_instance_uid = h.object "
        "where h.level = 'instance' and h.block_id is null and i.block_id is not null "
        f"union all select i.block_id, i.block_position from {held} h "
        "join window_instance w on w.window_key = h.object join instance i on i.sop_instance_uid = w.sop_instance_uid "
        "where h.level = 'window' and i.block_id is not null"
    )
    return [
        OfBlock(f"b.study_key in (select study_key from {of_studies})"),
        OfBlock(f"b.series_key in (select series_key from {of_series})"),
        OfInstance(of_instances),
    ]


def of_prediction(condition: PredictionIs, bound: Parameters) -> OfInstance:
    """What a model says: those that are named, else the newest in production that read the instance."""
    asked = f"p.block_id is not null and p.task = {bound.bind(condition.task, 'text')}"
    if condition.labels:
        asked += f" and p.label = any({bound.bind(list(condition.labels), 'text[]')})"
    for criterion in condition.score:
        asked += f" and {_score(criterion, bound)}"
    if condition.views:
        asked += f" and p.detail->'view'->>'value' = any({bound.bind(list(condition.views), 'text[]')})"
        asked += " and (p.detail->'view'->>'confident')::boolean"
    if condition.models:
        asked += f" and p.model_id = any({bound.bind(list(condition.models), 'text[]')})"
    else:
        asked += (
            " and exists (select from model m where m.model_id = p.model_id and m.stage = 'production' and not exists "
            "(select from prediction newer join model n on n.model_id = newer.model_id and n.stage = 'production' "
            "where newer.sop_instance_uid = p.sop_instance_uid and newer.task = p.task "
            "and (coalesce(n.production_since, n.registered_at), n.model_id) "
            "> (coalesce(m.production_since, m.registered_at), m.model_id)))"
        )
    return OfInstance(f"select p.block_id, p.block_position from prediction p where {asked}")


def _score(criterion: Criterion, bound: Parameters) -> str:
    if criterion.operator == "missing":
        return "false" if criterion.values[0] else "true"
    return number("p.score", criterion, bound, "real")

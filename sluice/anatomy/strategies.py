"""Searching instances by body part: six strategies over what the header says and what the model sees.

| strategy | an instance matches a region when |
| --- | --- |
| header | the words of its series' header name it; a composite (chest and abdomen) names all its members |
| examined | it is the model's single answer |
| visible | it is among the regions that the model sees, or its single answer: what is examined is visible |
| union | header or visible |
| intersection | header and visible |
| fused | it is the likeliest by both (`sluice.anatomy.fusion`); where no model answered, what the header says |

The model is the newest in production that read the instance (view `body_part_reading`); only radiographs have one, so
examined, visible and intersection find no CT. `docs/strategies.md` has measured figures and says which to pick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sluice.anatomy.regions import REGIONS, members_of_composites

PEDIATRIC_BELOW_YEARS = 15
"""As `models.labels.PEDIATRIC_BELOW_YEARS`; a chest without an age counts as an adult's."""
COARSE = {"53120007": "UPPERLIMB", "61685007": "LOWERLIMB", "66019005": "LIMB"}
"""SNOMED CT codes of header words that name no region but a group of them (`UP_EXM`, `EXTREMITY`)."""
_CHESTS = ("adult_chest", "pediatric_chest")


class UnknownPart(ValueError):  # noqa: N818
    """There is no such body part to search for; the message names those there are."""


class Strategy(StrEnum):
    """How a body part is searched for; see the module."""

    HEADER = "header"
    EXAMINED = "examined"
    VISIBLE = "visible"
    UNION = "union"
    INTERSECTION = "intersection"
    FUSED = "fused"


@dataclass(frozen=True)
class Part:
    """A body part that can be searched for.

    Attributes:
        name: a region (`LSPINE`), a group of regions (`UPPERLIMB`) or a class of the five-way router (`adult_chest`).
        regions: the regions that count as it.
        router5: the class, None for a region or a group.
        codes: SNOMED CT codes of composites that have a member among `regions`, and of coarse words within a group.
    """

    name: str
    regions: tuple[str, ...]
    router5: str | None = None
    codes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str) -> Part:
        """The part of that name. `spine` is the five spine regions; `SPINE` is the region whole spine.

        Raises:
            UnknownPart: there is none.
        """
        try:
            return parts()[name]
        except KeyError:
            near = get_close_matches(name.upper(), [*REGIONS, *_groups()], 3)
            hint = f"Did you mean {' or '.join(near)}? " if near else ""
            raise UnknownPart(f"There is no body part {name!r}. {hint}There are: {', '.join(parts())}.") from None


@lru_cache(maxsize=1)
def parts() -> dict[str, Part]:
    """All that can be searched for: the 36 regions, groups of them, the router's classes."""
    found = {key: _part(key, (key,)) for key in REGIONS}
    for group, keys in _groups().items():
        coarse = tuple(code for code, name in COARSE.items() if name == group or group == "LIMB")
        found[group] = _part(group, keys, codes=coarse)
    for router5 in ("abdominal", *_CHESTS, "spine", "others"):
        keys = tuple(key for key, region in REGIONS.items() if router5 in region.router5.split("|"))
        coarse = tuple(COARSE) if router5 == "others" else ()
        found[router5] = _part(router5, keys, router5, coarse)
    return found


def _part(name: str, keys: tuple[str, ...], router5: str | None = None, codes: tuple[str, ...] = ()) -> Part:
    composites = tuple(code for code, members in members_of_composites().items() if set(members) & set(keys))
    return Part(name, keys, router5, composites + codes)


def _groups() -> dict[str, tuple[str, ...]]:
    """Groups of regions by name; that of the spine is the router's class `spine`, because SPINE is a region."""
    groups: dict[str, tuple[str, ...]] = {}
    for key, region in REGIONS.items():
        if region.group != "SPINE":
            groups[region.group] = (*groups.get(region.group, ()), key)
    return groups | {"LIMB": groups["UPPERLIMB"] + groups["LOWERLIMB"]}


def strategy_sql(strategy: str, part: str, instance: str = "i", prefix: str = "part") -> tuple[str, dict[str, Any]]:
    """A condition on an instance that says whether it matches, and the condition's parameters.

    Args:
        strategy: a `Strategy`.
        part: a name that `Part.of` knows.
        instance: alias of table `instance` where the condition will stand.
        prefix: first letters of the parameters' names, so that several conditions can stand in one statement.

    Raises:
        UnknownPart: there is no such part.
        ValueError: there is no such strategy, or `instance` or `prefix` is no name.
    """
    if not (instance.isidentifier() and prefix.isidentifier()):
        raise ValueError(f"{instance!r} and {prefix!r} have to be plain names.")
    wanted = Part.of(part)
    members, params = _named(_MEMBERS[Strategy(strategy)](wanted), wanted, prefix)
    return f"{instance}.sop_instance_uid in ({members})", params


def readings_sql(strategy: Strategy, part: Part, prefix: str) -> tuple[str, dict[str, Any]]:
    """The instances of which the model says that they match, as a query of (block_id, block_position) and its
    parameters.

    Raises:
        ValueError: the strategy does not ask the model alone.
    """
    members = {Strategy.EXAMINED: _examined, Strategy.VISIBLE: _visible}.get(strategy)
    if members is None:
        raise ValueError(f"The strategy {strategy} does not ask the model alone.")
    query, params = _named(members(part, "r.block_id, r.block_position"), part, prefix)
    return f"select block_id, block_position from ({query}) seen where block_id is not null", params


def _named(query: str, part: Part, prefix: str) -> tuple[str, dict[str, Any]]:
    """The query with its parameters under names of their own."""
    names = ("regions", "codes", "router5")
    params = {f"{prefix}_{name}": value for name, value in zip(names, _values(part), strict=True)}
    for name in names:
        query = query.replace(f"%({name})s", f"%({prefix}_{name})s")
    return query, params


def _values(part: Part) -> tuple[Any, ...]:
    return list(part.regions), list(part.codes), part.router5


# Each strategy is a set of SOP Instance UIDs, found by the index of what it looks at: the instances of a region are few
# beside all instances.


def _header(part: Part) -> str:
    return (
        "select x.sop_instance_uid from header_anatomy a "
        "join instance x on x.series_instance_uid = a.series_instance_uid "
        f"where {_NAMED} and {_age(part)}"
    )


# a code without a region is that of the whole body, which names no members, unless it is a coarse word's
_NAMED = (
    "(a.region_key = any(%(regions)s) or a.sct_code = any(%(codes)s) "
    f"and (a.region_key is not null or a.sct_code in ({', '.join(map(repr, COARSE))})))"
)


def _examined(part: Part, columns: str = "r.sop_instance_uid") -> str:
    return f"select {columns} from body_part_reading r where {_is_examined(part)}"


def _visible(part: Part, columns: str = "r.sop_instance_uid") -> str:
    seen = "(r.visible ?| %(regions)s::text[] or r.examined = any(%(regions)s))"
    if part.router5 not in _CHESTS:
        return f"select {columns} from body_part_reading r where {seen} or {_is_examined(part)}"
    return (
        f"select {columns} from body_part_reading r "
        "join instance x on x.sop_instance_uid = r.sop_instance_uid "
        f"where {seen} and {_age(part)} or {_is_examined(part)}"
    )


def _is_examined(part: Part) -> str:
    return "r.router5 = %(router5)s" if part.router5 else "r.examined = any(%(regions)s)"


def _union(part: Part) -> str:
    return f"{_header(part)} union {_visible(part)}"


def _intersection(part: Part) -> str:
    return f"{_header(part)} intersect {_visible(part)}"


def _fused(part: Part) -> str:
    return (
        "select f.sop_instance_uid from fused_anatomy f "
        "join body_part_reading r on r.sop_instance_uid = f.sop_instance_uid and r.model_id = f.model_id "
        "join instance x on x.sop_instance_uid = f.sop_instance_uid "
        f"where f.region_key = any(%(regions)s) and {_age(part)} "
        f"union {_header(part)} and not exists (select from fused_anatomy f join body_part_reading r "
        "on r.sop_instance_uid = f.sop_instance_uid and r.model_id = f.model_id "
        "where f.sop_instance_uid = x.sop_instance_uid)"
    )


def _age(part: Part) -> str:
    """Whether the patient's age is that of the class; chests are told apart by it."""
    if part.router5 == "pediatric_chest":
        return f"x.patient_age_years < {PEDIATRIC_BELOW_YEARS}"
    if part.router5 == "adult_chest":
        return f"coalesce(x.patient_age_years >= {PEDIATRIC_BELOW_YEARS}, true)"
    return "true"


_MEMBERS = {
    Strategy.HEADER: _header,
    Strategy.EXAMINED: _examined,
    Strategy.VISIBLE: _visible,
    Strategy.UNION: _union,
    Strategy.INTERSECTION: _intersection,
    Strategy.FUSED: _fused,
}


def header_regions(region_key: str | None, code: str | None) -> frozenset[str]:
    """The regions that a row of `header_anatomy` names: the members of a composite, else the one, else none."""
    if region_key is None:
        return frozenset()
    return frozenset(members_of_composites().get(code or "", ())) | {region_key}


def matches(answer: Mapping[str, Any]) -> dict[Strategy, frozenset[str]]:
    """The regions that each strategy finds an instance by, from its row of `body_part_answer`."""
    header = header_regions(answer["header_region"], answer["header_code"])
    examined = frozenset({answer["examined_region"]} - {None})
    visible = _known(answer["visible_regions"] or ()) | examined
    fused = header if answer["fused_region"] is None else frozenset({answer["fused_region"]})
    return {
        Strategy.HEADER: header,
        Strategy.EXAMINED: examined,
        Strategy.VISIBLE: visible,
        Strategy.UNION: header | visible,
        Strategy.INTERSECTION: header & visible,
        Strategy.FUSED: fused,
    }


def _known(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(key for key in keys if key in REGIONS)

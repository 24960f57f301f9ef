"""What an IOD asks of its objects, out of the generated tables, in the form in which a judge asks for it."""

from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from sluice.deid.tables import table

FOLDER = Path(__file__).with_name("tables")
FUNCTIONAL_GROUPS = frozenset((0x52009229, 0x52009230))  # an attribute may stand in either: PS3.3 C.7.6.16

CHARACTER_SET = 0x00080005
PIXELS_ELSEWHERE = 0x00287FE0  # Pixel Data Provider URL is asked for without Pixel Data, and nothing leaves without

Tag = int
Nested = dict[tuple[Tag, ...], tuple[tuple[Tag, str], ...]]


@dataclass(frozen=True)
class Module:
    """A module of an IOD.

    Attributes:
        top: its attributes of Types 1, 1C, 2 and 2C that stand in the data set itself.
        nested: those of items, by the path of their sequence.
        own: attributes that no mandatory module of the IOD has: one of them says that the module is there.
    """

    name: str
    top: tuple[tuple[Tag, str], ...]
    nested: Nested
    own: frozenset[Tag] = frozenset()


@dataclass(frozen=True)
class Iod:
    """An IOD: its mandatory modules as one, the others, and every path of Types 1C and 2C with the module it is of."""

    name: str
    mandatory: Module
    optional: tuple[Module, ...]
    conditional: dict[tuple[Tag, ...], str] = field(default_factory=dict, hash=False)


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    with gzip.open(FOLDER / f"{name}.csv.gz") as file:
        return tuple(csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")))


@cache
def _classes() -> dict[str, str]:
    return {row["sop_class"]: row["iod"] for row in _rows("classes")}


@cache
def _attributes() -> dict[str, list[tuple[tuple[Tag, ...], str]]]:
    found: dict[str, list[tuple[tuple[Tag, ...], str]]] = defaultdict(list)
    for row in _rows("attributes"):
        path = tuple(int(tag, 16) for tag in row["path"].split("."))
        found[row["module"]].append((path, row["type"]))
    return found


@lru_cache(maxsize=64)
def iod_of(sop_class: str) -> Iod | None:
    """The IOD of a SOP class; None where the tables do not know it."""
    name = _classes().get(sop_class)
    if name is None:
        return None
    usages = [(row["module"], row["usage"]) for row in _rows("modules") if row["iod"] == name]
    mandatory = _module(name, [module for module, usage in usages if usage == "M"])
    known = {tag for tag, _ in mandatory.top}
    optional = []
    for name_of_module, usage in usages:
        if usage != "M":
            made = _module(name_of_module, [name_of_module])
            own = frozenset(tag for tag, _ in made.top) - known
            if own:
                optional.append(Module(name_of_module, made.top, made.nested, own))
    conditional: dict[tuple[Tag, ...], str] = {}
    for module in (*optional, mandatory):
        conditional |= {(tag,): module.name for tag, kind in module.top if kind.endswith("C")}
        for path, rows in module.nested.items():
            conditional |= {(*path, tag): module.name for tag, kind in rows if kind.endswith("C")}
    gone = _removed_by_the_profile() | {CHARACTER_SET, PIXELS_ELSEWHERE}
    conditional = {path: module for path, module in conditional.items() if path[-1] not in gone}
    return Iod(name, mandatory, tuple(optional), conditional)


@cache
def _removed_by_the_profile() -> frozenset[Tag]:
    """Attributes that PS3.15 E.1-1 removes: what a condition asks for is unknown then, not lost."""
    rows = (row for row in table("basic_profile") if row["basic"].startswith("X") and "x" not in row["tag"])
    return frozenset(int(row["tag"], 16) for row in rows if row["tag"] != "odd")


def _module(name: str, modules: list[str]) -> Module:
    strictest: dict[tuple[Tag, ...], str] = {}
    for module in modules:
        for path, kind in _attributes().get(module, ()):
            strictest[path] = min(kind, strictest.get(path, "3"))
    nested: dict[tuple[Tag, ...], list[tuple[Tag, str]]] = defaultdict(list)
    for path, kind in strictest.items():
        if len(path) == 2 and path[0] in FUNCTIONAL_GROUPS and kind != "2":
            kind = "1C"  # which of the two sequences has it is free
        if len(path) > 1:
            nested[path[:-1]].append((path[-1], kind))
    top = tuple((path[0], kind) for path, kind in strictest.items() if len(path) == 1)
    return Module(name, top, {path: tuple(rows) for path, rows in nested.items()})

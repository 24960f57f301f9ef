"""The 36 body regions, their codes, and the words for them (`regions36.csv`, `body_part_synonyms.csv`)."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files


@dataclass(frozen=True)
class Region:
    """A radiographic body region.

    Attributes:
        key: our name of it, e.g. `LSPINE`.
        sct_code: SNOMED CT concept, all of DICOM CID 4009.
        body_part_examined: defined term of PS3.16 Table L-1, empty where there is none.
        paired: whether laterality means anything (Table L-5).
        router5: class of the five-way router.
    """

    key: str
    sct_code: str
    display: str
    body_part_examined: str
    paired: bool
    group: str
    router5: str
    typically_visible: tuple[str, ...]


@dataclass(frozen=True)
class Meaning:
    """What a word stands for.

    Attributes:
        region_key: the region, or the first of several; None for parts that are none of the 36.
        sct_code: code of the region or of the composite; None for words that say nothing.
        members: regions of a composite.
        weak: too coarse to stop looking elsewhere (`EXTREMITY`), or says nothing (`UNKNOWN`).
    """

    region_key: str | None
    sct_code: str | None
    members: tuple[str, ...] = ()
    weak: bool = False


NOTHING = Meaning(None, None, weak=True)

# Parts that are none of the 36, so that a mammogram is not "nothing recognised".
OTHER_PARTS = {
    "breast": "76752008",
    "breasts": "76752008",
    "mamma": "76752008",
    "mammography": "76752008",
    "mammogram": "76752008",
    "mammographie": "76752008",
}


def _table(name: str) -> list[dict[str, str]]:
    text = files("sluice.anatomy").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _regions() -> dict[str, Region]:
    return {
        row["key"]: Region(
            row["key"],
            row["sct_code"],
            row["display"],
            row["dicom_bpe_term"],
            row["paired"] == "Y",
            row["group"],
            row["router5"],
            tuple(row["typically_visible"].split(";")) if row["typically_visible"] else (),
        )
        for row in _table("regions36.csv")
    }


REGIONS: dict[str, Region] = _regions()


@lru_cache(maxsize=1)
def meanings_of_codes() -> dict[str, Meaning]:
    """SNOMED CT code → meaning: the regions', their aliases', and the composites'."""
    found: dict[str, Meaning] = {}
    for row in _table("regions36.csv"):
        for alias in re.findall(r"(?:^|; )(\d{6,18})\b", row["alias_codes"]):
            found.setdefault(alias, Meaning(row["key"], row["sct_code"]))
    for row in _table("body_part_synonyms.csv"):
        if "|" in row["region_key"]:
            meaning = _composite(row["region_key"])
            if meaning.sct_code:
                found[meaning.sct_code] = meaning
    found |= {code: Meaning(None, code) for code in OTHER_PARTS.values()}
    return found | {region.sct_code: Meaning(region.key, region.sct_code) for region in REGIONS.values()}


def synonyms() -> list[tuple[str, bool, Meaning]]:
    """Every word with whether it counts only by itself, and its meaning."""
    found: list[tuple[str, bool, Meaning]] = [
        (region.body_part_examined, True, Meaning(region.key, region.sct_code))
        for region in REGIONS.values()
        if region.body_part_examined
    ]
    for row in _table("body_part_synonyms.csv"):
        key = row["region_key"]
        if not key:
            meaning = NOTHING
        elif "|" in key:
            meaning = _composite(key)
        else:
            meaning = Meaning(key, REGIONS[key].sct_code)
        found.append((row["term"], row["match"] == "exact", meaning))
    return found + [(word, False, Meaning(None, code)) for word, code in OTHER_PARTS.items()]


def composite_of(keys: frozenset[str]) -> Meaning | None:
    """The composite that stands for exactly these regions, if there is one."""
    return _composites().get(keys)


@lru_cache(maxsize=1)
def _composites() -> dict[frozenset[str], Meaning]:
    rows = (_composite(row["region_key"]) for row in _table("body_part_synonyms.csv") if "|" in row["region_key"])
    # whole body (38266002) names two regions as well, but two regions do not name the whole body
    return {frozenset(row.members): row for row in rows if len(row.members) > 1 and row.sct_code != "38266002"}


@lru_cache(maxsize=1)
def members_of_composites() -> dict[str, tuple[str, ...]]:
    """SNOMED CT code → regions of each composite; a whole body's are those of a babygram."""
    rows = (_composite(row["region_key"]) for row in _table("body_part_synonyms.csv") if "|" in row["region_key"])
    return {row.sct_code: row.members for row in rows if row.members and row.sct_code}


def _composite(written: str) -> Meaning:
    code, _, names = written.partition("|")
    members = tuple(names.split(";")) if names else ()
    return Meaning(members[0] if members else None, code, members, weak=not members)

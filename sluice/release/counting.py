"""How many persons share what a release says of one: k-anonymity over quasi-identifiers (Sweeney, 2002).

A person is in a class for each combination of sex, age band, year, scanner and body part that an instance of theirs
has. The persons of a class are told apart by nothing of that kind; a class of fewer than k is rare. Making coarser
follows Datafly (Sweeney, 1998): the quasi-identifier with most values goes up one step until few persons are in rare
classes, whose values are then left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sluice.release.projects import Anonymity

Values = tuple[str | None, ...]
Columns = Mapping[str, Any]


def _age(width: int) -> Callable[[Columns], str | None]:
    def band(columns: Columns) -> str | None:
        match = re.fullmatch(r"(\d{3})([DWMY])", columns.get("patient_age") or "")
        if not match:
            return None
        years = int(match[1]) if match[2] == "Y" else int(match[1]) // {"D": 365, "W": 52, "M": 12}[match[2]]
        first = min(years, 90) // width * width
        return f"{first}-{first + width - 1}" if first < 90 else "90+"

    return band


def _year(width: int) -> Callable[[Columns], str | None]:
    def years(columns: Columns) -> str | None:
        text = (columns.get("study_date") or "")[:4]
        if not text.isdigit():
            return None
        first = int(text) // width * width
        return f"{first}" if width == 1 else f"{first}-{first + width - 1}"

    return years


def _column(*names: str) -> Callable[[Columns], str | None]:
    return lambda columns: " / ".join(str(columns[name]) for name in names if columns.get(name)) or None


def _nothing(columns: Columns) -> str | None:
    return None


# Columns of the tables that say the device.
SCANNER = ("institution_name", "manufacturer", "model_name", "station_name")
NAMES = ("sex", "age", "year", "scanner", "body_part")
Ladders = Mapping[str, tuple[Callable[[Columns], str | None], ...]]


@cache
def ladders(age_band: int = 5, year_band: int = 1) -> Ladders:
    """Each quasi-identifier from fine to coarse.

    Args:
        age_band, year_band: width of the finest bands, in years; ages go up to twice and four times that.
    """
    return {
        "sex": (_column("patient_sex"), _nothing),
        "age": (_age(age_band), _age(2 * age_band), _age(4 * age_band), _nothing),
        "year": (_year(year_band), _year(5 * year_band), _nothing),
        "scanner": (_column(*SCANNER), _column("manufacturer"), _nothing),
        "body_part": (_column("body_part_examined"), _nothing),
    }


# Columns that tell the body part as well: descriptions, and what a report says.
TELL_BODY_PART = ("header_region", "header_code", "study_description", "series_description", "title", "title_code",
                  "title_scheme", "template", "section_path", "concept", "concept_code", "concept_scheme", "text",
                  "coded")  # fmt: skip


@dataclass(frozen=True)
class Masking:
    """What the tables may say of an instance.

    Attributes:
        levels: steps that each quasi-identifier went up.
        rare: values (at those levels) that too few persons share.
        applies: whether anything is masked at all.
        ladders: from fine to coarse, of which `levels` are steps.
    """

    levels: tuple[int, ...]
    rare: frozenset[Values]
    applies: bool
    ladders: Ladders

    def is_rare(self, columns: Columns) -> bool:
        """Whether too few persons share what an instance says."""
        return _values(columns, self.levels, self.ladders) in self.rare

    def masked(self, columns: Columns) -> dict[str, Any]:
        """Columns of an instance as the tables may show them; `header_region` counts as body part."""
        shown = dict(columns)
        if not self.applies:
            return shown
        values = _values(columns, self.levels, self.ladders)
        sex, age, year, _, part = values if values not in self.rare else (None,) * len(NAMES)
        scanner = 2 if values in self.rare else self.levels[NAMES.index("scanner")]
        shown |= {"patient_sex": sex, "patient_age": age, "study_date": year, "body_part_examined": part}
        shown |= dict.fromkeys(name for name in SCANNER if scanner == 2 or (scanner == 1 and name != "manufacturer"))
        if part is None:
            shown |= dict.fromkeys(TELL_BODY_PART)
        shown["content_date"] = None
        return shown


def count(rows: Iterable[Columns], asked: Anonymity, policy: str | None = None) -> tuple[dict[str, Any], Masking]:
    """Count persons by class, and find what a policy makes of it.

    Args:
        rows: of instances, columns as in `sluice.release.columns`, with `patient`.
        asked: of the project; `policy` takes the place of its own.

    Returns:
        A report: `persons`, `classes`, `smallest` class, `below_k` (classes, persons) of the tables as they will be,
        the same of the headers under `before`, how coarse they became (`levels`), how many persons' values were left
        out (`suppressed`), and `rare`: the rarest classes of the headers with their values, for who approves.
    """
    k, policy, steps = asked.k, policy or asked.policy, ladders(asked.age_band, asked.year_band)
    fine: dict[Values, set[str]] = {}
    samples: dict[Values, Columns] = {}
    start = (0,) * len(NAMES)
    for columns in rows:
        values = _values(columns, start, steps)
        fine.setdefault(values, set()).add(str(columns.get("patient")))
        samples.setdefault(values, {name: columns.get(name) for name in (*SCANNER, *OF_VALUES)})
    levels = start
    before = after = fine
    if policy == "generalise":
        while len(_rare_persons(after, k)) > asked.share * len(_persons(fine)):
            higher = _one_step(after, levels, steps)
            if higher is None:
                break
            levels = higher
            after = {}
            for values, persons in fine.items():
                after.setdefault(_values(samples[values], levels, steps), set()).update(persons)
    masks = policy in ("generalise", "suppress")
    rare = frozenset(values for values, persons in after.items() if len(persons) < k) if masks else frozenset()
    kept = {values: persons for values, persons in after.items() if values not in rare}
    report = {
        "k": k,
        "policy": policy,
        "bounds": asked.bounds,
        "quasi_identifiers": list(NAMES),
        **_figures(kept, k),
        "persons": len(_persons(fine)),
        "before": _figures(before, k),
        "levels": dict(zip(NAMES, levels, strict=True)),
        "suppressed": len(set().union(*(after[values] for values in rare))),
        "rare": [
            {"values": dict(zip(NAMES, values, strict=True)), "persons": len(persons)}
            for values, persons in sorted(before.items(), key=lambda item: (len(item[1]), str(item[0])))
            if len(persons) < k
        ][: asked.shown],
    }
    return report, Masking(levels, rare, masks, steps)


OF_VALUES = ("patient_sex", "patient_age", "study_date", "body_part_examined")


def _values(columns: Columns, levels: tuple[int, ...], steps: Ladders) -> Values:
    return tuple(ladder[level](columns) for ladder, level in zip(steps.values(), levels, strict=True))


def _persons(classes: Mapping[Values, set[str]]) -> set[str]:
    return set().union(*classes.values())


def _rare_persons(classes: Mapping[Values, set[str]], k: int) -> set[str]:
    return set().union(*(persons for persons in classes.values() if len(persons) < k))


def _one_step(classes: Mapping[Values, set[str]], levels: tuple[int, ...], steps: Ladders) -> tuple[int, ...] | None:
    """One step up for the quasi-identifier with most values that can still go up."""
    spread = {
        place: len({values[place] for values in classes})
        for place, (ladder, level) in enumerate(zip(steps.values(), levels, strict=True))
        if level + 1 < len(ladder)
    }
    if not spread:
        return None
    widest = max(spread, key=lambda place: (spread[place], -place))
    return tuple(level + (place == widest) for place, level in enumerate(levels))


def _figures(classes: Mapping[Values, set[str]], k: int) -> dict[str, Any]:
    rare = [persons for persons in classes.values() if len(persons) < k]
    return {
        "classes": len(classes),
        "smallest": min((len(persons) for persons in classes.values()), default=0),
        "below_k": {"classes": len(rare), "persons": len(set().union(*rare))},
    }

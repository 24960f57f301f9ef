"""Words beside a body part: side, view, technique, and phrases whose words are no body part (`qualifier_words.csv`).

Kinds of the table: `side` counts anywhere; `short side` yields to a side written out (`l` is a French article too);
`edge side` counts only at the end or beginning of a text (`der` is German for `the`); `letter side` only beside a part
that is named in that language (`Genou D`); `view`; `after match view` only beside a part of that language (`Thorax
face`); `neutral` phrases (patient positions, devices); `history` (a side there is of another exam); `technique` words
change nothing. The view `several` says that more than one picture is meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from sluice.anatomy.regions import table

SEVERAL = "several"


@dataclass(frozen=True)
class Qualifiers:
    """The table, by kind; words of Chinese, which has no spaces, longest first."""

    sides: dict[str, str]
    short_sides: dict[str, str]
    edge_sides: dict[str, str]
    letter_sides: dict[str, dict[str, str]]  # letter, language
    views: dict[str, str]
    view_phrases: tuple[tuple[str, str], ...]
    phrase_starts: frozenset[str]
    views_after: dict[str, dict[str, str]]  # word, language
    cjk_sides: tuple[tuple[str, str], ...]
    cjk_views: tuple[tuple[str, str], ...]
    neutral: tuple[str, ...]
    history: frozenset[str]
    beside: frozenset[str]


@lru_cache(maxsize=1)
def qualifiers() -> Qualifiers:
    """The table, read once."""
    rows = table("qualifier_words.csv")

    def of(kind: str, cjk: bool = False) -> dict[str, str]:
        return {row["term"]: row["value"] for row in rows if row["kind"] == kind and (row["lang"] == "zh") == cjk}

    def by_language(kind: str) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for row in rows:
            if row["kind"] == kind:
                found.setdefault(row["term"], {})[row["lang"]] = row["value"]
        return found

    def longest_first(words: dict[str, str]) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(words.items(), key=lambda item: -len(item[0])))

    views = of("view")
    single = {word: view for word, view in views.items() if " " not in word}
    sides, short, edge = of("side"), of("short side"), of("edge side")
    return Qualifiers(
        sides,
        short,
        edge,
        by_language("letter side"),
        single,
        longest_first({phrase: view for phrase, view in views.items() if " " in phrase}),
        frozenset(phrase.split()[0] for phrase in views if " " in phrase),
        by_language("after match view"),
        longest_first(of("side", cjk=True)),
        longest_first(of("view", cjk=True)),
        tuple(row["term"] for row in rows if row["kind"] == "neutral"),
        frozenset(of("history")),
        frozenset(of("technique")).union(sides, short, edge, single),
    )

"""Ask the ledger: was it expected, did it arrive, if not why, and when will it be tried again?

One query a level in `sql/queries/ledger_*.sql`; the page and `sluice missing` both ask here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sluice.database import Database

LEVELS = ("studies", "series", "instances")
NOTHING_TO_DO = "Nothing to do."


@dataclass(frozen=True)
class Asked:
    """What a question is about: any of these, which then hold together; None is not asked by.

    Attributes:
        window_key: a hospital day, a cohort or an import.
        pacs: id of the connection whose answers made an instance expected.
        study, series, instance: UIDs.
        accession, patient: Accession Number and Patient ID, as the PACS or a header writes them.
    """

    window_key: str | None = None
    pacs: str | None = None
    study: str | None = None
    series: str | None = None
    instance: str | None = None
    accession: str | None = None
    patient: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not any(asdict(self).values())


def page(
    database: Database, level: str, asked: Asked, missing_only: bool = True, after: str = "", size: int = 100
) -> tuple[list[dict[str, Any]], str | None]:
    """Rows of one level, and what to give as `after` for the next ones; None at the end.

    Args:
        level: `studies`, `series` or `instances`.
        missing_only: only those that miss instances.
    """
    if level not in LEVELS:
        raise ValueError(f"There is no level {level!r}.")
    params = asdict(asked) | {"missing_only": missing_only, "after": after, "page_size": size + 1}
    rows = database.rows(f"ledger_{level}", params)
    return rows[:size], rows[size - 1]["position"] if len(rows) > size else None


def under_way(database: Database, window_key: str) -> str | None:
    """What is going on to fetch what a window lacks, in words; None while nothing is, and nobody has paused it."""
    found = database.rows("retrieval_under_way", {"window_key": window_key})
    if not found:
        return None
    if found[0]["state"] == "paused":
        return f"Its retrieval was paused by {found[0]['ordered_by']}; resume it on the page PACS."
    if not found[0]["held"]:
        return "It waits for its turn at the PACS; the page PACS shows who goes first."
    return "It is being fetched now; the page PACS shows how far."


def rows(database: Database, level: str, asked: Asked, missing_only: bool = True) -> Iterator[dict[str, Any]]:
    """All rows of one level, a page at a time, so that memory stays flat."""
    after: str | None = ""
    while after is not None:
        found, after = page(database, level, asked, missing_only, after, 5_000)
        yield from found


def reasons(database: Database, asked: Asked) -> list[dict[str, Any]]:
    """Why what was asked about did not arrive: instances and studies by reason code, with meaning and advice."""
    return [
        row | {"nothing_to_do": str(row["advice"]).startswith(NOTHING_TO_DO)}
        for row in database.rows("ledger_reasons", asdict(asked))
    ]


def totals(database: Database, asked: Asked) -> dict[str, int]:
    """Counts of what was asked about: studies, expected, received and missing instances, unexpected ones."""
    (row,) = database.rows("ledger_totals", asdict(asked))
    return {name: int(value) for name, value in row.items()}


def timeline(database: Database, study: str) -> list[dict[str, Any]]:
    """What happened to a study, in order, and what is planned."""
    return database.rows("ledger_timeline", {"study": study})

"""Fields of this site: elements that people promoted to columns (`sluice.headers.promotion`)."""

from __future__ import annotations

from sluice.cohorts.fields import Field, Kind, Level, Registry
from sluice.cohorts.language import WORDS
from sluice.cohorts.tags import identifies
from sluice.database import Database
from sluice.headers.paths import ElementPath
from sluice.headers.promotion import Promoted, promoted_columns

_KINDS = {"text": Kind.TEXT, "integer": Kind.NUMBER, "real": Kind.NUMBER, "date": Kind.DATE, "timestamp": Kind.DATE}


def registry_of(database: Database) -> Registry:
    """The registry with the columns that were promoted here; a time of day has no operators and is left out."""
    return Registry.of(
        _field(column) for column in promoted_columns(database) if column.name not in WORDS and column.type in _KINDS
    )


def _field(column: Promoted) -> Field:
    day = "::date" if column.type == "timestamp" else ""
    return Field(
        column.name,
        _KINDS[column.type],
        Level.INSTANCE,
        f'i."{column.name}"{day}',
        f"{column.path}, promoted here",
        sensitive=_is_sensitive(ElementPath.of(column.path)),
        promoted=column.name,
        block_sql=f'b."{column.of_block}"{day}',
    )


def _is_sensitive(path: ElementPath) -> bool:
    return any(step.creator or identifies(step.hex) for step in path.steps)

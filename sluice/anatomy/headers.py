"""Elements of series that were extracted before their evidence was kept, read from stored headers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import named_query, select


def elements_of_series(
    connection: Connection, series_uids: Sequence[str], tags: Iterable[int]
) -> dict[str, dict[int, dict[str, Any]]]:
    """DICOM JSON elements by tag, of one instance of each series; a series without instances is left out."""
    rows = select(
        connection,
        named_query("anatomy_elements"),
        {"series": list(series_uids), "tags": [f"{tag:08X}" for tag in tags]},
    )
    return {
        row["series_instance_uid"]: {int(tag, 16): element for tag, element in (row["elements"] or {}).items()}
        for row in rows
    }

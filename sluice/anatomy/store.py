"""`header_anatomy`, `anatomy_evidence` and `anatomy_mapping` in the database.

A mapping has to reach every series, those too that are being extracted while it is added. Whoever writes readings
holds a lock that is shared until the commit and looks whether mappings changed since they were loaded; whoever changes
mappings takes it alone for a moment. So a series was either written with the mapping, or is there when it is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.anatomy.evidence import DERIVED_COLUMNS, Evidence
from sluice.anatomy.mappings import Mappings, Taught
from sluice.database import copy_rows, select

WRITING = 7_350_015  # advisory lock: shared by those who write readings, alone for who changes mappings


def load_mappings(connection: Connection) -> Mappings:
    """All mappings that are not withdrawn."""
    rows = select(
        connection,
        "select mapping_id, kind, key, value, laterality, view, source_tag, manufacturer, station_name "
        "from anatomy_mapping where withdrawn_at is null",
    )
    return Mappings((Taught(**row) for row in rows), _version(connection))


def _version(connection: Connection) -> tuple[int, int]:
    (row,) = select(
        connection,
        "select coalesce(max(mapping_id), 0) as newest, count(withdrawn_at) as withdrawn from anatomy_mapping",
    )
    return int(row["newest"]), int(row["withdrawn"])


def write_anatomy(
    connection: Connection, series: Iterable[tuple[str, Evidence, dict[str, Any]]], mappings: Mappings
) -> None:
    """Write what was read of new series; series that have a row keep it.

    As late as can be in its transaction: writers of the pile wait for each other until they commit.

    Args:
        series: Series Instance UID, its evidence, and `Evidence.derived(mappings)`.
        mappings: those it was derived with. Where there are newer ones, it is derived again.
    """
    by_uid = {uid: (evidence, derived) for uid, evidence, derived in series}
    if not by_uid:
        return
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock_shared(%s)", (WRITING,))
    if mappings.version != _version(connection):
        newer = load_mappings(connection)
        by_uid = {uid: (evidence, evidence.derived(newer)) for uid, (evidence, _) in by_uid.items()}
    write_evidence(connection, [evidence for evidence, _ in by_uid.values()])
    copy_rows(
        connection,
        "header_anatomy",
        ("series_instance_uid", "evidence", *DERIVED_COLUMNS),
        ((uid, bytea(by_uid[uid][0].digest), *by_uid[uid][1].values()) for uid in sorted(by_uid)),
    )


def write_evidence(connection: Connection, evidence: Sequence[Evidence]) -> None:
    """Keep evidence that is new."""
    by_digest = {one.digest: one for one in evidence}
    copy_rows(
        connection,
        "anatomy_evidence",
        ("evidence", "modality", "manufacturer", "station_name", "elements", "tags", "said", "keys"),
        (
            (
                bytea(digest),
                by_digest[digest].modality,
                by_digest[digest].manufacturer,
                by_digest[digest].station_name,
                by_digest[digest].json,
                *_three(by_digest[digest]),
            )
            for digest in sorted(by_digest)
        ),
    )


def _three(evidence: Evidence) -> tuple[list[str], list[str], list[str]]:
    said = evidence.said()
    return [tag for tag, _, _ in said], [text for _, text, _ in said], [key for _, _, key in said]


def bytea(value: bytes) -> str:
    """Bytes as COPY takes them."""
    return f"\\x{value.hex()}"

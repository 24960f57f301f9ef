"""Read series again after people taught: from kept evidence, one statement for many series, restarted anywhere.

Evidence is what differs; series only repeat it. So a mapping costs as many readings as there are different headers with
its text, and one update for every thousand of them. What is done is noted on the mapping (`applied_at`) when all of its
series are read; a run that was cut off is repeated by the next, which changes only what is still different.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.anatomy.evidence import DERIVED_COLUMNS, EVIDENCE_TAGS, Evidence
from sluice.anatomy.mappings import Mappings
from sluice.anatomy.store import bytea, load_mappings, write_evidence
from sluice.database import Database, copy_rows, select
from sluice.headers.blocks import elements_of_series

EVIDENCE_AT_ONCE = 1000
SERIES_AT_ONCE = 500
ONE_AT_A_TIME = 7_350_017  # advisory lock


@dataclass(frozen=True)
class Rederived:
    """What a run did: pieces of evidence read again, series whose row changed, series that got their evidence now."""

    evidence: int = 0
    changed: int = 0
    completed: int = 0

    def __add__(self, other: Rederived) -> Rederived:
        return Rederived(self.evidence + other.evidence, self.changed + other.changed, self.completed + other.completed)

    def as_dict(self) -> dict[str, int]:
        """As the page and XCom carry it."""
        return asdict(self)


def apply_pending(database: Database, progress: Callable[[Rederived], None] | None = None) -> Rederived:
    """Read again what mappings concern that were added or withdrawn since their series were read last."""
    with database.transaction() as connection:
        pending = select(
            connection,
            "select mapping_id, key, clock_timestamp() as at from anatomy_mapping "
            "where applied_at is null or applied_at < withdrawn_at",
        )
    if not pending:
        return Rederived()
    done = _again(database, sorted({row["key"] for row in pending}), progress)
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "update anatomy_mapping set applied_at = %s where mapping_id = any(%s) "
            "and (withdrawn_at is null or withdrawn_at <= %s)",
            (pending[0]["at"], [row["mapping_id"] for row in pending], pending[0]["at"]),
        )
    return done


def rederive_all(database: Database, progress: Callable[[Rederived], None] | None = None) -> Rederived:
    """Read every series again, after Sluice learned words itself; series without evidence get it from their headers."""
    completed = _complete(database, progress)
    return completed + _again(database, None, progress)


def _again(database: Database, keys: Sequence[str] | None, progress: Callable[[Rederived], None] | None) -> Rederived:
    done = Rederived()
    after = b""
    while True:
        with database.transaction() as connection:
            _lock(connection)
            mappings = load_mappings(connection)
            rows = _evidence(connection, keys, after)
            if not rows:
                return done
            after = bytes(rows[-1]["evidence"])
            changed = _update(connection, {bytes(row["evidence"]): evidence_of(row) for row in rows}, mappings)
        done += Rederived(len(rows), changed)
        if progress:
            progress(done)


def _lock(connection: Connection) -> None:
    """Two runs at once would lock rows in two orders."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (ONE_AT_A_TIME,))


def _evidence(connection: Connection, keys: Sequence[str] | None, after: bytes) -> list[dict[str, Any]]:
    return select(
        connection,
        "select evidence, modality, manufacturer, station_name, elements::text as elements from anatomy_evidence "
        "where (%(keys)s::text[] is null or keys && %(keys)s) and evidence > %(after)s "
        "order by evidence limit %(most)s",
        {"keys": keys if keys is None else list(keys), "after": after, "most": EVIDENCE_AT_ONCE},
    )


def evidence_of(row: dict[str, Any]) -> Evidence:
    """Evidence from its row."""
    return Evidence(row["modality"], row["manufacturer"], row["station_name"], row["elements"])


def _update(connection: Connection, evidence: dict[bytes, Evidence], mappings: Mappings) -> int:
    """Write what is derived now for every series of the evidence; how many rows are different from before."""
    columns = sql.SQL(", ").join(map(sql.Identifier, DERIVED_COLUMNS))
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "create temporary table again on commit drop as select evidence, {} from header_anatomy with no data"
            ).format(columns)
        )
        copy_rows(
            connection,
            "again",
            ("evidence", *DERIVED_COLUMNS),
            ((bytea(digest), *one.derived(mappings).values()) for digest, one in evidence.items()),
            expect_new=True,
        )
        cursor.execute("analyze again")
        cursor.execute(
            sql.SQL(
                "update header_anatomy h set ({columns}) = row({new}), derived_at = now() from again "
                "where h.evidence = again.evidence and ({old}) is distinct from ({new})"
            ).format(
                columns=columns,
                new=sql.SQL(", ").join(sql.Identifier("again", name) for name in DERIVED_COLUMNS),
                old=sql.SQL(", ").join(sql.Identifier("h", name) for name in DERIVED_COLUMNS),
            )
        )
        changed = int(cursor.rowcount)
        cursor.execute("drop table again")
    return changed


def _complete(database: Database, progress: Callable[[Rederived], None] | None) -> Rederived:
    """Evidence of series that were extracted before it was kept, from their stored headers."""
    done = Rederived()
    after = ""
    while True:
        with database.transaction() as connection:
            _lock(connection)
            uids = [
                row["series_instance_uid"]
                for row in select(
                    connection,
                    "select series_instance_uid from header_anatomy where evidence is null "
                    "and series_instance_uid > %s order by series_instance_uid limit %s",
                    (after, SERIES_AT_ONCE),
                )
            ]
            if not uids:
                return done
            after = uids[-1]
            stored = elements_of_series(connection, uids, [f"{tag:08X}" for tag in EVIDENCE_TAGS])
            found = {
                uid: Evidence.of({int(tag, 16): element for tag, element in elements.items()})
                for uid, elements in stored.items()
            }
            write_evidence(connection, list(found.values()))
            with connection.cursor() as cursor:
                cursor.execute(
                    "update header_anatomy h set evidence = n.evidence "
                    "from unnest(%s::text[], %s::bytea[]) as n(uid, evidence) where series_instance_uid = n.uid",
                    (list(found), [one.digest for one in found.values()]),
                )
        done += Rederived(completed=len(found))
        if progress:
            progress(done)


def compared(
    connection: Connection, mappings: Mappings, keys: Sequence[str], most: int
) -> Iterator[tuple[dict[str, Any], dict[str, Any], int]]:
    """For each piece of evidence with one of these texts: what is derived now, what with `mappings`, and its series.

    Args:
        most: pieces of evidence to read, about.
    """
    standing = load_mappings(connection)
    after = b""
    read = 0
    while read < most and (rows := _evidence(connection, keys, after)):
        after = bytes(rows[-1]["evidence"])
        read += len(rows)
        counts = select(
            connection,
            "select evidence, count(*) as series from header_anatomy where evidence = any(%s) group by evidence",
            ([bytes(row["evidence"]) for row in rows],),
        )
        series = {bytes(row["evidence"]): int(row["series"]) for row in counts}
        for row in rows:
            one = evidence_of(row)
            yield one.derived(standing), one.derived(mappings), series.get(bytes(row["evidence"]), 0)

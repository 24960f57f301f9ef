"""Rows on their way into the ledger: receipts, second contents of known instances, and what cannot be placed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2

from sluice.database import Database, TimedConnection

LARGEST_COMMIT = 200
ANSWER_S = 10.0  # a server that takes longer is taken for away: senders wait for this
# A receipt may wait so long for its file to be flushed. When the network loses a connection Postgres would keep the row
# locked for hours, and whoever brings the same instance again would take it for away; so it ends the session sooner.
MOST_OPEN_S = 5.0
TABLES = {
    "receipt": (
        "sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid",
        "study_date", "source", "calling_ae", "called_ae", "peer", "association", "bytes", "sha256", "path",
        "received_at",
    ),
    "receipt_conflict": ("sop_instance_uid", "sha256", "path", "calling_ae", "bytes", "received_at"),
    "quarantine": ("path", "sha256", "bytes", "sop_instance_uid", "reason_code", "detail", "quarantined_at"),
}  # fmt: skip
OTHERWISE = "on conflict do nothing"
# A replayed receipt that turned out to contradict another names the instance's place, out of which its file is moved
# when the same comes again; where a file was set aside it stays.
MOVED_ASIDE = (
    "on conflict (sop_instance_uid, sha256) do update set path = excluded.path where excluded.path like '.conflicts/%'"
)
RETURNING = f"{OTHERWISE} returning sop_instance_uid"
# For the receipt that comes alone, as nearly all do: Postgres parses and plans it once for each connection, which
# saves it a quarter of its work for a receipt (0.28 ms instead of 0.39).
PREPARE = (
    f"prepare one_receipt as insert into receipt ({', '.join(TABLES['receipt'])}) "
    f"values ({', '.join(f'${number}' for number in range(1, len(TABLES['receipt']) + 1))}) {RETURNING}"
)


@dataclass(frozen=True)
class Entry:
    """One row on its way into the ledger: a table of `TABLES` and its values by column."""

    table: str
    values: dict[str, Any]

    def row(self) -> tuple[Any, ...]:
        """Values in the table's column order, without NULs, which Postgres refuses."""
        values = (self.values.get(column) for column in TABLES[self.table])
        return tuple(value.replace("\x00", "") if isinstance(value, str) else value for value in values)


def connect(database: Database) -> TimedConnection:
    """A connection for `write_entries` and `begin_receipt`, its statement prepared.

    Raises:
        DatabaseError: the server cannot be reached.
        psycopg2.OperationalError: or is lost again at once.
    """
    connection = database.connect_timed(ANSWER_S)
    try:
        connection.run(f"set idle_in_transaction_session_timeout = {round(MOST_OPEN_S * 1000)}; {PREPARE}")
    except BaseException:
        connection.close()
        raise
    return connection


def begin_receipt(connection: TimedConnection, entry: Entry) -> None:
    """Have a receipt inserted in a transaction that is left open. `TimedConnection.answer` has one row when it was,
    and none when there is a receipt of that instance already."""
    connection.send("begin; execute one_receipt %s", (entry.row(),))


def write_entries(connection: TimedConnection, entries: Sequence[Entry]) -> list[str]:
    """Insert entries in one transaction; the outcome of each, as `ReceiptWriter.write` tells them.

    Args:
        connection: made by `connect`. Few receipts alone, which is nearly always, are one statement and so one round
            trip.
    """
    if len(entries) <= LARGEST_COMMIT and all(entry.table == "receipt" for entry in entries):
        return _write_receipts(connection, entries)
    connection.run("begin")
    try:
        outcomes = _write_tables(connection, entries)
    except (psycopg2.OperationalError, psycopg2.InterfaceError):
        raise  # who calls closes the connection, which ends the transaction; without an answer it takes no rollback
    except Exception:  # also a value that cannot be sent: what comes next must not find the transaction open
        connection.run("rollback")
        raise
    connection.run("commit")
    return outcomes


def _write_tables(connection: TimedConnection, entries: Sequence[Entry]) -> list[str]:
    outcomes = ["written"] * len(entries)
    for table in TABLES:
        positions = [position for position, entry in enumerate(entries) if entry.table == table]
        if table == "receipt_conflict":  # without a receipt there is nothing that they contradict
            known = _receipts(connection, [entries[position] for position in positions])
            for position in positions:
                if entries[position].values["sop_instance_uid"] not in known:
                    outcomes[position] = "orphan"
            known_ones = [entries[position] for position in positions if outcomes[position] != "orphan"]
            _insert(connection, table, _each_content_once(known_ones), MOVED_ASIDE)
            continue
        of_table = [entries[position] for position in positions]
        if table == "receipt":
            for position, outcome in zip(positions, _write_receipts(connection, of_table), strict=True):
                outcomes[position] = outcome
        else:
            _insert(connection, table, of_table, OTHERWISE)
    return outcomes


def _each_content_once(conflicts: Sequence[Entry]) -> list[Entry]:
    """A statement changes a row only once; what was set aside comes before what was not."""
    last = sorted(conflicts, key=lambda entry: str(entry.values["path"]).startswith(".conflicts/"))
    return list({(entry.values["sop_instance_uid"], entry.values["sha256"]): entry for entry in last}.values())


def _write_receipts(connection: TimedConnection, entries: Sequence[Entry]) -> list[str]:
    if len(entries) == 1:  # a sender waits for nearly every one of these
        inserted = connection.run("execute one_receipt %s", (entries[0].row(),))
    else:
        inserted = _insert(connection, "receipt", entries, RETURNING)
    if len(inserted) == len(entries):
        return ["written"] * len(entries)
    known = _receipts(connection, entries)  # some were there already, or came twice in this commit
    return [
        "written" if known[entry.values["sop_instance_uid"]] == entry.values["sha256"] else "conflict"
        for entry in entries
    ]


def _insert(connection: TimedConnection, table: str, entries: Sequence[Entry], otherwise: str) -> list[tuple[Any, ...]]:
    """Insert rows; what the statements return, if they do."""
    columns = TABLES[table]
    template = f"({', '.join(['%s'] * len(columns))})"
    returned: list[tuple[Any, ...]] = []
    for some in _pages(entries):
        values = b", ".join(connection.literal(template, entry.row()) for entry in some)
        insert = f"insert into {table} ({', '.join(columns)}) values "
        returned += connection.run(insert.encode() + values + f" {otherwise}".encode())
    return returned


def _pages(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    for begin in range(0, len(entries), LARGEST_COMMIT):
        yield entries[begin : begin + LARGEST_COMMIT]


def _receipts(connection: TimedConnection, entries: Sequence[Entry]) -> dict[str, str]:
    """SHA-256 of the receipts there are, by SOP Instance UID."""
    known: dict[str, str] = {}
    for some in _pages(entries):
        wanted = [entry.values["sop_instance_uid"] for entry in some]
        known |= dict(
            connection.run("select sop_instance_uid, sha256 from receipt where sop_instance_uid = any (%s)", (wanted,))
        )
    return known

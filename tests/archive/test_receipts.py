"""Receipts: many associations in one commit, each with its own outcome."""

from __future__ import annotations

import select
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg2.extensions
import pytest

from sluice.archive import entries as entry_rows
from sluice.archive import receipts
from sluice.archive.entries import Entry
from sluice.archive.receipts import ReceiptWriter
from sluice.database import Database, TimedConnection
from sluice.stack.processes import free_port
from tests.pacs.sending import rows


def receipt(instance: str, sha256: str = "aa", **values: Any) -> Entry:
    return Entry(
        "receipt",
        {
            "sop_instance_uid": instance, "series_instance_uid": "1.2.1", "study_instance_uid": "1.2",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "study_date": date(2026, 10, 26), "source": "push", "calling_ae": "A", "called_ae": "B",
            "peer": "127.0.0.1", "association": str(uuid.uuid4()), "bytes": 1, "sha256": sha256,
            "path": f"1.2/1.2.1/{instance}.dcm", "received_at": datetime.now(UTC),
        } | values,
    )  # fmt: skip


@pytest.fixture
def writer(database: Database, tmp_path: Path) -> Iterator[ReceiptWriter]:
    made = ReceiptWriter(database, tmp_path / "spool")
    made.start()
    yield made
    made.stop()


def test_what_comes_while_one_commit_is_under_way_goes_into_the_next(
    writer: ReceiptWriter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, go = threading.Event(), threading.Event()
    commits: list[int] = []
    write = entry_rows.write_entries

    def held(connection: Any, entries: list[Entry]) -> list[str]:
        commits.append(len(entries))
        if len(commits) == 1:
            under_way.set()
            assert go.wait(20)
        return write(connection, entries)

    monkeypatch.setattr(entry_rows, "write_entries", held)
    monkeypatch.setattr(receipts, "LARGEST_COMMIT", 10)
    outcomes: dict[str, str] = {}

    def send(instance: str) -> None:
        outcomes[instance] = writer.write(receipt(instance))

    threads = [threading.Thread(target=send, args=(f"1.{number}",)) for number in range(25)]
    threads[0].start()
    assert under_way.wait(20)
    for thread in threads[1:]:
        thread.start()
    while len(writer._waiting) < 24:
        assert threads[1].is_alive()
    go.set()
    for thread in threads:
        thread.join(20)
    assert commits == [1, 10, 10, 4]
    assert set(outcomes.values()) == {"written"}
    assert len(outcomes) == len(rows(database, "select from receipt")) == 25


def test_twice_in_one_commit_and_with_other_content(writer: ReceiptWriter, database: Database) -> None:
    connection = entry_rows.connect(database)
    outcomes = entry_rows.write_entries(
        connection, [receipt("1.1", "aa"), receipt("1.1", "aa"), receipt("1.1", "bb"), receipt("1.2", "cc")]
    )
    connection.close()
    assert outcomes == ["written", "written", "conflict", "written"]
    assert writer.write(receipt("1.2", "cc")) == "written"
    assert writer.write(receipt("1.2", "dd")) == "conflict"
    assert len(rows(database, "select from receipt")) == 2


def test_one_entry_at_fault_does_not_take_the_others_along(writer: ReceiptWriter, database: Database) -> None:
    batch = [
        receipts._Waiting(entry) for entry in (receipt("1.1"), receipt("1.2", source="carrier pigeon"), receipt("1.3"))
    ]
    writer._settle(batch)
    assert [waiting.outcome for waiting in batch] == ["written", None, "written"]
    assert isinstance(batch[1].error, OSError)
    with pytest.raises(OSError):
        writer.write(receipt("1.4", source="carrier pigeon"))
    assert writer.write(receipt("1.5")) == "written"
    assert list(writer.spool.iterdir()) == []


def test_a_receipt_is_there_when_its_file_is_durable_and_not_before(writer: ReceiptWriter, database: Database) -> None:
    begun = writer.begin(receipt("1.1"))
    assert rows(database, "select from receipt") == []
    assert begun.finish() == "written"
    assert len(rows(database, "select from receipt")) == 1
    writer.begin(receipt("1.2")).abandon()
    assert writer.begin(receipt("1.1")).finish() == "written"
    assert writer.begin(receipt("1.1", "bb")).finish() == "conflict"
    assert len(rows(database, "select from receipt")) == 1


def test_more_at_once_than_there_are_lanes(writer: ReceiptWriter, database: Database) -> None:
    begun = [writer.begin(receipt(f"1.{number}")) for number in range(3 * receipts.LANES)]
    assert [one.finish() for one in begun] == ["written"] * len(begun)
    assert len(rows(database, "select from receipt")) == len(begun)
    sessions = "select from pg_stat_activity where datname = current_database() and query like '%one_receipt%'"
    assert len(rows(database, sessions)) <= receipts.LANES + 2, "lanes, the common connection, this query"


def test_two_begin_the_same_and_the_second_waits_for_the_first(writer: ReceiptWriter, database: Database) -> None:
    first, second = writer.begin(receipt("1.1")), writer.begin(receipt("1.1", "bb"))
    outcomes: list[str] = []
    waits = threading.Thread(target=lambda: outcomes.append(second.finish()))
    waits.start()
    assert first.finish() == "written"
    waits.join(20)
    assert outcomes == ["conflict"]


def test_a_lane_whose_session_is_gone_does_not_lose_the_receipt(writer: ReceiptWriter, database: Database) -> None:
    begun = writer.begin(receipt("1.1"))
    rows(
        database,
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = current_database() and state = 'idle in transaction'",
    )
    assert begun.finish() == "written"
    assert writer.begin(receipt("1.2")).finish() == "written"
    assert len(rows(database, "select from receipt")) == 2


def test_a_server_that_hangs_is_taken_for_away(
    writer: ReceiptWriter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another session holds a lock that no receipt gets past: as with a server that stands still, nothing answers."""
    monkeypatch.setattr(entry_rows, "ANSWER_S", 0.5)
    with database.transaction() as connection:
        with connection.cursor() as cursor:
            cursor.execute("lock table receipt in access exclusive mode")
        begun = writer.begin(receipt("1.1"))
        assert begun.finish() == "spooled"
        assert writer.begin(receipt("1.2")).finish() == "spooled", "the next one does not wait for it again"
    deadline = time.monotonic() + 20
    while len(rows(database, "select from receipt")) < 2:
        assert time.monotonic() < deadline, "the spool is not replayed"
        time.sleep(0.05)
    assert writer.begin(receipt("1.3")).finish() == "written"


def test_a_server_that_hangs_in_the_middle_of_a_transaction_is_taken_for_away_too(
    writer: ReceiptWriter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no receipt is written in a transaction of several statements; the connection is of no use after one that
    got no answer, and must not be used for what comes next."""
    monkeypatch.setattr(entry_rows, "ANSWER_S", 0.5)
    entry = quarantined("a.dcm")
    with database.transaction() as connection:
        with connection.cursor() as cursor:
            cursor.execute("lock table quarantine in access exclusive mode")
        assert writer.write(entry) == "spooled"
    deadline = time.monotonic() + 20
    while len(rows(database, "select from quarantine")) < 1:
        assert time.monotonic() < deadline, "the spool is not replayed"
        time.sleep(0.05)
    assert writer.write(quarantined("b.dcm")) == "written"


def test_an_entry_that_cannot_be_sent_leaves_no_transaction_open(writer: ReceiptWriter, database: Database) -> None:
    for _ in range(2):
        with pytest.raises(OSError):
            writer.write(quarantined("a.dcm", detail="\udc80"))
    assert writer.write(receipt("1.1")) == "written"
    assert len(rows(database, "select from receipt")) == 1, "told as written, and not committed"


def test_a_receipt_that_cannot_be_sent_costs_no_lane(writer: ReceiptWriter, database: Database) -> None:
    for _ in range(receipts.LANES):
        begun = writer.begin(receipt("1.1", calling_ae="\udc80"))
        with pytest.raises(OSError):
            begun.finish()
    assert len(writer._lanes) == receipts.LANES
    assert writer.begin(receipt("1.2")).finish() == "written"


def test_a_session_that_was_left_with_an_open_receipt_does_not_keep_others_from_it(
    writer: ReceiptWriter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that loses the connection of a receiver tells Postgres nothing: it would keep the row for hours."""
    monkeypatch.setattr(entry_rows, "MOST_OPEN_S", 1)
    left = writer.begin(receipt("1.1"))
    assert ReceiptWriter(database, writer.spool).write(receipt("1.1")) == "written"
    assert left.finish() == "written", "should it come back, it finds the receipt of the other"
    assert len(rows(database, "select from receipt")) == 1


def test_what_contradicts_a_spooled_receipt_is_no_orphan(
    writer: ReceiptWriter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender of the first was told success: the second must not take its place, though the ledger knows of none."""
    monkeypatch.setattr(writer, "_is_away", lambda: True)
    assert writer.begin(receipt("1.1", "aa")).finish() == "spooled"
    other = ReceiptWriter(database, writer.spool)
    second = {name: receipt("1.1", "bb").values[name] for name in entry_rows.TABLES["receipt_conflict"]}
    assert other.write(Entry("receipt_conflict", second)) == "spooled"
    assert other.write(Entry("receipt_conflict", second | {"sop_instance_uid": "1.2"})) == "orphan"
    other._replay()
    assert rows(database, "select from receipt_conflict") == [], "the first is not there yet"
    monkeypatch.undo()
    deadline = time.monotonic() + 20
    while any(writer.spool.iterdir()):
        assert time.monotonic() < deadline, "the spool is not replayed"
        other._replay()
        time.sleep(0.05)
    assert [row["sha256"] for row in rows(database, "select sha256 from receipt")] == ["aa"]
    assert [row["sha256"] for row in rows(database, "select sha256 from receipt_conflict")] == ["bb"]


def test_the_ledger_says_where_a_second_content_is_in_the_end(writer: ReceiptWriter, database: Database) -> None:
    """A spooled receipt that is replayed as a contradiction names the instance's place; when the same content comes
    again its file is moved out of there."""
    assert writer.write(receipt("1.1", "aa")) == "written"

    def contradicts(path: str) -> Entry:
        return Entry("receipt_conflict", receipt("1.1", "bb", path=path).values)

    for path in ("2/2.1/1.1.dcm", ".conflicts/1.1/bb.dcm", "2/2.1/1.1.dcm"):
        assert writer.write(contradicts(path)) == "written"
    assert rows(database, "select path from receipt_conflict") == [{"path": ".conflicts/1.1/bb.dcm"}]
    connection = entry_rows.connect(database)
    entry_rows.write_entries(connection, [contradicts(".conflicts/1.1/bb.dcm")] * 2)
    connection.close()


def test_a_server_that_takes_over_from_a_silent_one_is_reached(database: Database) -> None:
    """The first of two addresses is a machine that hangs: it takes the connection and says nothing."""
    known = psycopg2.extensions.parse_dsn(database.url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        several = known | {"host": f"127.0.0.1,{known['host']}", "port": f"{silent.getsockname()[1]},{known['port']}"}
        connection = Database(psycopg2.extensions.make_dsn(**several)).connect_timed(2)
        assert connection.run("select 1") == [(1,)]
        connection.close()


def test_a_server_without_a_free_connection_is_not_asked_for_one_with_each_receipt(
    writer: ReceiptWriter, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert writer.write(receipt("1.0")) == "written"
    asked: list[None] = []

    def full(database: Database) -> TimedConnection:
        asked.append(None)
        raise psycopg2.OperationalError("sorry, too many clients already")

    with monkeypatch.context() as patch:
        patch.setattr(entry_rows, "connect", full)
        for number in range(20):
            assert writer.begin(receipt(f"1.{number}")).finish() == "written", "by the connection there is"
    assert len(asked) == 1
    monkeypatch.setattr(writer, "_no_lane_until", 0.0)
    begun = writer.begin(receipt("2.1"))
    assert begun._lane is not None
    assert begun.finish() == "written"


def quarantined(path: str, **values: Any) -> Entry:
    return Entry(
        "quarantine",
        {
            "path": path, "sha256": "aa", "bytes": 1, "sop_instance_uid": None, "reason_code": "unusable-uids",
            "detail": "", "quarantined_at": datetime.now(UTC),
        } | values,
    )  # fmt: skip


def test_a_server_of_several_addresses_is_reached_while_other_threads_close_files(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """libpq tries one address after the other, each with a socket of its own, of whichever number is free then."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        known = psycopg2.extensions.parse_dsn(database.url)
        several = known | {"host": f"127.0.0.1,{known['host']}", "port": f"{nobody.getsockname()[1]},{known['port']}"}
        file = (tmp_path / "file").open("w")
        real = select.poll

        def poll() -> Any:
            file.close()
            return real()

        monkeypatch.setattr("sluice.database.io_select.poll", poll)
        connection = TimedConnection(psycopg2.extensions.make_dsn(**several), 5)
        assert connection.run("select 1") == [(1,)]
        connection.close()


def test_why_postgres_is_away_is_said_once_and_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "AWAY_S", 0.0)
    away = ReceiptWriter(Database(f"postgresql://sluice:hidden@127.0.0.1:{free_port()}/sluice"), tmp_path / "spool")
    (tmp_path / "spool").mkdir()
    with caplog.at_level("WARNING", "sluice.archive.receipts"):
        assert [away.write(receipt(f"1.{number}")) for number in range(3)] == ["spooled"] * 3
    (said,) = caplog.messages
    assert "Connection refused" in said
    assert "SLUICE_DATABASE_URL" in said
    assert "hidden" not in said

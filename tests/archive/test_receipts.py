"""Receipts: many associations in one commit, each with its own outcome."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from sluice.archive import receipts
from sluice.archive.receipts import Entry, ReceiptWriter
from sluice.database import Database
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
    write = receipts.write_entries

    def held(connection: Any, entries: list[Entry]) -> list[str]:
        commits.append(len(entries))
        if len(commits) == 1:
            under_way.set()
            assert go.wait(20)
        return write(connection, entries)

    monkeypatch.setattr(receipts, "write_entries", held)
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
    with database.transaction() as connection:
        connection.autocommit = True
        outcomes = receipts.write_entries(
            connection, [receipt("1.1", "aa"), receipt("1.1", "aa"), receipt("1.1", "bb"), receipt("1.2", "cc")]
        )
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

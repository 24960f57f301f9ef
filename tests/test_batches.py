"""Windows and batches: membership is computed, batches cover it exactly."""

from __future__ import annotations

import itertools
from datetime import date

from sluice.batches import Batch, plan_batches
from sluice.database import Database, copy_rows, select
from sluice.windows import Window, remember_window

DAY = Window.of_day(date(2026, 10, 26))
COHORT = Window.of_cohort("radiographs", "filters", date(2026, 1, 1), date(2026, 12, 31))


def receive(database: Database, names: list[str], study_date: date) -> None:
    """Write receipts as the receiver does."""
    columns = (
        "sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid",
        "study_date", "source", "calling_ae", "called_ae", "peer", "association", "bytes", "sha256", "path",
    )  # fmt: skip
    rows = [
        (name, "1.2", "1", "1.2.840", "1.2.840.10008.1.2.1", study_date, "push", "CT1", "SLUICE", "127.0.0.1",
         "00000000-0000-0000-0000-000000000000", 10, "0" * 64, f"1/1.2/{name}.dcm")
        for name in names
    ]  # fmt: skip
    with database.transaction() as connection:
        copy_rows(connection, "receipt", columns, rows)


def expect(database: Database, window: Window, names: list[str]) -> None:
    """Write expectations as a sweep does."""
    with database.transaction() as connection:
        copy_rows(
            connection,
            "expectation",
            ("window_key", "sop_instance_uid", "series_instance_uid", "study_instance_uid", "pacs"),
            [(window.key, name, "1.2", "1", "pacs_main") for name in names],
        )


def test_batches_cover_the_received_members_once(database: Database) -> None:
    remember_window(database, DAY)
    receive(database, [f"1.2.{n}" for n in range(23)], DAY.starts_on)
    receive(database, ["9.9"], date(2026, 10, 27))
    batches = plan_batches(database, DAY.key, size=10)
    assert [batch.count for batch in batches] == [10, 10, 3]
    assert all(a.last < b.first for a, b in itertools.pairwise(batches))
    assert Batch.of(batches[0].as_dict()) == batches[0]


def test_a_pushed_instance_belongs_to_its_day_and_to_no_cohort(database: Database) -> None:
    remember_window(database, DAY)
    remember_window(database, COHORT)
    expect(database, DAY, ["1.1"])
    expect(database, COHORT, ["1.1"])
    receive(database, ["1.1", "1.2"], DAY.starts_on)
    assert plan_batches(database, DAY.key)[0].count == 2
    assert plan_batches(database, COHORT.key)[0].count == 1


def test_a_window_with_nothing_received_has_no_batches(database: Database) -> None:
    remember_window(database, DAY)
    remember_window(database, DAY)
    expect(database, DAY, ["1.1"])
    assert plan_batches(database, DAY.key) == []


def test_the_ledger_names_the_reason_that_follows_from_the_facts(database: Database) -> None:
    remember_window(database, DAY)
    expect(database, DAY, ["1.1", "1.2"])
    receive(database, ["1.2"], DAY.starts_on)
    with database.transaction() as connection:
        gaps = select(connection, "select sop_instance_uid, step, reason_code from open_gap order by 1, 2")
        funnel = select(connection, "select expected, received, indexed from window_funnel")
    assert [tuple(gap.values()) for gap in gaps] == [
        ("1.1", "received", "not-asked"),
        ("1.2", "indexed", "not-indexed-yet"),
    ]
    assert [tuple(row.values()) for row in funnel] == [(2, 1, 0)]


def test_a_noted_reason_counts_until_the_step_succeeds(database: Database) -> None:
    remember_window(database, DAY)
    expect(database, DAY, ["1.1"])
    for reason in ("aborted", "timed-out"):
        database.execute(
            "insert into gap (sop_instance_uid, step, reason_code) values ('1.1', 'received', %s)", (reason,)
        )
    with database.transaction() as connection:
        assert [row["reason_code"] for row in select(connection, "select * from open_gap")] == ["timed-out"]
    receive(database, ["1.1"], DAY.starts_on)
    with database.transaction() as connection:
        assert [row["step"] for row in select(connection, "select * from open_gap")] == ["indexed"]

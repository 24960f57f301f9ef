"""What is missing and why: every reason from its facts, at every level, and for one window only what it holds."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sluice import ledger
from sluice.database import Database, select
from sluice.ledger import Asked
from sluice.ledger_report import write_text
from sluice.pacs.governor import Governor, Use
from sluice.pacs.governor.orders import order_retrieval
from sluice.pacs.governor.policy import ensure_policy
from tests.ledger_rows import DAY, ROOT, LedgerRows

KEY = DAY.isoformat()
NOW = datetime.now(UTC)


@pytest.fixture
def rows(database: Database) -> LedgerRows:
    return LedgerRows(database)


def expect_study(rows: LedgerRows, number: int = 1, instances: int = 4) -> tuple[str, list[str]]:
    series = f"{ROOT}.{number}.1"
    return f"{ROOT}.{number}", [rows.expected(series, index + 1) for index in range(instances)]


def attempt(
    rows: LedgerRows, study: str, missing: dict[str, str], at: datetime = NOW, status: str = "B000", **more: Any
) -> None:
    with rows.connection.cursor() as cursor:
        cursor.execute(
            "insert into attempt (window_key, pacs, study_instance_uid, kind, wanted, status, reason_code, started_at, "
            "finished_at) values (%s, 'pacs', %s, 'C-MOVE', 4, %s, 'refused', %s, %s) returning attempt_id",
            (KEY, study, status, at, at + timedelta(seconds=5)),
        )
        (attempt_id,) = cursor.fetchone() or (0,)
    for uid, reason in missing.items():
        rows.put("attempt_missing", {"attempt_id": attempt_id, "sop_instance_uid": uid, "reason_code": reason} | more)


def reasons_of(database: Database, asked: Asked) -> dict[str, str | None]:
    found, _ = ledger.page(database, "instances", asked)
    return {row["sop_instance_uid"]: row["reason_code"] for row in found}


def test_each_reason_comes_from_its_facts(database: Database, rows: LedgerRows) -> None:
    study, (asked_not, refused, quarantined, gone) = expect_study(rows)
    attempt(rows, study, {refused: "refused", quarantined: "failed-suboperation", gone: "failed-suboperation"},
            at=NOW - timedelta(hours=1), status="A701")  # fmt: skip
    rows.put(
        "quarantine",
        {"path": "x", "sop_instance_uid": quarantined, "reason_code": "unusable-uids", "detail": "no series",
         "quarantined_at": NOW - timedelta(hours=2)},
    )  # fmt: skip
    with rows.connection.cursor() as cursor:
        cursor.execute(
            "insert into sweep_run (window_key, pacs, kind) values (%s, 'pacs', 'day') returning run_id", (KEY,)
        )
        (run_id,) = cursor.fetchone() or (0,)
    rows.put("instance_presence", {"window_key": KEY, "sop_instance_uid": gone, "run_id": run_id, "is_held": False,
                                   "reason_code": "no-longer-held"})  # fmt: skip
    expected = {asked_not: "not-asked", refused: "refused", quarantined: "unusable-uids", gone: "no-longer-held"}
    assert reasons_of(database, Asked(study=study)) == expected
    with database.transaction() as connection:
        found = select(connection, "select sop_instance_uid, reason_code from open_gap where step = 'received'")
    assert {row["sop_instance_uid"]: row["reason_code"] for row in found} == expected
    (one,), _ = ledger.page(database, "instances", Asked(instance=refused))
    assert (one["status"], one["attempts"], one["last_pacs"]) == ("A701", 1, "pacs")


def test_the_newer_of_attempt_and_note_counts(database: Database, rows: LedgerRows) -> None:
    study, (uid,) = expect_study(rows, instances=1)
    rows.put("gap", {"sop_instance_uid": uid, "step": "received", "reason_code": "cancelled",
                     "noted_at": NOW - timedelta(minutes=30)})  # fmt: skip
    attempt(rows, study, {uid: "timed-out"}, at=NOW - timedelta(hours=1))
    assert reasons_of(database, Asked(instance=uid)) == {uid: "cancelled"}
    attempt(rows, study, {uid: "aborted"}, at=NOW - timedelta(minutes=10))
    assert reasons_of(database, Asked(instance=uid)) == {uid: "aborted"}
    rows.put("quarantine", {"path": "y", "sop_instance_uid": uid, "reason_code": "unusable-uids",
                            "quarantined_at": NOW - timedelta(hours=3)})  # fmt: skip
    assert reasons_of(database, Asked(instance=uid)) == {uid: "aborted"}  # it explains what was sent, not an abort


def test_levels_add_up_and_tell_the_next_try(database: Database, rows: LedgerRows) -> None:
    study, uids = expect_study(rows)
    rows.received(f"{study}.1", 1)
    rows.received(f"{study}.2", 7)
    attempt(rows, study, dict.fromkeys(uids[1:], "refused"))
    due = NOW + timedelta(hours=2)
    rows.put("planned_attempt", {"window_key": KEY, "study_instance_uid": study, "pacs": "archive", "due_at": due})
    for asked in (
        Asked(window_key=KEY),
        Asked(study=study),
        Asked(series=f"{study}.1"),
        Asked(pacs="pacs", study=study),
    ):
        (row,), _ = ledger.page(database, "series", asked)
        assert (row["expected"], row["received"], row["missing"]) == (4, 1, 3)
        assert row["reasons"] == {"refused": 3}
        assert row["next_attempt_at"] == due
    (row,), _ = ledger.page(database, "studies", Asked(study=study))
    assert (row["expected"], row["missing"], row["attempts"]) == (5, 3, 1)
    assert ledger.totals(database, Asked(study=study)) == {
        "studies": 1, "incomplete_studies": 1, "expected": 5, "received": 2, "missing": 3, "unexpected": 0,
    }  # fmt: skip
    (reason,) = ledger.reasons(database, Asked(window_key=KEY))
    assert (reason["reason_code"], reason["instances"], reason["next_attempt_at"]) == ("refused", 3, due)
    assert [event["event"] for event in ledger.timeline(database, study)][-1] == "next try"


def test_by_accession_and_patient_also_before_anything_came(database: Database, rows: LedgerRows) -> None:
    study, _ = expect_study(rows)
    answer = {"00100020": {"vr": "LO", "Value": ["PAT-77"]}, "00080050": {"vr": "SH", "Value": ["ACC-77"]}}
    rows.put("found_study", {"pacs": "pacs", "study_instance_uid": study, "window_key": KEY, "answer": answer})
    came = rows.study(5)
    rows.instance(rows.series(came), 1)
    for asked in (Asked(patient="PAT-77"), Asked(accession="ACC-77")):
        assert ledger.totals(database, asked)["missing"] == 4
    assert ledger.totals(database, Asked(patient="PAT-0005"))["received"] == 1
    assert ledger.totals(database, Asked(patient="PAT"))["studies"] == 0


def test_pages_follow_each_other_without_a_gap(database: Database, rows: LedgerRows) -> None:
    for number in (1, 10, 2):
        expect_study(rows, number, instances=7)
    for level, count in (("studies", 3), ("series", 3), ("instances", 21)):
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            found, after = ledger.page(database, level, Asked(window_key=KEY), after=after, size=2)
            seen += [row["position"] for row in found]
        assert len(seen) == len(set(seen)) == count
        assert seen == sorted(seen)


def test_what_is_being_fetched_or_was_paused_is_said(database: Database, rows: LedgerRows) -> None:
    expect_study(rows)
    assert ledger.under_way(database, KEY) is None
    ensure_policy(database, "pacs_main", 2, "UTC")
    with Governor(database, "pacs_main", Use("retrieve", "part 1 of 1", window=KEY)).association():
        assert ledger.under_way(database, KEY) == "It is being fetched now; the page PACS shows how far."
        out = io.StringIO()
        write_text(database, Asked(window_key=KEY), out)
        assert "It is being fetched now" in out.getvalue()
        database.execute("update pacs_use set granted_at = null")
        assert (
            ledger.under_way(database, KEY) == "It waits for its turn at the PACS; the page PACS shows who goes first."
        )
    assert ledger.under_way(database, KEY) is None
    order_retrieval(database, KEY, "vera", "paused")
    assert ledger.under_way(database, KEY) == "Its retrieval was paused by vera; resume it on the page PACS."


def test_what_came_under_another_study_has_come(database: Database, rows: LedgerRows) -> None:
    study, (uid,) = expect_study(rows, instances=1)
    rows.received(f"{ROOT}.5.1", 1)
    rows.connection.cursor().execute("update receipt set sop_instance_uid = %s", (uid,))
    rows.connection.cursor().execute("delete from expectation where study_instance_uid <> %s", (study,))
    with database.transaction() as connection:
        (funnel,) = select(connection, "select members, received from window_funnel")
    assert (funnel["members"], funnel["received"]) == (1, 1)


def test_a_day_can_be_answered_by_indexes_alone(database: Database, rows: LedgerRows) -> None:
    with rows.connection.cursor() as cursor:
        cursor.execute(
            "insert into sweep_window (window_key, kind, starts_on, ends_on) select d::date::text, 'day', d, d "
            "from generate_series('2025-01-01'::date, '2025-04-10', '1 day') d"
        )
        cursor.execute(
            "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
            "select window_key, '1.2.' || n || '.' || starts_on - date '2025-01-01', '1.2.' || n, "
            "'1.2.' || starts_on - date '2025-01-01', 'p' "
            "from sweep_window, generate_series(1, 200) n where starts_on < '2026-01-01'"
        )
        cursor.execute(
            "insert into receipt (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, "
            "transfer_syntax_uid, study_date, source, calling_ae, called_ae, peer, association, bytes, sha256, path) "
            "select sop_instance_uid, series_instance_uid, study_instance_uid, '', '', window_key::date, 'move', '', "
            "'', '', gen_random_uuid(), 1, '', '' from expectation"
        )
        cursor.execute("analyze")
        cursor.execute("set enable_seqscan = off")  # so that one shows up only where there is no other way
        for statement in (
            "select * from missing_instance where window_key = '2025-02-01'",
            "select * from window_member where window_key = '2025-02-01'",
        ):
            cursor.execute(f"explain {statement}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            for table in ("expectation", "receipt"):
                assert f"Seq Scan on {table}" not in plan, plan


def test_what_came_without_being_listed_is_not_said_to_be_expected(database: Database, rows: LedgerRows) -> None:
    rows.received(f"{ROOT}.1.1", 1)
    rows.connection.cursor().execute("delete from expectation")
    out = io.StringIO()
    assert not write_text(database, Asked(study=f"{ROOT}.1"), out)
    assert out.getvalue().startswith("1 instance of 1 study arrived; no PACS had listed any of it.\n")

"""Pieces of a window, retry decisions, counts, and links."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import TaskDeferred

from operators.counts import NothingPlanned, add_counts, summarise
from operators.links import bucket_url
from operators.pacs_hook import ConnectionIncomplete, node_of, source_ids
from operators.policies import DomainRetryPolicy
from operators.retrieve import MOST_PIECES, MoveTrigger, RetrieveOperator, StudyPiece, plan_pieces
from operators.steps import NoWindow, require_window
from sluice.database import Database
from sluice.pacs.errors import PacsStatusError, PacsUnreachable
from sluice.settings import settings
from tests.pacs.pretend import PretendPacs, make_study
from tests.pacs.sending import rows
from tests.pacs.test_retrieve import expect

pytestmark = pytest.mark.airflow


@pytest.fixture
def expected(database: Database) -> list[str]:
    """Sixty studies with one missing instance each."""
    database.execute("insert into sweep_window values ('2026-10-26', 'day', '2026-10-26', '2026-10-26')")
    studies = [f"2.25.{uuid.UUID(int=7 * number).int}" for number in range(1, 61)]
    for study in studies:
        database.execute(
            "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
            "values ('2026-10-26', %s, %s, %s, 'pacs_main')",
            (f"{study}.1.1", f"{study}.1", study),
        )
    return studies


def test_pieces_hold_every_study_exactly_once(database: Database, expected: list[str]) -> None:
    pieces = plan_pieces(database, "2026-10-26", size=10)
    assert len(pieces) == 6
    held = [uid for piece in pieces for uid in piece.missing(database)]
    assert sorted(held) == sorted(expected)
    assert max(len(piece.missing(database)) for piece in pieces) <= 20


def test_a_piece_shrinks_as_studies_arrive_and_never_takes_anothers(database: Database, expected: list[str]) -> None:
    before = {piece.piece: piece.missing(database) for piece in plan_pieces(database, "2026-10-26", size=10)}
    database.execute("delete from expectation where study_instance_uid = any(%s)", (expected[::2],))
    for number, studies in before.items():
        piece = StudyPiece("2026-10-26", number, 6)
        assert piece.missing(database) == [uid for uid in studies if uid not in expected[::2]]


def test_a_window_without_gaps_has_no_pieces_and_a_huge_one_not_too_many(
    database: Database, expected: list[str]
) -> None:
    assert plan_pieces(database, "2026-01-01") == []
    assert len(plan_pieces(database, "2026-10-26", size=1)) <= min(60, MOST_PIECES)


def test_a_trigger_carries_no_identifier_and_no_secret(database: Database, expected: list[str]) -> None:
    path, arguments = MoveTrigger(
        StudyPiece("2026-10-26", 0, 6).as_dict(), 2, {"arrived": 3}, "2026-10-27T02:00:00+00:00"
    ).serialize()
    assert path == "operators.retrieve.MoveTrigger"
    assert MoveTrigger(**arguments).serialize() == (path, arguments)
    assert "2.25." not in str(arguments)
    assert "postgres" not in str(arguments)


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (PacsUnreachable("down"), "default"),
        (PacsStatusError("busy", "A701"), "default"),
        (PacsStatusError("no such destination", "A801"), "fail"),
        (NoWindow("none"), "fail"),
        (OSError("disk"), "default"),
    ],
)
def test_what_may_pass_is_retried_and_the_rest_fails_at_once(error: Exception, action: str) -> None:
    assert DomainRetryPolicy().evaluate(error, 1, 3).action.value == action


@pytest.mark.parametrize("window", ["", "None"])
def test_a_run_without_a_window_says_how_to_give_it_one(window: str) -> None:
    with pytest.raises(NoWindow, match="trigger form"):
        require_window(window)


def test_counts_add_up_and_say_what_failed() -> None:
    parts: list[Any] = [{"read": 2, "model_id": "m", "ok": True}, {"read": 3, "seconds": 1.5}]
    assert add_counts(parts) == {"read": 5}
    assert summarise("2026-10-26", [{}, {}, {}], parts) == {
        "window_key": "2026-10-26",
        "batches": 3,
        "failed_batches": 1,
        "read": 5,
    }
    assert summarise("2026-10-26", [], None)["batches"] == 0
    with pytest.raises(NothingPlanned):
        summarise("2026-10-26", None, None)


def test_the_bucket_link_leads_to_the_console_or_to_ones_own_server() -> None:
    assert bucket_url("b", "p/v1/", None) == "https://s3.console.aws.amazon.com/s3/buckets/b?prefix=p%2Fv1%2F"
    assert bucket_url("b", "p/v1/", "http://s3:9000/") == "http://s3:9000/b/?list-type=2&prefix=p%2Fv1%2F"


KEY = "2026-10-26"
CONTEXT: Any = {
    "ti": SimpleNamespace(dag_id="retrieve", run_id="manual__1"),
    "dag_run": SimpleNamespace(run_type="manual"),
}


@pytest.fixture
def carried(
    airflow: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[PretendPacs, PretendPacs]]:
    """A study expected in a day; an archive and a PACS that hold it and know no receiver of ours, as connections."""
    holds = make_study()
    monkeypatch.setenv("AIRFLOW_CONN_SLUICE_DB", database.url.replace("postgresql://", "postgres://"))
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    monkeypatch.setenv("SLUICE_RECEIVER_MIN_FREE_BYTES", "1")
    monkeypatch.setenv("SLUICE_RETRIEVE_PAUSE_S", "0.1")
    settings.cache_clear()
    expect(database, holds)
    with PretendPacs(holds, offers_get=True) as vna, PretendPacs(holds, offers_get=True) as main:
        for conn_id, pacs, more in (("VNA", vna, {}), ("PACS_MAIN", main, {"sources": "vna, pacs_main"})):
            extra = {"ae_title": "PRETEND", "calling_ae_title": "SLUICE_TEST", "timeout_s": 10} | more
            monkeypatch.setenv(
                f"AIRFLOW_CONN_{conn_id}",
                json.dumps({"conn_type": "pacs", "host": "127.0.0.1", "port": pacs.port, "extra": extra}),
            )
        yield vna, main
    settings.cache_clear()


async def first(trigger: MoveTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("no event")


def test_what_cannot_be_moved_is_carried_by_the_task_from_one_source_after_the_other(
    carried: tuple[PretendPacs, PretendPacs], database: Database
) -> None:
    vna, main = carried
    failing = vna.holds[0].SOPInstanceUID
    vna.fail = main.fail = {failing}
    task = RetrieveOperator(task_id="move", piece=StudyPiece(KEY, 0, 1).as_dict())
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(CONTEXT)
    trigger = deferred.value.trigger
    assert (trigger.number, trigger.not_before) == (1, None), "nobody knows yet that C-MOVE does not work"
    event = asyncio.run(first(trigger))
    assert event == {"number": 1, "before": {"wanted": 6}, "carry": True}
    before = datetime.now(UTC)
    with pytest.raises(TaskDeferred) as again:
        task.look_again(CONTEXT, event)
    (planned,) = rows(database, "select study_instance_uid, pacs, due_at from planned_attempt")
    assert (planned["study_instance_uid"], planned["pacs"]) == (vna.holds[0].StudyInstanceUID, "vna")
    assert before < planned["due_at"] < before + timedelta(seconds=60)  # type: ignore[operator]
    assert len(rows(database, "select from receipt")) == 5
    trigger = again.value.trigger
    assert datetime.fromisoformat(trigger.not_before) == planned["due_at"]
    vna.fail, main.fail = {failing}, set()
    event = asyncio.run(first(trigger))
    assert (event["carry"], event["number"], event["before"]["wanted"]) == (True, 2, 6)
    returned = task.look_again(CONTEXT, event)
    assert (returned["arrived"], returned["missing"], returned["repeated"]) == (6, 0, 1)
    assert rows(database, "select from planned_attempt") == []
    asked = [(one["pacs"], one["kind"]) for one in rows(database, "select * from attempt order by attempt_id")]
    assert asked == [
        ("vna", "C-MOVE"),  # in the trigger
        ("vna", "C-GET"),
        ("pacs_main", "C-MOVE"),
        ("pacs_main", "C-GET"),
        ("vna", "C-GET"),
        ("pacs_main", "C-GET"),
    ]
    assert rows(database, "select distinct calling_ae from receipt") == [{"calling_ae": "PRETEND"}]


def test_a_full_disk_of_the_worker_leaves_a_reason(
    carried: tuple[PretendPacs, PretendPacs], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_RECEIVER_MIN_FREE_BYTES", str(1 << 60))
    settings.cache_clear()
    task = RetrieveOperator(task_id="move", piece=StudyPiece(KEY, 0, 1).as_dict(), passes=1)
    returned = task.look_again(CONTEXT, {"number": 1, "before": {}, "carry": True})
    assert (returned["arrived"], returned["missing"]) == (0, 6)
    assert rows(database, "select distinct reason_code from open_gap") == [{"reason_code": "no-space"}]


def test_a_busy_service_is_left_alone_as_long_as_it_asks_for(
    carried: tuple[PretendPacs, PretendPacs], database: Database
) -> None:
    task = RetrieveOperator(task_id="move", piece=StudyPiece(KEY, 0, 1).as_dict())
    event = {"number": 1, "before": {}, "error": "busy", "permanent": False, "retry_after_s": 300.0}
    with pytest.raises(TaskDeferred) as deferred:
        task.look_again(CONTEXT, event)
    due = datetime.fromisoformat(deferred.value.trigger.not_before)
    assert timedelta(seconds=280) < due - datetime.now(UTC) <= timedelta(seconds=300)
    assert deferred.value.timeout > task.pass_timeout


def test_a_connection_names_sources_and_secrets_stay_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    extra: dict[str, Any] = {"sources": ["vna", "pacs_main", "vna"], "dicomweb_token": "token-of-ours"}
    made = Connection(conn_id="pacs_main", conn_type="pacs", host="h", port=104, login="me-too", password="geheim")
    made.extra = json.dumps(extra | {"ae_title": "A"})
    assert source_ids(made) == ["vna", "pacs_main"]
    node = node_of(made)
    assert (node.credentials.login, node.credentials.password) == ("me-too", "geheim")
    assert "geheim" not in repr(node) + str(node.credentials)
    assert "token-of-ours" not in repr(node) + str(node.credentials)
    web = {"retrieve_by": "DICOMweb", "query_by": "QIDO-RS", "dicomweb_url": "https://vna.example/dicom-web"}
    only_web = node_of(Connection(conn_id="vna", conn_type="pacs", extra=json.dumps(web)))
    assert (only_web.host, only_web.ae_title, only_web.ways) == ("vna.example", "DICOMWEB", ("DICOMweb",))
    assert source_ids(Connection(conn_id="vna", conn_type="pacs", extra=json.dumps(web))) == ["vna"]
    wrong = json.dumps({"ae_title": "A", "retrieve_by": "post"})
    with pytest.raises(ConnectionIncomplete, match="none of auto"):
        node_of(Connection(conn_id="x", conn_type="pacs", host="h", port=104, extra=wrong))

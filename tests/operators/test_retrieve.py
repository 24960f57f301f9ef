"""Pieces of a window, retry decisions, counts, and links."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from operators.counts import NothingPlanned, add_counts, summarise
from operators.links import bucket_url
from operators.policies import DomainRetryPolicy
from operators.retrieve import MOST_PIECES, MoveTrigger, StudyPiece, plan_pieces
from operators.steps import NoWindow, require_window
from sluice.database import Database
from sluice.pacs.errors import PacsStatusError, PacsUnreachable

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
    path, arguments = MoveTrigger(StudyPiece("2026-10-26", 0, 6).as_dict(), 2, {"arrived": 3}, 20.0).serialize()
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

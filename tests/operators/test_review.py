"""The task that waits for approval: what it does with each answer, and with what changed meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.database import Database
from sluice.objects import ObjectStore
from sluice.release.review import decide, open_review, remember, waiting_task
from tests.deid.planted import image
from tests.release.hospital_day import store_day
from tests.release.test_review import Releases

pytestmark = pytest.mark.airflow


class Asked(Exception):  # noqa: N818
    """The task went to wait."""


@pytest.fixture
def releases(database: Database, bucket: ObjectStore, tmp_path: Path) -> Releases:
    """A release of three objects that Anna or Bert may approve."""
    store_day(database, tmp_path / "archive", [image(1), image(2), image(1, "PID-88", "Larkspur^Bo", study=2)])
    return Releases(database, tmp_path / "archive", bucket, tmp_path / "keys", approvers=["anna", "bert"])


@pytest.fixture
def waits(airflow: pytest.MonkeyPatch, releases: Releases, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The task of that release; `answer(…)` is what Airflow calls when somebody answered."""
    from airflow.providers.standard.operators.hitl import HITLOperator

    import operators.connections as connections
    import sluice.release.export as export
    from operators.review import ReviewOperator

    plan = releases.prepared("rita").as_dict()
    releases.exported("rita")
    release = {name: plan[name] for name in ("release_id", "project", "version", "bucket", "prefix", "window_key")}
    task = ReviewOperator(task_id="review", release=release)
    monkeypatch.setattr(connections, "database", lambda: releases.database)
    monkeypatch.setattr(connections, "keys", lambda: releases.keys)
    monkeypatch.setattr(connections, "archive", lambda: releases.archive)
    monkeypatch.setattr(connections, "bucket", lambda name=None: releases.store)
    produce = export.export_batch
    monkeypatch.setattr(
        export,
        "export_batch",
        lambda store, archive, objects, project, release_id, part, keys: produce(
            store, archive, objects, releases.project, release_id, part, keys=releases.keys
        ),
    )

    def asked(self: Any, context: Any) -> None:
        raise Asked(self.body)

    monkeypatch.setattr(HITLOperator, "execute", asked)
    ti = SimpleNamespace(dag_id="export_release", run_id="run", task_id="export_release.review", map_index=0)

    def answer(option: str, person: str | None, digest: str = "", reason: str = "") -> Any:
        who = {"id": person, "name": person} if person else None
        event = {
            "chosen_options": [option],
            "params_input": {"digest": digest, "reason": reason},
            "responded_at": datetime.now(UTC),
            "responded_by_user": who,
            "timedout": who is None,
        }
        return task.execute_complete({"ti": ti}, event)

    return SimpleNamespace(task=task, context={"ti": ti}, answer=answer, release_id=release["release_id"])


def test_waits_until_somebody_who_may_approves_what_stands(releases: Releases, waits: Any) -> None:
    with pytest.raises(Asked, match="1 more person"):
        waits.task.execute(waits.context)
    task = waiting_task(releases.database, waits.release_id)
    assert task is not None
    assert task["task_id"] == "export_release.review"
    digest = open_review(releases.database, waits.release_id).digest
    for answer, said in (
        (("Approve", "otto", digest), "The answer of otto did not count: The project names who"),
        (("Approve", "anna", "0" * 64), "The answer of anna did not count: The release changed"),
        (("Reject", "anna", digest), "The answer of anna did not count: Say why"),
        (("Look again", None), r"1 more person must approve\.\s*$"),
    ):
        with pytest.raises(Asked, match=said):
            waits.answer(*answer)
    done = waits.answer("Approve", "anna", digest)
    assert (done["state"], done["approved_by"]) == ("approved", ["anna"])
    assert waiting_task(releases.database, waits.release_id) is None
    assert waits.task.execute(waits.context)["state"] == "approved"  # cleared and run again: nobody is asked twice


def test_approved_on_the_page_it_goes_on_when_it_looks(releases: Releases, waits: Any) -> None:
    digest = open_review(releases.database, waits.release_id).digest
    decide(releases.database, waits.release_id, "bert", "approved", digest)
    assert waits.answer("Look again", None)["state"] == "approved"


def test_what_was_decided_is_done_before_it_asks_again(releases: Releases, waits: Any) -> None:
    digest = open_review(releases.database, waits.release_id).digest
    decide(releases.database, waits.release_id, "anna", "approved", digest)
    study = next(row for (path, _), row in releases.strings(waits.release_id).items() if path == "0008,0070")
    remember(releases.database, waits.release_id, [study["string_id"]], "remove", "bert")
    with pytest.raises(Asked):
        waits.answer("Look again", None)
    assert all(one["Manufacturer"].is_empty for one in releases.in_bucket())
    done = waits.answer("Approve", "anna", open_review(releases.database, waits.release_id).digest)
    assert done["state"] == "approved"


def test_a_rejection_ends_it(releases: Releases, waits: Any) -> None:
    digest = open_review(releases.database, waits.release_id).digest
    done = waits.answer("Reject", "anna", digest, "A name in a description")
    assert (done["state"], done["redo"]) == ("rejected", 0)


def test_nobody_in_a_month_ends_it_too(releases: Releases, waits: Any) -> None:
    from operators.review import NotApproved

    with pytest.raises(Asked):
        waits.task.execute(waits.context)
    releases.database.execute("update review_waiting set since = now() - interval '31 days'")
    with pytest.raises(NotApproved, match="Clear this task"):
        waits.answer("Look again", None)

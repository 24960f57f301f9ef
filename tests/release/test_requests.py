"""Requests: who may ask, what the quota allows, what is said without repeating what was typed, how far it is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from sluice.cohorts.freeze import freeze
from sluice.cohorts.language import parse_text
from sluice.database import Database
from sluice.objects import ObjectStore
from sluice.release.export import export_batch, prepare, publish, verify
from sluice.release.projects import Project, Quota
from sluice.release.requests.form import CohortRequestError, discreet
from sluice.release.requests.progress import one_request, progress, requests, rows
from sluice.release.requests.registry import QuotaError, ask, assess, note_run, request_of, request_of_run
from sluice.windows import Window, remember_window
from tests.deid.planted import image
from tests.release.hospital_day import store_day
from tests.release.test_export import project

ASKED = {"project": "radiographs", "name": "t1"}


@pytest.fixture
def chosen(bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that names one researcher and may have eight instances in 30 days."""
    one = project(bucket).model_copy(
        update={"researchers": ("rita",), "quota": Quota(instances_per_month=8, bytes_per_request=1 << 30)}
    )
    for module in ("registry.load_project", "registry._project"):
        monkeypatch.setattr(f"sluice.release.requests.{module}", lambda name: one)
    monkeypatch.setattr("sluice.release.cohorts.load_project", lambda name: one)
    return one


@pytest.fixture
def version(database: Database, tmp_path: Path) -> int:
    """A frozen cohort of six instances."""
    store_day(database, tmp_path / "archive", [image(number) for number in range(1, 7)])
    return freeze(database, "t1", parse_text("modality: CT"), "rita", "a test", "radiographs").version_id


def test_only_researchers_of_the_project_ask_and_engineers_for_all(
    database: Database, chosen: Project, version: int
) -> None:
    with pytest.raises(CohortRequestError, match="not among the researchers"):
        ask(database, ASKED | {"version": 1}, "vera", is_engineer=False)
    kept = ask(database, ASKED | {"version": 1}, "rita", is_engineer=False)
    assert (kept.estimate["instances"], kept.estimate["to_fetch"], kept.wanted.version_id) == (6, 0, version)
    assert ask(database, ASKED | {"version": 1}, "otto", is_engineer=True).request_id != kept.request_id
    again = request_of(database, kept.request_id)
    assert (again.wanted.kind, again.wanted.window_key) == ("version", "cohort/radiographs/t1/v1")
    note_run(database, kept.request_id, "manual__1")
    note_run(database, kept.request_id, "manual__1")
    assert request_of_run(database, "manual__1") == kept.request_id
    assert request_of_run(database, "manual__2") is None
    with pytest.raises(CohortRequestError, match="no request 99"):
        request_of(database, 99)


def test_the_quota_refuses_says_so_and_an_engineer_lets_pass(database: Database, chosen: Project, version: int) -> None:
    ask(database, ASKED | {"version": 1}, "rita", is_engineer=False)
    ask(database, ASKED | {"version": 1}, "rita", is_engineer=False)  # the same cohort counts once
    other = {"project": "radiographs", "name": "t2", "filter": "modality: CT"}
    with pytest.raises(QuotaError, match=r"may have 8 instances in 30 days; this would make it 12 .* ask an engineer"):
        ask(database, other, "rita", is_engineer=False, override_why="I am in a hurry")
    seen = assess(database, ask(database, other, "otto", True, "approved by the committee").wanted)
    assert (seen["used"]["instances"], len(seen["over"])) == (6, 1)
    newest, *_ = requests(database, ["radiographs"])
    assert (newest["overridden_by"], newest["overridden_why"]) == ("otto", "approved by the committee")
    assert requests(database, []) == []


def test_a_profile_is_chosen_among_the_projects_and_each_counts_against_the_quota(
    database: Database, chosen: Project, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CohortRequestError, match="may have these profiles: basic"):
        ask(database, ASKED | {"version": 1, "profile": "longitudinal"}, "rita", is_engineer=False)
    both = chosen.model_copy(update={"profiles": ("basic", "longitudinal")})
    monkeypatch.setattr("sluice.release.requests.registry._project", lambda name: both)
    kept = ask(database, ASKED | {"version": 1, "profile": "longitudinal"}, "rita", is_engineer=False)
    assert request_of(database, kept.request_id).profile == kept.profile == "longitudinal"
    seen = assess(database, kept.wanted)
    assert (seen["profile"], seen["profiles"]) == ("basic", ["basic", "longitudinal"])
    assert (seen["used"]["instances"], len(seen["over"])) == (6, 1)  # the other six would leave, too
    assert assess(database, kept.wanted, "longitudinal")["over"] == []
    assert assess(database, kept.wanted, "own")["profile"] == "basic"


def test_a_list_is_estimated_by_what_is_known_of_its_rows(database: Database, chosen: Project, version: int) -> None:
    wanted = ASKED | {"name": "l1", "csv": "accession\nACC9081726\nA2\n*\n"}
    kept = ask(database, wanted, "otto", is_engineer=True, override_why="a test")
    assert (kept.estimate["instances"], kept.estimate["to_fetch"]) == (12, 6)
    assert "Of 1 rows nothing is known" in kept.estimate["rests_on"][0]
    assert kept.estimate["fetch_hours"] is None


@pytest.mark.parametrize(
    "text",
    [
        "Meier: 1950-01-01\nQuillfeather^Ann: 4711\n",
        "modality: {Larkspur: 3}\n",
        "all: [{Larkspur: 3}]\n",
        "Larkspur 4711\n? [",
        "patient_id: [4711, Larkspur]\nany: Larkspur\n",
        "body_part: Larkspur\n",
        "tag: Larkspur\nis: 3\n",
    ],
)
def test_what_is_wrong_with_a_filter_repeats_nothing_that_was_typed(
    database: Database, chosen: Project, text: str
) -> None:
    with pytest.raises(CohortRequestError) as error:
        ask(database, ASKED | {"filter": text}, "rita", is_engineer=False)
    for typed in ("Meier", "1950", "Quillfeather", "Ann", "4711", "Larkspur"):
        assert typed not in str(error.value)


def test_discreet_keeps_the_words_of_the_language() -> None:
    said = "modalty: there is no such field. Did you mean modality?"
    assert discreet(said, "modalty: CT") == "…: there is no such field. Did you mean modality?"
    assert discreet("all[2].age.min: a number, not a text", "all: [age: {min: x}]") == (
        "all[2].age.min: a number, not a text"
    )


def test_what_was_here_before_anybody_asked_counts(
    database: Database, chosen: Project, version: int, tmp_path: Path
) -> None:
    by_filter = ask(database, ASKED | {"filter": "modality: CT"}, "rita", is_engineer=False)
    by_list = ask(database, ASKED | {"name": "t2", "csv": "accession\nACC9081726\n"}, "otto", True, "a test")
    prepare(database, chosen, by_filter.wanted.window_key, keys=tmp_path / "keys", version_id=version)
    for kept in (by_filter, by_list):
        row = one_request(database, kept.request_id)
        assert row is not None
        seen = progress(database, row)
        assert (seen["found"], seen["received"], seen["checked"]) == (6, 6, 6)


def test_progress_follows_a_request_to_its_release(
    database: Database, chosen: Project, bucket: ObjectStore, tmp_path: Path
) -> None:
    kept = ask(database, ASKED | {"csv": "accession\nACC9081726\nNO-SUCH\n*\n"}, "rita", is_engineer=False)
    window = kept.wanted.window_key
    remember_window(database, Window(window, "cohort", date(2026, 10, 26), date(2026, 10, 26)))

    def now() -> dict[str, Any]:
        row = one_request(database, kept.request_id)
        assert row is not None
        return progress(database, row, datetime.now(UTC))

    assert (now()["state"], now()["share"]) == ("not begun", 0.0)
    note_run(database, kept.request_id, "manual__1")
    assert now()["state"] == "begun"
    uids = store_day(database, tmp_path / "archive", [image(number) for number in range(1, 4)])
    database.execute(
        "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
        "select %s, sop_instance_uid, series_instance_uid, study_instance_uid, 'pacs' from instance",
        (window,),
    )
    database.execute(
        "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
        "select %s, '1.2.3', series_instance_uid, study_instance_uid, 'pacs' from instance limit 1",
        (window,),
    )
    seen = now()
    assert (seen["found"], seen["received"], seen["checked"], seen["state"]) == (4, 3, 3, "being fetched")
    assert 0.5 < seen["share"] < 0.6
    assert seen["ready_at"] is not None
    from sluice.cohorts.lists import answer_list

    assert kept.wanted.kept is not None
    answer_list(database, kept.wanted.kept.list_id)
    keys = tmp_path / "keys"
    plan = prepare(database, chosen, window, keys=keys, list_id=kept.wanted.kept.list_id)
    assert now()["state"] == "being released"
    for part in plan.batches:
        export_batch(database, tmp_path / "archive", bucket, chosen, plan.release_id, part, keys=keys)
    verify(database, bucket, plan.release_id)
    assert now()["state"] == "waits for approval"
    publish(database, bucket, plan.release_id, keys)
    done = now()
    assert (done["state"], done["share"], done["exported"], done["ready_at"]) == ("released", 1.0, 3, None)
    assert done["prefix"] == f"{bucket.bucket}/radiographs/v1/"
    row = one_request(database, kept.request_id)
    assert row is not None
    shown, following = rows(database, row, 0, 2)
    assert [(one["line"], one["released"], one["state"]) for one in shown] == [
        (2, 3, "released in part"),
        (3, 0, "asking"),
    ]
    (refused,), end = rows(database, row, following or 0, 2)
    assert (refused["state"], end) == ("refused", None)
    assert "ACC9081726" not in str(shown)
    # A release under another profile is another request's.
    prepare(
        database,
        chosen.model_copy(update={"profiles": ("basic", "longitudinal")}),
        window,
        keys=keys,
        list_id=kept.wanted.kept.list_id,
        profile="longitudinal",
    )
    assert now()["state"] == "released"
    assert not set(uids) & set(str(shown).split("'"))

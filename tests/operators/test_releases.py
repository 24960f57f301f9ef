"""The verdict over a run's releases: what was prepared has to have gone on."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.airflow


def plan(release_id: int, project: str, members: int = 3) -> dict[str, Any]:
    return {
        "release_id": release_id, "project": project, "version": 1, "bucket": "b", "prefix": "p/", "members": members,
        "window_key": "2026-10-26", "published": False, "batches": [],
    }  # fmt: skip


def test_a_project_prepared_after_the_others_went_on_turns_the_run_red(airflow: pytest.MonkeyPatch) -> None:
    from operators.releases import LeftBehind, _all_projects, _releases

    first, late, empty = plan(1, "radiographs"), plan(2, "chest"), plan(3, "none", members=0)
    _all_projects([first, late, empty], _releases([first, late, empty]))
    _all_projects([], [])
    with pytest.raises(LeftBehind, match=r"of chest is prepared.*Clear the tasks `parts` and `releases`") as raised:
        _all_projects([first, late], _releases([first]))
    assert raised.value.permanent, "trying again changes nothing"
    with pytest.raises(LeftBehind):
        _all_projects([first], None)


def test_the_verdict_of_both_dags_asks_for_what_went_on(dag_bag: Any) -> None:
    for dag_id in ("export_release", "backfill_cohort"):
        verdict = dag_bag.dags[dag_id].get_task("export_release.all_projects")
        assert {"export_release.prepare", "export_release.releases"} <= verdict.upstream_task_ids
        assert verdict.python_callable.__name__ == "_all_projects"


@pytest.mark.parametrize("handed_over", ["one", "several", "none"])
def test_the_summary_counts_what_was_published(airflow: pytest.MonkeyPatch, handed_over: str) -> None:
    from operators.releases import _summarise

    done = {"bucket": "b", "prefix": "radiographs/v1/", "objects": 3}
    published = {"one": done, "several": [done, None], "none": None}[handed_over]
    told = _summarise("2026-10-26", ["radiographs", "chest"], [{}], published)
    assert (told["published"], told["objects"]) == ((0, 0) if published is None else (1, 3))

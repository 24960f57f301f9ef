"""Counting who shares what, against a second way of counting."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.release.anonymity import SHARE_SUPPRESSED, count
from sluice.release.export import ReleaseError, publish, verify
from sluice.release.review import ReviewError, decide, open_review
from sluice.release.review.report import head
from tests.deid.planted import image
from tests.release.hospital_day import store_day
from tests.release.scene import Scene

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "patient": st.integers(0, 30).map(lambda n: f"P{n}"),
            "patient_sex": st.sampled_from(["F", "M", None]),
            "patient_age": st.integers(0, 95).map(lambda n: f"{min(n, 90):03}Y"),
            "study_date": st.sampled_from(["20240101", "20250101", "20250601"]),
            "manufacturer": st.sampled_from(["A", "B"]),
            "body_part_examined": st.sampled_from(["CHEST", "ABDOMEN", None]),
        }
    ),
    min_size=1,
    max_size=80,
)


def groups(rows: list[dict[str, Any]]) -> pd.Series:
    """Persons by class, by pandas."""
    frame = pd.DataFrame(rows).fillna("")
    names = [name for name in frame.columns if name != "patient"]
    return frame.groupby(names)["patient"].nunique()


@given(ROWS, st.integers(2, 12))
def test_the_figures_are_those_of_a_group_by(rows: list[dict[str, Any]], k: int) -> None:
    report, masking = count(rows, k, "report")
    banded = [
        row | {"patient_age": int(row["patient_age"][:3]) // 5, "study_date": row["study_date"][:4]} for row in rows
    ]
    sizes = groups(banded)
    assert (report["classes"], report["smallest"]) == (len(sizes), sizes.min())
    assert report["below_k"]["classes"] == (sizes < k).sum()
    assert report["persons"] == len({row["patient"] for row in rows})
    assert all(masking.masked(row) == row for row in rows)


@pytest.mark.parametrize("policy", ["generalise", "suppress"])
@given(rows=ROWS, k=st.integers(2, 12))
def test_nobody_is_rarer_than_k_in_masked_tables(policy: str, rows: list[dict[str, Any]], k: int) -> None:
    report, masking = count(rows, k, policy)
    assert report["below_k"] == {"classes": 0, "persons": 0}
    masked = [masking.masked(row) for row in rows]
    told = [row for row in masked if any(value for name, value in row.items() if name != "patient")]
    if told:
        assert groups(told).min() >= k
    if policy == "generalise" and report["suppressed"] > SHARE_SUPPRESSED * report["persons"]:
        assert report["levels"] == {"sex": 1, "age": 3, "year": 2, "scanner": 2, "body_part": 1}


def test_a_project_may_hold_what_tells_too_much(scene: Scene) -> None:
    store_day(scene.database, scene.archive, [image(1), image(1, "PID-88", study=2)])
    formats = ["dicom", "tables"]
    holds = scene.project(formats=formats, approval="one", anonymity={"k": 3, "policy": "hold"})
    release_id = scene.exported_release(holds)
    with pytest.raises(ReleaseError, match="2 of 2 persons share"):
        verify(scene.database, scene.bucket, release_id)
    with pytest.raises(ReviewError, match="Wait for verify"):  # nobody can approve it
        decide(scene.database, release_id, "anna", "approved", open_review(scene.database, release_id).digest)
    with pytest.raises(ReleaseError, match="not verified"):
        publish(scene.database, scene.bucket, release_id, scene.keys)
    assert not [entry for entry in scene.bucket.list() if entry.key.endswith("manifest.json")]
    assert scene.release(scene.project(formats=formats, anonymity={"k": 2, "policy": "hold"})).version == 2


def test_who_approves_sees_the_figures_of_all_that_the_version_will_contain(scene: Scene) -> None:
    store_day(scene.database, scene.archive, [image(1), image(1, "PID-88", study=2)])
    store_day(scene.database, scene.archive, [image(1, "PID-99", study=3)], day="2026-10-27")
    scene.release(scene.project())
    release_id = scene.exported_release(scene.project(approval="one"), "2026-10-27")
    verify(scene.database, scene.bucket, release_id)
    opened = open_review(scene.database, release_id)
    shown = head(scene.database, release_id)["release"]["anonymity"]
    assert (shown["persons"], shown["below_k"]["persons"], shown["rare"][0]["persons"]) == (3, 3, 3)
    decide(scene.database, release_id, "anna", "approved", opened.digest)
    publish(scene.database, scene.bucket, release_id, scene.keys)
    said = json.loads(scene.bucket.get("radiographs/v2/manifest.json"))["anonymity"]
    assert said == {name: value for name, value in shown.items() if name != "rare"}

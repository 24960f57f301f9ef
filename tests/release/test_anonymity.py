"""Counting who shares what, against a second way of counting."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.dataset import Dataset

from sluice.release.contents import objects
from sluice.release.counting import count
from sluice.release.export import ReleaseError, publish, verify
from sluice.release.projects import Anonymity
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
    report, masking = count(rows, Anonymity(k=k))
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
    report, masking = count(rows, Anonymity(k=k), policy)
    assert report["below_k"] == {"classes": 0, "persons": 0}
    masked = [masking.masked(row) for row in rows]
    told = [row for row in masked if any(value for name, value in row.items() if name != "patient")]
    if told:
        assert groups(told).min() >= k
    if policy == "generalise" and report["suppressed"] > Anonymity().share * report["persons"]:
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


def person(number: int, **said: str) -> Dataset:
    """One CT of a person of their own; twelve of thirteen are women of 77."""

    def edit(dataset: Dataset) -> None:
        dataset.PatientSize, dataset.PatientWeight, dataset.EthnicGroup = "1.7", "70", "Sorbian"
        dataset.StudyDescription, dataset.ReferringPhysicianName = "CT Chest", ""
        for name, value in said.items():
            setattr(dataset, name, value)

    return image(1, f"PID-{700 + number}", f"Quill{'abcdefghijklmnop'[number]}^A", study=number + 1, edit=edit)


def indexed(scene: Scene, datasets: list[Dataset], **where: str) -> None:
    """A day as the index has it, with what its headers say."""
    store_day(scene.database, scene.archive, datasets, **where)
    for dataset in datasets:
        said = {tag: one for tag, one in dataset.to_json_dict(suppress_invalid_tags=True).items() if tag != "7FE00010"}
        scene.database.execute(
            "update header_block set elements = %s where series_instance_uid = %s",
            (json.dumps(said), dataset.SeriesInstanceUID),
        )


def files_of(scene: Scene, version: int) -> dict[str, Dataset]:
    """The DICOM files that a version names, by patient."""
    found = {}
    for row in objects(scene.database, version):
        dataset = pydicom.dcmread(io.BytesIO(scene.bucket.get(row["object_key"])))
        found[str(dataset.PatientID)] = dataset
    return found


def test_files_of_rare_persons_say_nothing_of_the_person_where_a_project_asks_for_it(scene: Scene) -> None:
    day = [*(person(number) for number in range(12)), person(12, PatientSex="M", PatientAge="041Y")]
    indexed(scene, day)
    options = ["retain_patient_characteristics", "retain_longitudinal_full_dates", "clean_descriptors",
               "retain_institution_identity"]  # fmt: skip
    asked = {"options": options, "formats": ["dicom", "tables"], "approval": "none"}
    suppress = {"k": 5, "policy": "suppress"}
    kept = scene.project(**asked, anonymity=suppress)
    scene.release(kept)
    (report,) = scene.database.rows("review_release", {"release_id": 1})
    said = report["anonymity"]["headers"]
    assert said["attributes"]["patient_sex"] == {"persons": 13, "rare": 1, "tables": "not of rare persons"}
    assert said["attributes"]["patient_weight_kg"] == {"persons": 13, "rare": 0, "tables": "not at all"}
    assert {"patient_sex", "patient_age", "patient_size_m", "ethnic_group", "institution_name"} <= set(said["more"])
    assert said["unread"] == 0
    manifest = json.loads(scene.bucket.get("radiographs/v1/manifest.json"))
    assert manifest["anonymity"]["headers"] == said
    assert manifest["anonymity"]["bounds"] == Anonymity().bounds
    masking = scene.project(**asked, anonymity=suppress | {"files": "mask"})
    assert scene.release(masking).version == 2
    files = files_of(scene, 2)
    assert len(files) == 13
    of_the_person = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight", "EthnicGroup", "InstitutionName")
    telling = {name: [one for one in files.values() if one.get(name) not in (None, "")] for name in of_the_person}
    assert {name: len(files) for name, files in telling.items()} == dict.fromkeys(of_the_person, 12)
    (blank,) = [one for one in files.values() if not one.get("PatientSex")]
    assert "PatientSex" in blank, "Type 2: empty"
    assert str(blank.StudyDate) == "20261026"
    (report,) = scene.database.rows("review_release", {"release_id": 2})
    assert report["anonymity"]["headers"]["attributes"]["patient_sex"]["rare"] == 0
    manifest = json.loads(scene.bucket.get("radiographs/v2/manifest.json"))
    assert manifest["profile"]["masked"]["files"] == manifest["anonymity"]["files"] == "mask"
    indexed(scene, [person(13)], day="2026-10-27")
    scene.release(masking, "2026-10-27")  # what v2 holds counts as well: the thirteenth woman is not rare
    assert [one.PatientSex for one in files_of(scene, 3).values()].count("F") == 13


def test_bounds_are_of_the_project_and_of_the_version(scene: Scene) -> None:
    store_day(scene.database, scene.archive, [image(1), image(1, "PID-88", study=2)])
    formats = ["dicom", "tables"]
    first = scene.release(scene.project(formats=formats, anonymity={"k": 3}))
    # what says the defaults is what was there before there were bounds
    assert scene.release(scene.project(formats=formats, anonymity={"k": 3, "rare": 5, "share": 0.05})).version == 1
    assert scene.project(anonymity={"k": 3}).anonymity.decided == {"k": 3, "policy": "report"}
    wider = scene.project(formats=formats, anonymity={"k": 3, "rare": 2, "age_band": 10, "shown": 0})
    second = scene.release(wider)
    assert (first.version, second.version) == (1, 2)
    shown = head(scene.database, second.release_id)
    assert shown["rare_below"] == 2
    said = json.loads(scene.bucket.get("radiographs/v2/manifest.json"))["anonymity"]
    assert said["bounds"] == {"rare": 2, "share": 0.05, "age_band": 10, "year_band": 1, "shown": 0}
    assert shown["release"]["anonymity"]["rare"] == []
    for wrong in ({"rare": 1}, {"share": 0.9}, {"age_band": 0}, {"files": "some"}, {"more": 1}):
        with pytest.raises(ValidationError):
            scene.project(anonymity=wrong)

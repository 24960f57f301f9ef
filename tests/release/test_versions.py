"""A version is the data set so far: days add up, a cohort is itself, and what is held already is named, not written."""

from __future__ import annotations

import io
import json
from collections import Counter
from datetime import date
from typing import Any

import pyarrow.parquet as pq
import pytest

import sluice.deid.engine as engine
import sluice.release.plan as plan
import sluice.release.producing as producing
from sluice.cohorts.freeze import freeze
from sluice.cohorts.language import parse_text
from sluice.release.export import export_batch, prepare, verify
from sluice.release.plan import ReleaseError
from sluice.windows import Window, remember_window
from tests.deid.planted import image
from tests.release.hospital_day import DAY, store_day
from tests.release.scene import Scene

NEXT = "2026-10-27"


def manifest(scene: Scene, version: int) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(scene.bucket.get(f"radiographs/v{version}/manifest.json"))
    return said


def keys(scene: Scene, version: int) -> set[str]:
    index = manifest(scene, version)["files"][-1]["name"]
    body = scene.bucket.get(f"radiographs/v{version}/{index}")
    return set(pq.read_table(io.BytesIO(body)).column("key").to_pylist())


def written(scene: Scene, version: int) -> set[str]:
    return {entry.key for entry in scene.bucket.list(f"radiographs/v{version}/") if entry.key.endswith(".dcm")}


def two_days(scene: Scene) -> None:
    store_day(scene.database, scene.archive, [image(n) for n in range(1, 5)])
    store_day(scene.database, scene.archive, [image(n, "PID-88", study=2) for n in range(1, 4)], day=NEXT)


def test_a_day_adds_to_the_days_before_and_writes_only_itself(scene: Scene) -> None:
    two_days(scene)
    project = scene.project()
    assert scene.release(project).objects == 4
    second = scene.release(project, NEXT)
    assert (second.version, second.objects) == (2, 7)
    assert keys(scene, 2) == written(scene, 1) | written(scene, 2)
    assert (len(written(scene, 1)), len(written(scene, 2))) == (4, 3)
    said = manifest(scene, 2)
    assert [one["version"] for one in said["contains"]] == [1]
    assert said["previous"]["manifest_sha256"] == said["contains"][0]["manifest_sha256"]
    assert (said["added"], said["removed"], said["objects"]["dicom"]["objects"]) == (3, [], 7)


def test_a_window_again_names_what_is_there_without_reading_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    two_days(scene)
    project = scene.project()
    scene.release(project)
    scene.release(project, NEXT)
    (late,) = store_day(scene.database, scene.archive, [image(9)])
    seen = []
    deidentify = producing.deidentify
    monkeypatch.setattr(producing, "deidentify", lambda *given: seen.append(1) or deidentify(*given))
    third = scene.release(project)
    assert (third.version, third.objects) == (3, 8)  # the day's five, and the three of the next day
    assert len(seen) == 1
    assert sum(part.reused for part in scene.exported) == 4
    assert len(written(scene, 3)) == 1
    assert keys(scene, 3) == written(scene, 1) | written(scene, 2) | written(scene, 3)
    assert [one["version"] for one in manifest(scene, 3)["contains"]] == [2]  # the new version of the day stands for v1
    assert late


def test_each_file_is_parsed_once_by_the_engine_and_once_by_the_check(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_day(scene.database, scene.archive, [image(1), image(2)])
    parsed: Counter[tuple[str, bytes]] = Counter()
    for module, name in ((producing, "read_file"), (engine, "read_file"), (producing, "reread")):
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda data, own=own, name=name: parsed.update([(name, data)]) or own(data))
    scene.exported_release(scene.project())
    assert Counter(name for name, _ in parsed) == {"read_file": 2, "reread": 4}  # originals; originals and produced
    assert set(parsed.values()) == {1}


def test_a_cohort_is_released_as_it_is_out_of_what_is_there(scene: Scene) -> None:
    two_days(scene)
    project = scene.project()
    scene.release(project)
    frozen = freeze(scene.database, "some", parse_text("modality: CT"), "rita", "a test", "radiographs")
    window = Window("cohort/radiographs/some/v1", "cohort", date(2026, 10, 26), date(2026, 10, 27))
    remember_window(scene.database, window)
    published = scene.release(project, window.key, version_id=frozen.version_id)
    assert published.objects == 7
    assert len(written(scene, 2)) == 3  # the next day was not released before
    assert manifest(scene, 2)["contains"] == []
    third = scene.release(project, NEXT)
    assert (third.version, third.objects) == (3, 7)
    assert not written(scene, 3)  # the cohort holds them already
    assert keys(scene, 3) == keys(scene, 2)


def test_another_engine_writes_anew_and_what_became_no_other_is_not_sent_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_days(scene)
    project = scene.project()
    scene.release(project)
    monkeypatch.setattr(plan, "__version__", "99")  # the engine that writes into the files is still the old one
    again = scene.release(project)
    assert (again.version, again.objects) == (2, 4)
    assert sum(part.reused for part in scene.exported) == 4
    assert not written(scene, 2)


def test_what_is_no_longer_a_member_is_named_as_removed(scene: Scene) -> None:
    two_days(scene)
    project = scene.project()
    scene.release(project)
    scene.database.execute(
        "insert into quality_finding (window_key, rule, severity, level, sop_instance_uid) "
        "select %s, 'test', 'stop', 'instance', min(sop_instance_uid) from window_instance where window_key = %s",
        (DAY, DAY),
    )
    published = scene.release(project)
    assert (published.version, published.objects) == (2, 3)
    (gone,) = keys(scene, 1) - keys(scene, 2)
    assert manifest(scene, 2)["removed"] == [gone.removeprefix("radiographs/")]
    assert scene.release(project, NEXT).version == 3
    assert manifest(scene, 3)["removed"] == [gone.removeprefix("radiographs/")]  # whoever skips v2 is told, too


def test_an_object_of_an_earlier_version_that_is_gone_is_made_anew(scene: Scene) -> None:
    two_days(scene)
    project = scene.project()
    scene.release(project)
    lost = sorted(written(scene, 1))[0]
    scene.bucket.client.delete_object(Bucket=scene.bucket.bucket, Key=lost)
    store_day(scene.database, scene.archive, [image(9)])
    planned = prepare(scene.database, project, DAY, keys=scene.keys)
    (part,) = planned.batches
    given = (scene.database, scene.archive, scene.bucket, project, planned.release_id, part)
    assert export_batch(*given, keys=scene.keys).reused == 4
    with pytest.raises(ReleaseError, match=r"1 objects .* missing"):
        verify(scene.database, scene.bucket, planned.release_id)
    assert export_batch(*given, keys=scene.keys).uploaded == 1
    assert verify(scene.database, scene.bucket, planned.release_id).objects == 5
    assert len(written(scene, 2)) == 2


def test_another_profile_opens_a_line_of_its_own_and_names_nothing_of_the_first(scene: Scene) -> None:
    two_days(scene)
    project = scene.project(profiles=("basic", "longitudinal"))
    cohort = freeze(scene.database, "c", parse_text("modality: CT"), "rita", "a test", "radiographs")
    whose = {"window": "cohort/radiographs/c", "version_id": cohort.version_id}
    scene.release(project, **whose)
    dated = scene.release(project, **whose, profile="longitudinal")
    assert sum(part.reused for part in scene.exported) == 0
    assert keys(scene, dated.version) == written(scene, dated.version)
    said = manifest(scene, dated.version)
    assert (said["profile"]["name"], said["line"]) == ("longitudinal", "cohort/radiographs/c@longitudinal")
    # A reader of the second must not delete what they have of the first.
    assert (said["previous"], said["removed"], said["contains"]) == (None, [], [])

    # Each goes on from its own: the next version with more formats names what the one of its profile holds.
    more = scene.project(profiles=("basic", "longitudinal"), formats=("dicom", "tables"))
    for profile, first in (("longitudinal", 2), (None, 1)):
        again = scene.release(more, **whose, profile=profile)
        assert sum(part.reused for part in scene.exported) == 7
        assert keys(scene, again.version) == written(scene, first)
        assert manifest(scene, again.version)["previous"]["version"] == first


def test_a_profile_that_the_file_no_longer_allows_is_not_exported(scene: Scene) -> None:
    two_days(scene)
    project = scene.project(profiles=("basic", "longitudinal"))
    chosen = prepare(scene.database, project, DAY, keys=scene.keys, profile="longitudinal")

    def export_with(now: Any, planned: Any) -> Any:
        place = (scene.database, scene.archive, scene.bucket)
        return export_batch(*place, now, planned.release_id, planned.batches[0], scene.keys)

    with pytest.raises(ReleaseError, match=r"prepared with the profile longitudinal\. .* profiles: basic\."):
        export_with(scene.project(), chosen)
    # Another default changes nothing of a release that was prepared with a profile that is still allowed.
    own = prepare(scene.database, project, DAY, keys=scene.keys)
    other = scene.project(profile="longitudinal", profiles=("basic", "longitudinal"))
    assert export_with(other, own).uploaded == 4

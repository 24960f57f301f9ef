"""Parts of a release are read back by several workers, and the verification reads what nobody has read."""

from __future__ import annotations

import pytest

from sluice.objects import ObjectStore, ReadBack
from sluice.release.export import ReleaseError, export_batch, prepare, read_back, verify
from sluice.release.formats.derive import derive
from sluice.release.plan import ReleasePlan
from sluice.release.projects import Project
from tests.deid.planted import DX, image
from tests.release.hospital_day import DAY, store_day
from tests.release.scene import Scene
from tests.release.test_formats import slices


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys as they are read back."""
    seen: list[str] = []
    own = ObjectStore.read_back

    def counted(self: ObjectStore, key: str) -> ReadBack:
        seen.append(key)
        return own(self, key)

    monkeypatch.setattr(ObjectStore, "read_back", counted)
    return seen


@pytest.fixture
def project(scene: Scene) -> Project:
    return scene.project(formats=["dicom", "png", "nifti"])


@pytest.fixture
def plan(scene: Scene, project: Project) -> ReleasePlan:
    """Films and a volume, exported and converted in several parts."""
    films = [image(n, sop_class=DX, study=1, modality="DX") for n in range(1, 6)]
    store_day(scene.database, scene.archive, [*films, *slices(6, 2)])
    return prepare(scene.database, project, DAY, part_size=4, keys=scene.keys)


def exported(scene: Scene, project: Project, plan: ReleasePlan) -> list[str]:
    """Keys in the bucket."""
    for part in plan.batches:
        export_batch(scene.database, scene.archive, scene.bucket, project, plan.release_id, part, keys=scene.keys)
    for part in plan.batches:
        derive(scene.database, scene.bucket, plan.release_id, part)
    return [entry.key for entry in scene.bucket.list(plan.prefix)]


def all_read_back(scene: Scene, plan: ReleasePlan) -> tuple[int, int]:
    """Files read and wrong ones, of all parts."""
    done = [read_back(scene.database, scene.bucket, plan.release_id, part) for part in plan.batches]
    return sum(one.read for one in done), sum(one.wrong for one in done)


def test_each_file_is_read_back_once(scene: Scene, project: Project, plan: ReleasePlan, reads: list[str]) -> None:
    keys = exported(scene, project, plan)
    assert {key.split("/")[2] for key in keys} == {"dicom", "png", "nifti"}
    assert all_read_back(scene, plan) == (len(keys), 0)
    assert sorted(reads) == sorted(keys)
    assert all_read_back(scene, plan) == (0, 0)
    assert verify(scene.database, scene.bucket, plan.release_id).objects == 11
    assert sorted(reads) == sorted(keys)


def test_what_is_wrong_is_left_to_the_verification(
    scene: Scene, project: Project, plan: ReleasePlan, reads: list[str]
) -> None:
    damaged, missing, *others = exported(scene, project, plan)
    scene.bucket.put(damaged, scene.bucket.get(damaged)[:-1] + b"?")
    scene.bucket.delete(missing)
    assert all_read_back(scene, plan) == (len(others) + 2, 2)
    with pytest.raises(ReleaseError, match=r"2 objects .* missing or damaged"):
        verify(scene.database, scene.bucket, plan.release_id)
    exported(scene, project, plan)
    reads.clear()
    assert all_read_back(scene, plan) == (2, 0)
    assert verify(scene.database, scene.bucket, plan.release_id).objects == 11


def test_bytes_that_changed_since_they_were_read_back_are_seen(
    scene: Scene, project: Project, plan: ReleasePlan
) -> None:
    changed, *_ = exported(scene, project, plan)
    all_read_back(scene, plan)
    scene.bucket.put(changed, scene.bucket.get(changed)[:-1] + b"?")
    with pytest.raises(ReleaseError, match=r"1 objects .* missing or damaged"):
        verify(scene.database, scene.bucket, plan.release_id)

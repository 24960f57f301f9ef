"""Recalls where versions share objects: what one manifest names is not deleted for another, and nothing comes back."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.objects import ObjectStore, ObjectStoreError
from sluice.release.export import export_batch, prepare, publish, verify
from sluice.release.linkage.merges import Merge, merge
from sluice.release.recall.opt_outs import Target, Terms, add, opt_outs, withdraw
from sluice.release.recall.recalls import carry_out
from sluice.release.signing import SigningKeyError
from tests.deid.planted import DX, image
from tests.release.hospital_day import DAY, store_day
from tests.release.scene import Scene
from tests.release.test_recall import KEYS, WITHDRAWN, dicom, named

BO = Target("patient", patient_id="PID-88")


@pytest.fixture
def two_patients(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Two CT of one patient, a DX of another, released as v1; one CT more has come since."""
    monkeypatch.setitem(KEYS, "folder", scene.keys)
    of_ann = [image(number) for number in (1, 2)]
    store_day(scene.database, scene.archive, [*of_ann, image(1, "PID-88", "Larkspur^Bo", DX, study=2, modality="DX")])
    scene.release(scene.project())
    store_day(scene.database, scene.archive, [image(9)])
    return scene


def exported(scene: Scene) -> int:
    """A second version, exported and not published."""
    project = scene.project()
    plan = prepare(scene.database, project, DAY, keys=scene.keys)
    for part in plan.batches:
        export_batch(scene.database, scene.archive, scene.bucket, project, plan.release_id, part, keys=scene.keys)
    return plan.release_id


def nothing_named_is_gone(scene: Scene, *versions: int) -> None:
    there = {entry.key for entry in scene.bucket.list("radiographs/")}
    for version in versions:
        assert named(scene.bucket, version) <= there, f"v{version} names what is gone"


def test_a_recall_for_one_version_tells_the_readers_of_the_others_first(two_patients: Scene) -> None:
    """The task verify carries out the recalls of its own release only, whose objects another one holds."""
    scene = two_patients
    second = exported(scene)
    add(scene.database, [BO], WITHDRAWN, "dora")
    carry_out(scene.database, lambda _: scene.bucket, "the release itself", second, scene.keys)
    nothing_named_is_gone(scene, 1)
    verify(scene.database, scene.bucket, second)
    publish(scene.database, scene.bucket, second, scene.keys)
    nothing_named_is_gone(scene, 1, 2)
    assert (len(named(scene.bucket, 1)), len(named(scene.bucket, 2))) == (2, 3)
    assert dicom(scene.bucket, 1) == named(scene.bucket, 1)


def test_verify_leaves_what_another_manifest_still_names(two_patients: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest of v1 cannot be written anew; until it is, nothing of it is deleted, by whomever."""
    scene = two_patients
    second = exported(scene)
    add(scene.database, [BO], WITHDRAWN, "dora")
    put = ObjectStore.put

    def refuses(store: ObjectStore, key: str, *given: Any) -> str:
        if key.endswith("recalled.json.sig"):
            raise ObjectStoreError("refused")
        return put(store, key, *given)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put", refuses)
        assert carry_out(scene.database, lambda _: scene.bucket, "dora", keys=scene.keys).waiting
        verify(scene.database, scene.bucket, second)
        nothing_named_is_gone(scene, 1)
    assert not carry_out(scene.database, lambda _: scene.bucket, "dora", keys=scene.keys).waiting
    assert len(dicom(scene.bucket, 1)) == 2


def test_what_waits_to_be_deleted_is_not_named_again(two_patients: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The opt-out is withdrawn while the bucket still refuses to delete: the next version makes its own copy."""
    scene = two_patients
    (opt_out,) = add(scene.database, [BO], WITHDRAWN, "dora")
    with monkeypatch.context() as patch:
        patch.setattr(
            scene.bucket.client, "delete_objects", lambda **_: {"Errors": [{"Key": "x", "Code": "AccessDenied"}]}
        )
        assert carry_out(scene.database, lambda _: scene.bucket, "dora", keys=scene.keys).waiting
    withdraw(scene.database, opt_out, "a mistake", "dora")
    scene.release(scene.project(formats=("dicom", "png")))
    assert len(named(scene.bucket, 2)) == 4
    assert not carry_out(scene.database, lambda _: scene.bucket, "dora", keys=scene.keys).waiting
    nothing_named_is_gone(scene, 1, 2)
    assert len(named(scene.bucket, 2)) == 4


@pytest.mark.parametrize("first", ["opt-out", "merge"])
def test_an_opt_out_under_one_id_is_one_under_all_ids_of_the_person(two_patients: Scene, first: str) -> None:
    scene = two_patients
    steps = {
        "opt-out": lambda: add(scene.database, [BO], Terms("withdrawn", "a letter", ("radiographs",)), "dora"),
        "merge": lambda: merge(scene.database, [Merge(("PID-4711-77", ""), ("PID-88", ""))], "rita"),
    }
    steps.pop(first)()
    steps.popitem()[1]()
    done = carry_out(scene.database, lambda _: scene.bucket, "dora", keys=scene.keys)
    assert (done.gone, named(scene.bucket)) == (3, set())
    assert prepare(scene.database, scene.project(), DAY, keys=scene.keys).left_out == {"opted-out": 4}
    assert {row["projects"][0] for row in opt_outs(scene.database)} == {"radiographs"}
    for row in opt_outs(scene.database):
        if row["patient_id"] == "PID-88":
            withdraw(scene.database, row["opt_out_id"], "a mistake", "dora")
    assert opt_outs(scene.database) == []


def test_nobody_signs_with_another_key_because_a_worker_lacks_the_house_s(two_patients: Scene) -> None:
    scene = two_patients
    second = exported(scene)
    verify(scene.database, scene.bucket, second)
    pem = scene.keys / "release-signing.pem"
    kept = pem.rename(pem.with_name("elsewhere"))
    with pytest.raises(SigningKeyError, match=r"is not in .* Restore it"):
        publish(scene.database, scene.bucket, second, scene.keys)
    add(scene.database, [BO], WITHDRAWN, "dora")
    waiting = carry_out(scene.database, lambda _: scene.bucket, "dora", keys=scene.keys).waiting
    assert "Restore it" in waiting["radiographs/v1"]
    assert not pem.exists()
    kept.rename(pem)
    assert not carry_out(scene.database, lambda _: scene.bucket, "dora", keys=scene.keys).waiting
    assert len(named(scene.bucket, 1)) == 2

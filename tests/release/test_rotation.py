"""A key that changes in the middle of a release: the release goes on with its own, and no version mixes two."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pydicom
import pytest

from sluice.database import select
from sluice.deid.identities import Identities
from sluice.release.export import ReleaseError, export_batch, prepare, publish, verify
from sluice.release.formats.derive import derive
from sluice.release.linkage.keys import FolderKeys, ProjectKey
from sluice.release.linkage.registered import rotate
from sluice.release.publishing import republish
from sluice.release.recall.opt_outs import Target, Terms, add
from sluice.release.recall.recalls import carry_out
from sluice.release.signing import FILE_NAME, SigningKeyError, announce, signing_key
from tests.deid.planted import image
from tests.release.hospital_day import DAY, store_day
from tests.release.scene import Scene
from tests.release.test_versions import NEXT

FORMATS = ("dicom", "png", "tables", "labels")
PSEUDONYM = re.compile(r"RAD-[A-Z2-7]{10}")


@pytest.fixture
def day(scene: Scene) -> Scene:
    """Two patients today, one of them again on the next day."""
    store_day(scene.database, scene.archive, [image(1), image(2), image(1, "PID-88", "Larkspur^Bo", study=2)])
    store_day(scene.database, scene.archive, [image(3, study=3)], day=NEXT)
    return scene


def named_by(key: ProjectKey) -> set[str]:
    identities = Identities(key.secret, "RAD")
    return {identities.patient(one) for one in ("PID-4711-77", "PID-88")}


def said_in(scene: Scene, version: int) -> set[str]:
    """Pseudonyms in everything that a version's manifest names, and in the manifest; but for the paths of earlier
    versions' files of which readers have to delete their copies."""
    place = f"radiographs/v{version}/"
    said = json.loads(scene.bucket.get(place + "manifest.json"))
    said.pop("removed")
    sums = scene.bucket.get(place + said["sums"]["name"]).decode()
    found = set(PSEUDONYM.findall(json.dumps(said) + sums))
    for line in sums.splitlines():
        name = line.split("  ", 1)[1]
        body = scene.bucket.get(f"radiographs/{name}")
        found |= set(PSEUDONYM.findall(body.decode("latin-1")))
        if name.endswith(".dcm"):
            found.add(str(pydicom.dcmread(io.BytesIO(body)).PatientID))
    return found


@pytest.mark.parametrize("moment", ["prepared", "half exported", "exported", "verified"])
def test_a_release_goes_on_with_the_key_that_it_began_with(day: Scene, moment: str) -> None:
    project, source = day.project(formats=FORMATS), FolderKeys(day.keys)
    plan = prepare(day.database, project, DAY, part_size=2, keys=day.keys)
    first, second = plan.batches

    def export(part: object) -> None:
        export_batch(day.database, day.archive, day.bucket, project, plan.release_id, part, keys=day.keys)

    old = source.ring("radiographs").keys[0]
    for name, step in (("prepared", lambda: None), ("half exported", lambda: export(first)),
                       ("exported", lambda: export(second))):  # fmt: skip
        step()
        if name == moment:
            rotate(day.database, "radiographs", source)
    export(first)
    for part in plan.batches:
        derive(day.database, day.bucket, plan.release_id, part)
    verify(day.database, day.bucket, plan.release_id)
    if moment == "verified":
        rotate(day.database, "radiographs", source)
    publish(day.database, day.bucket, plan.release_id, day.keys)
    assert said_in(day, 1) == named_by(old)
    new = source.ring("radiographs").keys[1]
    assert day.release(project, NEXT).version == 2
    assert said_in(day, 2) == {Identities(new.secret, "RAD").patient("PID-4711-77")}
    assert day.release(project).version == 3  # the first day again, under the new key
    assert said_in(day, 3) == named_by(new)
    with day.database.transaction() as connection:
        rows = select(
            connection, "select distinct release_id, key_id from subject join release_subject using (subject_id)"
        )
    assert len(rows) == 3  # no release has subjects of two keys


def test_a_worker_that_lacks_the_releases_key_or_has_another_refuses(day: Scene, tmp_path: Path) -> None:
    project, source = day.project(), FolderKeys(day.keys)
    plan = prepare(day.database, project, DAY, keys=day.keys)
    rotate(day.database, "radiographs", source)
    (day.keys / "radiographs.key").rename(tmp_path / "away")
    other = FolderKeys(tmp_path / "other")
    other.make("radiographs", 1)
    for keys in (day.keys, other.folder):
        with pytest.raises(ReleaseError, match="cannot go on without the key it was prepared with"):
            export_batch(day.database, day.archive, day.bucket, project, plan.release_id, plan.batches[0], keys=keys)
    assert list(day.bucket.list()) == []


def test_a_recall_after_a_rotation_takes_out_what_either_key_named(day: Scene) -> None:
    project, source = day.project(formats=FORMATS), FolderKeys(day.keys)
    day.release(project)
    rotate(day.database, "radiographs", source)
    day.release(project)
    add(day.database, [Target("patient", patient_id="PID-88")], Terms("withdrawn", "a letter"), "dora")
    done = carry_out(day.database, lambda _: day.bucket, "dora", keys=day.keys)
    assert (done.releases, done.waiting) == (2, {})
    for version, key in enumerate(source.ring("radiographs").keys, start=1):
        assert said_in(day, version) == {Identities(key.secret, "RAD").patient("PID-4711-77")}


def test_another_signing_key_signs_nothing_until_a_person_says_so(day: Scene, tmp_path: Path) -> None:
    day.release(day.project())
    first = signing_key(day.keys)
    (day.keys / FILE_NAME).rename(tmp_path / FILE_NAME)
    release_id = day.exported_release(day.project(), NEXT)
    verify(day.database, day.bucket, release_id)
    with pytest.raises(SigningKeyError, match=rf"{first.key_id} that signs .* is not in"):
        publish(day.database, day.bucket, release_id, day.keys)
    assert not (day.keys / FILE_NAME).exists()
    second = signing_key(day.keys)  # as on a host that made its own
    for refused in (
        lambda: publish(day.database, day.bucket, release_id, day.keys),
        lambda: republish(day.database, day.bucket, 1, day.keys),
    ):
        with pytest.raises(SigningKeyError, match=rf"where {second.key_id} is"):
            refused()
    add(day.database, [Target("patient", patient_id="PID-88")], Terms("withdrawn", "a letter"), "dora")
    done = carry_out(day.database, lambda _: day.bucket, "dora", keys=day.keys)
    assert "release key --replace" in done.waiting["radiographs/v1"]
    assert {entry.key for entry in day.bucket.list("radiographs/keys/")} == {f"radiographs/keys/{first.key_id}.pem"}
    announce(day.database, day.keys, "the disk burnt, and so did its copy", "rita")
    assert not carry_out(day.database, lambda _: day.bucket, "dora", keys=day.keys).waiting
    assert publish(day.database, day.bucket, release_id, day.keys).version == 2
    for version in (1, 2):
        place = f"radiographs/v{version}/manifest.json"
        assert second.signed(day.bucket.get(place), day.bucket.get(place + ".sig"))
    with pytest.raises(SigningKeyError, match=second.key_id):  # nor does the one that was found after all
        publish(day.database, day.bucket, release_id, tmp_path)

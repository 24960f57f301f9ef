"""Recalls that are killed, refused, doubled or met by another step: no manifest lies, nothing recalled stays."""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import sluice.objects as objects
import sluice.release.formats.derive as derive_module
import sluice.release.publishing as manifest_module
from sluice.database import Database, select
from sluice.objects import connect
from sluice.release.export import export_batch, prepare, publish, verify
from sluice.release.formats.derive import derive
from sluice.release.recall.opt_outs import Target, Terms, add
from sluice.release.recall.recalls import RecallSummary, carry_out
from sluice.stack.s3 import EmbeddedS3
from tests.deid.planted import DX, image
from tests.release.flaky_s3 import Fault, Reader, proxy
from tests.release.hospital_day import DAY, store_day
from tests.release.scene import Scene
from tests.release.test_versions import NEXT

FORMATS = ["dicom", "png", "tables", "labels"]
BO = Target("patient", patient_id="PID-88")
KILLS = 8


@pytest.fixture
def day(scene: Scene) -> Scene:
    """Two patients with films; one of them again on the second day."""
    films = [image(n, sop_class=DX, modality="DX") for n in range(1, 4)]
    films += [image(n, "PID-88", "Larkspur^Bo", DX, study=2, modality="DX") for n in range(1, 5)]
    store_day(scene.database, scene.archive, films)
    store_day(scene.database, scene.archive, [image(1, "PID-88", "Larkspur^Bo", DX, 5, "DX")], day=NEXT)
    return scene


def two_versions(scene: Scene) -> set[str]:
    """v2 names what v1 holds; keys of all objects of the patient whose consent will end."""
    project = scene.project(formats=FORMATS)
    scene.release(project)
    scene.release(project, NEXT)
    return of_bo(scene)


def of_bo(scene: Scene) -> set[str]:
    with scene.database.transaction() as connection:
        rows = select(
            connection,
            "select object_key from released_object o left join instance i using (sop_instance_uid) "
            "where i.patient_id = 'PID-88' or o.sources && (select array_agg(sop_instance_uid) from instance "
            "where patient_id = 'PID-88')",
        )
    return {row["object_key"] for row in rows}


def back(scene: Scene, release_id: int | None = None) -> RecallSummary:
    return carry_out(scene.database, lambda _: scene.bucket, "dora", release_id, scene.keys)


def opt_out(scene: Scene) -> None:
    add(scene.database, [BO], Terms("withdrawn", "a letter"), "dora")


def left(scene: Scene, gone: set[str]) -> set[str]:
    return gone & {entry.key for entry in scene.bucket.list()}


def lies(scene: Scene) -> list[str]:
    """What manifests name that is not there as they name it."""
    reader = Reader(scene.bucket, "radiographs")
    reader.look()
    return reader.lies


def is_whole(scene: Scene, gone: set[str]) -> None:
    assert left(scene, gone) == set()
    assert lies(scene) == []
    with scene.database.transaction() as connection:
        states = select(connection, "select is_gone from recall_state")
    assert states
    assert all(row["is_gone"] for row in states)
    assert verify(scene.database, scene.bucket, 1).objects == 3


def _recall(url: str, access: tuple[str, str, str, str], keys: str) -> None:
    store = connect(*access)
    carry_out(Database(url), lambda _: store, "dora", keys=Path(keys))


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again(day: Scene, s3: EmbeddedS3, seed: int) -> None:
    gone = two_versions(day)
    assert len(gone) == 10  # five films, and a picture of each
    opt_out(day)
    access = (s3.endpoint_url, s3.access_key, s3.secret_key, day.bucket.bucket)
    chance, killed, context = random.Random(seed), 0, multiprocessing.get_context("fork")
    for attempt in range(KILLS + 1):
        worker = context.Process(target=_recall, args=(day.database.url, access, str(day.keys)))
        worker.start()
        if attempt < KILLS:
            worker.join(chance.uniform(0.02, 0.5))
            worker.kill()
        worker.join(60)
        killed += worker.exitcode == -9
        assert lies(day) == []
        if worker.exitcode == 0:
            break
    assert worker.exitcode == 0
    assert killed
    is_whole(day, gone)


@pytest.mark.parametrize(
    ("kind", "message", "writes"),
    [("away", "cannot be reached", 0), ("expired", "have expired", 4), ("full", "is full", 9)],
)
def test_storage_that_fails_in_the_middle(
    day: Scene, s3: EmbeddedS3, monkeypatch: pytest.MonkeyPatch, kind: str, message: str, writes: int
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    gone, fault = two_versions(day), Fault()
    opt_out(day)
    with proxy(s3, fault) as endpoint:
        direct, day.bucket = day.bucket, connect(endpoint, s3.access_key, s3.secret_key, day.bucket.bucket)
        fault.kind, fault.after = kind, writes
        done = back(day)
        assert done.waiting
        assert any(message in words for words in done.waiting.values())
        assert "PID-88" not in str(done.waiting)
        fault.kind, fault.after = "", 0
        assert lies(day) == []
        assert not back(day).waiting
    day.bucket = direct
    is_whole(day, gone)


def test_two_at_once_are_one(day: Scene) -> None:
    gone = two_versions(day)
    opt_out(day)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: back(day), range(3)))
    assert sorted(one.gone for one in done) == [0, 0, 10]
    is_whole(day, gone)


def test_a_recall_while_pictures_are_made(day: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes after their rows were written and before they are in the bucket."""
    project = day.project(formats=FORMATS)
    plan = prepare(day.database, project, DAY, keys=day.keys)
    export_batch(day.database, day.archive, day.bucket, project, plan.release_id, plan.batches[0], keys=day.keys)
    gone = of_bo(day)
    put, met = derive_module._Deriver._put, []

    def slowly(self: Any, file: Any) -> None:
        if not met:
            met.append(1)
            gone.update(of_bo(day))
            opt_out(day)
            back(day)
        put(self, file)

    with monkeypatch.context() as patch:
        patch.setattr(derive_module, "AT_ONCE", 1)
        patch.setattr(derive_module._Deriver, "_put", slowly)
        derive(day.database, day.bucket, plan.release_id, plan.batches[0])
    assert met
    assert left(day, gone) == set()
    assert verify(day.database, day.bucket, plan.release_id).objects == 3
    assert publish(day.database, day.bucket, plan.release_id, day.keys).objects == 3
    assert lies(day) == []


def test_a_recall_while_it_is_published(day: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when publish has looked for opt-outs and has not written the manifest: it waits, and comes after it."""
    project = day.project(formats=FORMATS)
    release_id = day.exported_release(project)
    verify(day.database, day.bucket, release_id)
    gone, write = of_bo(day), manifest_module._write
    with ThreadPoolExecutor(1) as pool:
        met: list[Any] = []

        def slowly(*given: Any) -> str:
            if not met:
                opt_out(day)
                met.append(pool.submit(back, day))
            return write(*given)

        monkeypatch.setattr(manifest_module, "_write", slowly)
        publish(day.database, day.bucket, release_id, day.keys)
        assert met[0].result(timeout=60).waiting == {}
    assert left(day, gone) == set()
    assert lies(day) == []


def test_what_is_kept_for_the_review_goes_too(day: Scene) -> None:
    """Pictures and strings of a release that nobody published, of a published one, and of what never left."""
    project = day.project()
    day.release(project)
    later = day.exported_release(day.project(name="second"))
    with day.database.transaction() as connection:
        (held,) = select(connection, "select min(sop_instance_uid) as uid from instance where patient_id = 'PID-88'")
    day.database.execute(
        "delete from released_object where release_id = %s and sop_instance_uid = %s", (later, held["uid"])
    )
    opt_out(day)
    back(day)
    for table in ("release_thumbnail", "released_strings"):
        with day.database.transaction() as connection:
            rows = select(
                connection,
                f"select release_id, patient_id from {table} join instance using (sop_instance_uid) order by 1, 2",
            )
        assert {row["release_id"] for row in rows} == {1, later}
        assert {row["patient_id"] for row in rows} == {"PID-4711-77"}

"""Whatever dies, no reader ever sees a manifest that lies, and running again ends with the whole release."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import sluice.objects as objects
import sluice.release.formats.derive as deriving
import sluice.release.sending as sending
from sluice.database import Database
from sluice.objects import ObjectStoreError, connect
from sluice.release.index import TableWriter
from sluice.release.projects import Project
from sluice.release.verify import verify
from sluice.stack.s3 import EmbeddedS3
from tests.deid.planted import DX, image
from tests.release.flaky_s3 import Fault, Reader, proxy
from tests.release.hospital_day import store_day
from tests.release.scene import Scene
from tests.release.test_formats import slices
from tests.release.test_versions import NEXT

FORMATS = ["dicom", "png", "nifti", "tables", "labels"]
KILLS = 8


@pytest.fixture
def day(scene: Scene) -> Scene:
    """A day with films and a volume, and a second one with a film."""
    films = [image(n, sop_class=DX, study=1, modality="DX") for n in range(1, 13)]
    store_day(scene.database, scene.archive, [*films, *slices(6, 2)])
    store_day(scene.database, scene.archive, [image(1, "PID-99", sop_class=DX, study=5, modality="DX")], day=NEXT)
    return scene


def _release(url: str, s3: tuple[str, str, str, str], archive: str, keys: str, project: str, ready: Any) -> None:
    """Both days, in a process of its own."""
    import sluice.release.export as export
    import sluice.release.formats.derive as derive

    export.CHUNK_BYTES, derive.CHUNK = 2048, 2  # so that the kill meets every step
    scene = Scene(Database(url), Path(archive), connect(*s3), Path(keys), [], [])
    ready.set()
    for window in ("2026-10-26", NEXT):
        scene.release(Project.model_validate_json(project), window)


@pytest.mark.slow
def test_killed_again_and_again(day: Scene, s3: EmbeddedS3) -> None:
    project = day.project(formats=FORMATS)
    access = (s3.endpoint_url, s3.access_key, s3.secret_key, day.bucket.bucket)
    context = multiprocessing.get_context("spawn")
    chance, killed = random.Random(5), 0
    with Reader(day.bucket, "radiographs") as reader:
        for attempt in range(KILLS + 2):
            ready = context.Event()
            given = (day.database.url, access, str(day.archive), str(day.keys), project.model_dump_json(), ready)
            worker = context.Process(target=_release, args=given)
            worker.start()
            assert ready.wait(120)
            if attempt < KILLS:
                worker.join(chance.uniform(0.02, 0.9))
                worker.kill()
            worker.join(120)
            killed += worker.exitcode == -9
            if worker.exitcode == 0:
                break
    assert worker.exitcode == 0
    assert killed >= 2
    reader.look()
    assert reader.lies == []
    assert set(reader.seen) == {"radiographs/v1/manifest.json", "radiographs/v2/manifest.json"}


@pytest.mark.parametrize(
    ("kind", "message"), [("away", "cannot be reached"), ("expired", "have expired"), ("full", "is full")]
)
def test_storage_that_fails_in_the_middle_is_gone_on_with(
    day: Scene, s3: EmbeddedS3, monkeypatch: pytest.MonkeyPatch, kind: str, message: str
) -> None:
    monkeypatch.setattr(objects, "ATTEMPTS", 1)
    project, fault = day.project(formats=FORMATS), Fault()
    with proxy(s3, fault) as endpoint, Reader(day.bucket, "radiographs") as reader:
        day.bucket = connect(endpoint, s3.access_key, s3.secret_key, day.bucket.bucket)
        for writes in (3, 20, 12, 6):  # in the export, the derivation, and twice in the publication or near it
            fault.kind, fault.after = kind, writes
            with pytest.raises(ObjectStoreError, match=message):
                day.release(project)
            fault.kind, fault.after = "", 0
            if writes == 3:
                assert not reader.seen
        assert day.release(project).objects == 18
        reader.look()
    assert reader.lies == []
    assert list(reader.seen) == ["radiographs/v1/manifest.json"]


def test_two_at_once_are_one_release(day: Scene) -> None:
    project = day.project(formats=FORMATS)
    twin = Scene(day.database, day.archive, day.bucket, day.keys, [], [])
    with Reader(day.bucket, "radiographs") as reader, ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda scene: scene.release(project), (day, twin))
        reader.look()
    assert first == second
    assert reader.lies == []


@pytest.mark.parametrize(
    ("where", "step"), [(sending.Sender, "send"), (deriving._Deriver, "_keep")], ids=["export", "derive"]
)
def test_the_later_of_two_takes_nothing_back(
    day: Scene, monkeypatch: pytest.MonkeyPatch, where: type, step: str
) -> None:
    """It has read what is to be done, the first does all of it, and then it writes the same down again."""
    project, written, put = day.project(formats=FORMATS), getattr(where, step), objects.ObjectStore.put
    waits, first_is_done, verified = threading.Event(), threading.Event(), threading.Event()

    later = Scene(Database(day.database.url), day.archive, day.bucket, day.keys, [], [])

    def writes(self: Any, *args: Any) -> Any:
        if self.database is later.database:
            waits.set()
            assert first_is_done.wait(60)
        return written(self, *args)

    def sends(*args: Any) -> Any:
        if first_is_done.is_set():
            is_sending.set()
            assert verified.wait(60)
        return put(*args)

    is_sending = threading.Event()
    monkeypatch.setattr(where, step, writes)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(later.release, project)
        assert waits.wait(60)
        release_id = day.exported_release(project)
        monkeypatch.setattr(objects.ObjectStore, "put", sends)
        first_is_done.set()
        assert is_sending.wait(60)
        try:
            assert verify(day.database, day.bucket, release_id).objects == 18
        finally:
            verified.set()
        assert second.result(60).objects == 18


def test_a_full_disk_here_stops_before_the_manifest(day: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    project = day.project(formats=FORMATS)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(TableWriter, "_flush", full)
        with pytest.raises(OSError, match="No space left"):
            day.release(project)
    assert not [entry for entry in day.bucket.list() if entry.key.endswith("manifest.json")]
    assert day.release(project).objects == 18


def test_a_full_disk_where_it_is_pulled_to(day: Scene, s3: EmbeddedS3, tmp_path: Path) -> None:
    day.release(day.project())
    command = [
        sys.executable,
        "-m",
        "sluice",
        "pull",
        f"s3://{day.bucket.bucket}/radiographs/v1/",
        str(tmp_path / "copy"),
    ]
    keys = {
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_ENDPOINT_URL": s3.endpoint_url,
    }

    def small() -> None:
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (900, 900)
        )  # of each file, bytes: an image has more, the key has less

    environment = os.environ | keys
    stopped = subprocess.run(command, env=environment, preexec_fn=small, capture_output=True, text=True, check=False)
    assert (stopped.returncode, "is full" in stopped.stderr) == (1, True), stopped.stderr
    assert not (tmp_path / "copy" / "v1" / "manifest.json").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_large_object_goes_in_parts(day: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LARGE_BYTES", 6 << 20)
    monkeypatch.setattr(objects, "PART_BYTES", 5 << 20)
    large = tmp_path / "large"
    large.write_bytes(random.Random(1).randbytes(12 << 20))
    asked: list[str] = []
    day.bucket.client.meta.events.register("before-call.s3.*", lambda model, **_: asked.append(model.name))
    digest = day.bucket.put_file("large", large)
    assert asked.count("UploadPart") == 3
    assert day.bucket.digest("large") == digest
    assert day.bucket.put("again", large.read_bytes()) == digest == day.bucket.digest("again")
    day.bucket.client.create_multipart_upload(Bucket=day.bucket.bucket, Key="radiographs/left")
    assert day.bucket.abandon_uploads("radiographs/") == 1

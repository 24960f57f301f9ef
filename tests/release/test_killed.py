"""SIGKILL in the middle of an export, in a process of its own: the second run finishes what the first began."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

from sluice.database import Database, select
from sluice.objects import connect
from sluice.release.export import export_batch, prepare, publish, verify
from sluice.release.projects import Project
from sluice.stack.s3 import EmbeddedS3
from tests.deid.planted import image
from tests.release.hospital_day import DAY, store_day

IMAGES = 120


def _export(url: str, s3: tuple[str, str, str, str], archive: str, keys: str, project: str) -> None:
    import sluice.release.export as export

    export.CHUNK_BYTES = 4096  # record and upload a few at a time, so that the kill meets every step
    database, store, chosen = Database(url), connect(*s3), Project.model_validate_json(project)
    plan = prepare(database, chosen, DAY, keys=Path(keys))
    export_batch(database, Path(archive), store, chosen, plan.release_id, plan.batches[0], keys=Path(keys))


def test_a_killed_export_is_finished_by_the_next(database: Database, s3: EmbeddedS3, tmp_path: Path) -> None:
    archive, keys = tmp_path / "archive", tmp_path / "keys"
    store_day(database, archive, [image(number) for number in range(1, IMAGES + 1)])
    bucket = s3.bucket(f"killed-{os.getpid()}")
    project = Project(
        name="killed",
        title="Test",
        profile="basic",
        selection={"modality": "CT"},
        bucket=bucket.bucket,
        pseudonym_prefix="KIL",
        approval="none",
    )
    access = (s3.endpoint_url, s3.access_key, s3.secret_key, bucket.bucket)
    worker = multiprocessing.get_context("spawn").Process(
        target=_export, args=(database.url, access, str(archive), str(keys), project.model_dump_json())
    )
    worker.start()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and worker.is_alive():
        if sum(1 for _ in bucket.list()) >= 5:
            os.kill(worker.pid or 0, signal.SIGKILL)
            break
        time.sleep(0.02)
    worker.join(30)
    assert worker.exitcode == -signal.SIGKILL
    assert not [entry for entry in bucket.list() if not entry.key.endswith(".dcm")]  # no manifest, no table
    plan = prepare(database, project, DAY, keys=keys)
    assert (plan.version, plan.members) == (1, IMAGES)
    export_batch(database, archive, bucket, project, plan.release_id, plan.batches[0], keys=keys)
    assert verify(database, bucket, plan.release_id).objects == IMAGES
    assert publish(database, bucket, plan.release_id, keys).objects == IMAGES
    with database.transaction() as connection:
        assert select(connection, "select count(*) as n from open_gap where step = 'released'")[0]["n"] == 0

"""The client: what it fetches is what the hospital signed, whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import sluice.pull as client
from sluice.database import select
from sluice.pull import PullError, pull
from sluice.release.publishing import republish
from sluice.release.recall.opt_outs import Target, Terms, add
from sluice.release.recall.recalls import carry_out
from sluice.release.signing import signing_key
from sluice.stack.s3 import EmbeddedS3
from tests.deid.planted import image
from tests.release.hospital_day import store_day
from tests.release.scene import Scene
from tests.release.test_versions import NEXT, two_days


@pytest.fixture
def released(scene: Scene, s3: EmbeddedS3, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Two versions of a project, and the environment of somebody who may read them."""
    two_days(scene)
    scene.release(scene.project())
    scene.release(scene.project(), NEXT)
    for name, value in {
        "AWS_ENDPOINT_URL": s3.endpoint_url,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(client, "ATTEMPTS", 2)
    return scene


def address(scene: Scene, version: int) -> str:
    return f"s3://{scene.bucket.bucket}/radiographs/v{version}/"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm")}


def test_all_of_a_version_comes_and_again_nothing(released: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    first = pull(address(released, 2), folder)
    assert (first.fetched, first.present, first.failed) == (8, 0, {})  # seven images and manifest.parquet
    listed = subprocess.run(
        ["sha256sum", "-c", "v2/SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert listed.stdout.count(": OK") == 8
    again = pull(address(released, 2), folder)
    assert (again.fetched, again.present) == (0, 8)
    whole = files(folder)
    pull(address(released, 1), folder)
    assert files(folder) == whole  # v1 is a part of v2, and lies where it lay


def test_by_hand_with_openssl(released: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    pull(address(released, 1), folder, only=["manifest.parquet"])
    key = tmp_path / "key.pem"
    key.write_bytes(signing_key(released.keys).public_pem)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(key), "-rawin"]
    command += ["-in", str(folder / "v1/manifest.json"), "-sigfile", str(folder / "v1/manifest.json.sig")]
    assert b"Verified Successfully" in subprocess.run(command, capture_output=True, check=True).stdout


def test_since_and_only_leave_out_the_rest(released: Scene, tmp_path: Path) -> None:
    assert pull(address(released, 2), tmp_path / "delta", since=1, only=["dicom"]).fetched == 3
    with pytest.raises(PullError, match=r"v2 has no nifti. It has: dicom, manifest.parquet"):
        pull(address(released, 2), tmp_path / "delta", only=["nifti"])


def test_what_was_cut_goes_on_and_what_is_damaged_comes_anew(released: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    pull(address(released, 1), folder)
    cut, damaged, lost, *_ = sorted(folder.rglob("*.dcm"))
    body = cut.read_bytes()
    cut.rename(cut.with_name(f".{cut.name}.part"))
    with cut.with_name(f".{cut.name}.part").open("r+b") as file:
        file.truncate(100)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    lost.unlink()
    stale = lost.with_name(f".{lost.name}.part")
    stale.write_bytes(b"of another file")
    done = pull(address(released, 1), folder)
    assert (done.fetched, done.failed) == (3, {})
    assert cut.read_bytes() == body
    assert not list(folder.rglob("*.part"))


def test_a_changed_bucket_is_noticed(released: Scene, tmp_path: Path) -> None:
    bucket, folder = released.bucket, tmp_path / "copy"
    key = next(entry.key for entry in bucket.list("radiographs/v1/dicom/"))
    body = bucket.get(key)
    bucket.put(key, body[:-1] + b"?")
    done = pull(address(released, 1), folder)
    assert done.failed == {key.removeprefix("radiographs/"): "its bytes are not what the hospital signed"}
    assert not (folder / key.removeprefix("radiographs/")).exists()
    bucket.client.delete_object(Bucket=bucket.bucket, Key=key)
    assert list(pull(address(released, 1), folder).failed.values()) == ["it is not in the bucket any more"]
    said = json.loads(bucket.get("radiographs/v1/manifest.json"))
    bucket.put("radiographs/v1/manifest.json", json.dumps(said | {"added": 5}).encode())
    with pytest.raises(PullError, match="not what the hospital signed"):
        pull(address(released, 1), folder)
    bucket.put("radiographs/v2/SHA256SUMS", b"")
    with pytest.raises(PullError, match="SHA256SUMS is missing or not what the manifest says"):
        pull(address(released, 2), folder)


def test_another_key_and_another_project_are_refused(released: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(signing_key(tmp_path / "elsewhere").public_pem)
    with pytest.raises(PullError, match="is signed by the key"):
        pull(address(released, 1), folder, key=stranger)
    assert not folder.exists()
    pull(address(released, 1), folder)
    shutil.copy(stranger, folder / ".sluice-pull" / "key.pem")
    with pytest.raises(PullError, match="trusted at the first use"):
        pull(address(released, 1), folder)
    released.release(released.project(name="other"))
    with pytest.raises(PullError, match="holds the project radiographs"):
        pull(f"s3://{released.bucket.bucket}/other/v1/", folder)
    with pytest.raises(PullError, match="not published yet"):
        pull(address(released, 7), folder)
    with pytest.raises(PullError, match="names no release"):
        pull("s3://bucket/radiographs/", folder)


def test_what_was_withdrawn_is_deleted_here(released: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    pull(address(released, 2), folder)
    said: list[str] = []
    victim = sorted(path for path in files(folder) if path.startswith("v1/"))[0]
    # as a recall does it, whose tables `objects_of_release` asks
    released.database.execute(
        "update released_object set uploaded_at = null where object_key = %s", (f"radiographs/{victim}",)
    )
    with released.database.transaction() as connection:
        (first,) = select(connection, "select release_id from release where version = 1")
    republish(released.database, released.bucket, first["release_id"], released.keys)
    released.bucket.delete([f"radiographs/{victim}"])
    done = pull(address(released, 2), folder, say=said.append)  # v2 only contains what v1 has
    assert (done.withdrawn, done.failed) == ([victim], {})
    assert not (folder / victim).exists()
    assert any("withdrew 1 files" in line for line in said)
    assert len(files(folder)) == 6
    assert pull(address(released, 2), tmp_path / "other").failed == {}


def test_a_later_version_says_what_is_gone(released: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    pull(address(released, 1), folder)
    released.database.execute(
        "insert into quality_finding (window_key, rule, severity, level, sop_instance_uid) "
        "select window_key, 'test', 'stop', 'instance', min(sop_instance_uid) from window_instance "
        "where window_key = '2026-10-26' group by 1"
    )
    released.release(released.project())
    store_day(released.database, released.archive, [image(1, "PID-99", study=7)], day=NEXT)
    assert released.release(released.project(), NEXT).version == 4
    done = pull(address(released, 4), folder)
    assert (len(done.withdrawn), done.fetched) == (1, 5)
    assert len(files(folder)) == 3 + 4


@pytest.fixture
def web(s3: EmbeddedS3) -> Iterator[str]:
    """The buckets as a web server gives them, without ranges, as plain ones do."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(s3.folder / "buckets"))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_from_a_public_bucket_and_alone(released: Scene, web: str, tmp_path: Path) -> None:
    alone = tmp_path / "pull.py"
    shutil.copy(client.__file__, alone)
    key = tmp_path / "key.pem"
    key.write_bytes(signing_key(released.keys).public_pem)
    command = [
        sys.executable,
        "-I",
        str(alone),
        f"{web}/{released.bucket.bucket}/radiographs/v2/",
        str(tmp_path / "copy"),
    ]
    done = subprocess.run([*command, "--key", str(key)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "8 files fetched" in done.stdout
    part = next((tmp_path / "copy").rglob("*.dcm"))
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    part.rename(part.with_name(f".{part.name}.part"))  # all of it is there, but it has no name yet
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert hashlib.sha256(part.read_bytes()).hexdigest() == digest


def test_an_older_manifest_than_the_one_here_is_refused(released: Scene, tmp_path: Path) -> None:
    """A bucket that serves what stood there before a recall brings nothing back."""
    folder, bucket = tmp_path / "copy", released.bucket
    pull(address(released, 1), folder)
    older = {entry.key: bucket.get(entry.key) for entry in bucket.list("radiographs/v1/")}
    add(released.database, [Target("patient", patient_id="PID-4711-77")], Terms("withdrawn", "a letter"), "dora")
    carry_out(released.database, lambda _: bucket, "dora", keys=released.keys)
    assert len(pull(address(released, 1), folder).withdrawn) == 4
    for key, body in older.items():
        bucket.put(key, body)
    with pytest.raises(PullError, match=r"older manifest of v1 \(revision 1\) than this folder \(2\)"):
        pull(address(released, 1), folder)
    assert not files(folder)


def test_one_pull_at_a_time_into_a_folder(released: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, refused = tmp_path / "copy", list[str]()
    everything = client._Release._all

    def slowly(*given: Any) -> None:
        if not refused:
            refused.append("")
            with pytest.raises(PullError, match="Another pull into") as error:
                pull(address(released, 1), folder)
            refused[0] = str(error.value)
        everything(*given)

    monkeypatch.setattr(client._Release, "_all", slowly)
    assert pull(address(released, 1), folder).failed == {}
    assert refused[0]
    assert pull(address(released, 1), folder).present == 5


def test_a_manifest_that_never_ends_does_not_fill_the_memory(
    released: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SMALL_BYTES", 1 << 20)
    released.bucket.put("radiographs/v1/manifest.json", bytes(3 << 20))
    with pytest.raises(PullError, match="more than 1 MB"):
        pull(address(released, 1), tmp_path / "copy")

"""After a recall the manifest is written anew without what was taken back, and no reader in between finds it wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sluice.database import select
from sluice.release.publishing import republish
from sluice.release.signing import SigningKeyError, signing_key
from tests.release.flaky_s3 import Reader
from tests.release.scene import Scene
from tests.release.test_versions import NEXT, keys, two_days


def test_versions_that_contain_it_are_written_anew_too(scene: Scene) -> None:
    two_days(scene)
    project = scene.project(formats=["dicom", "tables"])
    first = scene.release(project)
    scene.release(project, NEXT)
    victim = sorted(keys(scene, 1))[0]
    before = {entry.key for entry in scene.bucket.list("radiographs/v1/")}
    # as a recall does it, whose tables the function asks
    scene.database.execute("update released_object set uploaded_at = null where object_key = %s", (victim,))
    reader = Reader(scene.bucket, "radiographs")
    digest = republish(scene.database, scene.bucket, first.release_id, scene.keys)
    reader.look()
    assert reader.lies == []
    for version, left in ((1, 3), (2, 6)):
        said = json.loads(scene.bucket.get(f"radiographs/v{version}/manifest.json"))
        assert (said["revision"], said["objects"]["dicom"]["objects"]) == (2, left)
        assert said["removed"] == [victim.removeprefix("radiographs/")]
    after = {entry.key for entry in scene.bucket.list("radiographs/v1/")}
    assert {key for key in before - after if "/tables/" in key or key.endswith(("SUMS", ".parquet"))} == before - after
    assert not [key for key in after if key.startswith("radiographs/v1/tables/")]  # they had rows about the person
    assert republish(scene.database, scene.bucket, first.release_id, scene.keys) == digest
    with scene.database.transaction() as connection:
        rows = select(connection, "select manifest_sha256 from release order by version")
    assert rows[0]["manifest_sha256"] == digest


def test_a_signing_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = signing_key(tmp_path)
    assert signing_key(tmp_path).key_id == key.key_id
    (tmp_path / "release-signing.pem").chmod(0o644)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        signing_key(tmp_path)
    (tmp_path / "release-signing.pem").chmod(0o600)
    (tmp_path / "release-signing.pem").write_bytes(b"no key")
    with pytest.raises(SigningKeyError, match="Restore it from its backup"):
        signing_key(tmp_path)

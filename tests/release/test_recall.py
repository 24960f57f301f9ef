"""Opt-outs and recalls against real Postgres and real S3: nothing of whom they name stays, however interrupted."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sluice.release.recall.recalls as recalls
import sluice.release.sending as sending
from sluice.database import Database, select
from sluice.objects import ObjectStore, ObjectStoreError, connect
from sluice.release.export import ReleaseError, export_batch, prepare, publish, verify
from sluice.release.projects import Project
from sluice.release.recall.opt_outs import OptOutError, Target, Terms, add, opt_outs, read_targets, withdraw
from sluice.release.recall.recalls import RecallSummary, carry_out, check_again
from sluice.release.signing import signing_key
from sluice.stack.s3 import EmbeddedS3
from tests.deid.planted import DX, image
from tests.release.hospital_day import DAY, store_day
from tests.release.scene import Scene
from tests.release.test_export import project, reasons, run

WITHDRAWN = Terms("withdrawn", "objection by letter")
KEYS: dict[str, Path] = {}  # the folder of this test
BO = Target("patient", patient_id="PID-88")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    KEYS["folder"] = tmp_path / "keys"
    return KEYS["folder"]


@pytest.fixture
def day(database: Database, archive: Path) -> list[str]:
    """Four CT of one patient, then two DX of another."""
    return store_day(
        database,
        archive,
        [
            *(image(number) for number in range(1, 5)),
            *(image(n, "PID-88", "Larkspur^Bo", DX, study=2, modality="DX") for n in (1, 2)),
        ],
    )


@pytest.fixture
def chosen(bucket: ObjectStore) -> Project:
    return project(bucket)


def back(database: Database, bucket: ObjectStore, release_id: int | None = None) -> RecallSummary:
    return carry_out(database, lambda _: bucket, "dora", release_id, KEYS["folder"])


def manifest(bucket: ObjectStore, version: int = 1) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(bucket.get(f"radiographs/v{version}/manifest.json"))
    return said


def named(bucket: ObjectStore, version: int = 1) -> set[str]:
    """DICOM files that a version's list names, which its signed manifest names the digest of."""
    said, prefix = manifest(bucket, version), f"radiographs/v{version}/"
    key = signing_key(KEYS["folder"])
    assert key.signed(bucket.get(prefix + "manifest.json"), bucket.get(prefix + "manifest.json.sig"))
    sums = bucket.get(prefix + said["sums"]["name"])
    assert hashlib.sha256(sums).hexdigest() == said["sums"]["sha256"]
    names = {f"radiographs/{line.split('  ', 1)[1]}" for line in sums.decode().splitlines()}
    return {name for name in names if name.endswith(".dcm")}


def dicom(bucket: ObjectStore, version: int = 1) -> set[str]:
    """DICOM files in a version's folder."""
    return {entry.key for entry in bucket.list(f"radiographs/v{version}/") if entry.key.endswith(".dcm")}


def holds_together(bucket: ObjectStore, version: int = 1) -> None:
    """The manifest names just what is there."""
    there = {entry.key for entry in bucket.list("radiographs/")}
    assert named(bucket, version) <= there
    assert dicom(bucket, version) <= named(bucket, version)


def test_whom_an_opt_out_names_leaves_every_release_and_is_in_no_new_one(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str], chosen: Project
) -> None:
    run(database, archive, bucket, keys, chosen)
    before = named(bucket)
    (opt_out,) = add(database, [BO], WITHDRAWN, "dora")
    done = back(database, bucket)
    assert (done.releases, done.objects, done.gone, done.waiting) == (1, 2, 2, {})
    assert len(dicom(bucket)) == 4
    holds_together(bucket)
    said = manifest(bucket)
    assert said["revision"] == 2
    assert {f"radiographs/{name}" for name in said["removed"]} == before - dicom(bucket)
    assert (said["counts"]["released"], said["counts"]["recalled"]) == (4, 2)
    stones = json.loads(bucket.get("radiographs/v1/recalled.json"))
    assert {one["key"] for one in stones["objects"]} == before - dicom(bucket)
    everything = b"".join(bucket.get(entry.key) for entry in bucket.list())
    assert b"PID-88" not in everything
    assert b"objection" not in everything
    assert reasons(database) == dict.fromkeys(day[4:], "opted-out")

    second = run(database, archive, bucket, keys, chosen)
    assert (second.version, second.objects, second.counts["left_out"]) == (2, 4, {"opted-out": 2})
    assert back(database, bucket).releases == 0
    withdraw(database, opt_out, "was a mistake", "dora")
    third = run(database, archive, bucket, keys, chosen)
    assert (third.version, third.objects) == (3, 6)
    holds_together(bucket)
    assert opt_outs(database) == []
    assert len(opt_outs(database, all_of_them=True)) == 1


def test_a_recalled_release_never_comes_back_as_itself(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str], chosen: Project
) -> None:
    run(database, archive, bucket, keys, chosen)
    release = Target("release", project="radiographs", version=1)
    (opt_out,) = add(database, [release], Terms("error", "a name in the pixels"), "dora")
    assert back(database, bucket).gone == 6
    assert dicom(bucket) == set()
    assert named(bucket) == set()
    assert prepare(database, chosen, DAY, keys=keys).members == 0
    withdraw(database, opt_out, "cleaned", "dora")
    plan = prepare(database, chosen, DAY, keys=keys)
    assert (plan.version, plan.members, plan.published) == (3, 6, False)
    (listed,) = database.rows("recalls", {"recall_id": None, "overdue": False})
    assert (listed["reason"], listed["is_gone"], listed["objects"]) == ("error", True, 6)


def test_for_one_project_for_another_day_and_of_another_issuer(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str], chosen: Project
) -> None:
    other = project(bucket, "other")
    run(database, archive, bucket, keys, chosen)
    run(database, archive, bucket, keys, other)
    tomorrow = date.today() + timedelta(days=1)
    add(database, [BO], Terms("withdrawn", "from tomorrow", starts_on=tomorrow), "dora")
    assert back(database, bucket).releases == 0
    database.execute("update study set patient_id_issuer = 'HERE'")
    add(database, [Target("patient", "PID-88", "ELSEWHERE")], WITHDRAWN, "dora")
    assert back(database, bucket).releases == 0
    add(database, [Target("study", study_instance_uid="1.2.3.4")], WITHDRAWN, "dora")
    add(database, [BO], Terms("withdrawn", "only there", projects=("other",)), "dora")
    assert back(database, bucket).releases == 1
    assert len(dicom(bucket)) == 6
    add(database, [Target("instance", sop_instance_uid=day[0])], WITHDRAWN, "dora")
    assert back(database, bucket).gone == 2
    assert len(dicom(bucket)) == 5


@pytest.mark.parametrize("step", ["write_tombstones", "republish", "_note"])
def test_killed_after_any_step_it_goes_on(
    database: Database,
    archive: Path,
    bucket: ObjectStore,
    keys: Path,
    day: list[str],
    chosen: Project,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    run(database, archive, bucket, keys, chosen)
    add(database, [BO], WITHDRAWN, "dora")
    real = getattr(recalls, step)

    def killed(*given: Any, **more: Any) -> None:
        real(*given, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recalls, step, killed)
        with pytest.raises(KeyboardInterrupt):
            back(database, bucket)
    assert named(bucket) <= dicom(bucket)  # no reader ever sees a manifest that lies
    assert back(database, bucket).gone == 2
    holds_together(bucket)
    with database.transaction() as connection:
        assert select(connection, "select count(*) as n from recall")[0]["n"] == 1


def test_a_bucket_that_is_away_or_refuses_is_said_and_tried_again(
    database: Database, archive: Path, keys: Path, day: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedS3(tmp_path / "s3") as server:
        bucket = server.bucket("releases")
        run(database, archive, bucket, keys, project(bucket))
        add(database, [BO], WITHDRAWN, "dora")
        server.stop()
        impatient = connect(server.endpoint_url, server.access_key, server.secret_key, "releases")
        done = back(database, impatient)
        assert "cannot be reached" in done.waiting["radiographs/v1"]
        server.start()
        locked = {"Errors": [{"Key": "x", "Code": "AccessDenied"}]}
        with monkeypatch.context() as patch:
            patch.setattr(bucket.client, "delete_objects", lambda **_: locked)
            done = back(database, bucket)
        assert "object lock or legal hold" in done.waiting["radiographs/v1"]
        (state,) = database.rows("recalls", {"recall_id": None, "overdue": False})
        assert (state["event"], state["is_gone"]) == ("refused", False)
        assert back(database, bucket).gone == 2
        holds_together(bucket)


def test_what_is_exported_while_it_is_recalled_does_not_stay(
    database: Database,
    archive: Path,
    bucket: ObjectStore,
    keys: Path,
    day: list[str],
    chosen: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = prepare(database, chosen, DAY, keys=keys)
    put = sending.Sender._put

    def slowly(self: Any, produced: Any) -> None:
        """The opt-out comes, and is carried out, after the row was written and before the object is in the bucket."""
        if produced.sop_instance_uid == day[4] and not opt_outs(database):
            add(database, [BO], WITHDRAWN, "dora")
            back(database, bucket)
        put(self, produced)

    with monkeypatch.context() as patch:
        patch.setattr(sending.Sender, "_put", slowly)
        export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=keys)
    assert len(dicom(bucket)) == 4
    assert verify(database, bucket, plan.release_id).objects == 4
    assert publish(database, bucket, plan.release_id, keys).objects == 4
    holds_together(bucket)
    again = export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=keys)
    assert again.held == {"opted-out": 2}
    assert reasons(database) == dict.fromkeys(day[4:], "opted-out")


def test_an_opt_out_between_verify_and_publish_stops_the_manifest(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str], chosen: Project
) -> None:
    plan = prepare(database, chosen, DAY, keys=keys)
    export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=keys)
    verify(database, bucket, plan.release_id)
    add(database, [BO], WITHDRAWN, "dora")
    with pytest.raises(ReleaseError, match="2 objects of the release were opted out"):
        publish(database, bucket, plan.release_id, keys)
    assert back(database, bucket, plan.release_id).gone == 2
    assert "radiographs/v1/recalled.json" not in {entry.key for entry in bucket.list()}  # nobody ever saw it
    verify(database, bucket, plan.release_id)
    assert publish(database, bucket, plan.release_id, keys).objects == 4
    with database.transaction() as connection:
        assert select(connection, "select from recall_recipient") == []


def test_what_comes_back_is_found_and_taken_out(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str], chosen: Project
) -> None:
    run(database, archive, bucket, keys, chosen)
    add(database, [BO], WITHDRAWN, "dora")
    before = {key: bucket.get(key) for key in dicom(bucket)}
    back(database, bucket)
    assert check_again(database, lambda _: bucket, KEYS["folder"]).releases == 0
    gone = sorted(set(before) - dicom(bucket))
    bucket.put(gone[0], before[gone[0]])
    assert check_again(database, lambda _: bucket, KEYS["folder"]).releases == 1
    assert gone[0] not in dicom(bucket)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour\nred\n", "names no column"),
        ("patient_id\n", "no row"),
        ("patient_id,study_instance_uid\nP1,1.2\n", "Line 2 names more than one thing"),
        ("study_instance_uid\nMeier\n", "Line 2: a study_instance_uid is digits"),
        ("release\nradiographs/3\n", "written like"),
        ("patient_id\n" + "x" * 65, "at most 64"),
    ],
)
def test_a_list_that_cannot_be_read_says_where_without_saying_whom(text: str, message: str) -> None:
    with pytest.raises(OptOutError, match=message) as error:
        list(read_targets(io.StringIO(text)))
    assert "Meier" not in str(error.value)
    assert "P1" not in str(error.value)


@given(st.text(alphabet=st.sampled_from('P1.2/v,;\t"\n\r\x00ä'), max_size=60), st.sampled_from(list("pcdr")))
def test_any_text_is_read_or_refused_in_words(text: str, kind: str) -> None:
    heading = {"p": "patient_id;issuer", "c": "study_instance_uid", "d": "sop_instance_uid", "r": "release"}[kind]
    read, refused = list[Target](), ""
    try:
        read = list(read_targets(io.StringIO(f"{heading}\n{text}")))
    except OptOutError as error:
        refused = str(error)
    assert read or refused.endswith(".")
    assert all(one.patient_id or one.study_instance_uid or one.sop_instance_uid or one.project for one in read)


def test_the_registry_keeps_each_once_and_all_or_none(database: Database) -> None:
    read = list(read_targets(io.StringIO("\ufeffPatient_ID;Issuer\nP1;HERE\n\nP2;\n")))
    assert read == [Target("patient", "P1", "HERE"), Target("patient", "P2")]
    first = add(database, read, WITHDRAWN, "dora")
    assert add(database, read, Terms("withdrawn", "said again"), "dora") == first
    with pytest.raises(OptOutError, match="Nothing was ever released as nowhere/v1"):
        add(database, [Target("patient", "P3"), Target("release", project="nowhere", version=1)], WITHDRAWN, "dora")
    assert len(opt_outs(database)) == 2
    withdraw(database, first[0], "mistake", "dora")
    with pytest.raises(OptOutError, match="withdrawn before"):
        withdraw(database, first[0], "mistake", "dora")
    assert add(database, read[:1], WITHDRAWN, "dora") != first[:1]
    for wrong in (Terms("withdrawn", " "), Terms("error", "x", ends_on=date(2000, 1, 1))):
        with pytest.raises(OptOutError):
            add(database, read, wrong, "dora")


def test_a_bucket_with_versions_keeps_none_of_them() -> None:
    class Versioned:
        """What boto3 answers for a bucket with versions, over a dict."""

        kept = [("a/1", "v1"), ("a/1", "v2"), ("a/10", "v1"), ("a/2", "v1")]

        def get_bucket_versioning(self, **_: Any) -> dict[str, Any]:
            return {"Status": "Suspended"}

        def get_paginator(self, name: str) -> Any:
            assert name == "list_object_versions"
            return self

        def paginate(self, Prefix: str, **_: Any) -> list[dict[str, Any]]:  # noqa: N803
            found = [one for one in self.kept if one[0].startswith(Prefix)]
            newest = dict(found)
            return [{"Versions": [{"Key": k, "VersionId": v, "IsLatest": newest[k] == v}]} for k, v in found]

        def delete_objects(self, Delete: dict[str, Any], **_: Any) -> dict[str, Any]:  # noqa: N803
            for one in Delete["Objects"]:
                self.kept.remove((one["Key"], one["VersionId"]))
            return {}

    store = ObjectStore(Versioned(), "versioned")  # type: ignore[arg-type]
    store.delete_older("a/1")
    assert Versioned.kept == [("a/1", "v2"), ("a/10", "v1"), ("a/2", "v1")]
    store.delete(["a/1", "a/2"])
    assert store.left_of("a/") == {"a/10"}
    with pytest.raises(ObjectStoreError):
        connect("http://127.0.0.1:9", "x", "y", "nowhere").keeps_versions()


def test_versions_that_share_objects_and_what_was_made_of_them(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """v2 names v1's objects, pictures and volumes; the recall of a patient reaches both, and no manifest ever lies."""
    monkeypatch.setitem(KEYS, "folder", scene.keys)
    of_ann = [image(number) for number in range(1, 5)]
    store_day(scene.database, scene.archive, [*of_ann, image(1, "PID-88", "Larkspur^Bo", DX, study=2, modality="DX")])
    chosen = scene.project(formats=("dicom", "png", "tables", "labels"))
    scene.release(chosen)
    store_day(scene.database, scene.archive, [image(9)])
    scene.release(chosen)
    shared = named(scene.bucket, 2) & dicom(scene.bucket, 1)
    assert len(shared) == 5
    add(scene.database, [BO], WITHDRAWN, "dora")
    deleted = ObjectStore.delete

    def watched(store: ObjectStore, keys: Any) -> None:
        gone = {keys} if isinstance(keys, str) else set(keys)
        for version in (1, 2):
            assert not named(store, version) & gone, "a manifest names what is about to be deleted"
        deleted(store, keys)

    monkeypatch.setattr(ObjectStore, "delete", watched)
    done = back(scene.database, scene.bucket)
    assert (done.releases, done.waiting) == (2, {})
    for version, rest in ((1, 4), (2, 5)):
        assert len(named(scene.bucket, version)) == rest
        holds_together(scene.bucket, version)
    left = {entry.key for entry in scene.bucket.list("radiographs/")}
    assert sum(key.endswith(".png") for key in left) == 5
    assert verify(scene.database, scene.bucket, 2).objects == 5
    tables = b"".join(scene.bucket.get(key) for key in left if "/tables/" in key)
    patient = sorted({key.split("/")[3] for key in shared} - {key.split("/")[3] for key in named(scene.bucket, 2)})
    assert len(patient) == 1
    assert patient[0].encode() not in tables

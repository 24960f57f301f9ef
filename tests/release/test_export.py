"""A release end to end, against real Postgres and real S3, interrupted wherever it can be."""

from __future__ import annotations

import hashlib
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pydicom
import pytest

import sluice.release.export as export
import sluice.release.publishing as publishing
import sluice.release.sending as sending
from sluice.cohorts.freeze import freeze
from sluice.cohorts.language import parse, parse_text
from sluice.cohorts.lists import add_list
from sluice.database import Database, select
from sluice.objects import ObjectStore, ObjectStoreError, connect
from sluice.quality.decisions import decide
from sluice.release.export import ReleaseError, export_batch, prepare, publish, verify
from sluice.release.plan import note_gaps
from sluice.release.projects import Project
from sluice.stack.s3 import EmbeddedS3
from sluice.windows import Window, remember_window
from tests.deid.planted import DX, SECONDARY_CAPTURE, image
from tests.release.hospital_day import DAY, store_day


def project(bucket: ObjectStore, name: str = "radiographs", profile: str = "basic") -> Project:
    return Project(
        name=name,
        title="Test",
        profile=profile,
        selection={"modality": ["CR", "DX", "CT"]},
        bucket=bucket.bucket,
        pseudonym_prefix="RAD",
        approval="none",
    )


@pytest.fixture
def day(database: Database, archive: Path) -> list[str]:
    """Six CT of one patient, two DX of another, a CT with text in it, an MR, a Secondary Capture."""
    return store_day(
        database,
        archive,
        [
            *(image(number) for number in range(1, 7)),
            *(image(n, "PID-88", "Larkspur^Bo", DX, study=2, modality="DX") for n in (1, 2)),
            image(1, study=3, edit=lambda dataset: setattr(dataset, "BurnedInAnnotation", "YES")),
            image(1, study=4, modality="MR"),
            image(1, sop_class=SECONDARY_CAPTURE, study=5),
        ],
    )


def run(database: Database, archive: Path, bucket: ObjectStore, keys: Path, chosen: Project) -> export.PublishSummary:
    plan = prepare(database, chosen, DAY, part_size=4, keys=keys)
    for part in plan.batches:
        export_batch(database, archive, bucket, chosen, plan.release_id, part.as_dict(), keys=keys)
    verify(database, bucket, plan.release_id)
    return publish(database, bucket, plan.release_id, keys)


def sums_of(bucket: ObjectStore, prefix: str) -> dict[str, str]:
    """Digest by key, as SHA256SUMS of a version says it."""
    project = prefix.split("/")[0]
    lines = bucket.get(prefix + "SHA256SUMS").decode().splitlines()
    return {f"{project}/{path}": digest for digest, path in (line.split("  ", 1) for line in lines)}


def reasons(database: Database) -> dict[str, str]:
    with database.transaction() as connection:
        rows = select(connection, "select sop_instance_uid, reason_code from open_gap where step = 'released'")
    return {row["sop_instance_uid"]: row["reason_code"] for row in rows}


def test_release_end_to_end(database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]) -> None:
    chosen = project(bucket)
    published = run(database, archive, bucket, keys, chosen)

    assert published.objects == 8
    assert reasons(database) == {day[8]: "held-class", day[9]: "not-in-project", day[10]: "held-class"}
    listed = {entry.key for entry in bucket.list()}
    body = bucket.get("radiographs/v1/manifest.json")
    assert hashlib.sha256(body).hexdigest() == published.manifest_sha256
    manifest = json.loads(body)
    sums = sums_of(bucket, "radiographs/v1/")
    own = {f"radiographs/v1/{name}" for name in ("manifest.json", "manifest.json.sig", "SHA256SUMS")}
    assert listed == sums.keys() | own | {f"radiographs/keys/{manifest['signed_by']['key_id']}.pem"}
    assert manifest["sums"]["sha256"] == hashlib.sha256(bucket.get("radiographs/v1/SHA256SUMS")).hexdigest()
    for key, digest in sums.items():
        assert hashlib.sha256(bucket.get(key)).hexdigest() == digest
    counts = manifest["counts"]
    assert (counts["indexed"], counts["selected"], counts["released"]) == (11, 9, 8)
    assert counts["held"] == {"held-class": 1}
    assert counts["left_out"] == {"not-in-project": 1, "held-class": 1}
    assert manifest["profile"]["edition"] == "2026c"
    table = pq.read_table(io.BytesIO(bucket.get("radiographs/v1/manifest.parquet"))).to_pylist()
    assert {row["key"]: row["sha256"] for row in table} == {key: sums[key] for key in sums if key.endswith(".dcm")}
    assert len(table) == 8
    assert len({row["patient"] for row in table}) == 2
    assert all(row["patient"].startswith("RAD-") and row["kind"] == "dicom" for row in table)
    everything = b"".join(bucket.get(key) for key in listed).lower()
    for needle in (
        b"quillfeather",
        b"larkspur",
        b"pid-4711",
        b"acc9081726",
        b"1.2.826.0.1.3680043.9.9999",
        b"gravelbottom",
    ):
        assert needle not in everything
    first = pydicom.dcmread(io.BytesIO(bucket.get(table[0]["key"])))
    assert first.pixel_array.shape == (16, 16)


def test_twice_is_once_and_new_members_make_a_new_version(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    chosen = project(bucket)
    first = run(database, archive, bucket, keys, chosen)
    before = {entry.key: bucket.get(entry.key) for entry in bucket.list()}
    assert run(database, archive, bucket, keys, chosen).as_dict() | {"counts": 0} == first.as_dict() | {"counts": 0}
    assert {entry.key: bucket.get(entry.key) for entry in bucket.list()} == before
    with database.transaction() as connection:
        assert select(connection, "select count(*) as n from gap")[0]["n"] == 3  # none noted twice

    store_day(database, archive, [image(50)])
    second = run(database, archive, bucket, keys, chosen)
    assert (second.version, second.objects) == (2, 9)
    assert all(bucket.get(key) == body for key, body in before.items())  # v1 is untouched


def test_of_a_frozen_cohort_or_a_list_only_its_members_are_released(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    chosen = project(bucket)
    frozen = freeze(database, "films", parse_text("modality: [DX, MR]"), "rita", "a test", "radiographs")
    remember_window(database, Window("cohort/radiographs/films/v1", "cohort", date(2026, 10, 26), date(2026, 10, 26)))
    plan = prepare(database, chosen, "cohort/radiographs/films/v1", keys=keys, version_id=frozen.version_id)
    assert (plan.members, plan.left_out) == (2, {"not-in-project": 1})
    for part in plan.batches:
        export_batch(database, archive, bucket, chosen, plan.release_id, part, keys=keys)
    verify(database, bucket, plan.release_id)
    published = publish(database, bucket, plan.release_id, keys)
    assert (published.objects, published.counts["selected"], published.counts["left_out"]) == (
        2, 2, {"not-in-project": 1},
    )  # fmt: skip
    manifest = json.loads(bucket.get(published.manifest_key))
    assert (manifest["cohort"]["name"], manifest["cohort"]["version"]) == ("films", 1)
    assert manifest["cohort"]["filter_digest"] == frozen.digest
    assert "expression" not in manifest["cohort"]
    with database.transaction() as connection:
        (study,) = select(connection, "select study_instance_uid from instance where sop_instance_uid = %s", (day[6],))
    listed = f"study_uid\n{study['study_instance_uid']}\n"
    kept = add_list(database, "radiographs", "one", io.BytesIO(listed.encode()), "list.csv", "rita")
    remember_window(database, Window.of_cohort("radiographs", "one", date(2026, 10, 26), date(2026, 10, 26)))
    assert kept.answers == {"found": 1}
    assert prepare(database, chosen, kept.window_key, keys=keys, list_id=kept.list_id).members == 2


def test_the_manifest_of_a_filter_by_identifiers_has_no_digest_of_it(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    # whoever gets the manifest could try one Patient ID after the other against it
    frozen = freeze(database, "one", parse_text("patient_id: PID-88"), "rita", "a test", "radiographs")
    remember_window(database, Window("cohort/radiographs/one/v1", "cohort", date(2026, 10, 26), date(2026, 10, 26)))
    plan = prepare(database, project(bucket), "cohort/radiographs/one/v1", keys=keys, version_id=frozen.version_id)
    assert plan.members == 2
    for part in plan.batches:
        export_batch(database, archive, bucket, project(bucket), plan.release_id, part, keys=keys)
    verify(database, bucket, plan.release_id)
    manifest = bucket.get(publish(database, bucket, plan.release_id, keys).manifest_key).decode()
    assert json.loads(manifest)["cohort"]["filter_digest"] is None
    assert "PID-88" not in manifest
    assert frozen.digest not in manifest


def test_pseudonyms_are_the_same_in_every_version_and_differ_between_projects(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    run(database, archive, bucket, keys, project(bucket))
    run(database, archive, bucket, keys, project(bucket, "other"))
    names = [entry.key.split("/dicom/") for entry in bucket.list() if "/dicom/" in entry.key]
    ours, others = ({rest for head, rest in names if head.startswith(who)} for who in ("radiographs", "other"))
    assert len(ours) == len(others) == 8
    assert not ours & others


def test_what_is_not_asked_for_says_which_condition_it_fails(
    database: Database, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    limits = {"may_see": parse({"not": {"patient_id": "PID-88"}}), "may_use_identifiers": True}
    plan = prepare(database, project(bucket).model_copy(update=limits), DAY, keys=keys)
    assert plan.left_out["not-in-project"] == 3
    database.execute(
        "update instance set block_id = null, block_position = null where sop_instance_uid = %s", (day[0],)
    )
    assert prepare(database, project(bucket), DAY, keys=keys).left_out["not-indexed-yet"] == 1
    with database.transaction() as connection:
        rows = select(connection, "select sop_instance_uid, reason_code, detail from gap order by gap_id")
    said = {row["sop_instance_uid"]: (row["reason_code"], row["detail"]) for row in rows}
    assert said[day[9]] == ("not-in-project", "fails: modality is CR, CT or DX")
    assert said[day[6]] == ("not-released-yet", None)  # what another plan does not want says less
    details = [row["detail"] for row in rows if row["sop_instance_uid"] == day[6]]
    assert details[0] == "fails: a condition on what identifies patients"
    assert said[day[0]][0] == "not-indexed-yet"


def test_not_eligible_instances_stay_with_their_reason(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path
) -> None:
    stopped, two_ids_a, two_ids_b, nobody, good, doubtful, accepted = store_day(
        database,
        archive,
        [
            image(1, study=10),
            image(1, "P-1", study=11),
            image(2, "P-2", study=11),
            image(1, "UNKNOWN", study=12),
            image(1, study=13),
            image(1, study=15),
            image(1, study=16),
        ],
    )
    (unchecked,) = store_day(database, archive, [image(1, study=14)], checked=False)
    database.execute(
        "insert into quality_finding (window_key, rule, severity, level, study_instance_uid) "
        "select %s, 'test', 'stop', 'study', study_instance_uid from instance where sop_instance_uid = %s",
        (DAY, stopped),
    )
    for uid in (doubtful, accepted):
        database.execute(
            "insert into quality_finding (window_key, rule, severity, level, sop_instance_uid) "
            "values (%s, 'doubt', 'quarantine', 'instance', %s)",
            (DAY, uid),
        )
    decide(database, "doubt", "instance", accepted, "accept", "looked at it", "vera")
    plan = prepare(database, project(bucket), DAY, keys=keys)
    assert plan.left_out == {"quality-stop": 1, "quality-quarantine": 1, "held-identity": 2, "not-checked-yet": 1}
    published = run(database, archive, bucket, keys, project(bucket))
    assert published.objects == 2
    assert reasons(database) == {
        stopped: "quality-stop",
        two_ids_a: "held-identity",
        two_ids_b: "held-identity",
        nobody: "held-identity",
        unchecked: "not-checked-yet",
        doubtful: "quality-quarantine",
    }
    assert good not in reasons(database)


def test_a_project_that_wants_nothing_hides_no_reason_of_another(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    database.execute(
        "insert into quality_finding (window_key, rule, severity, level, sop_instance_uid) "
        "values (%s, 'test', 'stop', 'instance', %s)",
        (DAY, day[0]),
    )
    picky = project(bucket, "picky").model_copy(update={"selection": parse({"modality": "MG"})})
    for _ in range(2):
        prepare(database, picky, DAY, keys=keys)
        plan = prepare(database, project(bucket), DAY, keys=keys)
        prepare(database, picky, DAY, keys=keys)
        waiting = reasons(database)
        assert waiting[day[0]] == "quality-stop"
        assert waiting[day[1]] == "not-released-yet"
        assert waiting[day[9]] == "not-in-project"
    for part in plan.batches:
        export_batch(database, archive, bucket, project(bucket), plan.release_id, part, keys=keys)
    prepare(database, picky, DAY, keys=keys)
    assert reasons(database)[day[8]] == "held-class"


def test_a_lesser_reason_written_at_the_same_moment_does_not_win(
    database: Database, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    picky = project(bucket, "picky").model_copy(update={"selection": parse({"modality": "MG"})})
    with ThreadPoolExecutor(1) as other:
        with database.transaction() as connection:
            note_gaps(connection, [(day[8], "held-class", None)])
            preparing = other.submit(prepare, database, picky, DAY, keys=keys)
            deadline = time.monotonic() + 30
            while not (waits_for_a_lock(database) or preparing.done()):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert not preparing.done()
        preparing.result(timeout=30)
    assert reasons(database)[day[8]] == "held-class"


def waits_for_a_lock(database: Database) -> bool:
    with database.transaction() as connection:
        rows = select(
            connection,
            "select from pg_locks join pg_database on pg_database.oid = pg_locks.database "
            "where not granted and locktype = 'advisory' and datname = current_database()",
        )
    return bool(rows)


def test_storage_that_goes_away_in_the_middle(
    database: Database, archive: Path, keys: Path, day: list[str], tmp_path: Path
) -> None:
    with EmbeddedS3(tmp_path / "s3") as server:
        bucket = server.bucket("releases")
        chosen = project(bucket)
        plan = prepare(database, chosen, DAY, part_size=4, keys=keys)
        first, *others = plan.batches
        done = export_batch(database, archive, bucket, chosen, plan.release_id, first, keys=keys)
        assert done.uploaded == 4
        server.stop()
        impatient = connect(server.endpoint_url, server.access_key, server.secret_key, "releases")
        with pytest.raises(ObjectStoreError, match="cannot be reached"):
            export_batch(database, archive, impatient, chosen, plan.release_id, others[0], keys=keys)
        with pytest.raises(ReleaseError, match="neither uploaded nor held"):
            verify(database, impatient, plan.release_id)
        with pytest.raises(ReleaseError, match="neither uploaded nor held"):
            publish(database, impatient, plan.release_id, keys)
        server.start()
        assert not [entry for entry in bucket.list() if entry.key.endswith("manifest.json")]
        assert run(database, archive, bucket, keys, chosen).objects == 8


def test_wrong_storage_key_is_a_clear_error(
    database: Database, archive: Path, bucket: ObjectStore, s3: EmbeddedS3, keys: Path, day: list[str]
) -> None:
    chosen = project(bucket)
    plan = prepare(database, chosen, DAY, keys=keys)
    stranger = connect(s3.endpoint_url, s3.access_key, "wrong-secret-key-000000", bucket.bucket)
    with pytest.raises(ObjectStoreError, match="sluice_s3"):
        export_batch(database, archive, stranger, chosen, plan.release_id, plan.batches[0], keys=keys)
    assert run(database, archive, bucket, keys, chosen).objects == 8


def test_wrong_project_key_is_a_clear_error(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str], tmp_path: Path
) -> None:
    chosen = project(bucket)
    plan = prepare(database, chosen, DAY, keys=keys)
    with pytest.raises(ReleaseError, match="without the key it was prepared with"):
        export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=tmp_path / "lost")
    assert not list(bucket.list())


def test_killed_between_upload_and_mark(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = project(bucket)
    plan = prepare(database, chosen, DAY, keys=keys)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sending.Sender, "_mark", killed)
        with pytest.raises(KeyboardInterrupt):
            export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=keys)
    assert len(list(bucket.list())) == 8  # there, but not marked
    assert run(database, archive, bucket, keys, chosen).objects == 8


def test_killed_between_manifest_and_note(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = project(bucket)
    plan = prepare(database, chosen, DAY, keys=keys)
    export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=keys)
    verify(database, bucket, plan.release_id)

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "_note", killed)
        with pytest.raises(KeyboardInterrupt):
            publish(database, bucket, plan.release_id, keys)
    written = bucket.get("radiographs/v1/manifest.json")
    published = publish(database, bucket, plan.release_id, keys)
    assert hashlib.sha256(written).hexdigest() == published.manifest_sha256
    assert bucket.get("radiographs/v1/manifest.json") == written


def test_damaged_missing_and_foreign_objects_stop_the_release(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    chosen = project(bucket)
    plan = prepare(database, chosen, DAY, keys=keys)
    export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=keys)
    with pytest.raises(ReleaseError, match="not verified"):
        publish(database, bucket, plan.release_id, keys)
    first, second = list(bucket.list())[:2]
    body = bucket.get(first.key)
    bucket.put(first.key, body[:-1] + bytes([body[-1] ^ 1]))
    bucket.client.delete_object(Bucket=bucket.bucket, Key=second.key)
    with pytest.raises(ReleaseError, match=r"2 objects .* missing or damaged"):
        verify(database, bucket, plan.release_id)
    with pytest.raises(ReleaseError):
        publish(database, bucket, plan.release_id, keys)
    bucket.put("radiographs/v1/dicom/stray.dcm", b"?")
    again = export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=keys)
    assert again.uploaded == 2
    with pytest.raises(ReleaseError, match="not of this release"):
        verify(database, bucket, plan.release_id)
    bucket.client.delete_object(Bucket=bucket.bucket, Key="radiographs/v1/dicom/stray.dcm")
    assert verify(database, bucket, plan.release_id).objects == 8
    assert bucket.get(first.key) == body
    assert publish(database, bucket, plan.release_id, keys).objects == 8


def test_a_file_that_changed_in_the_archive_is_held(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    victim, lost = sorted(archive.rglob("*.dcm"))[:2]
    victim.write_bytes(victim.read_bytes()[:-2] + b"\1\1")
    lost.unlink()
    published = run(database, archive, bucket, keys, project(bucket))
    assert published.objects == 6
    assert published.counts["held"] == {"held-class": 1, "held-unreadable": 2}

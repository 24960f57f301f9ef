"""Synthetic patients go through every release, show nowhere, and stop it where they do."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

import sluice.release.export as export
import sluice.release.producing as producing
from sluice.database import Database, select
from sluice.deid.elements import Element, File, read_file, write_file
from sluice.objects import ObjectStore
from sluice.release import canaries
from sluice.release.canaries.making import Canary, made
from sluice.release.canaries.seeing import Watch
from sluice.release.export import ReleaseError, export_batch, prepare, publish, verify
from sluice.release.projects import Project
from sluice.settings import Settings
from tests.deid.planted import image
from tests.release.hospital_day import DAY, store_day

NAMES = 0x00100010


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, receiver_min_free_bytes=0)


def project(bucket: ObjectStore, profile: str = "longitudinal") -> Project:
    return Project.model_validate(
        {
            "name": "radiographs",
            "title": "Test",
            "profile": profile,
            "selection": {"modality": ["CR", "DX", "CT"]},
            "bucket": bucket.bucket,
            "pseudonym_prefix": "RAD",
            "approval": "none",
            "formats": ["dicom", "tables"],
        }
    )


def exported(database: Database, site: Settings, bucket: ObjectStore, chosen: Project) -> int:
    plan = prepare(database, chosen, DAY, keys=site.keys, part_size=2)
    for part in plan.batches:
        export_batch(database, site.archive, bucket, chosen, plan.release_id, part, keys=site.keys)
    return plan.release_id


def probes(database: Database) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return select(connection, "select * from canary_probe order by probe_id")


def leaking(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """An engine with a fault: `change` puts into the produced file something of the original."""
    right = producing.deidentify

    def wrong(file: File, *others: Any) -> Any:
        before = dict(file.elements)
        result = right(file, *others)
        produced = read_file(result.data)
        change(before, produced.elements)
        return dataclasses.replace(result, data=write_file(_meta(result.data), produced.elements))

    monkeypatch.setattr(producing, "deidentify", wrong)


def _meta(data: bytes) -> dict[int, Element]:
    meta = pydicom.dcmread(io.BytesIO(data)).file_meta
    from sluice.deid.marks import file_meta

    return file_meta(
        str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID)
    )


@pytest.mark.parametrize("profile", ["basic", "longitudinal"])
def test_a_release_takes_its_canary_along_and_shows_it_nowhere(
    database: Database, bucket: ObjectStore, site: Settings, profile: str
) -> None:
    store_day(database, site.archive, [image(number) for number in (1, 2, 3)])
    chosen = project(bucket, profile)
    canary = canaries.add(database, chosen, "rita", site)
    assert [row["received"] for row in canaries.canaries_of(database, chosen.name)] == [4]
    release_id = exported(database, site, bucket, chosen)
    assert len(list(bucket.list("radiographs/probe-v1/"))) == 4
    assert canaries.check(database, bucket, release_id) == []
    assert not list(bucket.list("radiographs/probe-v1/"))  # they proved it, and leave
    verify(database, bucket, release_id)
    published = publish(database, bucket, release_id)
    assert published.objects == 3
    told = probes(database)
    assert [row["outcome"] for row in told] == ["clean"] * 8  # four files in each of two parts
    assert all(row["read_back_at"] for row in told)
    manifest = json.loads(bucket.get(published.manifest_key))
    assert "probe" not in json.dumps(manifest)
    watch = Watch(canary.tokens)
    assert not any(watch.anywhere(bucket.get(entry.key)) for entry in bucket.list())
    assert canaries.retire(database, chosen.name) == 1


def test_what_a_canary_is_made_of_is_seen_in_every_character_set() -> None:
    canary = made()
    watch = Watch(canary.tokens)
    assert len(canary.tokens) == len(set(canary.tokens)) > 1000
    for data in canary.files.values():
        places = watch.places(data)
        assert {"(0010,0010)", "(0010,0020)", "(0008,0018)", "(0009,1001)", "(0010,0030)"} <= set(places)
        name = pydicom.dcmread(io.BytesIO(data)).ImageComments
        assert name in canary.tokens
        start = data.index(pydicom.dcmread(io.BytesIO(data)).get_item("ImageComments").value)
        assert Watch([name]).anywhere(data[start:])
    assert not Watch(canary.tokens).anywhere(made().files.popitem()[1])


@pytest.mark.parametrize(
    ("tag", "where"),
    [(0x00104000, "(0010,4000)"), (0x00091001, "leaked"), (0x00204000, "leaked")],
    ids=["patient comments", "private", "letters of the character set"],
)
def test_a_leak_stops_the_part_before_anything_is_uploaded(
    database: Database, bucket: ObjectStore, site: Settings, monkeypatch: pytest.MonkeyPatch, tag: int, where: str
) -> None:
    store_day(database, site.archive, [image()])
    chosen = project(bucket)
    canaries.add(database, chosen, "rita", site)
    leaking(monkeypatch, lambda before, after: after.update({tag: before[tag]} if tag in before else {}))
    for check in ("leaks", "new_faults"):  # as if the re-read looked elsewhere
        monkeypatch.setattr(producing, check, lambda *_: [])
    with pytest.raises(ReleaseError, match="shows in what this worker makes"):
        exported(database, site, bucket, chosen)
    assert list(bucket.list()) == []
    told = probes(database)
    assert {row["outcome"] for row in told} == {"leaked"}
    assert where in str(told)
    (release_id,) = {row["release_id"] for row in told}
    assert "leaked" in {finding.kind for finding in canaries.check(database, bucket, release_id)}


def test_a_release_without_its_canary_is_not_published(
    database: Database, bucket: ObjectStore, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_day(database, site.archive, [image()])
    chosen = project(bucket)
    canaries.add(database, chosen, "rita", site)
    with monkeypatch.context() as patch:
        patch.setattr(export.canaries, "probe", lambda *_: [])  # an old worker that knows no canaries
        release_id = exported(database, site, bucket, chosen)
    with pytest.raises(ReleaseError, match="not-probed"):
        verify(database, bucket, release_id)


def test_canaries_that_are_all_held_prove_nothing(
    database: Database, bucket: ObjectStore, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_day(database, site.archive, [image()])
    chosen = project(bucket)
    canaries.add(database, chosen, "rita", site)
    with database.transaction() as connection:
        paths = select(connection, "select path from receipt join canary_instance using (sop_instance_uid)")
    for row in paths:
        (site.archive / row["path"]).unlink()
    release_id = exported(database, site, bucket, chosen)
    with pytest.raises(ReleaseError, match="held-unreadable"):
        verify(database, bucket, release_id)


def test_tables_manifests_logs_and_other_peoples_files_are_looked_through(
    database: Database, bucket: ObjectStore, site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (uid,) = store_day(database, site.archive, [image()])
    chosen = project(bucket)
    canary = canaries.add(database, chosen, "rita", site)
    token = canary.tokens[30]
    release_id = exported(database, site, bucket, chosen)
    logs = site.home / "logs" / "run_id=1"
    logs.mkdir(parents=True)
    (logs / "attempt=1.log").write_text("nothing\n")
    assert canaries.check(database, bucket, release_id, [logs]) == []
    (logs / "attempt=1.log").write_text(f"Invalid value for VR UI: '{token}'\n")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"description": ["CHEST", token]}), buffer)
    bucket.put("radiographs/v1/headers.parquet", buffer.getvalue())
    bucket.put("radiographs/v1/labels.csv", f"patient\n{token.lower()}\n".encode())
    database.execute("update released_object set columns = jsonb_build_object('manufacturer', %s::text)", (token,))
    told = {(one.kind, Path(one.where).name) for one in canaries.check(database, bucket, release_id, [logs])}
    assert told == {
        ("log", "attempt=1.log"), ("table", "headers.parquet"), ("table", "labels.csv"),
        ("table", "what the database says of the released objects"),
    }  # fmt: skip
    for name in ("headers.parquet", "labels.csv"):
        bucket.client.delete_object(Bucket=bucket.bucket, Key=f"radiographs/v1/{name}")
    database.execute("update release set verified_at = now()")
    with pytest.raises(ReleaseError, match="table or the manifest"):
        publish(database, bucket, release_id)
    # a file of a patient in which a canary's token is, as where an engine keeps state from one file to the next
    store_day(database, site.archive, [image(2, edit=lambda one: setattr(one, "Manufacturer", "SIEMENS"))])
    leaking(monkeypatch, lambda before, after: after.update({0x00104000: Element(0x00104000, "LT", token.encode())}))
    monkeypatch.setattr(producing, "leaks", lambda *_: [])
    monkeypatch.setattr(export.canaries, "probe", lambda *_: [])
    exported(database, site, bucket, chosen)
    with database.transaction() as connection:
        held = select(connection, "select held_detail from release_member where held_reason = 'held-residual'")
    assert {row["held_detail"] for row in held} == {"a token of a synthetic patient is in this patient's file"}
    assert uid


def test_a_canary_in_a_window_is_no_member(database: Database, bucket: ObjectStore, site: Settings) -> None:
    chosen = project(bucket)
    canary: Canary = made()
    files = [pydicom.dcmread(io.BytesIO(data)) for data in canary.files.values()]
    for file in files:
        file.AccessionNumber = ""
    store_day(database, site.archive, [*files, image()])
    with database.transaction() as connection:
        canaries.adding._remember(connection, chosen.name, canary, "rita")
    plan = prepare(database, chosen, DAY, keys=site.keys)
    assert (plan.members, plan.left_out) == (1, {"canary": 4})

"""What patients are given stays theirs, the linkage table tells nobody by itself, and the way back is audited."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import pydicom
import pytest

import sluice.deid.identities as identities_module
from sluice.database import Database, migrate, select
from sluice.deid.identities import Identities
from sluice.objects import ObjectStore
from sluice.release.export import export_batch, prepare, publish, verify
from sluice.release.linkage import LinkageError
from sluice.release.linkage.disclosure import (
    DisclosureError,
    disclosures,
    pseudonyms_of,
    reidentify,
    what_separation_lacks,
)
from sluice.release.linkage.entries import Sealer
from sluice.release.linkage.keys import FolderKeys, Keyring
from sluice.release.linkage.merges import Merge, MergeError, merge, read_merges
from sluice.release.linkage.people import Patient
from sluice.release.linkage.registered import rotate
from sluice.release.projects import Project
from sluice.stack.postgres import EmbeddedPostgres
from tests.conftest import temporary_database
from tests.deid.planted import image
from tests.release.hospital_day import DAY, store_day

WHY = "incidental finding, ethics vote 12/26"


def project(bucket: str = "test-bucket", shift: str = "days", profile: str = "longitudinal") -> Project:
    return Project.model_validate(
        {
            "name": "radiographs",
            "title": "Test",
            "profile": profile,
            "selection": {"modality": ["CR", "DX", "CT"]},
            "bucket": bucket,
            "pseudonym_prefix": "RAD",
            "approval": "none",
            "date_shift": shift,
        }
    )


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """As its owner: some of these tests go back as the linkage's role."""
    with temporary_database(postgres, as_owner=True) as fresh:
        yield fresh


def ring(keys: Path) -> Keyring:
    return FolderKeys(keys).ring("radiographs")


def rows(database: Database, statement: str) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return select(connection, statement)


def released(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, chosen: Project
) -> tuple[int, dict[str, pydicom.Dataset]]:
    """Release the day; its version, and the produced files by original SOP Instance UID."""
    plan = prepare(database, chosen, DAY, keys=keys)
    for part in plan.batches:
        export_batch(database, archive, bucket, chosen, plan.release_id, part, keys=keys)
    verify(database, bucket, plan.release_id)
    publish(database, bucket, plan.release_id, keys)
    objects = rows(database, f"select * from released_object where release_id = {plan.release_id}")
    return plan.version, {
        one["sop_instance_uid"]: pydicom.dcmread(io.BytesIO(bucket.get(one["object_key"]))) for one in objects
    }


def test_what_was_given_stays_when_the_way_of_giving_changes(
    database: Database, bucket: ObjectStore, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (uid,) = store_day(database, tmp_path / "archive", [image()])
    _, before = released(database, tmp_path / "archive", bucket, keys, project(bucket.bucket))
    monkeypatch.setattr(identities_module, "LONGEST_SHIFT", 900)  # as if a later version derived otherwise
    (new,) = store_day(database, tmp_path / "archive", [image(1, "P-2", study=2)])
    version, after = released(database, tmp_path / "archive", bucket, keys, project(bucket.bucket, "weeks"))
    assert version == 2
    assert (after[uid].StudyDate, after[uid].PatientID) == (before[uid].StudyDate, before[uid].PatientID)
    shifts = rows(database, "select shift_days from subject order by subject_id")
    assert shifts[1]["shift_days"] % 7 == 0
    assert after[new].StudyDate != after[uid].StudyDate


def _prepare(url: str, keys: str) -> tuple[int, list[tuple[Any, ...]]]:
    database = Database(url)
    plan = prepare(database, project(), DAY, keys=Path(keys))
    found = rows(database, "select pseudonym, shift_days from subject order by pseudonym")
    return plan.release_id, [tuple(row.values()) for row in found]


def test_plans_at_once_in_several_processes_give_the_same(database: Database, keys: Path, tmp_path: Path) -> None:
    store_day(database, tmp_path / "archive", [image(1, f"P-{n}", study=n) for n in range(1, 9)])
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        told = pool.starmap(_prepare, [(database.url, str(keys))] * 4)
    assert all(one == told[0] for one in told)
    derived = Identities(ring(keys).keys[0].secret, "RAD")
    expected = sorted((derived.patient(f"P-{n}"), derived.shift_days(f"P-{n}")) for n in range(1, 9))
    assert told[0][1] == expected


def test_two_issuers_of_one_id_are_two_people_and_a_file_of_another_issuer_is_held(
    database: Database, bucket: ObjectStore, keys: Path, tmp_path: Path
) -> None:
    def issued(by: str, study: int) -> pydicom.Dataset:
        return image(1, "4711", study=study, edit=lambda dataset: setattr(dataset, "IssuerOfPatientID", by))

    north, south, stray = store_day(database, tmp_path / "archive", [issued(by, n) for n, by in enumerate("NST", 1)])
    database.execute("update study set patient_id_issuer = 'N' where study_instance_uid like '%%.1'")
    database.execute("update study set patient_id_issuer = 'S' where study_instance_uid like '%%.2'")
    _, files = released(database, tmp_path / "archive", bucket, keys, project(bucket.bucket))
    assert files[north].PatientID != files[south].PatientID
    assert stray not in files
    (held,) = rows(database, "select * from release_member where held_reason is not null")
    assert (held["sop_instance_uid"], held["held_reason"]) == (stray, "held-identity")
    assert "another patient or issuer" in held["held_detail"]


def test_a_pseudonym_that_is_taken_is_given_to_nobody_else(
    database: Database, bucket: ObjectStore, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities_module, "PSEUDONYM_LENGTH", 1)
    store_day(database, tmp_path / "archive", [image(1, f"P-{n}", study=n, edit=_no_accession) for n in range(1, 45)])
    _, files = released(database, tmp_path / "archive", bucket, keys, project(bucket.bucket))
    names = [file.PatientID for file in files.values()]
    assert len(set(names)) == len(names) < 44
    held = rows(database, "select held_reason from release_member where held_reason is not null")
    assert {row["held_reason"] for row in held} == {"held-identity"}
    assert len(held) + len(names) == 44


def _no_accession(dataset: pydicom.Dataset) -> None:
    dataset.AccessionNumber = ""


def test_merged_patients_are_one_in_later_versions_and_published_ones_stay(
    database: Database, bucket: ObjectStore, keys: Path, tmp_path: Path
) -> None:
    old, new = store_day(database, tmp_path / "archive", [image(1, "OLD", study=1), image(1, "NEW", study=2)])
    chosen = project(bucket.bucket)
    first, before = released(database, tmp_path / "archive", bucket, keys, chosen)
    assert before[old].PatientID != before[new].PatientID
    listed = tmp_path / "merges.csv"
    listed.write_text("prior_id,surviving_id\nOLD,NEW\n")
    assert merge(database, read_merges(listed), "rita") == 1
    assert merge(database, read_merges(listed), "rita") == 0
    second, after = released(database, tmp_path / "archive", bucket, keys, chosen)
    assert (first, second) == (1, 2)
    assert after[old].PatientID == after[new].PatientID == before[new].PatientID
    interval = int(after[old].StudyDate) - int(after[new].StudyDate)
    assert interval == 0  # both of one day, moved alike
    assert after[old].SOPInstanceUID == before[old].SOPInstanceUID
    (release,) = rows(database, "select profile from release where version = 2")
    assert release["profile"]["merged_patients"] == [[before[old].PatientID, before[new].PatientID]]
    answers = reidentify(database, ring(keys), [before[old].PatientID, before[new].PatientID], WHY, "rita")
    assert [(one.original and one.original.value, one.now) for one in answers] == [
        ("OLD", Patient("NEW", "")), ("NEW", None),
    ]  # fmt: skip
    (there,) = pseudonyms_of(database, ring(keys), [Patient("OLD", "")], WHY, "rita")
    assert set(there.pseudonyms) == {before[new].PatientID, before[old].PatientID}
    with pytest.raises(MergeError, match="merged into themselves"):
        merge(database, [Merge(("NEW", ""), ("OLD", ""))], "rita")
    merge(database, [Merge(("OLD", ""), None)], "rita")
    assert (
        prepare(database, chosen, DAY, keys=keys).version == 1
    )  # as before the merge: the same members and identities
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.execute("delete from patient_merge")


def test_the_way_back_by_every_kind_of_pseudonym_under_every_key(
    database: Database, bucket: ObjectStore, keys: Path, tmp_path: Path
) -> None:
    (uid,) = store_day(database, tmp_path / "archive", [image()])
    chosen = project(bucket.bucket)
    _, before = released(database, tmp_path / "archive", bucket, keys, chosen)
    rotate(database, "radiographs", FolderKeys(keys))
    version, after = released(database, tmp_path / "archive", bucket, keys, chosen)
    assert version == 2
    assert before[uid].PatientID != after[uid].PatientID
    asked = [
        before[uid].PatientID, after[uid].PatientID, after[uid].StudyInstanceUID, after[uid].SeriesInstanceUID,
        after[uid].SOPInstanceUID, after[uid].AccessionNumber, "RAD-AAAAAAAAAA",
    ]  # fmt: skip
    answers = reidentify(database, ring(keys), asked, WHY, "rita")
    told = [(one.original.kind, one.original.value) if one.original else None for one in answers]
    original = image()
    assert told == [
        ("patient", "PID-4711-77"), ("patient", "PID-4711-77"), ("study", original.StudyInstanceUID),
        ("series", original.SeriesInstanceUID), ("instance", uid), ("accession", "ACC9081726"), None,
    ]  # fmt: skip
    (there,) = pseudonyms_of(database, ring(keys), [Patient("PID-4711-77", "")], WHY, "rita")
    assert there.pseudonyms == (before[uid].PatientID, after[uid].PatientID)
    log = disclosures(database)
    assert [(row["direction"], row["asked"], row["found"], row["asked_by"]) for row in log] == [
        ("reidentify", 7, 6, "rita"), ("pseudonym", 1, 1, "rita"),
    ]  # fmt: skip
    assert log[0]["pseudonyms"] == asked
    assert log[1]["pseudonyms"] == list(there.pseudonyms)
    assert all(row["is_chained"] for row in log)
    assert "PID-4711" not in str(log)


def test_without_reason_key_or_audit_there_is_no_answer(database: Database, keys: Path, tmp_path: Path) -> None:
    store_day(database, tmp_path / "archive", [image()])
    prepare(database, project(), DAY, keys=keys)
    name = Identities(ring(keys).keys[0].secret, "RAD").patient("PID-4711-77")
    with pytest.raises(DisclosureError, match="Say why"):
        reidentify(database, ring(keys), [name], "because", "rita")
    with pytest.raises(DisclosureError, match="Without a key"):
        reidentify(database, ring(tmp_path / "none"), [name], WHY, "rita")
    assert disclosures(database) == []
    database.execute("alter table linkage.disclosure add constraint full_disk check (asked < 0) not valid")
    with pytest.raises(psycopg2.errors.CheckViolation):
        reidentify(database, ring(keys), [name], WHY, "rita")
    with pytest.raises(psycopg2.errors.CheckViolation):
        pseudonyms_of(database, ring(keys), [Patient("PID-4711-77", "")], WHY, "rita")


def test_audit_rows_cannot_be_changed_and_one_that_is_missing_is_missed(
    database: Database, keys: Path, tmp_path: Path
) -> None:
    store_day(database, tmp_path / "archive", [image()])
    prepare(database, project(), DAY, keys=keys)
    for number in range(3):
        reidentify(database, ring(keys), [f"RAD-{number}"], WHY, "rita")
    for statement in ("update linkage.disclosure set why = 'another reason'", "delete from linkage.disclosure",
                      "truncate linkage.disclosure"):  # fmt: skip
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="never changed"):
            database.execute(statement)
    database.execute("alter table linkage.disclosure disable trigger all")
    database.execute("delete from linkage.disclosure where pseudonyms = '{RAD-1}'")
    assert [row["is_chained"] for row in disclosures(database)] == [True, False]


def test_the_linkage_table_alone_tells_nothing_and_a_moved_entry_does_not_open(
    database: Database, keys: Path, tmp_path: Path
) -> None:
    store_day(database, tmp_path / "archive", [image(), image(1, "P-2", study=2)])
    prepare(database, project(), DAY, keys=keys)
    entries = rows(database, "select * from linkage.entry")
    dump = str(
        [{name: bytes(v).hex() if isinstance(v, memoryview) else v for name, v in one.items()} for one in entries]
    )
    derived = Identities(ring(keys).keys[0].secret, "RAD")
    pseudonyms = [derived.patient("PID-4711-77"), derived.patient("P-2")]
    for needle in ("PID-4711-77", "ACC9081726", "1.2.826.0.1.3680043.9.9999", *pseudonyms):
        assert needle not in dump
        assert needle.encode().hex() not in dump
    assert len({len(bytes(one["sealed"])) for one in entries}) == 1
    sealer = Sealer("radiographs", derived)
    first, second = (sealer.index(name) for name in pseudonyms)
    database.execute(
        "update linkage.entry set sealed = (select sealed from linkage.entry where pseudonym_index = %s) "
        "where pseudonym_index = %s",
        (first, second),
    )
    with pytest.raises(LinkageError, match="does not open"):
        reidentify(database, ring(keys), [pseudonyms[1]], WHY, "rita")


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server like a managed one: the pipeline's user is no superuser, and `sluice_linkage` is not there yet."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("managed"), durable=False) as server:
        with psycopg2.connect(server.url("postgres")) as connection, connection.cursor() as cursor:
            for user in ("plain", "maker", "late", "officer"):
                cursor.execute(f"create role {user} login password '{user}' {'createrole' if user == 'maker' else ''}")
        yield server


def _owned(server: EmbeddedPostgres, owner: str) -> Database:
    admin = psycopg2.connect(server.url("postgres"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"create database of_{owner} owner {owner}")
    admin.close()
    migrate(_as(server, owner, owner).url)
    return _as(server, owner, owner)


def _as(server: EmbeddedPostgres, user: str, owner: str) -> Database:
    return Database(f"postgresql://{user}:{user}@127.0.0.1:{server.port}/of_{owner}")


def _lacks(database: Database) -> str | None:
    with database.transaction() as connection:
        return what_separation_lacks(connection)


def test_the_table_is_separate_where_the_migrating_user_may_make_roles_and_else_by_one_line_of_an_administrator(
    managed: EmbeddedPostgres, keys: Path, tmp_path: Path
) -> None:
    name = ""
    databases = {}
    for owner in ("plain", "maker", "late"):  # `late` meets a role that it may not give anything to
        databases[owner] = database = _owned(managed, owner)
        store_day(database, tmp_path / owner, [image()])
        prepare(database, project(), DAY, keys=keys)  # the pipeline works everywhere
        name = Identities(ring(keys).keys[0].secret, "RAD").patient("PID-4711-77")
        if owner != "maker":
            assert f"select linkage.give_to_role('{owner}')" in str(_lacks(database))
            with pytest.raises(DisclosureError, match=r"an administrator|may not act as"):
                reidentify(database, ring(keys), [name], WHY, "rita")
    Database(managed.url("postgres")).execute("grant sluice_linkage to officer")
    _is_separate(databases["maker"], _as(managed, "officer", "maker"), keys, name)
    for owner in ("plain", "late"):
        admin = Database(managed.url(f"of_{owner}"))
        assert rows(admin, f"select linkage.give_to_role('{owner}') as lacks") == [{"lacks": None}]
        _is_separate(databases[owner], _as(managed, "officer", owner), keys, name)
        store_day(databases[owner], tmp_path / owner, [image(1, "P-2", study=2)])
        prepare(databases[owner], project(), DAY, keys=keys)  # and goes on working


def _is_separate(pipeline: Database, officer: Database, keys: Path, name: str) -> None:
    assert _lacks(pipeline) is None
    for table in ("linkage.entry", "linkage.disclosure"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            pipeline.execute(f"select from {table}")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            pipeline.execute(f"delete from {table}")
    with pytest.raises(DisclosureError, match="may not act as"):
        reidentify(pipeline, ring(keys), [name], WHY, "rita")
    (answer,) = reidentify(officer, ring(keys), [name], WHY, "rita")
    assert answer.original is not None
    assert answer.original.value == "PID-4711-77"
    (row,) = disclosures(officer)
    assert row["database_user"] == "officer"

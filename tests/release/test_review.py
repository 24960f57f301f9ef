"""The review of a release: what it kept is pooled, decisions take effect and last, approval binds to what was seen."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import pydicom
import pytest
from PIL import Image

from sluice.cohorts.freeze import freeze
from sluice.cohorts.language import parse_text
from sluice.cohorts.lists import add_list
from sluice.database import Database, select
from sluice.deid.reread import reread
from sluice.objects import ObjectStore
from sluice.release.export import ReleaseError, ReleasePlan, export_batch, prepare, publish, verify
from sluice.release.projects import Project
from sluice.release.publishing import republish
from sluice.release.review import ReviewError, approved, decide, open_review, remember, standing
from sluice.release.review.rules import without
from sluice.release.review.strings import Retained, retained
from tests.deid.planted import encoded, image
from tests.release.hospital_day import DAY, store_day


@pytest.fixture
def day(database: Database, archive: Path) -> list[str]:
    """Three CT of one patient, one of another with a body part of its own."""
    return store_day(
        database,
        archive,
        [
            *(image(number) for number in (1, 2, 3)),
            image(1, "PID-88", "Larkspur^Bo", study=2, edit=lambda one: setattr(one, "BodyPartExamined", "PELVIS")),
        ],
    )


class Releases:
    """A project and what its releases are made with."""

    def __init__(self, database: Database, archive: Path, store: ObjectStore, keys: Path, **asked: Any) -> None:
        self.database, self.archive, self.store, self.keys = database, archive, store, keys
        self.project = Project.model_validate(
            {
                "name": "radiographs",
                "title": "Test",
                "profile": "basic",
                "selection": {"modality": ["CT"]},
                "bucket": store.bucket,
                "pseudonym_prefix": "RAD",
                **asked,
            }
        )

    def prepared(self, requested_by: str | None = None) -> ReleasePlan:
        return prepare(self.database, self.project, DAY, keys=self.keys, requested_by=requested_by)

    def exported(self, requested_by: str | None = None) -> int:
        plan = self.prepared(requested_by)
        for part in plan.batches:
            export_batch(self.database, self.archive, self.store, self.project, plan.release_id, part, keys=self.keys)
        verify(self.database, self.store, plan.release_id)
        return plan.release_id

    def rows(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return select(connection, statement, params)

    def strings(self, release_id: int) -> dict[tuple[str, str], dict[str, Any]]:
        rows = self.rows(
            "select * from review_string join retained_string using (string_id) where release_id = %s", release_id
        )
        return {(row["path"], row["value"]): row for row in rows}

    def in_bucket(self) -> list[pydicom.Dataset]:
        keys = [entry.key for entry in self.store.list() if entry.key.endswith(".dcm")]
        return [pydicom.dcmread(io.BytesIO(self.store.get(key))) for key in keys]


@pytest.fixture
def releases(database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]) -> Releases:
    return Releases(database, archive, bucket, keys)


def digest(releases: Releases, release_id: int) -> str:
    return open_review(releases.database, release_id).digest


def test_pool_counts_and_pictures(releases: Releases) -> None:
    release_id = releases.exported()
    opened = open_review(releases.database, release_id)
    strings = releases.strings(release_id)
    assert opened.strings == opened.new == len(strings)
    assert (strings["0008,0060", "CT"]["objects"], strings["0008,0060", "CT"]["patients"]) == (4, 2)
    pelvis = strings["0018,0015", "PELVIS"]
    assert (pelvis["objects"], pelvis["patients"], pelvis["kind"]) == (1, 1, "code")
    assert strings["0008,0008", "AXIAL"]["objects"] == 4
    assert not any("RAD-" in value for _, value in strings)  # pseudonyms are not kept of the original
    pictures = releases.rows("select * from release_thumbnail where release_id = %s order by position", release_id)
    assert [row["position"] for row in pictures] == [1, 1, 2, 3]
    with Image.open(io.BytesIO(bytes(pictures[0]["jpeg"]))) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (16, 16)
    # Exporting again does the work once and counts once.
    for part in releases.prepared().batches:
        export_batch(releases.database, releases.archive, releases.store, releases.project, release_id, part,
                     keys=releases.keys)  # fmt: skip
    assert releases.strings(release_id) == strings


def test_nothing_is_published_without_approval_and_any_change_voids_it(releases: Releases) -> None:
    release_id = releases.exported()
    with pytest.raises(ReleaseError, match="waits for approval"):
        publish(releases.database, releases.store, release_id)
    seen = digest(releases, release_id)
    with pytest.raises(ReviewError, match="changed since"):
        decide(releases.database, release_id, "anna", "approved", "0" * 64)
    assert decide(releases.database, release_id, "anna", "approved", seen[:12]).state == "approved"

    key = releases.rows("select object_key from released_object where release_id = %s limit 1", release_id)[0]
    releases.database.execute("update released_object set sha256 = 'other' where object_key = %s", (key["object_key"],))
    now = status(releases, release_id)
    assert (now.state, now.void, now.digest == seen) == ("waiting", 1, False)
    with pytest.raises(ReleaseError, match="waits for approval"):
        publish(releases.database, releases.store, release_id)


def status(releases: Releases, release_id: int) -> Any:
    with releases.database.transaction() as connection:
        assert approved(connection, release_id) == (standing(connection, release_id).state in ("approved", "published"))
        return standing(connection, release_id)


def test_two_persons_and_never_only_who_asked(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    two = Releases(database, archive, bucket, keys, approval="two", approvers=["anna", "bert", "rita"])
    release_id = two.exported(requested_by="rita")
    seen = digest(two, release_id)
    with pytest.raises(ReviewError, match="names who approves"):
        decide(database, release_id, "otto", "approved", seen)
    with ThreadPoolExecutor(4) as pool:  # the same person four times at once is one person
        list(pool.map(lambda _: decide(database, release_id, "anna", "approved", seen), range(4)))
    assert status(two, release_id).approved_by == ("anna",)
    assert len(two.rows("select 1 from release_approval")) == 1
    assert decide(database, release_id, "rita", "approved", seen).state == "approved"

    one = Releases(database, archive, bucket, keys, name="other", approval="one")
    release_id = one.exported(requested_by="rita")
    now = decide(database, release_id, "rita", "approved", digest(one, release_id))
    assert (now.state, "cannot approve it alone" in now.lacks) == ("waiting", True)
    assert decide(database, release_id, "anna", "approved", now.digest).state == "approved"


def test_who_brought_the_members_cannot_approve_alone_whoever_started_the_run(releases: Releases) -> None:
    database = releases.database
    listed = f"study_instance_uid\n{image(1).StudyInstanceUID}\n".encode()
    uploaded = add_list(database, "radiographs", "one", io.BytesIO(listed), "list.csv", "lisa")
    frozen = freeze(database, "two", parse_text("modality: CT"), "fred", "a test", "radiographs")
    for asked, person in (({"list_id": uploaded.list_id}, "lisa"), ({"version_id": frozen.version_id}, "fred")):
        plan = prepare(database, releases.project, f"cohort/radiographs/{person}", keys=releases.keys,
                       requested_by="otto", **asked)  # fmt: skip
        assert plan.members
        for part in plan.batches:
            export_batch(database, releases.archive, releases.store, releases.project, plan.release_id, part,
                         keys=releases.keys)  # fmt: skip
        verify(database, releases.store, plan.release_id)
        now = decide(database, plan.release_id, person, "approved", digest(releases, plan.release_id))
        assert (now.state, "cannot approve it alone" in now.lacks) == ("waiting", True), person


def test_a_rejection_says_why_and_stands_until_it_is_taken_back(releases: Releases) -> None:
    release_id = releases.exported()
    seen = digest(releases, release_id)
    with pytest.raises(ReviewError, match="Say why"):
        decide(releases.database, release_id, "anna", "rejected", seen, "  ")
    decide(releases.database, release_id, "bert", "approved", seen)
    now = decide(releases.database, release_id, "anna", "rejected", seen, "A name in the description")
    assert (now.state, now.rejected_by, now.reason) == ("rejected", "anna", "A name in the description")
    with pytest.raises(ReleaseError, match="rejected by anna"):
        publish(releases.database, releases.store, release_id)
    assert decide(releases.database, release_id, "anna", "approved", seen).state == "approved"
    done = publish(releases.database, releases.store, release_id)
    assert done.objects == 4
    told = json.loads(releases.store.get(done.manifest_key))["approval"]
    at = releases.rows("select decided_at, decided_by from release_approval where verdict = 'approved' order by 2")
    assert told == {
        "needed": 1,
        "digest": seen,
        "approved": [{"by": row["decided_by"], "at": row["decided_at"].isoformat()} for row in at],
    }
    assert [one["by"] for one in told["approved"]] == ["anna", "bert"]
    gone = (
        "update released_object set uploaded_at = null where object_key = (select min(object_key) from released_object)"
    )
    releases.database.execute(gone)
    republish(releases.database, releases.store, release_id)
    said = json.loads(releases.store.get(done.manifest_key))
    assert (said["revision"], said["approval"]) == (2, told)
    with pytest.raises(ReviewError, match="is published"):
        decide(releases.database, release_id, "anna", "rejected", seen, "too late")
    with pytest.raises(psycopg2.errors.RaiseException, match="only grows"):
        releases.database.execute("delete from release_approval")


def test_a_removed_string_goes_from_this_release_and_the_next(releases: Releases, archive: Path) -> None:
    release_id = releases.exported()
    open_review(releases.database, release_id)
    decide(releases.database, release_id, "anna", "approved", status(releases, release_id).digest)
    pelvis = releases.strings(release_id)["0018,0015", "PELVIS"]["string_id"]
    assert remember(releases.database, release_id, [pelvis], "remove", "anna", "names the ward") == 1
    assert status(releases, release_id).state == "waiting"
    with pytest.raises(ReviewError, match="produced again"):
        decide(releases.database, release_id, "anna", "approved", status(releases, release_id).digest)

    assert releases.exported() == release_id
    assert not any("BodyPartExamined" in one for one in releases.in_bucket())
    assert open_review(releases.database, release_id).redo == 0
    decide(releases.database, release_id, "anna", "approved", status(releases, release_id).digest)
    publish(releases.database, releases.store, release_id)

    store_day(releases.database, archive, [image(9, edit=lambda one: setattr(one, "BodyPartExamined", "PELVIS"))])
    second = releases.exported()
    assert second != release_id
    opened = open_review(releases.database, second)
    assert (opened.new, opened.redo) == (0, 0)  # nothing that was not seen before
    assert not any("BodyPartExamined" in one for one in releases.in_bucket())


def test_a_held_string_takes_its_objects_out_of_the_bucket_until_withdrawn(releases: Releases) -> None:
    release_id = releases.exported()
    open_review(releases.database, release_id)
    pelvis = releases.strings(release_id)["0018,0015", "PELVIS"]["string_id"]
    assert remember(releases.database, release_id, [pelvis], "hold", "anna") == 1
    releases.exported()
    assert len(releases.in_bucket()) == 3
    held = releases.rows("select held_reason from release_member where held_reason is not null")
    assert [row["held_reason"] for row in held] == ["held-review"]
    remember(releases.database, release_id, [pelvis], "withdrawn", "anna")
    releases.exported()
    assert len(releases.in_bucket()) == 4


def test_of_two_decisions_the_nearer_counts(releases: Releases) -> None:
    release_id = releases.exported()
    open_review(releases.database, release_id)
    strings = releases.strings(release_id)
    axial = strings["0008,0008", "AXIAL"]["string_id"]
    assert remember(releases.database, release_id, [], "remove", "anna", path="0018,0015", everywhere=True) == 1
    assert remember(releases.database, release_id, [], "keep", "anna", path="0018,0015") == 1  # produced as it was
    releases.exported()
    assert open_review(releases.database, release_id).redo == 0
    assert remember(releases.database, release_id, [axial], "keep", "anna") == 0
    with pytest.raises(ReviewError, match="no such string"):
        remember(releases.database, release_id, [987654], "keep", "anna")


def test_what_an_object_needs_says_removed() -> None:
    data = encoded(image())
    file = reread(data)
    strings = {(one.path, one.value): one for one in retained(file, "RAD-1")}
    changed = without(data, file, [strings["0008,0060", "CT"], strings["0008,0070", "SIEMENS"]])
    after = pydicom.dcmread(io.BytesIO(changed))
    assert after.Modality == "REMOVED"  # Type 1
    assert after["Manufacturer"].is_empty  # Type 2
    assert after.pixel_array.shape == (16, 16)
    assert Retained("0008,0060", "CS", "code", "CT") not in retained(reread(changed), "RAD-1")


def test_who_may_not_approve_any_more_has_not_approved(
    database: Database, archive: Path, bucket: ObjectStore, keys: Path, day: list[str]
) -> None:
    """The project's file takes bert's name out between his approval and the publication."""
    before = Releases(database, archive, bucket, keys, approval="one", approvers=["anna", "bert"])
    release_id = before.exported()
    assert decide(database, release_id, "bert", "approved", digest(before, release_id)).state == "approved"
    after = Releases(database, archive, bucket, keys, approval="one", approvers=["anna"])
    assert after.prepared().release_id == release_id
    assert status(after, release_id).state == "waiting"
    with pytest.raises(ReleaseError, match="waits for approval"):
        publish(database, bucket, release_id, keys)
    assert decide(database, release_id, "anna", "approved", digest(after, release_id)).approved_by == ("anna",)

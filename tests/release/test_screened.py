"""Releases of projects that have their pixels screened: what is held, what is masked, and that it is done once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import sluice.deid.pixels.screen as screening
from sluice.database import Database, select
from sluice.deid.pixels import PixelPolicy
from sluice.deid.pixels.screen import screen
from sluice.objects import ObjectStore
from sluice.release.export import ReleaseError, export_batch, prepare, publish, verify
from sluice.release.plan import ReleasePlan
from sluice.release.projects import Project
from sluice.release.review import decide, open_review
from tests.deid.pixels.pictures import CT, NAME, SC, US, body, burn, instance, regions
from tests.release.hospital_day import DAY, store_day


def project(bucket: ObjectStore, **pixels: Any) -> Project:
    return Project(
        name="screened",
        title="Test",
        profile="basic",
        selection={"modality": ["DX", "CT", "US", "OT"]},
        bucket=bucket.bucket,
        pseudonym_prefix="SCR",
        approval="one" if pixels.get("claim") else "none",
        pixels=PixelPolicy(**pixels),
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Archive and keys."""
    return tmp_path / "archive", tmp_path / "keys"


@pytest.fixture
def day(database: Database, folders: tuple[Path, Path]) -> list[str]:
    """Two films, one with a name on it; ultrasound with regions and without; a capture; a series of nine slices."""
    named = burn(body(), NAME, 20, 10, 4095)
    scan = burn((body(300, 400) >> 4).astype(np.uint8), NAME, 20, 4, 255)
    slices = [burn(body(64, 64, number), "X7Q", 2, 2, 4095, 14) if number == 4 else body(64, 64) for number in range(9)]
    return store_day(
        database,
        folders[0],
        [
            instance(body(), study=1),
            instance(named, study=2),
            instance(scan, US, regions((50, 60, 349, 279)), study=3),
            instance(scan, US, study=4),
            instance(scan, SC, study=5),
            *(instance(one, CT, number=number + 1, study=6) for number, one in enumerate(slices)),
        ],
    )


def screen_all(database: Database, archive: Path, plan: ReleasePlan, policy: PixelPolicy) -> int:
    return sum(
        screen(database, archive, plan.release_id, part.first, part.last, policy).screened for part in plan.batches
    )


def release(database: Database, folders: tuple[Path, Path], bucket: ObjectStore, chosen: Project) -> ReleasePlan:
    archive, keys = folders
    plan = prepare(database, chosen, DAY, keys=keys)
    screen_all(database, archive, plan, chosen.pixels)
    for part in plan.batches:
        export_batch(database, archive, bucket, chosen, plan.release_id, part, keys=keys)
    verify(database, bucket, plan.release_id)
    if chosen.approval != "none":
        decide(database, plan.release_id, "anna", "approved", open_review(database, plan.release_id).digest)
    publish(database, bucket, plan.release_id, keys)
    return plan


def held(database: Database, plan: ReleasePlan) -> dict[str, str]:
    with database.transaction() as connection:
        rows = select(
            connection,
            "select sop_instance_uid, held_reason from release_member "
            "where release_id = %s and held_reason is not null",
            (plan.release_id,),
        )
    return {row["sop_instance_uid"]: row["held_reason"] for row in rows}


def released(database: Database, bucket: ObjectStore, plan: ReleasePlan) -> dict[str, pydicom.Dataset]:
    with database.transaction() as connection:
        rows = select(
            connection,
            "select sop_instance_uid, object_key from released_object where release_id = %s",
            (plan.release_id,),
        )
    return {row["sop_instance_uid"]: pydicom.dcmread(io.BytesIO(bucket.get(row["object_key"]))) for row in rows}


def test_what_shows_text_is_held(
    database: Database, folders: tuple[Path, Path], bucket: ObjectStore, day: list[str]
) -> None:
    plan = release(database, folders, bucket, project(bucket, text="hold"))
    reasons = held(database, plan)
    assert reasons == {
        day[1]: "held-text",
        day[3]: "held-device",
        day[4]: "held-device",
        **dict.fromkeys(day[5:], "held-text"),  # its middle slice is of the sample
    }
    objects = released(database, bucket, plan)
    assert set(objects) == {day[0], day[2]}
    assert "BurnedInAnnotation" not in objects[day[0]]


def test_text_is_masked_and_only_where_a_person_approves_it_is_claimed(
    database: Database, folders: tuple[Path, Path], bucket: ObjectStore, day: list[str]
) -> None:
    plan = release(database, folders, bucket, project(bucket, text="mask", claim=True))
    assert set(held(database, plan)) == {day[3], day[4]}
    objects = released(database, bucket, plan)
    film = objects[day[1]].pixel_array
    before = burn(body(), NAME, 20, 10, 4095)
    assert (film[10:28, 25:150] == before.min()).all()
    assert np.array_equal(film[60:], before[60:])
    assert objects[day[2]].SequenceOfUltrasoundRegions[0].RegionLocationMaxX1 == 349  # still right: it is measured by
    scan = objects[day[2]].pixel_array
    assert not scan[:60].any()
    assert scan[60:280, 50:350].any()
    for uid in day[5:]:
        slice_ = objects[uid].pixel_array
        assert (slice_[6:12, 6:20] == slice_[6, 6]).all()  # the same place in every slice of the series
    for one in objects.values():
        assert one.BurnedInAnnotation == "NO"
        assert "113101" in {item.CodeValue for item in one.DeidentificationMethodCodeSequence}


def test_each_instance_is_looked_at_once_and_nothing_leaves_unseen(
    database: Database, folders: tuple[Path, Path], bucket: ObjectStore, day: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, keys = folders
    chosen = project(bucket, text="mask", one_in=4)
    plan = prepare(database, chosen, DAY, keys=keys)
    with pytest.raises(ReleaseError, match="not looked at yet"):
        export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=keys)
    (archive / f"{'.'.join(day[0].split('.')[:-2])}" / f"{day[0]}.dcm").unlink()
    assert screen_all(database, archive, plan, chosen.pixels) == 4 + 3  # slices 1, 5 and 9 of nine; one file is gone
    monkeypatch.setattr(screening, "screen_file", lambda *_: pytest.fail("looked at again"))
    assert screen_all(database, archive, plan, chosen.pixels) == 0
    export_batch(database, archive, bucket, chosen, plan.release_id, plan.batches[0], keys=keys)
    assert held(database, plan)[day[0]] == "held-unreadable"


def test_what_texts_say_is_forgotten_with_the_release_and_their_places_stay(
    database: Database, folders: tuple[Path, Path], bucket: ObjectStore, day: list[str]
) -> None:
    archive, keys = folders
    chosen = project(bucket, text="mask")
    plan = prepare(database, chosen, DAY, keys=keys)
    screen_all(database, archive, plan, chosen.pixels)
    with database.transaction() as connection:
        texts = select(connection, "select sop_instance_uid, said from pixel_text")
    assert any("QUILL" in row["said"] for row in texts if row["sop_instance_uid"] == day[1])
    assert {day[1], day[2], day[3], day[4], day[9]} == {row["sop_instance_uid"] for row in texts}
    release(database, folders, bucket, chosen)
    with database.transaction() as connection:
        kept = select(connection, "select sop_instance_uid from pixel_text where said is not null")
        assert select(connection, "select count(*) as n from pixel_text")[0]["n"] == len(texts)
    assert {row["sop_instance_uid"] for row in kept} == {day[3], day[4]}  # held: somebody has to look at them
    assert day[1] in held(database, release(database, folders, bucket, project(bucket, text="hold")))

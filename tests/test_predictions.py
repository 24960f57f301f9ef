from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sluice.batches import Batch
from sluice.canonical.index import Geometry, MadePicture, keep, place_of
from sluice.canonical.shards import ShardWriter
from sluice.database import Database
from sluice.predictions import (
    Prediction,
    PredictionError,
    UnreadableImage,
    note_unreadable,
    pending,
    pending_pictures,
    register_model,
    store,
)

DIGEST = "ab" * 32
MODEL = "body_part-small-abababababab"


@pytest.fixture
def batch(database: Database) -> Batch:
    """Two radiographs and one CT slice, received and indexed."""
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("insert into sweep_window values ('2026-10-26', 'day', '2026-10-26', '2026-10-26')")
        cursor.execute("insert into study (study_instance_uid) values ('1.2')")
        for series, modality in (("1.2.1", "DX"), ("1.2.2", "CT"), ("1.2.3", "CR")):
            cursor.execute("insert into series values (%s, '1.2', %s)", (series, modality))
            cursor.execute(
                """
                insert into receipt (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid,
                    transfer_syntax_uid, study_date, source, calling_ae, called_ae, peer, association, bytes,
                    sha256, path)
                values (%(uid)s, %(series)s, '1.2', '1', '1', '2026-10-26', 'move', 'A', 'B', 'h',
                        gen_random_uuid(), 1, 'x', %(uid)s || '.dcm')
                """,
                {"uid": series + ".1", "series": series},
            )
            cursor.execute(
                "insert into instance (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, "
                "transfer_syntax_uid) values (%s, %s, '1.2', '1', '1')",
                (series + ".1", series),
            )
        cursor.execute("select min(receipt_id), max(receipt_id) from receipt")
        first, last = cursor.fetchone() or (0, 0)
    return Batch("2026-10-26", first, last, 3)


def test_only_radiographs_are_pending_and_once(database: Database, batch: Batch) -> None:
    register_model(database, MODEL, "body_part", "small", DIGEST, {"f1": 0.9})
    assert [image.sop_instance_uid for image in pending(database, batch, "body_part", MODEL, 1)] == [
        "1.2.1.1",
        "1.2.3.1",
    ]
    answer = Prediction("1.2.1.1", "spine", 0.75, {"examined": "LSPINE", "note": "a\x00b\\u0000"})
    assert store(database, MODEL, "body_part", [answer]) == 1
    assert store(database, MODEL, "body_part", [answer]) == 0
    assert [image.sop_instance_uid for image in pending(database, batch, "body_part", MODEL, 1)] == ["1.2.3.1"]


def test_the_next_task_sees_the_body_part_and_the_canonical_image(
    database: Database, batch: Batch, tmp_path: Path
) -> None:
    register_model(database, MODEL, "body_part", "small", DIGEST, {})
    store(database, MODEL, "body_part", [Prediction("1.2.1.1", "abdominal", 0.9, {"examined": "ABDOMEN"})])
    film = MadePicture("1.2.1.1", np.zeros((512, 512), np.uint8), Geometry(1, 1, 0, 0, 1, 1), "window")
    with ShardWriter(database, tmp_path) as writer:
        keep(database, writer, 1, [film])
    first, second = pending(database, batch, "ivc_filter", "ivc_filter-x-1", 1)
    assert (first.path, first.place, first.body_part) == ("1.2.1.1.dcm", place_of(database, "1.2.1.1"), "abdominal")
    assert (second.place, second.body_part) == (None, None)
    assert [image.place for image in pending(database, batch, "ivc_filter", "ivc_filter-x-1", 2)] == [None, None]
    assert [image.sop_instance_uid for image in pending_pictures(database, batch, 1)] == ["1.2.3.1"]


def test_unreadable_pixels_are_noted_once_and_not_asked_for_again(database: Database, batch: Batch) -> None:
    row = UnreadableImage("1.2.1.1", "JPEG 2000 stream ends early")
    assert note_unreadable(database, [row]) == 1
    assert note_unreadable(database, [row]) == 0
    assert [image.sop_instance_uid for image in pending(database, batch, "body_part", MODEL, 1)] == ["1.2.3.1"]
    assert len(pending(database, batch, "body_part", MODEL, 1, again=True)) == 2
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            "select reason_code, detail from open_gap where sop_instance_uid = '1.2.1.1' and step = 'predicted'"
        )
        assert cursor.fetchall() == [("pixels-unreadable", "JPEG 2000 stream ends early")]


def test_what_cannot_be_stored_is_refused_as_a_whole(database: Database, batch: Batch) -> None:
    with pytest.raises(PredictionError, match="register_model"):
        store(database, MODEL, "body_part", [Prediction("1.2.1.1", "spine", 0.5, {})])
    register_model(database, MODEL, "body_part", "small", DIGEST, {})
    good, bad = Prediction("1.2.1.1", "spine", 0.5, {}), Prediction("1.2.3.1", "spine", float("nan"), {})
    with pytest.raises(PredictionError, match="not a number"):
        store(database, MODEL, "body_part", [good, bad])
    with pytest.raises(PredictionError, match="NaN"):
        store(database, MODEL, "body_part", [Prediction("1.2.1.1", "spine", 0.5, {"p": float("inf")})])
    assert len(pending(database, batch, "body_part", MODEL, 1)) == 2
    with pytest.raises(PredictionError, match="other weights"):
        register_model(database, MODEL, "body_part", "small", "cd" * 32, {})
    with pytest.raises(PredictionError, match="no task"):
        register_model(database, MODEL, "age", "small", DIGEST, {})

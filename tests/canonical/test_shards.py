"""Shards and their index: nothing is pointed to that is not there, nothing stays that may not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sluice.canonical import index
from sluice.canonical.index import Geometry, MadePicture, NoPicture, keep, lost, picture_of, place_of
from sluice.canonical.png import as_png
from sluice.canonical.shards import RECORD, Place, ShardError, ShardReader, ShardWriter, held_file, shard_path
from sluice.canonical.upkeep import compact, remove
from sluice.database import Database, select
from sluice.settings import CHECKOUT
from tests.ledger_rows import LedgerRows

SHOWN = Geometry(2048, 1024, 0, 0, 2048, 1024)


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (512, 512), dtype=np.uint8)


def made(*numbers: int) -> list[MadePicture | NoPicture]:
    return [MadePicture(f"1.{number}", picture(number), SHOWN, "window") for number in numbers]


def kept(database: Database, root: Path, *numbers: int, capacity: int = 4096) -> None:
    with ShardWriter(database, root, capacity) as writer:
        keep(database, writer, 1, made(*numbers))


def received(database: Database, count: int) -> list[str]:
    """Instances in the archive; their pictures are not made yet."""
    rows = LedgerRows(database)
    series = rows.series(rows.study(1), modality="DX")
    return [rows.instance(series, number) for number in range(1, count + 1)]


def blocks(root: Path, shard_id: int) -> int:
    return os.stat(shard_path(root, shard_id)).st_blocks * 512


def test_pictures_come_back_and_the_first_stays(database: Database, tmp_path: Path) -> None:
    kept(database, tmp_path, 1, 2)
    with ShardWriter(database, tmp_path) as writer:
        again = [MadePicture("1.1", picture(9), SHOWN, "window"), NoPicture("1.3", "pixels-unreadable", "cut off")]
        assert keep(database, writer, 1, again) == 1
    for number in (1, 2):
        assert (picture_of(database, tmp_path, f"1.{number}") == picture(number)).all()
    assert picture_of(database, tmp_path, "1.3") is None
    with database.transaction() as connection:
        (row,) = select(connection, "select * from canonical_image where sop_instance_uid = '1.3'")
    assert (row["reason_code"], row["detail"], row["shard_id"]) == ("pixels-unreadable", "cut off", None)
    with ShardWriter(database, tmp_path) as writer:  # a newer recipe, and a film that can be decoded after all
        newer = [MadePicture(uid, picture(7), SHOWN, "window") for uid in ("1.1", "1.3")]
        assert keep(database, writer, 2, newer) == 2
    assert (picture_of(database, tmp_path, "1.1") == picture(7)).all()
    assert as_png(picture(7)).startswith(b"\x89PNG")


def test_batches_have_one_shape_and_leave_out_what_is_gone(database: Database, tmp_path: Path) -> None:
    kept(database, tmp_path, *range(5), capacity=2)
    places = [place_of(database, f"1.{number}") for number in range(5)]
    assert None not in places
    shards = {place.shard_id for place in places if place}
    assert len(shards) == 3, "a full shard takes no more"
    there = [place for place in places if place]
    there[1] = Place(there[1].shard_id, there[1].offset, bytes(32))  # not what was written
    there[4] = Place(999, 0, bytes(32))
    with ShardReader(tmp_path) as reader:
        seen = [(list(inside), batch.copy()) for inside, batch in reader.batches(there, 2)]
    assert [batch.shape for _, batch in seen] == [(2, 512, 512)] * 2
    assert [inside for inside, _ in seen] == [[0, 2], [3]]
    assert (seen[1][1][0] == picture(3)).all()


def test_writers_at_once_hold_different_shards_and_fill_up_what_others_left(database: Database, tmp_path: Path) -> None:
    writers = [threading.Thread(target=kept, args=(database, tmp_path, *range(10 * n, 10 * n + 10))) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for number in range(40):
        assert (picture_of(database, tmp_path, f"1.{number}") == picture(number)).all()
    with database.transaction() as connection:
        before = select(connection, "select count(*) as shards from canonical_shard")
    kept(database, tmp_path, 50)
    with database.transaction() as connection:
        assert select(connection, "select count(*) as shards from canonical_shard") == before
    first = ShardWriter(database, tmp_path)
    (place,) = first.append([picture(1)])
    assert held_file(shard_path(tmp_path, place.shard_id)) is None, "it is held"
    first.close()


KILLED = """
import os, sys
import numpy as np
from pathlib import Path
from sluice.canonical import index
from sluice.canonical.index import Geometry, MadePicture, keep
from sluice.canonical.shards import ShardWriter
from sluice.database import Database

database, root, moment = Database(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
writer = ShardWriter(database, root)
shown = Geometry(512, 512, 0, 0, 512, 512)
keep(database, writer, 1, [MadePicture("1.1", np.full((512, 512), 1, np.uint8), shown, "window")])
if moment == "torn":  # a write that the end of the process cuts off
    os.pwrite(writer._file, b"x" * 1000, 262144)
else:  # bytes on the disk, no row yet
    index.copy_rows = lambda *given: os.kill(os.getpid(), 9)
    keep(database, writer, 1, [MadePicture("1.2", np.full((512, 512), 2, np.uint8), shown, "window")])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("moment", ["torn", "before the row"])
def test_killed_in_the_middle_nothing_is_pointed_to_that_is_not_there(
    moment: str, database: Database, tmp_path: Path
) -> None:
    died = subprocess.run(
        [sys.executable, "-c", KILLED, database.url, str(tmp_path), moment], cwd=CHECKOUT, check=False
    )
    assert died.returncode == -9
    assert (picture_of(database, tmp_path, "1.1") == 1).all()
    assert place_of(database, "1.2") is None
    kept(database, tmp_path, 2)  # goes on in the same shard, at the next whole record
    place = place_of(database, "1.2")
    assert place is not None
    assert place.offset == 2 * RECORD
    assert (picture_of(database, tmp_path, "1.2") == picture(2)).all()
    assert (picture_of(database, tmp_path, "1.1") == 1).all()
    database.execute("insert into receipt (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, "
        "transfer_syntax_uid, source, calling_ae, called_ae, peer, association, bytes, sha256, path) select "
        "sop_instance_uid, '1', '1', '1', '1', 'push', 'A', 'B', 'h', gen_random_uuid(), 1, 'x', 'x' "
        "from canonical_image")  # fmt: skip
    before = blocks(tmp_path, place.shard_id)
    done = compact(database, tmp_path)
    assert (done.removed, done.emptied, done.dropped) == (0, 1, 0)
    assert blocks(tmp_path, place.shard_id) < before
    assert compact(database, tmp_path).emptied == 0
    assert (picture_of(database, tmp_path, "1.2") == picture(2)).all()


def test_what_is_opted_out_or_deleted_goes_with_its_bytes(database: Database, tmp_path: Path) -> None:
    uids = received(database, 4)
    with ShardWriter(database, tmp_path) as writer:
        keep(database, writer, 1, [MadePicture(uid, picture(n), SHOWN, "window") for n, uid in enumerate(uids)])
        place = place_of(database, uids[0])
        assert place is not None
        assert remove(database, tmp_path, [uids[0]]) == 1, "also while somebody writes there"
    whole = shard_path(tmp_path, place.shard_id).read_bytes()
    assert whole[place.offset : place.offset + RECORD] == bytes(RECORD)
    assert picture_of(database, tmp_path, uids[0]) is None
    database.execute(
        "insert into opt_out (kind, sop_instance_uid, reason, why, said_by, starts_on) "
        "values ('instance', %s, 'withdrawn', 'objection', 'dpo', '2020-01-01')",
        (uids[1],),
    )
    database.execute("delete from receipt where sop_instance_uid = %s", (uids[2],))
    assert compact(database, tmp_path).removed == 2
    remaining = [uid for uid in uids if place_of(database, uid)]
    assert remaining == [uids[3]]
    data = shard_path(tmp_path, place.shard_id).read_bytes()
    assert np.frombuffer(data, np.uint8).reshape(-1, RECORD).any(1).tolist() == [False, False, False, True]


def test_sparse_shards_are_written_anew_and_empty_ones_dropped(database: Database, tmp_path: Path) -> None:
    uids = received(database, 5)
    with ShardWriter(database, tmp_path, capacity=4) as writer:
        keep(database, writer, 1, [MadePicture(uid, picture(n), SHOWN, "window") for n, uid in enumerate(uids)])
    first = place_of(database, uids[0])
    assert first is not None
    remove(database, tmp_path, uids[1:4])
    (tmp_path / "ab" / "cd").mkdir(parents=True)
    (tmp_path / "ab" / "cd" / "old.png").write_bytes(b"old")
    with ShardReader(tmp_path) as reader:
        mapped = reader.picture(first)
        done = compact(database, tmp_path)
        assert (done.moved, done.dropped, done.old_files) == (1, 1, 1)
        assert mapped is not None
        assert (mapped == picture(0)).all(), "who has it open reads on"
    assert not shard_path(tmp_path, first.shard_id).exists()
    for number in (0, 4):
        assert (picture_of(database, tmp_path, uids[number]) == picture(number)).all()
    remove(database, tmp_path, uids)
    assert compact(database, tmp_path).dropped == 1
    assert list((tmp_path / "shards").iterdir()) == []


def test_lost_bytes_are_forgotten_and_made_again(database: Database, tmp_path: Path) -> None:
    kept(database, tmp_path, 1)
    place = place_of(database, "1.1")
    assert place is not None
    shard_path(tmp_path, place.shard_id).unlink()
    assert picture_of(database, tmp_path, "1.1") is None
    assert lost(database, [("1.1", place)]) == 1
    kept(database, tmp_path, 1)
    assert (picture_of(database, tmp_path, "1.1") == picture(1)).all()
    assert lost(database, [("1.1", place)]) == 0, "it stands elsewhere now"


def test_a_folder_that_cannot_be_written_is_one_clear_error(database: Database, tmp_path: Path) -> None:
    (tmp_path / "shards").write_text("in the way")
    with pytest.raises(ShardError, match="cannot be written below"):
        kept(database, tmp_path, 1)


def test_places_in_a_picture_lead_back_into_the_film() -> None:
    shown = Geometry(3000, 2500, 200, 100, 2048, 1024)
    assert shown.in_frame(128, 0) == pytest.approx((100, 200))
    assert shown.in_frame(384, 512) == pytest.approx((1124, 2248))
    assert index.COLUMNS[0] == "sop_instance_uid"

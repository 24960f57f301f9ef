"""The glue between database, decoder and network, with a network that says what the test wants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from models.weights_files import SHIPPED, WeightsUnusable, load_weights, save_weights
from operators import inference
from operators.inference import read_batch, reads_details
from operators.pictures import keep_batch, wants_detail
from sluice.anatomy import fast_path
from sluice.anatomy.fast_path import Certainty
from sluice.batches import EVERYTHING, Batch, plan_radiographs
from sluice.canonical.index import geometry_of
from sluice.canonical.shards import RECORD, shard_path
from sluice.canonical.upkeep import compact
from sluice.database import Database, select
from sluice.predictions import PendingImage, register_model
from sluice.registry.registry import disagreement
from tests.ledger_rows import DAY, DX_IMAGE, LedgerRows
from tests.models.films import body, film, written

KEY = DAY.isoformat()
PARTS = ("abdominal", "others", "unknown", "pediatric_chest")


class Network:
    """Answers in order; counts the pictures it was shown."""

    architecture, weights_sha256, card = "fake", "0" * 64, {"measured": True}

    def __init__(self, task: str) -> None:
        self.task, self.model_id, self.shown = task, f"{task}-fake-000000000000", 0
        self.device, self.precision, self.batch = SimpleNamespace(type="cpu"), "float32", 3
        self.side = 512

    def read(self, images: Any, ages: list[float | None] | None = None) -> list[Any]:
        assert all(image.shape == (self.side, self.side) and image.dtype == np.uint8 for image in images)
        first, self.shown = self.shown, self.shown + len(images)
        if self.task == "ivc_filter":
            return [SimpleNamespace(present=False, score=0.25, detail=lambda: {"boxes": []}) for _ in images]
        assert ages is not None
        return [
            SimpleNamespace(label=PARTS[(first + place) % 4], router5_score=0.9, detail=lambda: {"examined": "KNEE"})
            for place in range(len(images))
        ]

    def read_with_features(self, images: Any, ages: list[float | None]) -> tuple[list[Any], Any]:
        return self.read(images, ages), np.stack([image[:8, 0].astype(np.float32) for image in images])


LOAD = inference._load


def running(path: Any) -> SimpleNamespace:
    """A model as the registry names one."""
    return SimpleNamespace(path=path, stage="production", model_id="of the test")


@pytest.fixture
def day(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Four radiographs in an archive, the last one damaged, and networks in place of the real ones."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    rows = LedgerRows(database)
    study = rows.study(1)
    series = rows.series(study, modality="DX")
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(1, 6):
        uid = f"{series}.{number}"
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = DX_IMAGE, uid
        dataset.SOPClassUID, dataset.SOPInstanceUID = DX_IMAGE, uid
        dataset.Rows = dataset.Columns = 256
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        grey = np.random.default_rng(number).integers(0, 4096, (256, 256), dtype=np.uint16)
        dataset.PixelData = grey.tobytes() if number < 5 else grey.tobytes()[:1000]
        dataset.save_as(archive / f"{uid}.dcm", enforce_file_format=True)
        rows.instance(series, number)
    networks = {task: Network(task) for task in ("body_part", "ivc_filter")}
    for network in networks.values():
        register_model(database, network.model_id, network.task, "fake", network.weights_sha256, network.card)
    monkeypatch.setattr(inference, "models_to_run", lambda _, task: [running(task)])
    monkeypatch.setattr(inference, "_load", lambda task, *_: networks[task])
    (batch,) = plan_radiographs(database, KEY)
    root = tmp_path / "canonical"

    def run(task: str) -> dict[str, Any]:
        return read_batch(database, archive, Batch.of(batch.as_dict()), task, root, workers=1).as_dict()

    def keep() -> dict[str, Any]:
        return keep_batch(database, archive, batch, root, workers=1)

    return SimpleNamespace(run=run, keep=keep, networks=networks, archive=archive, root=root, series=series, rows=rows)


def test_each_image_is_decoded_once_read_once_and_a_damaged_one_has_a_reason(day: Any, database: Database) -> None:
    done = day.run("body_part")
    assert (done["pending"], done["read"], done["decoded"], done["unreadable"]) == (5, 4, 4, 1)
    assert {name: count for name, count in done.items() if name.startswith("label_")} == {
        f"label_{part}": 1 for part in sorted(PARTS)
    }
    with database.transaction() as connection:
        (gap,) = select(connection, "select reason_code from gap where step = 'predicted'")
        (kept,) = select(connection, "select count(shard_id) as pictures, count(*) as known from canonical_image")
    assert gap["reason_code"] == "pixels-unreadable"
    assert (kept["pictures"], kept["known"]) == (4, 5)
    assert shard_path(day.root, 1).stat().st_size == 4 * RECORD
    again = day.run("body_part")
    assert (again["pending"], again["read"], again["decoded"], day.networks["body_part"].shown) == (0, 0, 0, 4)


def test_the_filter_detector_sees_only_what_can_show_a_filter_and_decodes_nothing_again(
    day: Any, database: Database
) -> None:
    day.run("body_part")
    for file in day.archive.iterdir():
        file.unlink()
    done = day.run("ivc_filter")
    assert (done["read"], done["gated_out"], done["decoded"], done["unreadable"]) == (2, 2, 0, 0)
    with database.transaction() as connection:
        rows = select(connection, "select label, score from prediction where task = 'ivc_filter'")
    assert [(row["label"], row["score"]) for row in rows] == [("absent", 0.75)] * 2, "the score is the label's own"


def test_pictures_that_were_kept_at_ingest_are_not_decoded_again(day: Any, database: Database) -> None:
    assert day.keep() == {"pending": 5, "decoded": 4, "details": 0, "unreadable": 1, "skipped": 0}
    assert day.keep() == {"pending": 0, "decoded": 0, "details": 0, "unreadable": 0, "skipped": 0}
    for file in day.archive.iterdir():
        file.unlink()
    done = day.run("body_part")
    assert (done["pending"], done["read"], done["decoded"], done["unreadable"]) == (4, 4, 0, 0)


def test_a_lost_canonical_image_is_made_again(day: Any) -> None:
    day.run("body_part")
    shard_path(day.root, 1).unlink()
    done = day.run("ivc_filter")
    assert (done["read"], done["decoded"], done["unreadable"]) == (2, 2, 0)
    assert day.run("ivc_filter")["pending"] == 2  # those that cannot show a filter are asked for again, and gated


def test_what_is_no_film_is_skipped_with_a_reason_and_whom_nobody_may_use_is_not_read(
    day: Any, database: Database
) -> None:
    day.rows.instance(day.series, 6, sop_class_uid="1.2.840.10008.5.1.4.1.1.11.1")
    day.rows.instance(day.series, 7, sop_class_uid=DX_IMAGE, image_type=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    database.execute(
        "insert into opt_out (kind, sop_instance_uid, reason, why, said_by, starts_on) "
        "values ('instance', %s, 'withdrawn', 'objection', 'dpo', '2020-01-01')",
        (f"{day.series}.1",),
    )
    (whole,) = plan_radiographs(database, EVERYTHING)
    done = read_batch(database, day.archive, whole, "body_part", day.root, workers=1).as_dict()
    assert (done["pending"], done["read"], done["skipped"], done["unreadable"]) == (6, 3, 2, 1)
    with database.transaction() as connection:
        gaps = select(connection, "select reason_code, detail from gap where step = 'predicted' order by gap_id")
    assert [(gap["reason_code"], gap["detail"]) for gap in gaps if gap["reason_code"] == "not-a-radiograph"] == [
        ("not-a-radiograph", "a presentation state"),
        ("not-a-radiograph", "a localizer"),
    ]


def test_a_network_that_fails_ends_all_threads(day: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day.networks["body_part"], "read", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        day.run("body_part")


def test_a_new_model_reads_what_the_one_before_has_read(day: Any) -> None:
    assert day.run("body_part")["read"] == 4
    day.networks["body_part"].model_id = "body_part-fake-111111111111"
    again = day.run("body_part")
    assert (again["pending"], again["read"], again["decoded"]) == (4, 4, 0)
    assert day.run("body_part")["pending"] == 0


def test_a_shadow_reads_beside_production_and_neither_counts_nor_holds_it_up(
    day: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = Network("body_part")
    shadow.model_id, shadow.shown = "body_part-fake-111111111111", 1  # its answers are off by one
    register_model(database, shadow.model_id, "body_part", "fake", "0" * 64, {}, stage="shadow")
    serving = day.networks["body_part"]

    def load(_: str, path: Any, *__: Any) -> Network:
        if path == "broken":
            raise WeightsUnusable("the weights are for another network")
        return shadow if path == "shadow" else serving

    monkeypatch.setattr(inference, "models_to_run", lambda *_: [running(name) for name in ("it", "broken", "shadow")])
    monkeypatch.setattr(inference, "_load", load)
    done = day.run("body_part")
    assert (done["read"], done["shadow_read"], done["shadows_failed"], done["decoded"]) == (4, 4, 1, 4)
    with database.transaction() as connection:
        counting = select(connection, "select distinct model_id from body_part_reading")
        both = select(connection, "select count(*) as n from prediction where task = 'body_part'")
    assert [row["model_id"] for row in counting] == [serving.model_id]
    assert both[0]["n"] == 8
    pairs = disagreement(database, shadow.model_id)
    assert sum(pair["images"] for pair in pairs) == 4
    assert not any(pair["agree"] for pair in pairs)


def test_headers_that_decide_spare_the_network_films_but_for_a_sample(
    day: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = day.networks["body_part"].model_id
    register_model(database, model, "body_part", "fake", "0" * 64, {})
    database.execute("insert into fusion (model_id, films, parameters) values (%s, 9000, '{}')", (model,))
    database.execute("insert into header_reliability values (1, '(0018,0015)', false, 'CT1', 9000, 9000, 0.999)")
    database.execute("update header_anatomy set region_key = 'ABDOMEN', source_tag = '(0018,0015)'")
    monkeypatch.setattr(fast_path, "audited", lambda uid, share: uid.endswith(".2"))
    (batch,) = plan_radiographs(database, KEY)

    def run(task: str) -> dict[str, Any]:
        return read_batch(database, day.archive, batch, task, day.root, workers=1, certainty=Certainty()).as_dict()

    done = run("body_part")
    assert (done["pending"], done["by_header"], done["audited"], done["read"]) == (5, 4, 1, 1)
    assert run("body_part")["pending"] == 0
    with database.transaction() as connection:
        (audit,) = select(connection, "select region_key, model_region from header_answer where audited")
    assert (audit["region_key"], audit["model_region"]) == ("ABDOMEN", "KNEE")
    looked = run("ivc_filter")
    assert (looked["pending"], looked["gated_out"], looked["unreadable"]) == (5, 0, 1), "an abdomen may show a filter"


def large_film(day: Any, number: int, side: int = 1300, region: str | None = None) -> str:
    """A film of so many rows, received; in a series of its own where its header names a region."""
    series = day.series if region is None else day.rows.series(day.rows.study(number), modality="DX")
    uid = day.rows.instance(series, number)
    written(film((body(side, side - 100) * 3800 + 100).astype(np.uint16)), day.archive, f"{uid}.dcm")
    if region is not None:
        day.rows.database.execute(
            "update header_anatomy set region_key = %s where series_instance_uid = %s", (region, series)
        )
    return uid


def read_as(database: Database) -> dict[str, int]:
    """Pixels of the side of what the detector was shown, by instance."""
    with database.transaction() as connection:
        rows = select(connection, "select sop_instance_uid, detail from prediction where task = 'ivc_filter'")
    return {row["sop_instance_uid"]: row["detail"]["pixels"] for row in rows}


def test_a_detector_of_detail_images_is_shown_them_where_films_have_so_many_pixels(
    day: Any, database: Database
) -> None:
    day.networks["ivc_filter"].side = 1024
    large = large_film(day, 6)
    (batch,) = plan_radiographs(database, KEY)
    kept = keep_batch(database, day.archive, batch, day.root, workers=1, detail=True)
    assert (kept["decoded"], kept["details"]) == (5, 1)
    read_batch(database, day.archive, batch, "body_part", day.root, workers=1)
    database.execute("update prediction set label = 'abdominal'")
    for file in day.archive.iterdir():
        file.unlink()
    done = read_batch(database, day.archive, batch, "ivc_filter", day.root, workers=1).as_dict()
    assert (done["read"], done["coarse"], done["decoded"], done["details"]) == (5, 4, 0, 0), "all was decoded once"
    assert {uid: side for uid, side in read_as(database).items() if side > 512} == {large: 1024}


def test_weights_of_1024_pixels_read_a_day_end_to_end_and_place_boxes_in_the_canonical_image(
    day: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.filter_data import compose, enlarged
    from models.ivc_filter import IvcFilterReader
    from models.networks import FilterNetwork

    shipped = load_weights(SHIPPED / "ivc_filter.pt")
    fresh = {name: value for name, value in FilterNetwork(detail=True).state_dict().items() if "detail." in name}
    both = {"threshold": 0.1, "side": 1024}
    save_weights(tmp_path / "ivc.pt", {**fresh, **shipped.state}, shipped.architecture, {**shipped.settings, **both})
    background = (body(512, 512) * 180 + 20).astype(np.uint8)
    scene = compose(
        enlarged(background, 1024), films_of_trunk(), True, np.random.default_rng(3), designs=("sixteen_struts",)
    )
    uid = day.rows.instance(day.series, 6)
    written(film(scene.image.astype(np.uint16).repeat(2, 0).repeat(2, 1) * 16), day.archive, f"{uid}.dcm")
    (batch,) = plan_radiographs(database, KEY)
    read_batch(database, day.archive, batch, "body_part", day.root, workers=1)
    database.execute("update prediction set label = 'others' where sop_instance_uid <> %s", (uid,))
    database.execute("update prediction set label = 'abdominal' where sop_instance_uid = %s", (uid,))
    monkeypatch.setattr(inference, "_load", LOAD)
    monkeypatch.setattr(inference, "models_to_run", lambda *_: [running(tmp_path / "ivc.pt")])
    done = read_batch(database, day.archive, batch, "ivc_filter", day.root, workers=1)
    assert (done.read, done.details, done.coarse) == (1, 1, 0)
    assert done.model_id == IvcFilterReader.load(tmp_path / "ivc.pt").model_id
    with database.transaction() as connection:
        (row,) = select(connection, "select label, detail from prediction where model_id = %s", (done.model_id,))
    assert (row["label"], row["detail"]["pixels"]) == ("present", 1024)
    x0, y0, x1, y1 = row["detail"]["boxes"][0]["box"]
    geometry = geometry_of(database, [uid])[uid]
    left, top = geometry.in_frame(x0, y0)
    right, bottom = geometry.in_frame(x1, y1)
    x, y = scene.middle[0] * 4, scene.middle[1] * 4  # of the frame's 2,048 pixels
    assert left < x < right
    assert top < y < bottom


def films_of_trunk() -> Any:
    from models.data import Film

    return Film(None, "drawn", "p", "train", "abdominal", "ABDOMEN", ("ABDOMEN",))


def test_films_decoded_before_are_decoded_again_where_the_gate_lets_them_through_and_else_read_as_they_are(
    day: Any, database: Database
) -> None:
    day.networks["ivc_filter"].side = 1024
    wanted, gone, other = (large_film(day, number) for number in (6, 7, 8))
    (batch,) = plan_radiographs(database, KEY)
    keep_batch(database, day.archive, batch, day.root, workers=1)
    read_batch(database, day.archive, batch, "body_part", day.root, workers=1)
    database.execute("update prediction set label = 'others'")
    database.execute(
        'update prediction set detail = \'{"visible": ["PELVIS", "LSPINE"]}\' where sop_instance_uid = any(%s)',
        ([wanted, gone],),
    )
    (day.archive / f"{gone}.dcm").unlink()
    done = read_batch(database, day.archive, batch, "ivc_filter", day.root, workers=1).as_dict()
    assert (done["read"], done["coarse"], done["decoded"], done["details"], done["unreadable"]) == (2, 1, 0, 1, 0)
    assert read_as(database) == {wanted: 1024, gone: 512}
    assert other not in read_as(database)
    database.execute("delete from prediction where task = 'ivc_filter'")
    with database.transaction() as connection:
        (at,) = select(connection, "select shard_id from detail_image where shard_id is not null")
    shard_path(day.root, at["shard_id"]).unlink()  # lost bytes are made again
    again = read_batch(database, day.archive, batch, "ivc_filter", day.root, workers=1).as_dict()
    assert (again["read"], again["details"]) == (2, 1)


@pytest.mark.parametrize(
    ("region", "age", "made"),
    [
        ("KNEE", None, 0),
        ("ABDOMEN", None, 1),
        (None, None, 1),
        ("CHEST", 40.0, 1),
        ("CHEST", 3.0, 0),
        ("PELVIS", 60.0, 0),
    ],
)
def test_detail_images_are_made_where_the_header_does_not_speak_against_it(
    region: str | None, age: float | None, made: int
) -> None:
    image = PendingImage("1", "1.dcm", DX_IMAGE, (), age, None, None, header_region=region)
    assert wants_detail(image) == bool(made)
    assert wants_detail(replace(image, body_part="abdominal")), "what was read of it counts more"
    assert not wants_detail(replace(image, body_part="pediatric_chest", visible=("ABDOMEN",)))


def test_details_kept_on_a_header_that_was_wrong_and_of_whom_nobody_may_use_are_taken_out(
    day: Any, database: Database
) -> None:
    wrong, opted_out, right = (large_film(day, number, region="ABDOMEN") for number in (6, 7, 8))
    knee = large_film(day, 9, region="KNEE")
    (batch,) = plan_radiographs(database, KEY)
    assert keep_batch(database, day.archive, batch, day.root, workers=1, detail=True)["details"] == 3
    read_batch(database, day.archive, batch, "body_part", day.root, workers=1)
    database.execute(
        "update prediction set label = case sop_instance_uid when %s then 'others' else 'spine' end", (wrong,)
    )
    database.execute(
        "insert into opt_out (kind, sop_instance_uid, reason, why, said_by, starts_on) "
        "values ('instance', %s, 'withdrawn', 'objection', 'dpo', '2020-01-01')",
        (opted_out,),
    )
    done = compact(database, day.root)
    assert (done.removed, done.unwanted) == (1, 1)
    with database.transaction() as connection:
        (left,) = select(connection, "select sop_instance_uid, shard_id from detail_image where shard_id is not null")
        shown = select(connection, "select sop_instance_uid from canonical_image where sop_instance_uid = %s", (wrong,))
    assert left["sop_instance_uid"] == right != knee
    assert shown, "its canonical image stays"
    data = np.frombuffer(shard_path(day.root, left["shard_id"]).read_bytes(), np.uint8).reshape(-1, 1 << 20)
    assert data.any(1).sum() == 1, "of the others no byte is left"
    assert compact(database, day.root).unwanted == 0


def test_details_are_made_only_for_a_detector_that_reads_them(
    day: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = load_weights(SHIPPED / "ivc_filter.pt")
    for side in (512, 1024):
        save_weights(tmp_path / f"{side}.pt", weights.state, weights.architecture, {**weights.settings, "side": side})
    for names, wanted in ((["512"], False), (["512", "1024"], True), (["none"], False)):
        running_now = [running(tmp_path / f"{name}.pt") for name in names]
        monkeypatch.setattr(inference, "models_to_run", lambda *_, now=running_now: now)
        assert reads_details(database) == wanted, names


def bad_films(folder: Path) -> dict[str, str]:
    """Files of bad input by UID, and the reason that each must get."""
    grey = (body() * 3800 + 100).astype(np.uint16)
    constant, corrupt, cut = film(np.full((200, 200), 7, np.uint16)), film(grey), film(grey)
    corrupt.compress(JPEG2000Lossless, generate_instance_uid=False)
    corrupt.PixelData = corrupt.PixelData[:60] + b"\xff" * 340 + corrupt.PixelData[400:]
    cut.PixelData = cut.PixelData[:1000]
    foreign = film(grey)
    foreign.compress(RLELossless, generate_instance_uid=False)
    foreign.file_meta.TransferSyntaxUID = JPEGLosslessSV1  # ends the process that decodes it
    unsuitable = {
        "colour by its header": film(grey, PhotometricInterpretation="RGB"),
        "no photometric interpretation": film(grey, PhotometricInterpretation=None),
        "zero size": film(grey, Rows=0),
        "constant": constant,
        "one pixel high": film((body(1, 3000) * 4000).astype(np.uint16)),
        "not a number after rescale": film(grey, RescaleSlope="1e38", RescaleIntercept="1e39"),
        "no pixels": film(grey, PixelData=None),
    }
    unreadable = {"corrupt JPEG 2000": corrupt, "cut off": cut, "foreign bit stream": foreign}
    reasons = {}
    films = [(one, "pixels-unsuitable") for one in unsuitable.values()]
    films += [(one, "pixels-unreadable") for one in unreadable.values()]
    for number, (dataset, reason) in enumerate(films):
        written(dataset, folder, f"bad-{number}.dcm")
        reasons[f"bad-{number}.dcm"] = reason
    return reasons


def test_bad_input_has_a_reason_each_and_the_rest_of_the_batch_is_unharmed(day: Any, database: Database) -> None:
    expected = {}
    for number, (name, reason) in enumerate(bad_films(day.archive).items(), start=10):
        uid = day.rows.instance(day.series, number)
        database.execute("update receipt set path = %s where sop_instance_uid = %s", (name, uid))
        expected[uid] = reason
    huge = day.rows.instance(day.series, 30)
    small = (body(250, 240) * 3800 + 100).astype(np.uint16)
    written(film(np.kron(small, np.ones((32, 32), np.uint16))), day.archive, f"{huge}.dcm")  # 61 megapixels
    missing = day.rows.instance(day.series, 31)
    expected |= {missing: "pixels-unreadable", f"{day.series}.5": "pixels-unreadable"}
    (batch,) = plan_radiographs(database, KEY)
    done = read_batch(database, day.archive, batch, "body_part", day.root, workers=2).as_dict()
    with database.transaction() as connection:
        gaps = select(connection, "select sop_instance_uid, reason_code, detail from gap where step = 'predicted'")
        read = select(connection, "select sop_instance_uid from prediction")
    assert {gap["sop_instance_uid"]: gap["reason_code"] for gap in gaps} == expected
    assert all(gap["detail"] and str(day.archive) not in gap["detail"] for gap in gaps)
    assert {row["sop_instance_uid"] for row in read} == {huge, *(f"{day.series}.{number}" for number in range(1, 5))}
    assert (done["read"], done["unreadable"]) == (5, len(expected))


def test_weights_that_are_missing_or_a_gpu_that_is_are_one_clear_error(
    day: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from models.device import DeviceUnusable

    monkeypatch.setattr(inference, "_load", LOAD)
    monkeypatch.setattr(inference, "models_to_run", lambda *_: [running(tmp_path / "none.pt")])
    with pytest.raises(WeightsUnusable, match="no weights at"):
        day.run("body_part")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (batch,) = plan_radiographs(database, KEY)
    with pytest.raises(DeviceUnusable, match="SLUICE_DEVICE"):
        read_batch(database, day.archive, batch, "body_part", day.root, device="cuda")


def test_memory_of_a_gpu_that_runs_out_halves_the_batch_of_a_task(day: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from models.body_part import BodyPartReader

    monkeypatch.setattr(inference, "_load", LOAD)
    monkeypatch.setattr(inference, "models_to_run", lambda *_: [running(SHIPPED / "body_part.pt")])
    shapes, forward = [], BodyPartReader._forward

    def small_gpu(reader: BodyPartReader, images: Any) -> Any:
        shapes.append(len(images))
        if len(images) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return forward(reader, images)

    monkeypatch.setattr(BodyPartReader, "_forward", small_gpu)
    done = day.run("body_part")
    assert (done["pending"], done["read"], done["unreadable"]) == (5, 4, 1)
    assert shapes[0] > 1
    assert shapes[-4:] == [1, 1, 1, 1]

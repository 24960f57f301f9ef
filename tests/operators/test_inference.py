"""The glue between database, decoder and network, with a network that says what the test wants."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.weights_files import WeightsUnusable
from operators import inference
from operators.inference import read_batch
from sluice.batches import Batch, plan_batches
from sluice.database import Database, select
from sluice.predictions import register_model
from sluice.registry.registry import disagreement
from tests.ledger_rows import DAY, DX_IMAGE, LedgerRows

KEY = DAY.isoformat()
PARTS = ("abdominal", "others", "unknown", "pediatric_chest")


class Network:
    """Answers in order; counts the pictures it was shown."""

    architecture, weights_sha256, card = "fake", "0" * 64, {"measured": True}

    def __init__(self, task: str) -> None:
        self.task, self.model_id, self.shown = task, f"{task}-fake-000000000000", 0

    def read(self, images: list[Any], ages: list[float | None] | None = None) -> list[Any]:
        assert all(image.shape == (512, 512) and image.dtype == np.uint8 for image in images)
        first, self.shown = self.shown, self.shown + len(images)
        if self.task == "ivc_filter":
            return [SimpleNamespace(present=False, score=0.25, detail=lambda: {"boxes": []}) for _ in images]
        assert ages is not None
        return [
            SimpleNamespace(label=PARTS[(first + place) % 4], router5_score=0.9, detail=lambda: {"examined": "KNEE"})
            for place in range(len(images))
        ]


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
        register_model(
            database, network.model_id, network.task, network.architecture, network.weights_sha256, network.card
        )
    monkeypatch.setattr(inference, "_load", lambda _, task: [lambda: networks[task]])
    (batch,) = plan_batches(database, KEY)

    def run(task: str) -> dict[str, Any]:
        return read_batch(database, archive, Batch.of(batch.as_dict()), task, tmp_path / "canonical").as_dict()

    return SimpleNamespace(run=run, networks=networks, archive=archive, root=tmp_path / "canonical")


def test_each_image_is_decoded_once_read_once_and_a_damaged_one_has_a_reason(day: Any, database: Database) -> None:
    done = day.run("body_part")
    assert (done["pending"], done["read"], done["decoded"], done["unreadable"]) == (5, 4, 4, 1)
    assert {name: count for name, count in done.items() if name.startswith("label_")} == {
        f"label_{part}": 1 for part in sorted(PARTS)
    }
    with database.transaction() as connection:
        (gap,) = select(connection, "select reason_code from gap where step = 'predicted'")
        kept = select(connection, "select path from canonical_image")
    assert gap["reason_code"] == "pixels-unreadable"
    assert all((day.root / row["path"]).is_file() for row in kept)
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


def test_a_lost_canonical_image_is_made_again(day: Any) -> None:
    day.run("body_part")
    for image in day.root.rglob("*.png"):
        image.unlink()
    done = day.run("ivc_filter")
    assert (done["read"], done["unreadable"]) == (2, 0)
    assert len(list(day.root.rglob("*.png"))) == 2
    assert not list(day.root.rglob("*.part"))


def test_a_shadow_reads_beside_production_and_neither_counts_nor_holds_it_up(
    day: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = Network("body_part")
    shadow.model_id, shadow.shown = "body_part-fake-111111111111", 1  # its answers are off by one
    register_model(database, shadow.model_id, "body_part", "fake", "1" * 64, {}, stage="shadow")

    def broken() -> Any:
        raise WeightsUnusable("the weights are for another network")

    serving = day.networks["body_part"]
    monkeypatch.setattr(inference, "_load", lambda _, task: [lambda: serving, broken, lambda: shadow])
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

"""Features that are made after the reading are those of the network, once; the commands say what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.body_part import BodyPartReader
from models.weights_files import SHIPPED
from operators.neighbours import fill
from sluice.__main__ import main
from sluice.canonical.index import Geometry, MadePicture, keep
from sluice.canonical.shards import ShardWriter
from sluice.database import Database
from sluice.neighbours.embeddings import matrix_of
from sluice.predictions import Prediction, register_model, store
from sluice.settings import settings
from tests.ledger_rows import DX_IMAGE, LedgerRows


def test_features_are_made_for_films_that_were_read_before(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    settings.cache_clear()
    reader, root, rows = BodyPartReader.load(), tmp_path / "canonical", LedgerRows(database)
    series = [rows.series(rows.study(number), modality="DX", region="HAND") for number in range(3)]
    uids = [rows.instance(one, 1, sop_class_uid=DX_IMAGE) for one in series]
    generator = np.random.default_rng(0)
    pictures = [np.kron(generator.integers(0, 256, (16, 16)), np.ones((32, 32))).astype(np.uint8) for _ in uids[:2]]
    pictures.append(pictures[0])
    shown = Geometry(512, 512, 0, 0, 512, 512)
    with ShardWriter(database, root) as writer:
        keep(
            database,
            writer,
            1,
            [MadePicture(uid, one, shown, "window") for uid, one in zip(uids, pictures, strict=True)],
        )
    register_model(database, reader.model_id, "body_part", reader.architecture, reader.weights_sha256, reader.card)
    readings, features = reader.read_with_features(pictures)
    said = [
        Prediction(uid, one.label, one.router5_score, one.detail()) for uid, one in zip(uids, readings, strict=True)
    ]
    store(database, reader.model_id, "body_part", said)
    assert main(["annotate", "neighbours", uids[0]]) == 1, "nothing is kept yet"
    assert "No film has features yet" in capsys.readouterr().err
    assert [fill(database, root, SHIPPED / "body_part.pt", "cpu") for _ in range(2)] == [3, 0]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(matrix_of(database, root, reader.model_id), unit, atol=2e-3)
    assert main(["annotate", "look"]) == 0
    assert main(["annotate", "neighbours", uids[0]]) == 0
    assert main(["annotate", "duplicates"]) == 0
    assert main(["annotate", "doubts"]) == 0
    assert main(["annotate", "forget", "--model", reader.model_id]) == 0
    settings.cache_clear()
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Looked at 3 films; 1 new pairs are one film, 0 labels are doubted."
    assert out[1].startswith(f"1.000  {uids[2]}  model ")
    assert out[1].endswith("header HAND; other patient")
    first, second = sorted((uids[0], uids[2]))
    assert out[3] == f"two patients: {first}  {second}  pictures correlate 1.0000"
    assert out[4:] == ["No label is doubted.", "Features of 3 films are gone."]

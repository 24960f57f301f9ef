"""Real films, read by the network that ships, with what their headers say; some of it wrong on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.body_part import BodyPartReader
from models.data import Film, canonical_film, films
from sluice.canonical.index import Geometry, MadePicture, keep
from sluice.canonical.shards import ShardWriter
from sluice.database import Database
from sluice.neighbours import embeddings
from sluice.predictions import Prediction, register_model, store
from tests.ledger_rows import DX_IMAGE, LedgerRows

SHOWN = Geometry(512, 512, 0, 0, 512, 512)


@dataclass
class RealFilms:
    """Films of the network's test split in a database, as if it had read them here.

    Attributes:
        model_id: of the network.
        films: by SOP Instance UID.
        swapped: UIDs of those whose header names another region, with that region.
    """

    model_id: str
    films: dict[str, Film] = field(default_factory=dict)
    swapped: dict[str, str] = field(default_factory=dict)


def real_films(database: Database, root: Path, data: Path, count: int, wrong: float, seed: int = 0) -> RealFilms:
    """Put `count` films of the test split into the ledger, and swap the header's region of a share of them."""
    generator, rows, reader = np.random.default_rng(seed), LedgerRows(database), BodyPartReader.load()
    of_tests = [film for film in films(data) if film.source == "unifesp" and film.split in ("test", "held_out")]
    chosen = [film for film in of_tests if film.examined is not None][:count]
    regions = sorted({film.examined for film in chosen if film.examined})
    made = RealFilms(reader.model_id)
    register_model(database, reader.model_id, "body_part", reader.architecture, reader.weights_sha256, reader.card)
    errs = set(generator.choice(len(chosen), round(wrong * len(chosen)), replace=False).tolist())
    for number, film in enumerate(chosen):
        said = film.examined
        if number in errs:
            said = str(generator.choice([region for region in regions if region != film.examined]))
        study = rows.study(number + 1, patient_id=film.group)
        uid = rows.instance(rows.series(study, region=said, modality="DX"), 1, sop_class_uid=DX_IMAGE)
        made.films[uid] = film
        if said != film.examined:
            made.swapped[uid] = str(said)
    uids = list(made.films)
    for start in range(0, len(uids), 64):
        part = uids[start : start + 64]
        pictures = [canonical_film(made.films[uid]) for uid in part]
        read, features = reader.read_with_features(pictures)
        with ShardWriter(database, root) as writer:
            keep(database, writer, 1, [MadePicture(u, p, SHOWN, "window") for u, p in zip(part, pictures, strict=True)])
        said_of = [Prediction(u, one.label, one.router5_score, one.detail()) for u, one in zip(part, read, strict=True)]
        store(database, reader.model_id, "body_part", said_of)
        embeddings.keep(database, root, reader.model_id, part, features)
    return made

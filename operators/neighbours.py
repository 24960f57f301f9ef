"""Features of films and who lies near whom, as Airflow tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.counts import Counts
from operators.policies import GPU_POOL, GPU_QUEUE
from operators.steps import SummaryOperator

if TYPE_CHECKING:
    from pathlib import Path

    from sluice.database import Database

AT_ONCE = 2048  # films whose places are asked for together


def embed() -> Any:
    """Features of films that the model in production has read without keeping them."""
    return SummaryOperator(
        task_id="embed",
        python_callable=_embed,
        pool=GPU_POOL,
        queue=GPU_QUEUE,
        doc_md="Shows the body-part network in production those canonical images again whose features it did not keep.",
    ).output


def look() -> Any:
    """Neighbours of new films, films that are there twice, labels that are doubted."""
    return SummaryOperator(
        task_id="look",
        python_callable=_look,
        doc_md="Finds the nearest films of those that are new, compares the pictures of those that are nearly one, and "
        "writes down whose label its neighbours contradict.",
    ).output


def _embed() -> Counts:
    from operators.connections import database
    from operators.inference import models_to_run
    from sluice.settings import settings

    site, store = settings(), database()
    serving = models_to_run(store, "body_part")[0]
    return {"model_id": serving.model_id, "embedded": fill(store, site.canonical, serving.path, site.device)}


def fill(database: Database, root: Path, weights: Path, device: str = "auto") -> int:
    """Keep the features of films that a network has read and that have a canonical image; returns how many.

    Raises:
        WeightsUnusable: the model's weights are missing or damaged.
        DeviceUnusable: the device is not there, or too small.
        EmbeddingError: features cannot be kept.
    """
    import numpy as np

    from models.body_part import BodyPartReader
    from models.device import choose
    from sluice.canonical.shards import Place, ShardReader
    from sluice.neighbours.embeddings import keep

    reader, kept, after = BodyPartReader.load(weights, choose(device)), 0, ""
    while rows := database.rows("embedding_missing", {"model_id": reader.model_id, "after": after, "most": AT_ONCE}):
        after = rows[-1]["sop_instance_uid"]
        places = [Place(row["shard_id"], row["offset_bytes"], bytes(row["digest"])) for row in rows]
        with ShardReader(root) as shards:
            for inside, batch in shards.batches(places, reader.batch):
                _, features = reader.read_with_features(np.asarray(batch[: len(inside)]))
                kept += keep(database, root, reader.model_id, [rows[n]["sop_instance_uid"] for n in inside], features)
    return kept


def _look() -> Counts:
    from operators.connections import database
    from sluice.neighbours.looking import look_for_all
    from sluice.settings import settings

    return look_for_all(database(), settings().canonical).as_dict()

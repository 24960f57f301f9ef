"""Training as Airflow tasks: a snapshot of films, one task an architecture, measures on films that no training sees.

What is trained and how is the business of `models.train_body_part` and, for the IVC-filter detector,
`models.train_ivc_filter`; here a run gets its films, remembers how far it is, and hands what comes out to the registry
as candidates. Everything stands below `<home>/training/<snapshot>/`, so that a task that
is cleared or retried goes on from its last checkpoint, and one that is done is not done again.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Param, TriggerRule, task

from operators.counts import Counts
from operators.policies import GPU_POOL
from operators.steps import SummaryOperator

if TYPE_CHECKING:
    from pathlib import Path

    from operators.training_progress import Progress

DETECTOR = "centre_heatmap_fpn"  # the one architecture of the IVC-filter detector; all others read body parts
ARCHITECTURES = ("mobilenet_v3_large", "mobilenet_v3_small", "resnet18_75", "compact_resnet", DETECTOR)
NIGHT = timedelta(hours=24)


def form() -> dict[str, Param]:
    """The fields of the trigger form."""

    def count(value: int, least: int, most: int, title: str, words: str) -> Param:
        return Param(value, type="integer", minimum=least, maximum=most, title=title, description=words)

    return {
        "architectures": Param(
            ["mobilenet_v3_large"],
            type="array",
            items={"type": "string", "enum": list(ARCHITECTURES)},
            title="Architectures",
            description=f"Each is trained by a task of its own; {DETECTOR} is the IVC-filter detector, the others read "
            "body parts. None: only measure the models that are registered.",
        ),
        "steps": count(6000, 1, 200_000, "Steps", "Optimiser steps of each body-part network."),
        "filter_steps": count(12_000, 1, 200_000, "Steps of the detector", f"Of {DETECTOR}, with its own recipe."),
        "minutes": Param(
            None, type=["null", "number"], title="Minutes", description="End each schedule after this time, where set."
        ),
        "batch": count(128, 2, 1024, "Batch", "Pictures a step, of body-part networks."),
        "side": count(224, 32, 512, "Side", "Of their training pictures, pixels, a multiple of 32."),
        "seed": count(7, 0, 2**31 - 1, "Seed", "Of everything random."),
        "site_films": count(
            200,
            0,
            5000,
            "Films of this site",
            "Of each region, at most: those on which header and model agree. 0: none. Confirmed annotations always.",
        ),
        "labels": Param(
            None,
            type=["null", "string"],
            pattern=r"^[A-Za-z0-9_.-]{1,100}\.csv$",
            title="Labels",
            description="A CSV (sop_instance_uid, region) of people's labels, by its name in <home>/labels.",
        ),
    }


def train() -> None:
    """Snapshot, then train and measure each architecture, then measure what is registered on the same films."""
    snapshot = _night("snapshot")(_snapshot)()
    each = task(task_id="architectures")(_architectures)(snapshot)
    trained = _night("train", GPU_POOL, "{{ task.op_kwargs.architecture }}")(_train)
    trained = trained.partial(snapshot=snapshot).expand(architecture=each)
    measured = _night("measure", GPU_POOL, "{{ task.op_kwargs.trained.architecture }}")(_measure).expand(
        trained=trained
    )
    registered = _night("measure_registered", GPU_POOL, trigger_rule=TriggerRule.ALL_DONE)(_measure_registered)()
    summary = SummaryOperator(
        task_id="summary",
        python_callable=_summary,
        trigger_rule=TriggerRule.ALL_DONE,
        doc_md="How many candidates there are, and how many models were measured.",
    )
    verdict = EmptyOperator(
        task_id="all_trained",
        trigger_rule=TriggerRule.NONE_FAILED,
        doc_md="Red when a training or a measurement failed after all its retries. Clear the red tile to repair it.",
    )
    measured >> registered >> summary
    [measured, registered] >> verdict


def _night(task_id: str, pool: str = "default_pool", index: str | None = None, **more: Any) -> Any:
    """A task that may take a night."""
    return task(task_id=task_id, pool=pool, execution_timeout=NIGHT, map_index_template=index, **more)


def _architectures(snapshot: dict[str, Any], params: dict[str, Any]) -> list[str]:
    """What to train; the snapshot is there."""
    return list(params["architectures"])


def _snapshot(params: dict[str, Any]) -> dict[str, Any]:
    """Shipped films and this site's into one file, named by a digest over both."""
    from models.framing import SIZE
    from models.pack import pack, training_films
    from models.train_body_part import Recipe
    from operators.connections import database
    from operators.site_films import site_films, snapshot_digest
    from sluice.settings import settings

    if not params["architectures"]:
        return {"digest": "", "films": 0, "site_films": 0}
    site = settings()
    selection, images = training_films(
        site.training_data, Recipe.renderings, params["seed"], site.home / "training" / "cache", SIZE
    )
    labels = site.home / "labels" / params["labels"] if params["labels"] else None
    of_site, pictures = site_films(database(), site.canonical, params["site_films"], labels)
    digest = snapshot_digest(selection + of_site, [*images, *pictures])
    bundle = _folder(digest) / "films.zip"
    if not bundle.is_file():
        import numpy as np

        bundle.parent.mkdir(parents=True, exist_ok=True)
        pack(selection + of_site, np.concatenate([images, *([pictures] if len(of_site) else [])]), bundle)
    origins = dict(Counter(film.source for film in of_site))
    return {"digest": digest, "films": len(selection), "site_films": len(of_site), "origins": origins}


def _train(snapshot: dict[str, Any], architecture: str, params: dict[str, Any], run_id: str) -> dict[str, Any]:
    """One architecture, from its checkpoint where there is one; done already: nothing."""
    import torch

    from operators.connections import database
    from operators.training_progress import Progress

    task = "ivc_filter" if architecture == DETECTOR else "body_part"
    recipe = _recipe(architecture, params)
    folder = _folder(snapshot["digest"]) / _name_of(architecture, recipe, params["minutes"])
    weights = folder / f"{task}.pt"
    progress = Progress(database(), run_id, architecture, snapshot["digest"], recipe.steps)
    if not weights.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        progress.begin()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        limit_s = None if params["minutes"] is None else 60 * params["minutes"]
        films = _folder(snapshot["digest"]) / "films.zip"
        with progress.watched():
            if task == "ivc_filter":
                _train_detector(films, weights, recipe, device, limit_s, progress)
            else:
                _train_network(films, weights, recipe, device, limit_s, progress)
    progress.state("measuring")
    trained = {"architecture": architecture, "task": task, "steps": recipe.steps}
    return trained | {"folder": folder.name, "snapshot": snapshot["digest"]}


def _train_network(
    films: Path, weights: Path, recipe: Any, device: str, limit_s: float | None, progress: Progress
) -> None:
    from models.pack import unpack
    from models.train_body_part import train

    selection, images = unpack(films)
    train(selection, images, weights, recipe, "validation", device, limit_s, progress=progress)


def _train_detector(
    films: Path, weights: Path, recipe: Any, device: str, limit_s: float | None, progress: Progress
) -> None:
    """Behind the filters stand real training films of the snapshot; those of this site do not, for one may have a
    filter that nobody noted."""
    from models.train_ivc_filter import packed_backgrounds, train

    selection, images = packed_backgrounds(films)
    checkpoint = weights.with_suffix(".checkpoint")
    train(selection, images, weights, recipe, device, limit_s, checkpoint=checkpoint, progress=progress)


def _recipe(architecture: str, params: dict[str, Any]) -> Any:
    """Of `models.train_ivc_filter` for the detector, else of `models.train_body_part`."""
    from models import train_body_part, train_ivc_filter

    if architecture == DETECTOR:
        return train_ivc_filter.Recipe(steps=params["filter_steps"], seed=params["seed"])
    return train_body_part.Recipe(
        architecture=architecture,
        side=params["side"],
        steps=params["steps"],
        batch=params["batch"],
        seed=params["seed"],
    )


def _measure(trained: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Calibrates on the validation films, measures on films that no training sees, registers a candidate."""
    from models.evaluate import SOURCES
    from operators.candidates import register_candidate
    from operators.connections import database
    from operators.training_progress import Progress
    from sluice.settings import settings

    site, store = settings(), database()
    progress = Progress(store, run_id, trained["architecture"], trained["snapshot"], trained["steps"])
    with progress.watched():
        weights = _folder(trained["snapshot"]) / trained["folder"] / f"{trained['task']}.pt"
        by = f"train_models {run_id}"
        model_id = register_candidate(store, site, weights, trained["task"], trained["snapshot"], by, SOURCES)
    progress.state("done", model_id)
    return {"model_id": model_id, "architecture": trained["architecture"]}


def _measure_registered() -> Counts:
    """Measures every registered model that was not measured on the films of now."""
    from operators.candidates import measure_registered
    from operators.connections import database
    from sluice.settings import settings

    return measure_registered(database(), settings())


def _summary(run_id: str) -> Counts:
    from operators.connections import database
    from sluice.registry.registry import models

    rows = models(database())
    return {
        "candidates": sum(row["stage"] == "candidate" for row in rows),
        "measured": sum(row["metrics"] is not None for row in rows),
    }


def _folder(digest: str) -> Path:
    from sluice.settings import settings

    return settings().home / "training" / digest[:16]


def _name_of(architecture: str, recipe: Any, minutes: float | None) -> str:
    """Of a recipe's folder: another recipe is another folder."""
    import hashlib
    import json
    from dataclasses import asdict

    said = json.dumps([asdict(recipe), minutes], sort_keys=True)
    return f"{architecture}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"

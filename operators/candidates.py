"""From trained weights to a candidate in the registry: calibrated, measured, with a card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from sluice.database import Database
    from sluice.settings import Settings


def register_candidate(
    database: Database, site: Settings, weights: Path, snapshot: str, by: str, sources: list[dict[str, str]]
) -> str:
    """Calibrate on validation films, measure on unseen ones, write the card, register; the model's id.

    Again: the same weights are the same model, and only what is missing is done.
    """
    from models.body_part import BodyPartReader
    from models.cards import write_card_file
    from models.measures import evaluation_set, measured
    from models.weights_files import card_path, load_weights
    from sluice.registry.registry import note_evaluation, register
    from sluice.registry.weights import folder_of, read_weights

    cache = site.home / "training" / "cache"
    measure = None
    if not card_path(weights).is_file():
        _calibrate(weights, site.training_data, cache)
        measure = measured("body_part", weights, site.training_data, cache)
        reader = BodyPartReader(load_weights(weights))
        settings = reader.settings
        words = f"{settings['steps_taken']} steps in {settings['minutes']} minutes on {settings['device']}, by {by}."
        figures = {name: measure[name] for name in ("evaluation_set", "set_name", "films", "patients", "metrics")}
        write_card_file(weights, "body_part", reader.model_id, settings, figures, sources, words)
    read, revision = read_weights(weights), code_revision()
    register(database, read, folder_of(site), by, "trained", data_snapshot=snapshot, code_revision=revision)
    if not _is_measured(database, read.model_id, evaluation_set("body_part", site.training_data)):
        measure = measure or measured("body_part", weights, site.training_data, cache)
        note_evaluation(database, read.model_id, measure | {"code_revision": revision})
    return read.model_id


def measure_registered(database: Database, site: Settings) -> dict[str, Any]:
    """Measure every registered model on the films of now, where it was not; `unusable`: its weights do not load."""
    from models.measures import evaluation_set, measured
    from models.weights_files import WeightsUnusable
    from sluice.database import select
    from sluice.predictions import TASKS
    from sluice.registry.registry import enter_shipped, note_evaluation
    from sluice.registry.weights import RegistryError, folder_of, located

    for task in TASKS:
        enter_shipped(database, task, folder_of(site))
    with database.transaction() as connection:
        rows = select(connection, "select model_id, task, weights_sha256 from model order by registered_at, model_id")
    counts = {"models": len(rows), "measured": 0, "measured_before": 0, "unusable": 0}
    digests = {task: evaluation_set(task, site.training_data) for task in TASKS}
    for row in rows:
        if _is_measured(database, row["model_id"], digests[row["task"]]):
            counts["measured_before"] += 1
            continue
        try:
            weights = located(row["model_id"], row["weights_sha256"], folder_of(site))
            measure = measured(row["task"], weights, site.training_data, site.home / "training" / "cache")
        except (RegistryError, WeightsUnusable):
            counts["unusable"] += 1
            continue
        note_evaluation(database, row["model_id"], measure | {"code_revision": code_revision()})
        counts["measured"] += 1
    return counts


def code_revision() -> str | None:
    """The commit that this code is of; None where it is no checkout."""
    import subprocess

    from sluice.settings import CHECKOUT

    try:
        done = subprocess.run(
            ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def _calibrate(weights: Path, data: Path, cache: Path) -> None:
    """Thresholds by the validation films, which these weights were not trained on; written into the file."""
    from models.calibrate import calibrate_body_part, twin_of
    from models.data import films, images_of
    from models.framing import SIZE
    from models.weights_files import load_weights, save_weights

    loaded = load_weights(weights)
    selection = [film for film in films(data) if film.split == "validation"]
    calibration = calibrate_body_part(twin_of(loaded, None), selection, images_of(selection, cache, SIZE))
    calibration["by"] = loaded.sha256[:12]
    save_weights(weights, loaded.state, loaded.architecture, {**loaded.settings, "calibration": calibration})


def _is_measured(database: Database, model_id: str, evaluation_set: str) -> bool:
    from sluice.database import select

    with database.transaction() as connection:
        return bool(
            select(
                connection,
                "select from model_evaluation where model_id = %s and evaluation_set = %s limit 1",
                (model_id, evaluation_set),
            )
        )

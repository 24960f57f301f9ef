"""From trained weights to a candidate in the registry: calibrated, measured, with a card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from models.body_part import BodyPartReader
    from models.ivc_filter import IvcFilterReader
    from operators.site_films import Measuring
    from sluice.database import Database
    from sluice.settings import Settings


ENOUGH = 30  # films of this site, from which on they measure


def register_candidate(
    database: Database,
    site: Settings,
    weights: Path,
    task: str,
    snapshot: str,
    by: str,
    sources: list[dict[str, str]],
) -> str:
    """Calibrate on validation films, measure on unseen ones and on those of this site, write the card, register; the
    model's id.

    Again: the same weights are the same model, and only what is missing is done.
    """
    from models.cards import write_card_file
    from models.evaluate import figures_of
    from models.measures import evaluation_set, measured
    from models.weights_files import card_path
    from operators.site_films import measuring
    from sluice.registry.registry import note_evaluation, register
    from sluice.registry.weights import folder_of, read_weights

    cache, here = site.home / "training" / "cache", measuring(database, site.canonical, task)
    measure = None
    if not card_path(weights).is_file():
        _calibrate(task, weights, site.training_data, cache)
        measure = measured(task, weights, site.training_data, cache)
        reader = _reader(task, weights)
        figures = figures_of(reader, site.training_data, cache) | {
            "gate": {name: measure[name] for name in ("evaluation_set", "set_name", "films", "patients", "metrics")},
            "of_this_site": _in_card(_measured_here(weights, here)),
        }
        write_card_file(weights, task, reader.model_id, reader.settings, figures, sources, _words(reader.settings, by))
    read, revision = read_weights(weights), code_revision()
    register(database, read, folder_of(site), by, "trained", data_snapshot=snapshot, code_revision=revision)
    if not _is_measured(database, read.model_id, evaluation_set(task, site.training_data)):
        measure = measure or measured(task, weights, site.training_data, cache)
        note_evaluation(database, read.model_id, measure | {"code_revision": revision})
    _note_here(database, read.model_id, weights, here)
    return read.model_id


def measure_registered(database: Database, site: Settings) -> dict[str, Any]:
    """Measure every registered model on the films of now, those that ship and those of this site, where it was not.

    Returns:
        Counts of `models`; `measured` now and `measured_before`, on the films that ship; `measured_here` now, on those
        of this site; `unusable`, whose weights do not load.
    """
    from models.measures import evaluation_set, measured
    from models.weights_files import WeightsUnusable
    from operators.site_films import measuring
    from sluice.database import select
    from sluice.predictions import TASKS
    from sluice.registry.registry import enter_shipped, note_evaluation
    from sluice.registry.weights import RegistryError, folder_of, located

    for task in TASKS:
        enter_shipped(database, task, folder_of(site))
    with database.transaction() as connection:
        rows = select(connection, "select model_id, task, weights_sha256 from model order by registered_at, model_id")
    counts = {"models": len(rows), "measured": 0, "measured_before": 0, "measured_here": 0, "unusable": 0}
    digests = {task: evaluation_set(task, site.training_data) for task in TASKS}
    here = {task: measuring(database, site.canonical, task) for task in TASKS}
    for row in rows:
        model_id, task = row["model_id"], row["task"]
        try:
            weights = located(model_id, row["weights_sha256"], folder_of(site))
            if _is_measured(database, model_id, digests[task]):
                counts["measured_before"] += 1
            else:
                measure = measured(task, weights, site.training_data, site.home / "training" / "cache")
                note_evaluation(database, model_id, measure | {"code_revision": code_revision()})
                counts["measured"] += 1
            counts["measured_here"] += _note_here(database, model_id, weights, here[task])
        except (RegistryError, WeightsUnusable):
            counts["unusable"] += 1
    return counts


def _note_here(database: Database, model_id: str, weights: Path, here: Measuring) -> bool:
    """Keep what a model does on films of this site, where that is not known; whether it was measured now."""
    from sluice.registry.registry import note_evaluation

    if not here.films or _is_measured(database, model_id, here.digest):
        return False
    measure = _measured_here(weights, here)
    note_evaluation(database, model_id, measure | {"code_revision": code_revision()})
    return bool(measure["metrics"])


def _measured_here(weights: Path, here: Measuring) -> dict[str, Any]:
    """A model on films of this site; of fewer than `ENOUGH` only how many there are."""
    from models.measures import HERE, measured_here

    if len(here.films) >= ENOUGH:
        return measured_here(here.task, weights, here.films, here.labels, here.pictures, here.digest)
    patients = len({film.group for film in here.films})
    return {
        "evaluation_set": here.digest,
        "set_name": HERE,
        "films_of": "site",
        "films": len(here.films),
        "patients": patients,
        "metrics": {},
        "answers": {},
    }


def _in_card(measure: dict[str, Any]) -> dict[str, Any]:
    """What of films of this site stands in a card; `too_few` where they do not measure yet."""
    kept = {name: measure[name] for name in ("evaluation_set", "films", "patients", "metrics")}
    return kept | {"too_few": not measure["metrics"], "asked_for": ENOUGH}


def _reader(task: str, weights: Path) -> BodyPartReader | IvcFilterReader:
    from models.body_part import BodyPartReader
    from models.ivc_filter import IvcFilterReader

    return BodyPartReader.load(weights) if task == "body_part" else IvcFilterReader.load(weights)


def _words(settings: dict[str, Any], by: str) -> str:
    took = f" in {settings['minutes']} minutes on {settings['device']}" if "minutes" in settings else ""
    return f"{settings['steps_taken']} steps{took}, by {by}."


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


def _calibrate(task: str, weights: Path, data: Path, cache: Path) -> None:
    """Thresholds by the validation films, which these weights were not trained on; written into the file."""
    from models.calibrate import calibrate_body_part, filter_threshold, twin_of
    from models.data import films, images_of
    from models.framing import SIZE
    from models.weights_files import load_weights, save_weights

    loaded = load_weights(weights)
    if task == "body_part":
        selection = [film for film in films(data) if film.split == "validation"]
        calibration = calibrate_body_part(twin_of(loaded, None), selection, images_of(selection, cache, SIZE))
        calibration["by"] = loaded.sha256[:12]
        found = {"calibration": calibration}
    else:
        found = filter_threshold(loaded, data, cache)
    save_weights(weights, loaded.state, loaded.architecture, {**loaded.settings, **found})


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

"""Measure the shipped weights on films they never saw and write their cards.

`python -m models.evaluate --data ../shared/data --out models/weights` writes `<name>.card.json` beside the weights and
`docs/models/<name>.md` from it.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.body_part import BodyPartReader, BodyPartReading
from models.calibrate import positive_scenes
from models.cards import write_card
from models.confusions import matrix, of_filter
from models.data import EXTERNAL_SOURCES, Film, canonical_film, films, images_of
from models.filter_data import Scene, can_carry_filter, compose, enlarged
from models.framing import SIZE, canonical_of_values
from models.ivc_filter import IvcFilterReader
from models.labels import REASONABLE, REGIONS36, ROUTER5
from models.rendering import UNSEEN_VOLUME, grey, load_volume, project
from models.scores import calibration_error, confusion, per_class, summary, wilson
from models.side_heads import side_heads
from models.wires import TRAINING_DESIGNS, UNSEEN_DESIGN, draw_distractors

log = logging.getLogger("models.evaluate")
FILTER_FILMS = 400  # real films that the detector's false positives are counted on, at most

SOURCES = [
    {
        "name": "UNIFESP X-ray body part",
        "licence": "CC BY-NC-SA 4.0 (second-hand statement): research use only",
        "folder": "unifesp",
    },
    {"name": "NIH ChestX-ray", "licence": "no restriction, attribution", "folder": "nih"},
    {"name": "Kermany children's chests", "licence": "CC BY 4.0", "folder": "kermany"},
    {"name": "Hannover COVID-19 image repository", "licence": "CC BY 3.0", "folder": "hannover", "use": "tests only"},
    {"name": "CADMA whole-spine films", "licence": "CC BY 4.0", "folder": "cadma", "use": "tests only"},
    {"name": "UCI shoulder implants", "licence": "CC BY 4.0 (to confirm)", "folder": "shoulder", "use": "tests only"},
    {
        "name": "CT volumes: ACRIN, LIDC (training), TotalSegmentator example (tests)",
        "licence": "TCIA and Zenodo terms",
        "folder": "ct",
    },
]


def unseen_films(data: Path) -> list[Film]:
    """Films of patients and sources that training never saw."""
    return [film for film in films(data) if film.split == "test"]


def thinned(selection: list[Film], most: int) -> list[Film]:
    """At most `most` films, evenly picked."""
    if len(selection) <= most:
        return selection
    return [selection[int(i)] for i in np.linspace(0, len(selection) - 1, most)]


def evaluate_body_part(reader: BodyPartReader, selection: list[Film], images: NDArray[np.uint8]) -> dict[str, Any]:
    """All figures of the body-part network."""
    outputs = {name: torch.from_numpy(array) for name, array in reader.all_logits(images).items()}
    readings = reader.interpret(outputs, [None] * len(selection))
    with_age = reader.interpret(outputs, [film.age_years for film in selection])
    internal = np.array([film.source not in EXTERNAL_SOURCES for film in selection])
    everything = np.ones(len(selection), dtype=bool)
    subsets = {"internal": internal, "external": ~internal, "all": everything}
    subsets |= {s: np.array([f.source == s for f in selection]) for s in sorted({f.source for f in selection})}
    subsets = {name: chosen for name, chosen in subsets.items() if chosen.any()}
    truth = np.array([ROUTER5.index(film.router5) for film in selection])
    said = np.array([ROUTER5.index(reading.router5) for reading in readings])
    groups = [_group(film) for film in selection]
    majority = np.full(len(truth), ROUTER5.index(Counter(f.router5 for f in selection).most_common(1)[0][0]))

    def of(answers: NDArray[np.int64], chosen: NDArray[np.bool_]) -> dict[str, Any]:
        return summary(truth[chosen], answers[chosen], len(ROUTER5), [groups[i] for i in np.flatnonzero(chosen)])

    counts = confusion(truth, said, len(ROUTER5))
    apart = {name: chosen for name, chosen in subsets.items() if name in ("internal", "external")}
    aged = np.array([ROUTER5.index(reading.router5) for reading in with_age])
    confident = np.array([reading.confident for reading in readings])
    score = np.array([reading.router5_score for reading in readings])
    return {
        "router5": {
            "by_subset": {name: of(said, chosen) for name, chosen in subsets.items()},
            "with_age_where_known": of(aged, everything),
            "majority_baseline": of(majority, everything),
            "per_class": _table(ROUTER5, per_class(counts)),
            "confident": {
                name: {
                    "share": float(confident[chosen].mean()),
                    "accuracy": float((truth == said)[confident & chosen].mean()),
                }
                for name, chosen in (("all", everything), ("internal", internal), ("external", ~internal))
                if (confident & chosen).any()
            },
            "agrees_with_examined": float(np.mean([reading.agrees for reading in readings])),
            "calibration_error": calibration_error(score, truth == said),
        },
        "examined36": _examined(reader, selection, readings, groups),
        "visible36": _visible(selection, readings, groups),
        "side_heads": side_heads(reader, selection, images, readings, groups),
        "confusions": {
            "router5": {name: matrix(truth[chosen], said[chosen], ROUTER5) for name, chosen in apart.items()},
            "examined36": _examined_confusions(selection, readings, apart),
        },
        "speed": {"images_per_cpu_second": images_per_cpu_second(reader, images[:128])},
        "calibration": reader.settings.get("calibration", {}),
    }


def images_per_cpu_second(reader: BodyPartReader, images: NDArray[np.uint8]) -> float:
    """Pictures read in a second of processor time: comparable on a machine that others use too."""
    began = time.process_time()
    reader.read(list(images))
    return len(images) / (time.process_time() - began)


def _group(film: Film) -> str:
    """The patient; a film of its own where the source tells no patients apart."""
    return str(film.path) if film.source in EXTERNAL_SOURCES else film.group


def _table(names: tuple[str, ...], scores: dict[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    return {
        name: {key: float(values[i]) for key, values in scores.items()}
        for i, name in enumerate(names)
        if scores["support"][i] > 0
    }


def _examined(
    reader: BodyPartReader, selection: list[Film], readings: list[BodyPartReading], groups: list[str]
) -> dict[str, Any]:
    """Accuracy, top-2 and per-region scores over films whose examined region is known."""
    known = [i for i, film in enumerate(selection) if film.examined is not None]
    truth = np.array([REGIONS36.index(str(selection[i].examined)) for i in known])
    said = np.array([REGIONS36.index(readings[i].examined) for i in known])
    second = np.array(
        [selection[i].examined in list(readings[i].probabilities["examined36"])[:2] for i in known], dtype=bool
    )
    sources = np.array([selection[i].source for i in known])
    near = np.array([_reasonable(REGIONS36[t], REGIONS36[a]) for t, a in zip(truth, said, strict=True)])
    sure = np.array([readings[i].examined_confident for i in known])
    result: dict[str, Any] = {"trained_regions": reader.settings["trained_regions"], "by_subset": {}}
    limbs = np.array([selection[i].source == "unifesp" for i in known])
    subsets = {"all": np.ones(len(known), dtype=bool), "internal": ~np.isin(sources, EXTERNAL_SOURCES)}
    subsets |= {"external": np.isin(sources, EXTERNAL_SOURCES), "unifesp": limbs}
    subsets |= {source: sources == source for source in EXTERNAL_SOURCES}
    subsets["unifesp_without_chest"] = limbs & (truth != REGIONS36.index("CHEST"))
    for name, chosen in subsets.items():
        if not chosen.any():
            continue
        figures = summary(
            truth[chosen], said[chosen], len(REGIONS36), [groups[known[i]] for i in np.flatnonzero(chosen)]
        )
        result["by_subset"][name] = {
            **figures,
            "top2_accuracy": float(second[chosen].mean()),
            "reasonable": float(near[chosen].mean()),
            "confident_share": float(sure[chosen].mean()),
            "confident_accuracy": float((truth == said)[chosen & sure].mean()) if (chosen & sure).any() else None,
        }
    score = np.array([readings[i].examined_score for i in known])
    result["calibration_error"] = calibration_error(score, truth == said)
    result["per_class"] = _table(REGIONS36, per_class(confusion(truth, said, len(REGIONS36))))
    result["majority_baseline_accuracy"] = float((truth == np.bincount(truth).argmax()).mean())
    return result


def _examined_confusions(
    selection: list[Film], readings: list[BodyPartReading], subsets: dict[str, NDArray[np.bool_]]
) -> dict[str, Any]:
    """Confusion of the examined region by subset, over films whose region is known."""
    result = {}
    for name, chosen in subsets.items():
        known = [i for i in np.flatnonzero(chosen) if selection[i].examined is not None]
        if known:
            truth = np.array([REGIONS36.index(str(selection[i].examined)) for i in known])
            said = np.array([REGIONS36.index(readings[i].examined) for i in known])
            result[name] = matrix(truth, said, REGIONS36)
    return result


def _reasonable(truth: str, answer: str) -> bool:
    """Whether the answer is right or names a region that the same film shows."""
    return truth == answer or any(truth in together and answer in together for together in REASONABLE)


def _visible(selection: list[Film], readings: list[BodyPartReading], groups: list[str]) -> dict[str, Any]:
    """Subset accuracy and F1 of the multi-label head, as the sources annotate."""

    def of(chosen: list[int]) -> dict[str, Any]:
        truth = [set(selection[i].visible or ()) for i in chosen]
        said = [set(readings[i].visible) for i in chosen]
        hits = sum(len(t & s) for t, s in zip(truth, said, strict=True))
        right = np.array([t == s for t, s in zip(truth, said, strict=True)])
        figures = summary(np.ones(len(right), dtype=np.int64), right.astype(np.int64), 2, [groups[i] for i in chosen])
        return {
            "films": len(chosen),
            "patients": figures["patients"],
            "subset_accuracy": figures["accuracy"],
            "subset_accuracy_ci95": figures["accuracy_ci95"],
            "micro_f1": 2 * hits / max(1, sum(map(len, truth)) + sum(map(len, said))),
        }

    known = [i for i, film in enumerate(selection) if film.visible is not None]
    subsets = {
        "all": known,
        "internal": [i for i in known if selection[i].source not in EXTERNAL_SOURCES],
        "external": [i for i in known if selection[i].source in EXTERNAL_SOURCES],
    }
    subsets |= {s: [i for i in known if selection[i].source == s] for s in ("unifesp", *EXTERNAL_SOURCES)}
    return {name: of(chosen) for name, chosen in subsets.items() if chosen}


def evaluate_filter(
    reader: IvcFilterReader,
    data: Path,
    selection: list[Film],
    images: NDArray[np.uint8],
    side: int | None = None,
    scenes_of: int = 1,
) -> dict[str, Any]:
    """All figures of the detector; every positive is synthetic.

    Args:
        images: canonical images.
        side: of the pictures that scenes are composed on; by default what the detector reads. Detectors of different
            sides are compared on the larger one.
        scenes_of: how many times the usual number of scenes.
    """
    side = side or reader.side
    carriers = [i for i, film in enumerate(selection) if can_carry_filter(film)]
    chosen = [selection[i] for i in carriers]
    pictures = np.stack([enlarged(images[i], side) for i in carriers])
    sensitivity = {}
    asked = (("training_designs", tuple(TRAINING_DESIGNS), 100), ("unseen_design", (UNSEEN_DESIGN,), 40))
    for name, designs, count in asked:
        scenes = positive_scenes(chosen, pictures, count * scenes_of, designs, 202)
        sensitivity[name] = _found(reader, scenes)
    sensitivity["unseen_volume_rendered"] = _found(reader, _rendered_scenes(data, side, 36 * scenes_of))
    false: dict[str, Any] = {}
    readings = reader.read(list(images))
    for source in ["all", *sorted({film.source for film in selection})]:
        here = [r.present for r, film in zip(readings, selection, strict=True) if source in ("all", film.source)]
        false[source] = _false_alarms(sum(here), len(here))
    generator = np.random.default_rng(303)
    metal = [
        compose(_with_metal(enlarged(images[i], side), generator), selection[i], False, generator).image
        for i in generator.choice(carriers, min(80 * scenes_of, len(carriers)), replace=False)
    ]
    false["trunk_films_with_drawn_metal"] = _false_alarms(sum(r.present for r in reader.read(metal)), len(metal))
    scores = {name: one.pop("scores") for name, one in sensitivity.items()}
    figures: dict[str, Any] = {
        "threshold": reader.threshold,
        "sensitivity_synthetic": sensitivity,
        "at_99_specificity": at_specificity([reading.score for reading in readings], scores),
        "false_positives_real_films": false,
    }
    return figures | {"confusions": {"ivc_filter": of_filter(figures)}}


def at_specificity(without: list[float], scenes: dict[str, list[float]], wanted: float = 0.99) -> dict[str, Any]:
    """Sensitivity where the threshold is read off these real films without a filter: the lowest one at which the wanted
    share of them is below. The threshold that ships comes from validation films and may stand elsewhere.

    Args:
        without: scores of films without a filter.
        scenes: scores of pictures with one, by kind.
    """
    allowed = int((1 - wanted) * len(without) + 1e-9)
    ranked = sorted(without, reverse=True)
    edge = ranked[allowed] if len(ranked) > allowed else 0.0
    found = {name: sum(score > edge for score in scores) for name, scores in scenes.items()}
    return {
        "above_score": edge,
        "specificity": sum(score <= edge for score in without) / max(1, len(without)),
        "films_without": len(without),
        "sensitivity": {
            name: {
                "films": len(scores),
                "sensitivity": found[name] / max(1, len(scores)),
                "sensitivity_ci95": wilson(found[name], len(scores)),
            }
            for name, scores in scenes.items()
        },
    }


def _found(reader: IvcFilterReader, scenes: list[Scene]) -> dict[str, Any]:
    """Share of filters found: the picture is called present, and a box of it holds the filter's middle; all scores."""
    readings = reader.read([scene.image for scene in scenes])
    said = sum(reading.present for reading in readings)
    placed = 0
    for scene, reading in zip(scenes, readings, strict=True):
        x, y = scene.middle
        placed += any(b["box"][0] <= x <= b["box"][2] and b["box"][1] <= y <= b["box"][3] for b in reading.boxes)
    n = len(scenes)
    return {
        "films": n,
        "sensitivity": said / max(1, n),
        "sensitivity_ci95": wilson(said, n),
        "located": placed / max(1, n),
        "scores": [reading.score for reading in readings],
    }


def _false_alarms(count: int, films_read: int) -> dict[str, Any]:
    return {
        "films": films_read,
        "false_positives": int(count),
        "per_1000": 1000 * count / max(1, films_read),
        "specificity": 1 - count / max(1, films_read),
        "specificity_ci95": wilson(films_read - count, films_read),
    }


def _with_metal(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """A film with drawn catheters, clips or rods and certainly no filter."""
    layer = draw_distractors(image.shape, generator.uniform(0.95, 2.1) * image.shape[0] / SIZE, generator)
    bright = image.astype(np.float32) * 0.8 + 255 * generator.uniform(0.15, 0.5) * np.minimum(layer, 1)
    return np.clip(bright, 0, 255).astype(np.uint8)


def _rendered_scenes(data: Path, side: int, count: int = 36) -> list[Scene]:
    """Renderings of the CT volume that training never saw, with filters."""
    path = data / "ct" / UNSEEN_VOLUME
    if not path.is_file():
        return []
    generator = np.random.default_rng(404)
    volume = load_volume(path)
    film = Film(None, "rendered", "unseen volume", "test", "abdominal", "ABDOMEN", ("ABDOMEN",))
    scenes: list[Scene] = []
    while len(scenes) < count:
        picture, _ = project(volume, False, generator)
        image = enlarged(canonical_of_values(grey(picture, generator)), side)
        for _ in range(9):
            scene = compose(image, film, True, generator)
            if scene.box is not None:
                scenes.append(scene)
    return scenes


def figures_of(
    reader: BodyPartReader | IvcFilterReader, data: Path, cache: Path, most: int = FILTER_FILMS
) -> dict[str, Any]:
    """All figures of a model for its card, on films that no training sees.

    Args:
        most: real films for the detector's false positives.

    Raises:
        DataMissing: there is no data.
    """
    selection = unseen_films(data)
    if isinstance(reader, BodyPartReader):
        log.info("body part: %d films", len(selection))
        return evaluate_body_part(reader, selection, images_of(selection, cache, SIZE))
    selection = thinned(selection, most)
    log.info("IVC filter: %d films", len(selection))
    return evaluate_filter(reader, data, selection, np.stack([canonical_film(film) for film in selection]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure the weights and write their cards.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("models/weights"))
    parser.add_argument("--docs", type=Path, default=Path("docs/models"))
    parser.add_argument("--cache", type=Path, default=Path("var/models"))
    parser.add_argument("--films", type=int, default=FILTER_FILMS, help="real films for the detector's false positives")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("body_part", "ivc_filter"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    for name in ("body_part", "ivc_filter") if arguments.only is None else (arguments.only,):
        weights = arguments.out / f"{name}.pt"
        reader = BodyPartReader.load(weights) if name == "body_part" else IvcFilterReader.load(weights)
        figures = figures_of(reader, arguments.data, arguments.cache, arguments.films)
        write_card(weights, arguments.docs, reader.model_id, reader.settings, figures, SOURCES)


if __name__ == "__main__":
    main()

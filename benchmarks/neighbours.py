"""Nearest films by their features: how long a search takes, and whether it finds labels that were swapped.

- *Search*: vectors of the width of the shipped network (960, float16) in a file, mapped; 100,000 and 1,000,000 of them.
  One film (a reader asks), and 1,024 new ones (a night). Beside it numpy in one go: the whole matrix to
  float32, one product, one full sort. The file is in the page cache; from a disk it takes what the disk takes in
  addition.
- *Swapped labels*: films of the shared data that the shipped network was not trained on, nor any other film of their
  patients, 5 in 100 with another region: any other one, or one that a film shows together with the true one
  (`REASONABLE`). Precision among as many as were swapped, mean of ten draws; beside it those whose label the network
  itself finds least likely.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.run import HERE, Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARED = HERE.parents[1] / "shared" / "data"
WIDTH, BLOCK = 960, 100_000
SWAPPED, DRAWS = 0.05, 10
NEAREST = 20
SWAPS = {"any": "any region", "seen together": "one that is seen together with the true one"}


def run(work: Path) -> list[Row]:
    """Both, as rows."""
    return [*_search(_matrix(work / "few.f16", BLOCK)), *_search(_matrix(work / "many.f16", 10 * BLOCK)), *_swapped()]


def _matrix(path: Path, count: int) -> NDArray[np.float16]:
    import numpy as np

    block = np.random.default_rng(0).normal(size=(BLOCK, WIDTH)).astype(np.float32)
    block /= np.linalg.norm(block, axis=1, keepdims=True)
    with path.open("wb") as file:
        for number in range(count // BLOCK):
            file.write(np.roll(block, number, axis=1).astype(np.float16).tobytes())
    return np.memmap(path, np.float16, "r", shape=(count, WIDTH))


def _search(matrix: NDArray[np.float16]) -> list[Row]:
    import numpy as np

    from sluice.neighbours.search import nearest

    films = f"{len(matrix):,} films"
    one = np.asarray(matrix[-1:], np.float32)
    many = np.asarray(matrix[:1024], np.float32)

    def plainly() -> Any:
        return np.argsort(-(one @ np.asarray(matrix, np.float32).T), axis=1)[:, :NEAREST]

    ours, plain = _median(lambda: nearest(matrix, one, NEAREST)), _median(plainly)
    night = _median(lambda: nearest(matrix, many, NEAREST, own=range(1024)), 1 if len(matrix) > BLOCK else 3)
    by_ones = 1024 * ours
    return [
        Row(f"search: one film among {films}", ours, plain, "numpy in one go", "s", plain / ours, None, True),
        Row(f"search: 1,024 among {films}", night, by_ones, "one by one", "s", by_ones / night, None, True),
    ]


def _median(work: Callable[[], Any], times: int = 3) -> float:
    def once() -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    return median(once() for _ in range(times))


def _swapped() -> list[Row]:
    import numpy as np

    from models.body_part import BodyPartReader
    from models.data import canonical_film, films
    from models.labels import REGIONS36
    from sluice.neighbours.search import nearest

    reader = BodyPartReader.load()
    chosen = [film for film in films(SHARED) if film.examined and film.split in ("test", "held_out")]
    features, said = [], []
    for start in range(0, len(chosen), 64):
        pictures = np.stack([canonical_film(film) for film in chosen[start : start + 64]])
        features.append(reader.read_with_features(pictures)[1])
        said.append(reader.probabilities(reader.logits(pictures))["examined36"])
    everything, likely = np.concatenate(features), np.concatenate(said)
    rows = []
    for name, sources in (("six sources", {film.source for film in chosen}), ("UNIFESP alone", {"unifesp"})):
        inside = [number for number, film in enumerate(chosen) if film.source in sources]
        part = [chosen[number] for number in inside]
        unit = everything[inside] / np.linalg.norm(everything[inside], axis=1, keepdims=True)
        near = nearest(unit.astype(np.float16), unit.astype(np.float32), NEAREST, own=range(len(unit)))
        regions = sorted({str(film.examined) for film in part})
        probable = likely[inside][:, [REGIONS36.index(region) for region in regions]]
        for kind in SWAPS:
            ours, network = _precision(part, regions, near, probable, kind)
            words = f"swapped labels found: {name}, {len(part):,} films, to {SWAPS[kind]}"
            rows.append(Row(words, ours, network, "the network's own word", "precision@k", ours / network, None, True))
    return rows


def _precision(part: list[Any], regions: list[str], near: Any, probable: Any, kind: str) -> tuple[float, float]:
    """Precision among as many films as were swapped: by neighbours, and by what the network finds unlikely."""
    import numpy as np

    from sluice.neighbours.doubts import doubted

    true = np.array([regions.index(str(film.examined)) for film in part])
    # sources without patients are one group each: there every film is a study of its own
    names = [
        film.group if film.source in ("unifesp", "kermany", "nih") else str(number) for number, film in enumerate(part)
    ]
    studies = np.unique(names, return_inverse=True)[1]
    ours, network = [], []
    for seed in range(DRAWS):
        labels, wrong = _swap(true, regions, kind, seed)
        first = [doubt.row for doubt in doubted(*near, labels, studies)][: len(wrong)]
        ours.append(len(wrong & set(first)) / len(wrong))
        against = probable.max(axis=1) - probable[np.arange(len(labels)), labels]
        network.append(len(wrong & set(np.argsort(-against)[: len(wrong)].tolist())) / len(wrong))
    return float(np.mean(ours)), float(np.mean(network))


def _swap(true: Any, regions: list[str], kind: str, seed: int) -> tuple[Any, set[int]]:
    import numpy as np

    from models.labels import REASONABLE

    generator, labels, wrong = np.random.default_rng(seed), true.copy(), set()
    for row in generator.permutation(len(true)).tolist():
        if len(wrong) == round(SWAPPED * len(true)):
            break
        mine = regions[true[row]]
        together = {region for group in REASONABLE if mine in group for region in group}
        others = [n for n, region in enumerate(regions) if region != mine and (kind == "any" or region in together)]
        if others:
            labels[row] = generator.choice(others)
            wrong.add(row)
    return labels, wrong

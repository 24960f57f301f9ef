"""Train the IVC-filter detector: `python -m models.train_ivc_filter --data ../shared/data --out models/weights`.

Positives are real films with rendered filters (`models.wires`); one design is kept for tests.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from models.checkpoints import Resumable
from models.data import Film
from models.filter_data import (
    Scene,
    backgrounds,
    can_carry_filter,
    compose,
    compose_crop,
    film_changes,
    heat_target,
    thinned_by_source,
)
from models.framing import DETAIL_SIDE
from models.framing import SIZE as SIDE
from models.networks import FilterNetwork, RunningAverage, local_contrast
from models.pack import unpack
from models.train_body_part import CHECKPOINT_EVERY_S, Clock, Progress, learning_rate
from models.weights_files import Weights, load_weights, save_weights

log = logging.getLogger("models.train_ivc_filter")
NAME = "ivc_filter"
ARCHITECTURE = "centre_heatmap_fpn"
BACKGROUND_LIMITS = {"unifesp": 420, "nih": 110, "kermany": 40}


@dataclass(frozen=True)
class Recipe:
    """What decides a training run.

    Attributes:
        pictures: side of the pictures that the detector will read: 512 (canonical images) or 1,024 (detail images).
        side: of the crops that it learns from, pixels of such a picture; a multiple of 16, of 32 with detail.
        steps, batch: of the run, and crops a step.
        positives: share of scenes with a filter.
        peak_rate, decay: of the optimiser.
        seed: decides scenes and first weights.
    """

    pictures: int = SIDE
    side: int = 192
    steps: int = 450
    batch: int = 16
    positives: float = 0.55
    peak_rate: float = 3e-3
    decay: float = 0.02
    seed: int = 11


def loss_of(outputs: Tensor, heat: Tensor, size: Tensor, counts: Tensor) -> Tensor:
    """Penalty-reduced focal loss of the heatmap (CornerNet, Law and Deng 2018) and L1 of the log sizes."""
    logits = outputs[:, 0]
    probability = torch.sigmoid(logits).clamp(1e-5, 1 - 1e-5)
    centre = heat >= 0.999
    positive = -((1 - probability) ** 2 * torch.log(probability))[centre].sum()
    negative = -((1 - heat) ** 4 * probability**2 * torch.log(1 - probability))[~centre].sum()
    found = centre.sum().clamp_min(1)
    sizes = (outputs[:, 1:] - size).abs().sum(1)[counts].sum() / counts.sum().clamp_min(1)
    return (positive + negative) / found + 0.3 * sizes


class SceneSource:
    """Crops with their targets, drawn by seed and step."""

    def __init__(self, selection: list[Film], images: NDArray[np.uint8], recipe: Recipe) -> None:
        self.selection, self.images, self.recipe = selection, images, recipe
        self.carriers = [i for i, film in enumerate(selection) if can_carry_filter(film)]
        # Chests outnumber the abdomens that filters really stand on.
        share = np.array([1.0 if selection[i].router5 == "adult_chest" else 4.0 for i in self.carriers])
        self.weights = share / share.sum()

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Crops, uint8 `(n, 1, side, side)`, heatmaps, log sizes and where these count."""
        generator = np.random.default_rng((self.recipe.seed, step))
        crops, boxes = [], []
        for _ in range(0, self.recipe.batch, 2):
            scene = self._scene(generator)
            for _ in range(2):  # composing costs as much as learning from it, so each scene is seen twice
                crop, box = self._crop(scene, generator)
                crops.append(crop)
                boxes.append(box)
        finer = self.recipe.pictures // SIDE
        canonical = [box and tuple(value / finer for value in box) for box in boxes]
        heat, size, counts = heat_target(canonical, self.recipe.side // finer, FilterNetwork.stride)  # type: ignore[arg-type]
        pictures = torch.from_numpy(np.stack(crops))[:, None]
        return pictures, torch.from_numpy(heat), torch.from_numpy(size), torch.from_numpy(counts)

    def _scene(self, generator: np.random.Generator) -> Scene:
        positive = bool(generator.random() < self.recipe.positives)
        if positive:
            index = int(generator.choice(self.carriers, p=self.weights))
        else:
            index = int(generator.integers(len(self.selection)))
        image, film = self.images[index], self.selection[index]
        if self.recipe.pictures > SIDE:
            return compose_crop(image, film, positive, self.recipe.side, generator)
        return compose(image, film, positive, generator)

    def _crop(
        self, scene: Scene, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], tuple[float, float, float, float] | None]:
        """A square crop, mirrored half of the time; around the filter where there is one."""
        side, whole = self.recipe.side, scene.image.shape[0]
        left, top = (int(v) for v in generator.integers(0, whole - side + 1, 2))
        box = scene.box
        if box is not None:
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            left = int(np.clip(x - generator.uniform(0.15, 0.85) * side, 0, whole - side))
            top = int(np.clip(y - generator.uniform(0.15, 0.85) * side, 0, whole - side))
            box = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
        crop = film_changes(scene.image[top : top + side, left : left + side], generator)
        if generator.random() < 0.5:
            crop = np.ascontiguousarray(crop[:, ::-1])
            box = None if box is None else (side - box[2], box[1], side - box[0], box[3])
        return crop, box


class _Steps(Dataset[tuple[Tensor, ...]]):
    """The batches of the steps still to take, for processes that compose ahead."""

    def __init__(self, source: SceneSource, first: int) -> None:
        self.source, self.first = source, first

    def __len__(self) -> int:
        return self.source.recipe.steps - self.first

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        torch.set_num_threads(1)
        return self.source.batch(self.first + index)


class Training(Resumable):
    """A run: network, its average, optimiser, source of crops."""

    def __init__(self, recipe: Recipe, source: SceneSource, device: torch.device | str = "cpu") -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.source = recipe, source
        self.device = torch.device(device)
        network = FilterNetwork(detail=recipe.pictures > SIDE)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.average = RunningAverage(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.peak_rate, weight_decay=recipe.decay)
        self.step = 0

    def begin_with(self, weights: Weights) -> None:
        """Take over weights; those of canonical images serve a detector of detail images, too, as they are.

        Raises:
            WeightsUnusable: they are no detector's.
        """
        for network in (self.network, self.average.module):
            fresh = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("detail.")}
            replace(weights, state={**fresh, **weights.state}).put_into(network)

    def run(
        self,
        limit_s: float | None = None,
        workers: int = 0,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> list[float]:
        """Take the recipe's steps, or those that fit into `limit_s` seconds, and return their losses.

        Args:
            limit_s: seconds after which the run ends.
            workers: processes that compose scenes ahead; the same scenes whatever their number.
            checkpoint: where the run is kept each minute, for `resume`.
            progress: told now and then, and at the end, of the step and the mean loss of the last ones.
        """
        losses: list[Tensor] = []
        clock = Clock(self.recipe.steps, limit_s)
        clock.at_start = self.step / self.recipe.steps
        saved = time.monotonic()
        self.network.train()
        for batch in DataLoader(_Steps(self.source, self.step), batch_size=None, num_workers=workers):
            if (done := clock.progress(self.step)) >= 1:
                break
            losses.append(self.take_step(batch, learning_rate(done, self.recipe.peak_rate)))
            if self.step % 25 == 0:
                mean = float(torch.stack(losses[-25:]).mean())
                log.info("step %d of %d, %.0f %%: loss %.3f", self.step, self.recipe.steps, 100 * done, mean)
                if progress is not None:
                    progress(self.step, mean)
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_EVERY_S:
                self.save(checkpoint)
                saved = time.monotonic()
        if progress is not None and losses:
            progress(self.step, float(torch.stack(losses[-25:]).mean()))
        return torch.stack(losses).tolist() if losses else []

    def take_step(self, batch: tuple[Tensor, ...], rate: float) -> Tensor:
        """One optimiser step on a batch of the source; returns its loss, still on the device."""
        pictures, heat, size, counts = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        inputs = local_contrast(pictures.float() / 255, finer=self.network.finer)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of(self.network(inputs), heat, size, counts)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.average.update()
        self.step += 1
        return loss.detach()

    def write(self, path: Path) -> None:
        """Write the averaged weights."""
        known = {"side": self.recipe.pictures, "recipe": asdict(self.recipe), "steps_taken": self.step}
        state = {name: tensor.cpu() for name, tensor in self.average.module.state_dict().items()}
        save_weights(path, state, ARCHITECTURE, {**known, "threshold": 0.5})


def train(
    selection: list[Film],
    images: NDArray[np.uint8],
    path: Path,
    recipe: Recipe,
    device: str = "cpu",
    limit_s: float | None = None,
    workers: int = 0,
    start: Path | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Train by a recipe, from given weights or from scratch, and write weights.

    `models.calibrate` and `models.evaluate` then set the threshold and write the card.

    Args:
        selection: films behind the filters.
        images: their canonical images, uint8 `(n, 512, 512)`, also where the detector will read detail images.
        path: of the weights.
        limit_s: seconds after which the schedule ends.
        workers: processes that compose scenes ahead.
        start: weights to begin with.
        checkpoint: where the run is kept, and continued from where one of the same recipe is there.
        progress: told now and then of the step and the mean loss of the last ones.

    Raises:
        WeightsUnusable: `start` is missing, damaged, or no detector's.
    """
    log.info("%d films behind the filters", len(selection))
    training = Training(recipe, SceneSource(selection, images, recipe), device)
    if (checkpoint is None or not training.resume(checkpoint)) and start is not None:
        training.begin_with(load_weights(start))
    training.run(limit_s, workers, checkpoint, progress)
    training.write(path)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)


def packed_backgrounds(bundle: Path) -> tuple[list[Film], NDArray[np.uint8]]:
    """Real training films of a packed file, as `backgrounds` picks them from the data folder."""
    selection, images = unpack(bundle, SIDE)
    candidates = {id(film): row for row, film in enumerate(selection) if film.split == "train" and film.path}
    chosen = thinned_by_source([film for film in selection if id(film) in candidates], BACKGROUND_LIMITS)
    return chosen, images[[candidates[id(film)] for film in chosen]]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the IVC-filter detector.")
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--data", type=Path, help="folder with manifest.csv")
    origin.add_argument("--bundle", type=Path, help="file that models.pack wrote")
    parser.add_argument("--out", type=Path, default=Path("models/weights"))
    parser.add_argument("--cache", type=Path, default=Path("var/models"))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes that compose scenes ahead")
    parser.add_argument(
        "--pictures", type=int, choices=(SIDE, DETAIL_SIDE), default=SIDE, help="side that it will read"
    )
    for name in ("side", "steps", "batch", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Recipe, name))
    parser.add_argument("--rate", type=float, default=Recipe.peak_rate, help="learning rate at its peak")
    parser.add_argument("--minutes", type=float, help="end the schedule after this time")
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--checkpoint", type=Path, help="file to keep the run in, and to continue from")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes = (arguments.pictures, arguments.side, arguments.steps, arguments.batch)
    recipe = Recipe(*sizes, peak_rate=arguments.rate, seed=arguments.seed)
    limit_s = None if arguments.minutes is None else arguments.minutes * 60
    if arguments.bundle is not None:
        selection, images = packed_backgrounds(arguments.bundle)
    else:
        selection, images = backgrounds(arguments.data, {"train"}, arguments.cache, BACKGROUND_LIMITS)
    path = arguments.out / f"{NAME}.pt"
    runs = (arguments.device, limit_s, arguments.workers, arguments.start, arguments.checkpoint)
    train(selection, images, path, recipe, *runs)
    print(path)


if __name__ == "__main__":
    main()

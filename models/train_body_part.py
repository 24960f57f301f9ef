"""Train the body-part network: `python -m models.train_body_part --data ../shared/data --out models/weights`.

The same code runs on a CPU and on a GPU (`--device`); `--bundle` takes films from one file (`models.pack`) instead of
the data folder. Seeds fix the data order, the augmentation and the initial weights; an interrupted run continues from
its last checkpoint. On a GPU, half-precision arithmetic and the order of sums leave the last digits open.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import data as films_room
from models.augment import Augmenter, content_boxes, side_by_side
from models.body_part import BodyPartReader
from models.checkpoints import Resumable
from models.collage import collages
from models.data import Film
from models.labels import REGIONS36, ROUTER5
from models.losses import Teachers, distillation_loss, loss_of
from models.networks import BodyPartNetwork, RunningAverage, standardise
from models.pack import training_films, unpack
from models.scores import confusion, macro_f1
from models.weights_files import Weights, load_weights, save_weights

log = logging.getLogger("models.train_body_part")
NAME = "body_part"
CHECKPOINT_EVERY_S = 60.0
Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Recipe:
    """What decides a training run.

    Attributes:
        architecture: name of the trunk (`models.networks.TRUNKS`).
        side: side of the training pictures, pixels, a multiple of 32.
        read_side: side at which the weights then read; 0 for the same. Training cuts and enlarges, so that what it
            shows is larger than what is read at the same side; a larger side evens that out (Touvron et al. 2019).
        steps, batch: optimiser steps and pictures a step.
        peak_rate: highest learning rate of the warm-up and cosine schedule.
        decay: weight decay of AdamW.
        average: decay of the running average of the weights.
        style_mixing: share of batches whose early features swap their style.
        renderings, collages: renderings of each kind from CT, and films put together from training films.
        pairs: share of a batch's pictures set beside another of the same region.
        taught: share of the loss that comes from the teachers, where there are any.
        frozen: children of the trunk, from the first on, that keep the weights they begin with: a run that goes on
            from trained weights then takes half the time on a CPU, and little data cannot spoil its early features.
        seed: of everything random.
    """

    architecture: str = "mobilenet_v3_large"
    side: int = 224
    read_side: int = 0
    steps: int = 6000
    batch: int = 128
    peak_rate: float = 2e-3
    decay: float = 0.05
    average: float = 0.998
    style_mixing: float = 0.25
    renderings: int = 96
    collages: int = 60
    pairs: float = 0.08
    taught: float = 0.6
    frozen: int = 0
    seed: int = 7


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up over the first twentieth of the run, then a cosine to zero; progress in 0..1."""
    if progress < 0.05:
        return peak * (progress + 0.002) / 0.052
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.05) / 0.95)))


@dataclass
class Clock:
    """How far a run is: by steps, or by time where a shared machine leaves it too little of itself.

    Attributes:
        steps: steps of the whole run.
        limit_s: seconds after which the run ends whatever the step; None for no limit. A run that meets its limit is
            not reproducible to the bit, and its card says how many steps it took.
    """

    steps: int
    limit_s: float | None = None

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.at_start = 0.0

    def progress(self, step: int) -> float:
        """0 at the start, 1 when the run is over."""
        by_steps = step / self.steps
        if self.limit_s is None:
            return by_steps
        by_time = (time.monotonic() - self.began) / self.limit_s
        return max(by_steps, self.at_start + (1 - self.at_start) * by_time)


class Training(Resumable):
    """A run over pictures in memory: network, its averaged copy, optimiser and the random state."""

    def __init__(
        self,
        recipe: Recipe,
        images: NDArray[np.uint8],
        selection: list[Film],
        device: torch.device | str = "cpu",
        teachers: list[Path] | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = torch.device(device)
        self.teachers = Teachers(teachers, self.device) if teachers else None
        on_host = torch.from_numpy(images)
        self.boxes = content_boxes(on_host).to(self.device)
        self.images = on_host.to(self.device)
        targets = films_room.targets_of(selection)
        self.targets = {name: torch.from_numpy(array).to(self.device) for name, array in vars(targets).items()}
        self.trained = torch.from_numpy(
            (targets.visible.sum(0) > 0) | (np.bincount(targets.examined[targets.examined >= 0], minlength=36) > 0)
        ).to(self.device)
        self.weights = films_room.sampling_weights(selection)
        self.peers = _peers(selection)
        self.whole = torch.tensor(
            [film.examined in ("SPINE", "PELVIS", None) for film in selection], device=self.device
        )
        self.network = BodyPartNetwork(recipe.architecture, style_mixing=recipe.style_mixing)
        self.network.to(self.device, memory_format=torch.channels_last)
        self._frozen = list(self.network.trunk.children())[: recipe.frozen]
        for part in self._frozen:
            part.requires_grad_(False)
        self.average = RunningAverage(self.network, recipe.average)
        self.optimiser = torch.optim.AdamW(
            _groups(self.network, recipe.decay), lr=recipe.peak_rate, fused=self.device.type == "cuda"
        )
        self.step = 0
        self.seconds = 0.0

    def run(
        self, limit_s: float | None = None, checkpoint: Path | None = None, progress: Progress | None = None
    ) -> list[float]:
        """Take the recipe's steps, or those that fit into `limit_s` seconds, and return their losses.

        Args:
            progress: told now and then, and at the end, of the step and the mean loss of the last ones.
        """
        losses: list[Tensor] = []
        clock = Clock(self.recipe.steps, limit_s)
        clock.at_start = clock.progress(self.step)
        saved = time.monotonic()
        self.network.train()
        for part in self._frozen:
            part.eval()
        while (done := clock.progress(self.step)) < 1:
            losses.append(self.take_step(learning_rate(done, self.recipe.peak_rate)))
            if self.step % 25 == 0:
                # Reading a loss waits for the device: now and then is enough, and keeps its queue short.
                mean = float(torch.stack(losses[-25:]).mean())
                if self.step % 250 == 0 or self.device.type == "cpu":
                    log.info("step %d of %d, %.0f %%: loss %.3f", self.step, self.recipe.steps, 100 * done, mean)
                if progress is not None:
                    progress(self.step, mean)
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_EVERY_S:
                self.save(checkpoint)
                saved = time.monotonic()
        self.seconds = time.monotonic() - clock.began
        if progress is not None and losses:
            progress(self.step, float(torch.stack(losses[-25:]).mean()))
        return torch.stack(losses).tolist() if losses else []

    def take_step(self, rate: float) -> Tensor:
        """One optimiser step at a learning rate; returns its loss, still on the device."""
        recipe = self.recipe
        # Seeds by step: a continued run draws (and drops out) what an uninterrupted one would have.
        seed = recipe.seed * 1_000_003 + self.step
        torch.manual_seed(seed)
        generator = np.random.default_rng((recipe.seed, self.step))
        rows = generator.choice(len(self.weights), recipe.batch, p=self.weights)
        chosen = torch.from_numpy(rows).to(self.device, non_blocking=True)
        images, boxes = self.images[chosen], self.boxes[chosen]
        targets = {name: tensor[chosen] for name, tensor in self.targets.items()}
        self._set_pairs(rows, images, boxes, targets, generator)
        pictures, changes = Augmenter(recipe.side, seed, self.device)(images, boxes, self.whole[chosen])
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        inputs = standardise(pictures).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            outputs = self.network(inputs)
            taught = None if self.teachers is None else self.teachers(inputs)
        loss = loss_of(outputs, targets, changes, self.trained)
        if taught is not None:
            loss = (1 - recipe.taught) * loss + recipe.taught * distillation_loss(outputs, taught, self.trained)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.average.update()
        self.step += 1
        return loss.detach()

    def _set_pairs(
        self,
        rows: NDArray[np.int64],
        images: Tensor,
        boxes: Tensor,
        targets: dict[str, Tensor],
        generator: np.random.Generator,
    ) -> None:
        """Set some pictures beside another of the same region, in place, as films with two exposures are."""
        able = [place for place, row in enumerate(rows) if row in self.peers]
        places = able[: round(self.recipe.pairs * len(rows))]
        if not places:
            return
        others = [int(generator.choice(self.peers[int(rows[place])])) for place in places]
        here, there = (torch.tensor(index, device=self.device) for index in (places, others))
        together, whole = side_by_side(images[here], self.images[there], boxes[here], self.boxes[there])
        images[here], boxes[here] = together, whole
        targets["view"][here] = 1.0  # of two views, neither

    def write(self, path: Path, held_out: str) -> None:
        """Write the averaged weights."""
        regions = [REGIONS36[i] for i in torch.nonzero(self.trained).flatten().tolist()]
        settings = {
            "side": self.recipe.read_side or self.recipe.side,
            "trained_regions": regions,
            "recipe": asdict(self.recipe),
            "steps_taken": self.step,
            "held_out": held_out,
            "device": self.device.type,
            "minutes": round(self.seconds / 60, 1),
            "teachers": 0 if self.teachers is None else len(self.teachers.networks),
        }
        state = {name: tensor.cpu() for name, tensor in self.average.module.state_dict().items()}
        save_weights(path, state, self.recipe.architecture, settings)


def _peers(selection: list[Film]) -> dict[int, list[int]]:
    """For each limb, skull or spine segment: the films of the same region, that may stand beside it."""
    by_region: dict[str, list[int]] = {}
    for row, film in enumerate(selection):
        if film.examined not in (None, "CHEST", "ABDOMEN", "SPINE"):
            by_region.setdefault(str(film.examined), []).append(row)
    return {row: rows for rows in by_region.values() for row in rows}


def _groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Parameters with weight decay, and biases and normalisations without."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def held_out_of(selection: list[Film], rule: str) -> NDArray[np.bool_]:
    """Which films a run does not train on.

    Args:
        rule: `validation`; `none`; or `2/4`, the second of four parts of the patients of training and validation.
    """
    if rule in ("validation", "none"):
        return np.array([film.split == "validation" and rule == "validation" for film in selection])
    part, parts = (int(number) for number in rule.split("/"))
    digests = [hashlib.sha256(film.group.encode()).digest() for film in selection]
    return np.array(
        [
            film.source not in films_room.SYNTHETIC and int.from_bytes(digest[:8], "big") % parts == part - 1
            for film, digest in zip(selection, digests, strict=True)
        ]
    )


def report(reader: BodyPartReader, selection: list[Film], images: NDArray[np.uint8]) -> str:
    """Figures of held-out films in a line: router macro F1, accuracy of the examined region with and without chests."""
    targets = films_room.targets_of(selection)
    said = reader.all_logits(images)
    router = macro_f1(confusion(targets.router5, said["router5"].argmax(1), len(ROUTER5)))
    trained = [region in reader.settings["trained_regions"] for region in REGIONS36]
    right = np.where(trained, said["examined36"], -np.inf).argmax(1) == targets.examined
    known = targets.examined >= 0
    limbs = known & (targets.examined != REGIONS36.index("CHEST"))
    return (
        f"{len(selection)} films: router5 macro F1 {router:.4f}, examined {right[known].mean():.4f}, "
        f"without chests {right[limbs].mean():.4f}"
    )


def train(
    selection: list[Film],
    images: NDArray[np.uint8],
    path: Path,
    recipe: Recipe,
    hold_out: str = "validation",
    device: str = "cpu",
    limit_s: float | None = None,
    start: Path | None = None,
    teachers: list[Path] | None = None,
    progress: Progress | None = None,
) -> None:
    """Train by a recipe, from given weights or from scratch, and write weights; figures of held-out films are logged.

    `models.calibrate` and `models.evaluate` then set thresholds and write the card.
    """
    held = held_out_of(selection, hold_out)
    chosen = [film for film, out in zip(selection, held, strict=True) if not out]
    collaged, pictures = collages(chosen, images[~held], recipe.collages, recipe.seed)
    training = Training(recipe, np.concatenate([images[~held], pictures]), chosen + collaged, device, teachers)
    log.info("%d films to train on, %d held out, on %s", len(chosen) + len(collaged), held.sum(), device)
    checkpoint = path.with_suffix(".checkpoint")
    if training.resume(checkpoint):
        log.info("continuing at step %d", training.step)
    elif start is not None:
        start_from(load_weights(start), training)
    training.run(limit_s, checkpoint, progress)
    training.write(path, hold_out)
    checkpoint.unlink(missing_ok=True)
    if held.any():
        kept = [film for film, out in zip(selection, held, strict=True) if out]
        figures = report(BodyPartReader(load_weights(path), device), kept, images[held])
        log.info("%s after %d steps: %s", path.stem, training.step, figures)


def start_from(weights: Weights, training: Training) -> None:
    """Begin with weights of an earlier run of the same architecture."""
    weights.put_into(training.network)
    weights.put_into(training.average.module)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the body-part network.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder with manifest.csv")
    source.add_argument("--bundle", type=Path, help="file that models.pack wrote")
    parser.add_argument("--out", type=Path, default=Path("models/weights"))
    parser.add_argument("--name", default=NAME, help="of the weights file")
    parser.add_argument("--cache", type=Path, default=Path("var/models"))
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--hold-out", default="validation", help="validation, none, or a part such as 2/4")
    for name, kind in (("architecture", str), ("side", int), ("steps", int), ("batch", int), ("seed", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Recipe, name))
    for name in ("peak_rate", "style_mixing", "average", "pairs"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(Recipe, name))
    for name in ("collages", "frozen", "read_side"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Recipe, name))
    parser.add_argument("--minutes", type=float, help="end the schedule after this time")
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--teacher", type=Path, action="append", help="weights to learn from besides the labels")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True
    settings = {name: value for name, value in vars(arguments).items() if name in Recipe.__dataclass_fields__}
    recipe = Recipe(**settings)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.bundle is not None:
        selection, images = unpack(arguments.bundle)
    else:
        selection, images = training_films(arguments.data, recipe.renderings, recipe.seed, arguments.cache)
    limit_s = None if arguments.minutes is None else arguments.minutes * 60
    path = arguments.out / f"{arguments.name}.pt"
    train(
        selection,
        images,
        path,
        recipe,
        arguments.hold_out,
        arguments.device,
        limit_s,
        arguments.start,
        arguments.teacher,
    )
    print(path)


if __name__ == "__main__":
    main()

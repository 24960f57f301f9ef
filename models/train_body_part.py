"""Train the body-part network: `python -m models.train_body_part --data ../shared/data --out models/weights`.

One thread of a CPU suffices: about half an hour for the default recipe. Seeds fix the data order, the augmentation and
the initial weights; an interrupted run continues from its last checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models import data as films_room
from models.augment import Augmenter, content_boxes
from models.networks import BodyPartNetwork, averaged, standardise
from models.weights_files import Weights, load_weights, save_weights

log = logging.getLogger("models.train_body_part")
NAME = "body_part"


@dataclass(frozen=True)
class Recipe:
    """What decides a training run.

    Attributes:
        architecture: name of the trunk (`models.networks.TRUNKS`).
        side: side of the training pictures, pixels.
        steps, batch: optimiser steps and pictures a step.
        peak_rate: highest learning rate of the warm-up and cosine schedule.
        decay: weight decay of AdamW.
        renderings: renderings of each kind from CT.
        seed: of everything random.
    """

    architecture: str = "compact_resnet"
    side: int = 160
    steps: int = 700
    batch: int = 48
    peak_rate: float = 3e-3
    decay: float = 0.05
    renderings: int = 36
    seed: int = 7


def loss_of(outputs: dict[str, Tensor], targets: dict[str, Tensor], trained: Tensor) -> Tensor:
    """Sum of the heads' losses; what is not known of a picture counts nothing.

    Args:
        outputs: logits of `BodyPartNetwork`.
        targets: `router5`, `examined`, `visible`, `visible_known` as in `models.data.Targets`.
        trained: bool `(36,)`, the regions with data.
    """
    router = nn.functional.cross_entropy(outputs["router5"], targets["router5"], label_smoothing=0.05)
    masked = outputs["examined36"].masked_fill(~trained, -1e4)
    known = targets["examined"] >= 0
    examined = outputs["examined36"].sum() * 0
    if known.any():
        # Smoothing over untrained regions would pull at masked logits, so there is none here.
        examined = nn.functional.cross_entropy(masked[known], targets["examined"][known])
    visible = nn.functional.binary_cross_entropy_with_logits(
        outputs["visible36"], targets["visible"], reduction="none"
    )[:, trained]
    share = targets["visible_known"].float()[:, None]
    return router + examined + 4.0 * (visible * share).sum() / (share.sum().clamp_min(1) * trained.sum())


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


class Training:
    """A run over pictures in memory: network, its averaged copy, optimiser and the random state."""

    def __init__(self, recipe: Recipe, images: np.ndarray, selection: list[films_room.Film]) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.images = torch.from_numpy(images)
        self.boxes = content_boxes(self.images)
        targets = films_room.targets_of(selection)
        self.targets = {name: torch.from_numpy(array) for name, array in vars(targets).items()}
        self.trained = torch.from_numpy(
            (targets.visible.sum(0) > 0) | (np.bincount(targets.examined[targets.examined >= 0], minlength=36) > 0)
        )
        self.weights = films_room.sampling_weights(selection)
        self.network = BodyPartNetwork(recipe.architecture).to(memory_format=torch.channels_last)
        self.average = averaged(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.peak_rate, weight_decay=recipe.decay)
        self.step = 0

    def run(self, limit_s: float | None = None, checkpoint: Path | None = None) -> list[float]:
        """Take the recipe's steps, or those that fit into `limit_s` seconds, and return their losses."""
        losses = []
        clock = Clock(self.recipe.steps, limit_s)
        clock.at_start = clock.progress(self.step)
        self.network.train()
        while (progress := clock.progress(self.step)) < 1:
            losses.append(self.take_step(learning_rate(progress, self.recipe.peak_rate)))
            if self.step % 25 == 0:
                log.info("step %d of %d: loss %.3f", self.step, self.recipe.steps, float(np.mean(losses[-25:])))
            if checkpoint is not None and self.step % 50 == 0:
                self.save(checkpoint)
        return losses

    def take_step(self, rate: float) -> float:
        """One optimiser step at a learning rate; returns its loss."""
        recipe = self.recipe
        # Seeds by step: a continued run draws (and drops out) what an uninterrupted one would have.
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        generator = np.random.default_rng((recipe.seed, self.step))
        chosen = torch.from_numpy(generator.choice(len(self.images), recipe.batch, p=self.weights))
        pictures, _ = Augmenter(recipe.side, recipe.seed * 1_000_003 + self.step)(
            self.images[chosen], self.boxes[chosen]
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        targets = {name: tensor[chosen] for name, tensor in self.targets.items()}
        loss = loss_of(
            self.network(standardise(pictures).contiguous(memory_format=torch.channels_last)), targets, self.trained
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write a checkpoint that `resume` continues from."""
        state = {"step": self.step, "network": self.network.state_dict(), "average": self.average.state_dict()}
        partial = path.with_suffix(".part")
        torch.save({**state, "optimiser": self.optimiser.state_dict(), "recipe": asdict(self.recipe)}, partial)
        partial.rename(path)

    def resume(self, path: Path) -> bool:
        """Continue from a checkpoint of the same recipe; False when there is none."""
        if not path.is_file():
            return False
        state = torch.load(path, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            return False
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        return True


def train(
    data: Path, out: Path, cache: Path, recipe: Recipe, limit_s: float | None = None, start: Path | None = None
) -> Path:
    """Train by a recipe, from given weights or from scratch, and write weights; returns their path.

    `models.calibrate` and `models.evaluate` then set thresholds and write the card.
    """
    selection = [film for film in films_room.films(data) if film.split == "train"]
    rendered, pictures = films_room.rendered_films(data, recipe.renderings, recipe.seed, cache)
    images = np.concatenate([films_room.images_of(selection, cache), pictures])
    training = Training(recipe, images, selection + rendered)
    checkpoint = cache / f"{NAME}-{recipe.architecture}.checkpoint.pt"
    if training.resume(checkpoint):
        log.info("continuing at step %d", training.step)
    elif start is not None:
        start_from(load_weights(start), training)
    training.run(limit_s, checkpoint)
    checkpoint.unlink(missing_ok=True)
    path = out / f"{NAME}.pt"
    regions = [films_room.REGIONS36[i] for i in torch.nonzero(training.trained).flatten().tolist()]
    save_weights(
        path,
        training.average.module.state_dict(),
        recipe.architecture,
        {"side": recipe.side, "trained_regions": regions, "recipe": asdict(recipe), "steps_taken": training.step},
    )
    return path


def start_from(weights: Weights, training: Training) -> None:
    """Begin with weights of an earlier run of the same architecture."""
    weights.put_into(training.network)
    weights.put_into(training.average.module)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train the body-part network.")
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, default=Path("models/weights"))
    parser.add_argument("--cache", type=Path, default=Path("var/models"))
    parser.add_argument("--architecture", default=Recipe.architecture)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--minutes", type=float, help="end the schedule after this time")
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(architecture=arguments.architecture, steps=arguments.steps)
    arguments.out.mkdir(parents=True, exist_ok=True)
    limit_s = None if arguments.minutes is None else arguments.minutes * 60
    print(train(arguments.data, arguments.out, arguments.cache, recipe, limit_s, arguments.start))


if __name__ == "__main__":
    main()

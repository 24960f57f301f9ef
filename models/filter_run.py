"""A training of the IVC-filter detector that is watched and goes on where it was stopped."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data import Film
from models.train_body_part import CHECKPOINT_EVERY_S, Progress
from models.train_ivc_filter import Recipe, SceneSource, Training

log = logging.getLogger("models.filter_run")
TOLD_EVERY = 25  # steps


class WatchedTraining(Training):
    """A `Training` that writes checkpoints and tells how far it is.

    Scenes are drawn by seed and step, so that a continued run sees what an uninterrupted one would have.
    """

    def __init__(
        self,
        recipe: Recipe,
        source: SceneSource,
        device: torch.device | str,
        checkpoint: Path,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(recipe, source, device)
        self.checkpoint, self.progress = checkpoint, progress
        self.losses: list[Tensor] = []
        self.saved = time.monotonic()

    def take_step(self, batch: tuple[Tensor, ...], rate: float) -> Tensor:
        """One optimiser step; now and then a checkpoint and a word about it."""
        loss = super().take_step(batch, rate)
        self.losses = [*self.losses[1 - TOLD_EVERY :], loss]
        if self.progress is not None and self.step % TOLD_EVERY in (0, self.recipe.steps % TOLD_EVERY):
            self.progress(self.step, float(torch.stack(self.losses).mean()))
        if time.monotonic() - self.saved > CHECKPOINT_EVERY_S:
            self.save(self.checkpoint)
            self.saved = time.monotonic()
        return loss


def train(
    selection: list[Film],
    images: NDArray[np.uint8],
    path: Path,
    recipe: Recipe,
    device: str = "cpu",
    limit_s: float | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> None:
    """Train the detector by a recipe, from its checkpoint beside `path` where there is one, and write weights.

    Args:
        selection, images: films behind the filters (`models.train_ivc_filter.packed_backgrounds`).
        workers: processes that compose scenes ahead.
        progress: told now and then of the step and the mean loss of the last ones.
    """
    checkpoint = path.with_suffix(".checkpoint")
    training = WatchedTraining(recipe, SceneSource(selection, images, recipe), device, checkpoint, progress)
    if training.resume(checkpoint):
        log.info("continuing at step %d", training.step)
    training.run(limit_s, workers)
    training.write(path)
    checkpoint.unlink(missing_ok=True)

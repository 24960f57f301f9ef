"""Trainings that are kept while they run, and continued from what was kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.networks import RunningAverage


class Resumable:
    """A training that can be stopped at any moment and continued as if it had not been.

    Attributes:
        recipe: dataclass that decides the run.
        step: steps taken.
        network, average, optimiser: what the steps change.
        device: where they are.
    """

    recipe: Any
    step: int
    network: nn.Module
    average: RunningAverage
    optimiser: torch.optim.Optimizer
    device: torch.device

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
        state = torch.load(path, weights_only=True, map_location=self.device)
        if state["recipe"] != asdict(self.recipe):
            return False
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        return True

"""Losses of the body-part network: of its labels, and of what teachers say."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.augment import Changes
from models.labels import REGIONS36
from models.networks import BodyPartNetwork
from models.weights_files import load_weights


def loss_of(outputs: dict[str, Tensor], targets: dict[str, Tensor], changes: Changes, trained: Tensor) -> Tensor:
    """Sum of the heads' losses; what is not known of a picture counts nothing.

    Args:
        outputs: logits of `BodyPartNetwork`.
        targets: as in `models.data.Targets`, rows of the batch.
        changes: what the augmentation did to each picture.
        trained: bool `(36,)`, the regions with data.
    """
    outputs = {name: logits.float() for name, logits in outputs.items()}
    router = nn.functional.cross_entropy(outputs["router5"], targets["router5"], label_smoothing=0.05)
    masked = outputs["examined36"].masked_fill(~trained, -1e4)
    known = targets["examined"] >= 0
    # Smoothing over untrained regions would pull at masked logits, so there is none here.
    examined = _mean(nn.functional.cross_entropy(masked, targets["examined"].clamp_min(0), reduction="none"), known)
    visible = nn.functional.binary_cross_entropy_with_logits(
        outputs["visible36"], targets["visible"], reduction="none"
    ).masked_fill(~trained, 0)
    visible = _mean(visible.sum(1) / trained.sum(), targets["visible_known"])
    return router + examined + 4.0 * visible + _side_losses(outputs, targets, changes)


def _side_losses(outputs: dict[str, Tensor], targets: dict[str, Tensor], changes: Changes) -> Tensor:
    """Losses of view, orientation, inversion, mirroring and childhood."""
    allowed = targets["view"]
    # Where only a set of views is known, any of them is right.
    view = -torch.log((torch.softmax(outputs["view"], 1) * allowed).sum(1).clamp_min(1e-6))
    loss = 0.3 * _mean(view, allowed.sum(1) < allowed.shape[1])
    turns = nn.functional.cross_entropy(outputs["orientation"], changes.quarter_turns, reduction="none")
    loss = loss + 0.3 * _mean(turns, targets["upright"])
    everywhere = torch.ones_like(changes.inverted)
    for name, answer, counts, weight in (
        ("inverted", changes.inverted, everywhere, 0.2),
        ("mirrored", changes.mirrored, targets["sided"], 0.2),
        ("pediatric", targets["pediatric"] == 1, targets["pediatric"] >= 0, 0.3),
    ):
        one = nn.functional.binary_cross_entropy_with_logits(outputs[name][:, 0], answer.float(), reduction="none")
        loss = loss + weight * _mean(one, counts)
    return loss


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    """Mean over the rows that count; 0 when none does."""
    return (values * counts).sum() / counts.sum().clamp_min(1)


DISTILLED = {"router5": 1.0, "examined36": 1.0, "view": 0.3}
"""Softmax heads learnt from teachers, with the weights of their losses; `visible36` besides."""


def distillation_loss(outputs: dict[str, Tensor], taught: dict[str, Tensor], trained: Tensor) -> Tensor:
    """Cross-entropy with what teachers say of the same pictures (Hinton et al. 2015, temperature 1).

    Args:
        outputs: logits of the student.
        taught: probabilities by head (`Teachers`).
        trained: bool `(36,)`, the regions with data.
    """
    loss = outputs["router5"].new_zeros((), dtype=torch.float32)
    for name, weight in DISTILLED.items():
        logits = outputs[name].float()
        if name == "examined36":
            logits = logits.masked_fill(~trained, -1e4)
        loss = loss + weight * nn.functional.cross_entropy(logits, taught[name])
    visible = nn.functional.binary_cross_entropy_with_logits(
        outputs["visible36"].float(), taught["visible36"], reduction="none"
    ).masked_fill(~trained, 0)
    return loss + 4.0 * visible.sum(1).mean() / trained.sum()


class Teachers:
    """Trained networks whose averaged probabilities a smaller one learns from, on the same augmented pictures."""

    def __init__(self, paths: list[Path], device: torch.device) -> None:
        self.networks = []
        regions: set[str] = set()
        for path in paths:
            weights = load_weights(path)
            network = BodyPartNetwork(weights.architecture)
            weights.put_into(network)
            self.networks.append(network.eval().to(device, memory_format=torch.channels_last))
            regions |= set(weights.settings["trained_regions"])
        self.trained = torch.tensor([region in regions for region in REGIONS36], device=device)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> dict[str, Tensor]:
        """Mean probabilities by head for standardised pictures `(n, 1, side, side)`."""
        taught: dict[str, Tensor] = {}
        for network in self.networks:
            outputs = {name: logits.float() for name, logits in network(pictures).items()}
            outputs["examined36"] = outputs["examined36"].masked_fill(~self.trained, -1e4)
            said = {name: torch.softmax(outputs[name], 1) for name in DISTILLED}
            said["visible36"] = torch.sigmoid(outputs["visible36"])
            for name, probabilities in said.items():
                taught[name] = taught.get(name, 0) + probabilities / len(self.networks)
        return taught

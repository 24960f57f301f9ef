"""Weights on disk: a state dict in half precision with what is needed to use it, and its card beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SHIPPED = Path(__file__).parent / "weights"


class WeightsUnusable(RuntimeError):  # noqa: N818
    """The weights are missing, damaged or belong to another network."""


@dataclass(frozen=True)
class Weights:
    """A weights file, read.

    Attributes:
        state: float32 tensors by name.
        architecture: the network they belong to.
        settings: input side, thresholds and the like, as training and evaluation wrote them.
        sha256: digest of the file.
        card: measured figures, sources, licences; `{}` when no card stands beside the file.
    """

    state: dict[str, Tensor]
    architecture: str
    settings: dict[str, Any]
    sha256: str
    card: dict[str, Any]

    def put_into(self, network: nn.Module) -> None:
        """Load the tensors into a network.

        Raises:
            WeightsUnusable: they belong to another network.
        """
        try:
            network.load_state_dict(self.state)
        except RuntimeError as error:
            raise WeightsUnusable(
                f"the weights say {self.architecture} but their tensors do not fit it "
                f"({str(error).splitlines()[-1].strip()[:120]}); use the weights and the code of one revision"
            ) from None


def save_weights(path: Path, state: dict[str, Tensor], architecture: str, settings: dict[str, Any]) -> None:
    """Write weights: floats as half precision, counters as they are, settings as JSON text."""
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    partial = path.with_suffix(".part")
    torch.save({"architecture": architecture, "settings": json.dumps(settings), "state": halves}, partial)
    partial.rename(path)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card_path(weights: Path) -> Path:
    """Where the card of a weights file stands."""
    return weights.with_suffix(".card.json")


def load_weights(path: Path) -> Weights:
    """Read a weights file and its card.

    Raises:
        WeightsUnusable: missing, damaged, or not written by `save_weights`.
    """
    if not path.is_file():
        raise WeightsUnusable(f"no weights at {path}: restore the file from the repository or train them (docs/models)")
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
        state = {name: t.float() if t.is_floating_point() else t for name, t in stored["state"].items()}
        architecture, settings = str(stored["architecture"]), json.loads(stored["settings"])
    except Exception as error:
        # torch.load raises anything from UnpicklingError to KeyError on foreign files.
        raise WeightsUnusable(
            f"{path} is no weights file of this project ({type(error).__name__}): restore it from the repository"
        ) from None
    card = card_path(path)
    measured = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    return Weights(state, architecture, settings, digest(path), measured)

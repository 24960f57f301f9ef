"""Find inferior vena cava filters in canonical images, or in detail images of twice their side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import device as devices
from models.framing import DETAIL_SIDE, at_side
from models.framing import SIZE as SIDE
from models.networks import FilterNetwork, for_inference, local_contrast
from models.weights_files import SHIPPED, Weights, WeightsUnusable, load_weights

ARCHITECTURE = "centre_heatmap_fpn"
BATCH = 8
CUDA_BATCH = 64
PEAKS = 5
"""Places looked at in a picture, at most."""


@dataclass(frozen=True)
class IvcReading:
    """What the detector finds in one picture.

    Attributes:
        present: whether the best place scores above the threshold of the card.
        score: score of the best place, 0..1.
        boxes: places above the threshold, best first: `{"box": [x0, y0, x1, y1], "score": s}` in pixels of the
            512-pixel canonical image.
    """

    present: bool
    score: float
    boxes: list[dict[str, Any]]

    def detail(self) -> dict[str, Any]:
        """The reading without label and score, as JSON."""
        return {"boxes": self.boxes}


class IvcFilterReader:
    """A loaded detector.

    Attributes:
        model_id: `ivc_filter-<architecture>-<first 12 of the weights' digest>`.
        architecture: name of the network.
        weights_sha256: digest of the weights file.
        card: the model card as JSON, `{}` when none stands beside the weights.
        threshold: score from which a filter counts as present.
        precision: in which the network multiplies.
        side: of the pictures that the network reads, as the weights say: 512 or 1,024 pixels.
    """

    def __init__(self, weights: Weights, device: torch.device | str = "cpu", precision: str = "auto") -> None:
        if weights.architecture != ARCHITECTURE:
            raise WeightsUnusable(
                f"the weights are for {weights.architecture!r}, not for {ARCHITECTURE!r}; pass ivc_filter.pt"
            )
        self.architecture = weights.architecture
        self.weights_sha256 = weights.sha256
        self.model_id = f"ivc_filter-{self.architecture}-{weights.sha256[:12]}"
        self.card = weights.card
        self.settings = weights.settings
        self.threshold = float(weights.settings["threshold"])
        self.side = int(weights.settings.get("side", SIDE))
        if self.side not in (SIDE, DETAIL_SIDE):
            raise WeightsUnusable(
                f"the weights read pictures of {self.side} pixels; this program keeps such of {SIDE} and {DETAIL_SIDE}"
            )
        self._finer = self.side // SIDE
        self._network = FilterNetwork(detail=self._finer > 1)
        weights.put_into(self._network)
        self.device = torch.device(device)
        for_inference(self._network).to(self.device)
        self.batch = devices.batch_size(self.device) // self._finer**2
        self.precision = devices.precision(self.device, precision)
        size, on_gpu = (BATCH, False) if self.device.type == "cpu" else (CUDA_BATCH, True)
        self._in_batches = devices.InBatches(self._forward, size // self._finer**2, fixed=on_gpu)

    @classmethod
    def load(cls, weights: Path | None = None, device: torch.device | str = "cpu", precision: str = "auto") -> Self:
        """Load a weights file, by default the one that ships with the project.

        Raises:
            WeightsUnusable: missing, damaged or foreign weights.
        """
        return cls(load_weights(SHIPPED / "ivc_filter.pt" if weights is None else weights), device, precision)

    def read(self, images: list[NDArray[np.uint8]] | NDArray[np.uint8]) -> list[IvcReading]:
        """Look at pictures in order, in batches.

        Args:
            images: canonical or detail images, uint8 and square, or all of them in one array. They are brought to the
                side that the network reads: enlarged, a picture shows no more than before, and filters are found in
                it as the card says of coarse originals.
        """
        readings: list[IvcReading] = []
        for start in range(0, len(images), self.batch):
            group = np.asarray([at_side(image, self.side) for image in images[start : start + self.batch]])
            for places in self.places(group):
                found = [place for place in places if place["score"] >= self.threshold]
                best = places[0]["score"] if places else 0.0
                readings.append(IvcReading(bool(found), best, found))
        return readings

    def places(self, images: NDArray[np.uint8]) -> list[list[dict[str, Any]]]:
        """The best places of each picture `(n, side, side)` with boxes and scores, whatever the threshold."""
        outputs = self._in_batches(images)
        scores, where, sizes = outputs["scores"], outputs["where"], outputs["sizes"].numpy()
        columns = SIDE // FilterNetwork.stride
        result = []
        for index in range(len(images)):
            places = []
            peaks = zip(scores[index].tolist(), where[index].tolist(), sizes[index].T, strict=True)
            for score, place, (width, height) in peaks:
                row, column = divmod(place, columns)
                x, y = (column + 0.5) * FilterNetwork.stride, (row + 0.5) * FilterNetwork.stride
                corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
                box = [round(float(np.clip(v, 0, SIDE - 1)), 1) for v in corners]
                places.append({"box": box, "score": round(float(score), 4)})
            result.append(places)
        return result

    def _forward(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Of the highest peaks: scores and places in the flat heatmap `(n, PEAKS)`, box sizes `(n, 2, PEAKS)`."""
        with torch.inference_mode():
            pictures = torch.from_numpy(images).to(self.device, non_blocking=True)[:, None].float() / 255
            inputs = local_contrast(pictures, finer=self._finer).contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                outputs = self._network(inputs)
            outputs = outputs.float()
            heat = torch.sigmoid(outputs[:, :1])
            # A place is a peak where it is the highest of its neighbourhood.
            peaks = heat * (torch.nn.functional.max_pool2d(heat, 9, 1, 4) == heat)
            scores, where = peaks.flatten(1).topk(PEAKS)
            there = where[:, None].expand(-1, 2, -1)
            sizes = outputs[:, 1:].flatten(2).gather(2, there).clamp(-2, 2.5).exp() * 32
            return {"scores": scores.cpu(), "where": where.cpu(), "sizes": sizes.cpu()}

"""Augmentation of a batch at once: the same geometry, contrast, resolution and border changes for every class.

Sources have styles (square-stretched, locally equalised, narrow crops, low resolution, letterboxed). Every picture gets
each of them at random, so that a style says nothing about the part. Mirroring is applied, because none of the
present heads depends on the side; a head for laterality must swap its label where `mirrored` is true.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.networks import local_contrast


def content_boxes(images: Tensor) -> Tensor:
    """Boxes of what is not padding, `(n, 4)` as left, top, right, bottom in -1..1 of the canvas.

    Args:
        images: uint8, `(n, side, side)`.
    """
    side = images.shape[-1]
    boxes = torch.empty(len(images), 4)
    for index, image in enumerate(images):
        rows, columns = (torch.nonzero(image.amax(dim=d) > 8).flatten() for d in (1, 0))
        edges = (
            [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) and len(columns) else [0, 0, side, side]
        )
        boxes[index] = torch.tensor([float(edge) for edge in edges]) / side * 2 - 1
    return boxes


class Augmenter:
    """Random changes from one seeded generator."""

    def __init__(self, side: int, seed: int) -> None:
        self.side = side
        self.generator = torch.Generator().manual_seed(seed)

    def _uniform(self, n: int, low: float, high: float) -> Tensor:
        return torch.rand(n, generator=self.generator) * (high - low) + low

    def _chance(self, n: int, probability: float) -> Tensor:
        return torch.rand(n, generator=self.generator) < probability

    def __call__(self, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented float32 `(n, 1, side, side)` in 0..1, and which of them were mirrored.

        Args:
            images: uint8, `(n, s, s)`.
            boxes: their `content_boxes`.
        """
        geometry, mirrored, inside = self._geometry(images, boxes)
        return self._tones(geometry, inside), mirrored

    def _geometry(self, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n = len(images)
        size = boxes[:, 2:] - boxes[:, :2]
        share = torch.stack([self._uniform(n, 0.72, 1.04), self._uniform(n, 0.72, 1.04)], 1)
        crop = size * share / 2
        free = (size / 2 - crop).clamp_min(0)
        centre = (boxes[:, 2:] + boxes[:, :2]) / 2 + free * (torch.rand(n, 2, generator=self.generator) * 2 - 1)
        # Where it goes: letterboxed with its aspect a little changed, or stretched over the whole square.
        target = crop * torch.exp(torch.stack([self._uniform(n, -0.15, 0.15), self._uniform(n, -0.15, 0.15)], 1))
        target = target / target.amax(dim=1, keepdim=True)
        target[self._chance(n, 0.3)] = 1.0
        target = target * torch.where(self._chance(n, 0.4), self._uniform(n, 0.7, 1.0), torch.ones(n))[:, None]
        offset = (1 - target) * (torch.rand(n, 2, generator=self.generator) * 2 - 1) * 0.5
        angle = torch.where(self._chance(n, 0.7), self._uniform(n, -0.22, 0.22), torch.zeros(n))
        mirrored = self._chance(n, 0.5)

        axis = (torch.arange(self.side) + 0.5) / self.side * 2 - 1
        v, u = torch.meshgrid(axis, axis, indexing="ij")
        place = torch.stack([u, v], -1)[None]
        relative = (place - offset[:, None, None]) / target[:, None, None]
        inside = (relative.abs() <= 1).all(dim=-1)[:, None]
        x, y = relative[..., 0], relative[..., 1]
        cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
        x, y = cosine * x - sine * y, sine * x + cosine * y
        x = torch.where(mirrored[:, None, None], -x, x)
        grid = centre[:, None, None] + crop[:, None, None] * torch.stack([x, y], -1)
        pictures = images[:, None].float() / 255
        if self._chance(1, 0.5):  # area average first: the look of a coarse original
            pictures = functional.avg_pool2d(pictures, 2)
        return functional.grid_sample(pictures, grid, align_corners=False), mirrored, inside

    def _tones(self, x: Tensor, inside: Tensor) -> Tensor:
        n = len(x)

        def column(values: Tensor) -> Tensor:
            return values[:, None, None, None]

        chosen = self._chance(n, 0.35)
        many = int(chosen.sum())
        equalised = torch.sigmoid(local_contrast(x[chosen], 12) * column(self._uniform(many, 0.7, 2.0)))
        x[chosen] += column(self._uniform(many, 0.3, 1.0)) * (equalised - x[chosen])
        x = x.clamp_min(1e-4) ** torch.exp(column(self._uniform(n, -0.5, 0.5)))
        low, high = column(self._uniform(n, -0.1, 0.12)), column(self._uniform(n, 0.8, 1.15))
        x = (x - low) / (high - low)
        ramp = torch.linspace(-0.12, 0.12, self.side)
        down, across = (column(self._uniform(n, -1, 1)) for _ in range(2))
        x = x + (down * ramp[None, None, :, None] + across * ramp[None, None, None, :])
        if self._chance(1, 0.35):
            small = int(self.side * float(self._uniform(1, 0.4, 0.9)))
            x = functional.interpolate(
                functional.interpolate(x, size=small, mode="area"), size=self.side, mode="bilinear"
            )
        chosen = self._chance(n, 0.4)
        noise = torch.randn(x[chosen].shape, generator=self.generator)
        x[chosen] += noise * column(self._uniform(len(noise), 0, 0.08))
        x = torch.where(column(self._chance(n, 0.1)), 1 - x, x).clamp(0, 1)
        self._markers(x)
        border = torch.where(self._chance(n, 0.85), torch.zeros(n), torch.rand(n, generator=self.generator))
        return torch.where(inside, x, column(border))

    def _markers(self, x: Tensor) -> None:
        """Small bright blocks where side letters and labels stand, in place."""
        for index in torch.nonzero(self._chance(len(x), 0.3)).flatten().tolist():
            height, width = (int(v) for v in self._uniform(2, 4, 16))
            top, left = (int(v) for v in self._uniform(2, 0, self.side - 16))
            x[index, :, top : top + height, left : left + width] = float(self._uniform(1, 0.7, 1.0))

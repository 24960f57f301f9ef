"""Augmentation of a batch at once: the same geometry, contrast, resolution and border changes for every class.

Sources have styles (square-stretched, locally equalised, narrow crops, low resolution, JPEG blocks, letterboxed). Every
picture gets each of them at random, so that a style says nothing about the part. Quarter turns, inversion and
mirroring are labels of their own: `Changes` says what was done. Everything runs on the device the pictures are on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.networks import local_contrast

TURNED, INVERTED, MIRRORED = 0.2, 0.15, 0.5
"""Shares of pictures turned by a quarter or more, inverted, and mirrored."""
HALVED = 0.12
"""Share of pictures cut to about half their width: many films hold two exposures side by side."""


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


@dataclass(frozen=True)
class Changes:
    """What was done to each picture of a batch.

    Attributes:
        quarter_turns: int64 `(n,)`, clockwise, 0 to 3.
        inverted, mirrored: bool `(n,)`.
    """

    quarter_turns: Tensor
    inverted: Tensor
    mirrored: Tensor


class Augmenter:
    """Random changes from seeded generators: one on the host for choices of a batch, one on the device for pixels."""

    def __init__(self, side: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.side = side
        self.device = torch.device(device)
        self.host = torch.Generator().manual_seed(seed)
        self.generator = torch.Generator(device=self.device).manual_seed(seed)

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def _uniform(self, n: int, low: float, high: float) -> Tensor:
        return self._rand(n) * (high - low) + low

    def _chance(self, n: int, probability: float) -> Tensor:
        return self._rand(n) < probability

    def _number(self, low: float, high: float) -> float:
        return float(torch.rand((), generator=self.host)) * (high - low) + low

    def _some(self, n: int, share: float) -> Tensor:
        """Indices of about a share of the batch; their number is the same for every batch, so nothing waits for it."""
        return torch.randperm(n, generator=self.host)[: max(1, round(n * share))].to(self.device, non_blocking=True)

    def __call__(self, images: Tensor, boxes: Tensor, whole: Tensor | None = None) -> tuple[Tensor, Changes]:
        """Augmented float32 `(n, 1, side, side)` in 0..1, and what was changed.

        Args:
            images: uint8, `(n, s, s)`.
            boxes: their `content_boxes`.
            whole: bool `(n,)`, pictures never cut to half their width (both halves together make the label).
        """
        pictures, inside, turns, mirrored = self._geometry(images, boxes, whole)
        pictures, inverted = self._tones(pictures, inside)
        return pictures, Changes(turns, inverted, mirrored)

    def _geometry(self, images: Tensor, boxes: Tensor, whole: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n = len(images)
        size = boxes[:, 2:] - boxes[:, :2]
        across, down = self._uniform(n, 0.68, 1.04), self._uniform(n, 0.68, 1.04)
        halved = self._chance(n, HALVED)
        if whole is not None:
            halved &= ~whole
        across = torch.where(halved, self._uniform(n, 0.42, 0.6), across)
        crop = size * torch.stack([across, down], 1) / 2
        free = (size / 2 - crop).clamp_min(0)
        centre = (boxes[:, 2:] + boxes[:, :2]) / 2 + free * (self._rand(n, 2) * 2 - 1)
        # Where it goes: letterboxed with its aspect a little changed, or stretched over the whole square.
        target = crop * torch.exp(torch.stack([self._uniform(n, -0.15, 0.15), self._uniform(n, -0.15, 0.15)], 1))
        target = target / target.amax(dim=1, keepdim=True)
        target = torch.where(self._chance(n, 0.35)[:, None], torch.ones_like(target), target)
        target = target * torch.where(self._chance(n, 0.4), self._uniform(n, 0.65, 1.0), torch.ones_like(down))[:, None]
        offset = (1 - target) * (self._rand(n, 2) * 2 - 1) * 0.5
        angle = torch.where(self._chance(n, 0.7), self._uniform(n, -0.22, 0.22), torch.zeros_like(down))
        mirrored = self._chance(n, MIRRORED)
        turns = torch.where(self._chance(n, TURNED), 1 + (self._rand(n) * 3).long().clamp_max(2), 0)

        axis = (torch.arange(self.side, device=self.device) + 0.5) / self.side * 2 - 1
        v, u = torch.meshgrid(axis, axis, indexing="ij")
        quarter = (turns.float() * (math.pi / 2))[:, None, None]
        # A picture turned clockwise is read along axes turned counter-clockwise.
        cosine, sine = torch.cos(quarter), torch.sin(quarter)
        place = torch.stack([cosine * u + sine * v, cosine * v - sine * u], -1)
        relative = (place - offset[:, None, None]) / target[:, None, None]
        inside = (relative.abs() <= 1).all(dim=-1)[:, None]
        x, y = relative[..., 0], relative[..., 1]
        cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
        x, y = cosine * x - sine * y, sine * x + cosine * y
        x = torch.where(mirrored[:, None, None], -x, x)
        grid = centre[:, None, None] + crop[:, None, None] * torch.stack([x, y], -1)
        pictures = images[:, None].float() / 255
        if self._number(0, 1) < 0.4:  # area average first: the look of a coarse original
            pictures = functional.avg_pool2d(pictures, 2)
        return functional.grid_sample(pictures, grid, align_corners=False), inside, turns, mirrored

    def _tones(self, x: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        n = len(x)
        chosen = self._some(n, 0.3)
        x[chosen] = self._greys_of_another(x[chosen])
        chosen = self._some(n, 0.4)
        many = len(chosen)
        near = local_contrast(x[chosen], int(self._number(6, 30)))
        equalised = torch.sigmoid(near * _column(self._uniform(many, 0.7, 3.0)))
        x[chosen] += _column(self._uniform(many, 0.3, 1.0)) * (equalised - x[chosen])
        x = x.clamp_min(1e-4) ** torch.exp(_column(self._uniform(n, -0.5, 0.5)))
        low, high = _column(self._uniform(n, -0.1, 0.12)), _column(self._uniform(n, 0.8, 1.15))
        x = (x - low) / (high - low)
        ramp = torch.linspace(-0.12, 0.12, self.side, device=self.device)
        down, across = (_column(self._uniform(n, -1, 1)) for _ in range(2))
        x = x + (down * ramp[None, None, :, None] + across * ramp[None, None, None, :])
        x = self._metal(x)
        chosen = self._some(n, 0.35)
        x[chosen] = self._coarse(x[chosen])
        chosen = self._some(n, 0.3)
        x[chosen] = jpeg(x[chosen].clamp(0, 1), self._uniform(len(chosen), 0.4, 4.0))
        strength = torch.where(self._chance(n, 0.4), self._uniform(n, 0, 0.08), torch.zeros(n, device=self.device))
        noise = torch.randn(x.shape, generator=self.generator, device=self.device)
        x = x + noise * _column(strength)
        inverted = self._chance(n, INVERTED)
        x = torch.where(_column(inverted), 1 - x, x).clamp(0, 1)
        x = self._markers(x)
        border = torch.where(self._chance(n, 0.85), torch.zeros(n, device=self.device), self._rand(n))
        return torch.where(inside, x, _column(border)), inverted

    def _greys_of_another(self, x: Tensor) -> Tensor:
        """Each picture with the histogram of another of the batch, blended: grey levels alone then tell no source."""
        flat = x.flatten(1)
        levels = flat.sort(1).values.roll(1, 0)
        ranks = torch.empty_like(flat).scatter_(1, flat.argsort(1), levels)
        share = self._rand(len(x))[:, None]
        return (flat + share * (ranks - flat)).view_as(x)

    def _coarse(self, x: Tensor) -> Tensor:
        small = int(self.side * self._number(0.3, 0.9))
        x = functional.interpolate(x, size=small, mode="area")
        return functional.interpolate(x, size=self.side, mode="bilinear")

    def _metal(self, x: Tensor) -> Tensor:
        """A bright rod on every fifth picture, half of them with a ball: implants and leads say nothing of the part."""
        n = len(x)
        axis = torch.linspace(-1, 1, self.side, device=self.device)
        ends = self._rand(n, 2, 2) * 1.6 - 0.8
        middle, angle = ends[:, 0], ends[:, 1, 0] * 4
        length, width = self._uniform(n, 0.05, 0.5), self._uniform(n, 0.01, 0.06)
        cosine, sine = _column(torch.cos(angle)), _column(torch.sin(angle))
        dx, dy = axis[None, None, None, :] - _column(middle[:, 0]), axis[None, None, :, None] - _column(middle[:, 1])
        along, beside = dx * cosine + dy * sine, dy * cosine - dx * sine
        rod = (along.abs() < _column(length)) & (beside.abs() < _column(width))
        radius = torch.where(self._chance(n, 0.5), self._uniform(n, 0.06, 0.22), torch.zeros(n, device=self.device))
        ball = (along - _column(length)) ** 2 + beside**2 < _column(radius) ** 2
        metal = (rod | ball) & _column(self._chance(n, 0.2))
        return torch.where(metal, torch.maximum(x, _column(self._uniform(n, 0.8, 1.05))), x)

    def _markers(self, x: Tensor) -> Tensor:
        """Small bright blocks where side letters and labels stand, on every third picture."""
        n = len(x)
        axis = torch.arange(self.side, device=self.device)
        height, width = self._uniform(n, 4, 18), self._uniform(n, 4, 18)
        top, left = self._uniform(n, 0, self.side - 18), self._uniform(n, 0, self.side - 18)
        rows = (axis >= top[:, None]) & (axis < (top + height)[:, None])
        columns = (axis >= left[:, None]) & (axis < (left + width)[:, None])
        block = rows[:, None, :, None] & columns[:, None, None, :] & _column(self._chance(n, 0.3))
        return torch.where(block, _column(self._uniform(n, 0.7, 1.0)), x)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]


_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Quantisation of luminance at quality 50 (ITU-T T.81, Table K.1)."""


def jpeg(x: Tensor, coarseness: Tensor) -> Tensor:
    """Block artefacts of JPEG: 8 x 8 cosine transform, quantised, and back.

    Args:
        x: float32 `(n, 1, h, w)` in 0..1, sides that are multiples of 8.
        coarseness: `(n,)`, factor on the quantisation of quality 50; 4 is about quality 12.
    """
    k = torch.arange(8, device=x.device, dtype=torch.float32)
    basis = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) * 0.5
    basis[0] *= math.sqrt(0.5)
    steps = torch.tensor(_LUMINANCE, device=x.device, dtype=torch.float32).view(8, 8) / 255
    n, _, height, width = x.shape
    blocks = x.view(n, height // 8, 8, width // 8, 8).transpose(2, 3)
    steps = steps * coarseness[:, None, None, None, None]
    quantised = torch.round((basis @ blocks @ basis.T) / steps) * steps
    return (basis.T @ quantised @ basis).transpose(2, 3).reshape(x.shape)


def side_by_side(left: Tensor, right: Tensor, left_boxes: Tensor, right_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Films that hold two exposures: the content of two pictures in the halves of one canvas.

    Args:
        left, right: uint8 `(n, s, s)`.
        left_boxes, right_boxes: their `content_boxes`.

    Returns:
        uint8 `(n, s, s)` and the boxes of what they show.
    """
    side = left.shape[-1]
    axis = (torch.arange(side, device=left.device) + 0.5) / side * 2 - 1
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    halves = []
    for pictures, boxes, local in ((left, left_boxes, 2 * u + 1), (right, right_boxes, 2 * u - 1)):
        size = (boxes[:, 2:] - boxes[:, :2])[:, None, None] / 2
        # The half canvas is half as wide as high: fit the content into it with its aspect.
        scale = torch.maximum(size[..., 0] / 0.5, size[..., 1])
        x, y = local * 0.5 * scale, v * scale
        centre = ((boxes[:, 2:] + boxes[:, :2]) / 2)[:, None, None]
        grid = centre + torch.stack([x, y], -1)
        shown = ((x.abs() <= size[..., 0]) & (y.abs() <= size[..., 1]) & (local.abs() <= 1))[:, None]
        read = functional.grid_sample(pictures[:, None].float(), grid, align_corners=False)
        halves.append(torch.where(shown, read, torch.zeros_like(read)))
    together = (halves[0] + halves[1])[:, 0].clamp(0, 255).to(torch.uint8)
    whole = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=left.device).expand(len(left), 4)
    return together, whole

"""The networks: one body-part trunk with heads, and the heatmap network that finds IVC filters.

Nothing here loads pretrained weights, and nothing uses torchvision's compiled operators.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.labels import REGIONS36, ROUTER5


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2015), average-pooled shortcut as in ResNet-D."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        nn.init.zeros_(self.second[1].weight)  # starts as the identity: trains faster from scratch
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Same batch, `outputs` channels, side divided by the stride."""
        return torch.relu(self.shortcut(x) + self.second(self.first(x)))


def _compact_resnet() -> tuple[nn.Module, int]:
    """A ResNet-18 of a third of the width, 1.3 M parameters: plain convolutions, which CPUs run well."""
    widths = (24, 48, 96, 192)
    layers: list[nn.Module] = [_conv(1, 16, 2), _conv(16, 24, 2)]
    inputs = 24
    for width in widths:
        layers += [_Residual(inputs, width, 1 if width == 24 else 2), _Residual(width, width, 1)]
        inputs = width
    return nn.Sequential(*layers), inputs


def _mobilenet(large: bool) -> tuple[nn.Module, int]:
    from torchvision.models import mobilenet_v3_large, mobilenet_v3_small

    features = (mobilenet_v3_large if large else mobilenet_v3_small)(weights=None).features
    stem = features[0][0]
    features[0][0] = nn.Conv2d(1, stem.out_channels, 3, 2, 1, bias=False)
    nn.init.kaiming_normal_(features[0][0].weight, mode="fan_out")
    return features, features[-1][0].out_channels


TRUNKS: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "compact_resnet": _compact_resnet,
    "mobilenet_v3_small": lambda: _mobilenet(False),
    "mobilenet_v3_large": lambda: _mobilenet(True),
}
"""Architectures by name; each gives a 1-channel feature extractor and its number of output channels."""


class BodyPartNetwork(nn.Module):
    """One trunk, one pooled feature, three heads.

    Input: float32 `(n, 1, side, side)`, each image standardised (`standardise`). Output: logits by head name:
    `router5` (n, 5) and `examined36` (n, 36) for a softmax, `visible36` (n, 36) for sigmoids.
    """

    def __init__(self, architecture: str) -> None:
        super().__init__()
        if architecture not in TRUNKS:
            raise ValueError(f"no architecture {architecture!r}; there are {', '.join(TRUNKS)}")
        self.trunk, channels = TRUNKS[architecture]()
        self.dropout = nn.Dropout(0.2)
        self.heads = nn.ModuleDict(
            {
                "router5": nn.Linear(channels, len(ROUTER5)),
                "examined36": nn.Linear(channels, len(REGIONS36)),
                "visible36": nn.Linear(channels, len(REGIONS36)),
            }
        )

    def features(self, images: Tensor) -> Tensor:
        """Pooled features `(n, channels)`, for neighbours and drift."""
        return self.trunk(images).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits by head."""
        pooled = self.dropout(self.features(images))
        return {name: head(pooled) for name, head in self.heads.items()}


def standardise(images: Tensor) -> Tensor:
    """Each image to mean 0 and standard deviation 1 over its own pixels; float32 in, float32 out."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images.std(dim=(1, 2, 3), keepdim=True)
    return (images - mean) / (deviation + 1e-3)


class FilterNetwork(nn.Module):
    """Anchor-free detector of IVC filters: a centre heatmap and a box size, at a quarter of the input's side.

    After "Objects as Points" (Zhou et al. 2019), small. Input: float32 `(n, 1, h, w)` with sides that are multiples
    of 16, locally standardised (`local_contrast`). Output: `(n, 3, h/4, w/4)`: heatmap logit, log width and log height
    in units of 32 input pixels.
    """

    stride = 4

    def __init__(self) -> None:
        super().__init__()
        self.down2 = nn.Sequential(_conv(1, 12, 2), _conv(12, 12))
        self.down4 = nn.Sequential(_conv(12, 32, 2), _Residual(32, 32, 1))
        self.down8 = nn.Sequential(_Residual(32, 48, 2), _Residual(48, 48, 1))
        self.down16 = nn.Sequential(_Residual(48, 64, 2), _Residual(64, 64, 1))
        self.lateral8 = nn.Conv2d(48, 64, 1)
        self.lateral4 = nn.Conv2d(32, 48, 1)
        self.merge8 = _conv(64, 48)
        self.merge4 = _conv(48, 32)
        self.head = nn.Conv2d(32, 3, 1)
        nn.init.constant_(self.head.bias[:1], -4.0)  # almost every place holds no filter

    def forward(self, images: Tensor) -> Tensor:
        """Heatmap logits and log sizes."""
        at4 = self.down4(self.down2(images))
        at8 = self.down8(at4)
        at16 = self.down16(at8)
        up = nn.functional.interpolate(at16, scale_factor=2.0) + self.lateral8(at8)
        up = nn.functional.interpolate(self.merge8(up), scale_factor=2.0) + self.lateral4(at4)
        return self.head(self.merge4(up))


def local_contrast(images: Tensor, radius: int = 24) -> Tensor:
    """Each pixel relative to its neighbourhood, in units of the local deviation: wires stand out, anatomy recedes.

    Args:
        images: float32 `(n, 1, h, w)` with sides that are multiples of 4.
        radius: half the side of the neighbourhood, pixels.
    """
    coarse = nn.functional.avg_pool2d(torch.cat([images, images * images], 1), 4)
    near = radius // 4
    coarse = nn.functional.avg_pool2d(coarse, 2 * near + 1, 1, near, count_include_pad=False)
    mean, square = nn.functional.interpolate(coarse, size=images.shape[2:], mode="bilinear").split(1, 1)
    return (images - mean) / ((square - mean * mean).clamp_min(0).sqrt() + 0.03)


def averaged(network: nn.Module, decay: float = 0.99) -> torch.optim.swa_utils.AveragedModel:
    """A running average of a network's weights and statistics that forgets the initial ones quickly."""

    def update(averages: list[Tensor], currents: list[Tensor], count: Tensor) -> None:
        keep = min(decay, (float(count) + 1) / (float(count) + 10))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current.to(average.dtype), 1 - keep)
            else:
                average.copy_(current)

    return torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=torch.no_grad()(update), use_buffers=True)

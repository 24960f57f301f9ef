"""The networks: one body-part trunk with heads, and the heatmap network that finds IVC filters.

Nothing here loads pretrained weights, and nothing uses torchvision's compiled operators.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.labels import REGIONS36, ROUTER5, VIEWS


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


def _resnet(stem: int, widths: tuple[int, ...]) -> tuple[nn.Module, int]:
    """A ResNet-18 with the given widths (He et al. 2015): plain convolutions, quick to train from scratch."""
    layers: list[nn.Module] = [_conv(1, stem, 2), _conv(stem, widths[0], 2)]
    inputs = widths[0]
    for width in widths:
        layers += [_Residual(inputs, width, 1 if width == widths[0] else 2), _Residual(width, width, 1)]
        inputs = width
    return nn.Sequential(*layers), inputs


def _mobilenet(large: bool) -> tuple[nn.Module, int]:
    from torchvision.models import mobilenet_v3_large, mobilenet_v3_small

    features = (mobilenet_v3_large if large else mobilenet_v3_small)(weights=None).features
    stem = features[0][0]
    features[0][0] = nn.Conv2d(1, stem.out_channels, 3, 2, 1, bias=False)
    nn.init.kaiming_normal_(features[0][0].weight, mode="fan_out")
    for part in features.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.1  # torchvision's 0.01 is for runs of a million steps; ours end before it has settled
    return features, features[-1][0].out_channels


TRUNKS: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "compact_resnet": lambda: _resnet(16, (24, 48, 96, 192)),
    "resnet18_75": lambda: _resnet(24, (48, 96, 192, 384)),
    "mobilenet_v3_small": lambda: _mobilenet(False),
    "mobilenet_v3_large": lambda: _mobilenet(True),
}
"""Architectures by name; each gives a 1-channel feature extractor and its number of output channels."""


HEADS = {
    "router5": len(ROUTER5),
    "examined36": len(REGIONS36),
    "visible36": len(REGIONS36),
    "view": len(VIEWS),
    "orientation": 4,
    "inverted": 1,
    "mirrored": 1,
    "pediatric": 1,
}
"""Outputs by head. `orientation` counts quarter turns clockwise from upright; the last three are for sigmoids."""


class BodyPartNetwork(nn.Module):
    """One trunk, one pooled feature, a linear head for each question.

    Input: float32 `(n, 1, side, side)`, each image standardised (`standardise`). Output: logits by head name:
    `visible36`, `inverted`, `mirrored` and `pediatric` for sigmoids, the others for a softmax.

    Attributes:
        style_mixing: share of training batches whose early features swap their style (`mix_style`).
    """

    MIXED_AFTER = (1, 2, 3)
    """Children of the trunk after which styles are mixed: the early ones, which hold contrast and texture."""

    def __init__(self, architecture: str, heads: tuple[str, ...] = tuple(HEADS), style_mixing: float = 0.0) -> None:
        super().__init__()
        if architecture not in TRUNKS:
            raise ValueError(f"no architecture {architecture!r}; there are {', '.join(TRUNKS)}")
        self.trunk, channels = TRUNKS[architecture]()
        self.style_mixing = style_mixing
        self.dropout = nn.Dropout(0.2)
        self.heads = nn.ModuleDict({name: nn.Linear(channels, HEADS[name]) for name in heads})

    def features(self, images: Tensor) -> Tensor:
        """Pooled features `(n, channels)`, for neighbours and drift."""
        if not self.training or self.style_mixing == 0:
            return self.trunk(images).mean(dim=(2, 3))
        x = images
        for index, part in enumerate(self.trunk.children()):
            x = part(x)
            if index in self.MIXED_AFTER and float(torch.rand(())) < self.style_mixing:
                x = mix_style(x)
        return x.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits by head."""
        pooled = self.dropout(self.features(images))
        return {name: head(pooled) for name, head in self.heads.items()}


def for_inference(network: nn.Module) -> nn.Module:
    """A network for answers alone, in place: normalisations folded into their convolutions, weights channels last.

    On a CPU core of ours MobileNetV3-Large reads 50 pictures a second instead of 20.
    """
    network.eval()
    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, first), (after, second) in pairwise(children):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(first, second))
                setattr(module, after, nn.Identity())
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def mix_style(x: Tensor) -> Tensor:
    """Features whose channel means and deviations are mixed with another picture's (MixStyle, Zhou et al. 2021)."""
    mean, deviation = x.mean(dim=(2, 3), keepdim=True), x.std(dim=(2, 3), keepdim=True) + 1e-4
    # Beta(0.1, 0.1) is close to a coin whose sides are 0 and 1.
    share = torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype)
    share = torch.sigmoid((share * 2 - 1) * 6)
    other = torch.arange(len(x), device=x.device).roll(1)
    mean_to, deviation_to = mean.detach(), deviation.detach()
    mixed_mean = share * mean_to + (1 - share) * mean_to[other]
    mixed_deviation = share * deviation_to + (1 - share) * deviation_to[other]
    return (x - mean_to) / deviation_to * mixed_deviation + mixed_mean


def standardise(images: Tensor) -> Tensor:
    """Each image to mean 0 and standard deviation 1 over its own pixels; float32 in, float32 out."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images.std(dim=(1, 2, 3), keepdim=True)
    return (images - mean) / (deviation + 1e-3)


class FilterNetwork(nn.Module):
    """Anchor-free detector of IVC filters: a centre heatmap and a box size, at a quarter of the canonical image's side.

    After "Objects as Points" (Zhou et al. 2019), small. Input: float32 `(n, 1, h, w)` with sides that are multiples
    of 16, locally standardised (`local_contrast`). Output: `(n, 3, h/4, w/4)`: heatmap logit, log width and log height
    in units of 32 canonical pixels.

    Args:
        detail: reads pictures of twice the canonical side, as `(n, 4, h, w)`: four pixels in the place of each. Their
            mean goes the way of a canonical image; what is finer comes beside it, and is nothing before training, so
            that weights of a network without it say at first what they said.
    """

    stride = 4

    def __init__(self, detail: bool = False) -> None:
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
        self.finer = 2 if detail else 1
        if detail:
            self.detail = nn.Sequential(_conv(4, 12), nn.Conv2d(12, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12))
            nn.init.zeros_(self.detail[-1].weight)

    def forward(self, images: Tensor) -> Tensor:
        """Heatmap logits and log sizes."""
        if self.finer == 1:
            at2 = self.down2[0](images)
        else:
            at2 = self.down2[0](images.mean(1, keepdim=True)) + self.detail(images)
        at4 = self.down4(self.down2[1](at2))
        at8 = self.down8(at4)
        at16 = self.down16(at8)
        up = nn.functional.interpolate(at16, scale_factor=2.0) + self.lateral8(at8)
        up = nn.functional.interpolate(self.merge8(up), scale_factor=2.0) + self.lateral4(at4)
        return self.head(self.merge4(up))


def local_contrast(images: Tensor, radius: int = 24, finer: int = 1) -> Tensor:
    """Each pixel relative to its neighbourhood, in units of the local deviation: wires stand out, anatomy recedes.

    Args:
        images: float32 `(n, 1, h, w)` in 0..1, with sides that are multiples of `4 * finer`.
        radius: half the side of the neighbourhood, pixels of the canonical image.
        finer: how many pixels stand for one of the canonical image, along a side; mean and deviation are those of the
            canonical image.

    Returns:
        `(n, finer * finer, h / finer, w / finer)`.
    """
    pixels = nn.functional.pixel_unshuffle(images, finer) if finer > 1 else images
    seen = pixels.mean(1, keepdim=True) if finer > 1 else images
    coarse = nn.functional.avg_pool2d(torch.cat([seen, seen * seen], 1), 4)
    near = radius // 4
    coarse = nn.functional.avg_pool2d(coarse, 2 * near + 1, 1, near, count_include_pad=False)
    mean, square = nn.functional.interpolate(coarse, size=seen.shape[2:], mode="bilinear").split(1, 1)
    return (pixels - mean) / ((square - mean * mean).clamp_min(0).sqrt() + 0.03)


class RunningAverage:
    """A running average of a network's weights and statistics that forgets the initial ones quickly.

    Attributes:
        module: the averaged network.
        count: updates taken.
    """

    def __init__(self, network: nn.Module, decay: float = 0.99) -> None:
        self.module = deepcopy(network)
        self.decay = decay
        self.count = 0
        pairs = list(zip(self.module.state_dict().values(), network.state_dict().values(), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the network's present state."""
        keep = min(self.decay, (self.count + 1) / (self.count + 10))
        self.count += 1
        # All at once: hundreds of small tensors would otherwise cost as much as the training step on a GPU.
        torch._foreach_lerp_([average for average, _ in self._floats], [now for _, now in self._floats], 1 - keep)
        torch._foreach_copy_([average for average, _ in self._counters], [now for _, now in self._counters])

    def state_dict(self) -> dict[str, Any]:
        """The averaged state and the count, for a checkpoint."""
        return {"module": self.module.state_dict(), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.module.load_state_dict(state["module"])
        self.count = int(state["count"])

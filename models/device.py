"""Where a network runs: on a GPU or the CPU, in which precision, in batches that fit."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

log = logging.getLogger(__name__)

CPU_BATCH = 32
CUDA_BATCH = 512
PRECISIONS = ("auto", "float32", "bfloat16")


class DeviceUnusable(RuntimeError):  # noqa: N818
    """The device that was asked for is not there, or a network does not fit on it; the message says what to do."""

    permanent = True


def choose(wanted: str = "auto") -> torch.device:
    """The device for `auto`, `cpu` or `cuda`: with `auto` the GPU where there is one.

    Raises:
        DeviceUnusable: `cuda` was asked for and is not there, or the word is none of the three.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise DeviceUnusable(f"There is no device {wanted!r}: SLUICE_DEVICE takes auto, cpu or cuda.")
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise DeviceUnusable(
            "SLUICE_DEVICE asks for cuda, but this process sees no GPU. Look at nvidia-smi and at the container's "
            "--gpus, or set SLUICE_DEVICE=auto, which reads on the CPU instead."
        )
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def precision(device: torch.device, wanted: str = "auto") -> torch.dtype:
    """In which precision a network multiplies: with `auto` bfloat16 where the hardware does it, else float32.

    Of CPUs only those with AMX tiles count (Intel, Sapphire Rapids and later): with the bfloat16 instructions of
    AVX-512 alone our networks are a sixth slower than in float32, emulated they are three to thirty times slower.

    Args:
        wanted: `auto`, `float32` or `bfloat16`, whatever the hardware has.

    Raises:
        DeviceUnusable: the word is none of the three.
    """
    if wanted not in PRECISIONS:
        raise DeviceUnusable(f"There is no precision {wanted!r}: SLUICE_PRECISION takes {', '.join(PRECISIONS)}.")
    if wanted != "auto":
        return torch.bfloat16 if wanted == "bfloat16" else torch.float32
    multiplies = _gpu_multiplies_bfloat16() if device.type == "cuda" else _cpu_multiplies_bfloat16()
    return torch.bfloat16 if multiplies else torch.float32


def _gpu_multiplies_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _cpu_multiplies_bfloat16() -> bool:
    able = torch.cpu.get_capabilities()
    # oneDNN does the multiplying, and ONEDNN_MAX_CPU_ISA may forbid it the tiles that the processor has.
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    return bool(able.get("amx_bf16") and able.get("amx_tile") and torch.backends.mkldnn.is_available()) and (
        allowed in ("ALL", "DEFAULT") or "AMX" in allowed
    )


def batch_size(device: torch.device) -> int:
    """Pictures that go to a device at once."""
    return CPU_BATCH if device.type == "cpu" else CUDA_BATCH


def buffer(size: int, side: int, device: torch.device) -> NDArray[np.uint8]:
    """Memory for `(size, side, side)` pictures; pinned where a GPU fetches them, which it then does by itself."""
    if device.type != "cuda":
        return np.zeros((size, side, side), np.uint8)
    pinned: NDArray[np.uint8] = torch.zeros((size, side, side), dtype=torch.uint8, pin_memory=True).numpy()
    return pinned


class InBatches:
    """Runs a network over pictures in batches of one shape; halves it where the memory of the GPU does not suffice.

    Args:
        forward: uint8 `(n, 512, 512)` to a tensor on the CPU with n rows, or several by name.
        size: pictures in a batch.
        fixed: fill the last batch up, so that the device sees one shape only; what comes of the filling is dropped.
    """

    def __init__(
        self, forward: Callable[[NDArray[np.uint8]], dict[str, Tensor]], size: int, fixed: bool = False
    ) -> None:
        self._forward = forward
        self.size = size
        self.fixed = fixed

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Outputs by name, in the order of the pictures.

        Raises:
            DeviceUnusable: not even one picture fits.
        """
        parts: list[dict[str, Tensor]] = []
        done = 0
        while done < len(images):
            piece = images[done : done + self.size]
            try:
                outputs = self._forward(self._filled(piece))
            except torch.cuda.OutOfMemoryError:
                self._halve()
                continue
            parts.append({name: output[: len(piece)] for name, output in outputs.items()})
            done += len(piece)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}

    def _filled(self, piece: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not self.fixed or len(piece) == self.size:
            return piece
        return np.concatenate([piece, np.zeros((self.size - len(piece), *piece.shape[1:]), piece.dtype)])

    def _halve(self) -> None:
        if self.size == 1:
            raise DeviceUnusable(
                "The GPU has not enough free memory for one picture. See with nvidia-smi who else uses it, or set "
                "SLUICE_DEVICE=cpu."
            ) from None
        self.size = (self.size + 1) // 2
        log.warning("The GPU's memory does not suffice: going on with batches of %d.", self.size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

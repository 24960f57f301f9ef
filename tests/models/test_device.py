"""Devices: what is chosen, in which precision, and what happens when a GPU's memory does not suffice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models import device as devices
from models.body_part import BodyPartReader
from models.device import DeviceUnusable, InBatches
from models.ivc_filter import IvcFilterReader


class SmallGpu:
    """Answers with each picture's first pixel; runs out of memory above `most` pictures."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.shapes: list[int] = []

    def __call__(self, images: np.ndarray) -> dict[str, Tensor]:
        self.shapes.append(len(images))
        if len(images) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return {"first": torch.from_numpy(images[:, 0, 0].astype(np.float32))}


def pictures(count: int) -> np.ndarray:
    images = np.zeros((count, 4, 4), np.uint8)
    images[:, 0, 0] = np.arange(count) + 1
    return images


@pytest.mark.parametrize("fixed", [False, True])
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(fixed: bool) -> None:
    gpu = SmallGpu(most=5)
    run = InBatches(gpu, 16, fixed)
    assert run(pictures(21))["first"].tolist() == list(range(1, 22))
    assert gpu.shapes[:3] == [16, 8, 4]
    assert run.size == 4, "it stays at what fits"
    if fixed:
        assert set(gpu.shapes[2:]) == {4}, "the device sees one shape, the last batch filled up"
    else:
        assert gpu.shapes[-1] == 1
    assert run(pictures(3))["first"].tolist() == [1, 2, 3]
    assert run(pictures(0)) == {}


def test_not_even_one_picture_fits() -> None:
    with pytest.raises(DeviceUnusable, match="nvidia-smi"):
        InBatches(SmallGpu(most=0), 8)(pictures(2))


def test_other_errors_are_no_lack_of_memory() -> None:
    def broken(_: np.ndarray) -> dict[str, Tensor]:
        raise RuntimeError("another fault")

    with pytest.raises(RuntimeError, match="another fault"):
        InBatches(broken, 8)(pictures(2))


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"), [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu")]
)
def test_the_device_that_is_chosen(wanted: str, there: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert devices.choose(wanted).type == chosen


def test_without_a_gpu_cuda_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceUnusable, match="SLUICE_DEVICE=auto"):
        devices.choose("cuda")
    with pytest.raises(DeviceUnusable, match="auto, cpu or cuda"):
        devices.choose("tpu")


def test_bfloat16_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert devices.precision(cuda) is torch.float32, "emulated is not had"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert devices.precision(cuda) is torch.bfloat16
    assert devices.precision(torch.device("cpu")) is torch.float32


def test_readers_in_batches_of_one_shape_say_the_same() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 512, 512), dtype=np.uint8)
    for reader in (BodyPartReader.load(), IvcFilterReader.load()):
        alone = [reader.read(images[place : place + 1])[0] for place in range(3)]
        reader._in_batches = InBatches(reader._in_batches._forward, 2, fixed=True)
        for one, other in zip(alone, reader.read(images), strict=True):
            score = "router5_score" if hasattr(one, "router5_score") else "score"
            assert getattr(one, score) == pytest.approx(getattr(other, score), abs=1e-3)


def test_reduced_precision_changes_no_answer() -> None:
    images = np.random.default_rng(1).integers(0, 255, (2, 512, 512), dtype=np.uint8)
    reader = BodyPartReader.load()
    whole = reader.logits(images)
    reader._precision = torch.bfloat16
    for name, logits in reader.logits(images).items():
        assert logits.dtype is torch.float32
        assert torch.allclose(logits, whole[name], atol=0.5), name

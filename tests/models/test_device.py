"""Devices: what is chosen, in which precision, and what happens when a GPU's memory does not suffice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models import device as devices
from models.body_part import BodyPartReader
from models.data import canonical_film, films
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
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert devices.precision(cuda) is torch.float32, "emulated is not had"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert devices.precision(cuda) is torch.bfloat16
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    for able, multiplies in (
        ({"avx2": True}, False),
        ({"avx512_f": True, "avx512_bf16": True}, False),  # has the instructions, is slower by them
        ({"avx512_bf16": True, "amx_tile": True, "amx_bf16": False}, False),
        ({"avx512_bf16": True, "amx_tile": True, "amx_bf16": True}, True),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert devices.precision(cpu) is (torch.bfloat16 if multiplies else torch.float32), able
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    assert devices.precision(cpu) is torch.float32, "its tiles are forbidden"
    for word, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        assert devices.precision(cpu, word) is devices.precision(cuda, word) is dtype
    with pytest.raises(DeviceUnusable, match="auto, float32, bfloat16"):
        devices.precision(cpu, "float16")


def test_readers_in_batches_of_one_shape_say_the_same() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 512, 512), dtype=np.uint8)
    for reader in (BodyPartReader.load(), IvcFilterReader.load()):
        alone = [reader.read(images[place : place + 1])[0] for place in range(3)]
        reader._in_batches = InBatches(reader._in_batches._forward, 2, fixed=True)
        for one, other in zip(alone, reader.read(images), strict=True):
            score = "router5_score" if hasattr(one, "router5_score") else "score"
            assert getattr(one, score) == pytest.approx(getattr(other, score), abs=1e-3)


def test_bfloat16_says_what_float32_says_of_real_films(shared_data: Path) -> None:
    """Of 1,200 unseen films 7 had another label, 8 another region, none a filter more or less (docs/inference.md)."""
    unseen = [film for film in films(shared_data) if film.split in ("test", "held_out")]
    images = [canonical_film(unseen[int(place)]) for place in np.linspace(0, len(unseen) - 1, 40)]
    for reader, most in ((BodyPartReader, 0.05), (IvcFilterReader, 0.02)):
        whole, reduced = (reader.load(precision=word).read(images) for word in ("float32", "bfloat16"))
        assert reader.load(precision="bfloat16").precision is torch.bfloat16
        alike = 0
        for one, other in zip(whole, reduced, strict=True):
            name, said = ("router5_score", "label") if hasattr(one, "label") else ("score", "present")
            alike += getattr(one, said) == getattr(other, said)
            if getattr(one, "router5", None) == getattr(other, "router5", None):
                assert getattr(one, name) == pytest.approx(getattr(other, name), abs=most)
        assert alike >= len(images) - 1

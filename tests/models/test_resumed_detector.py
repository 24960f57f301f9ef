"""A training of the detector that was stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data import Film
from models.train_body_part import learning_rate
from models.train_ivc_filter import Recipe, SceneSource, Training


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_stopped_filter_training_continues_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    images = np.stack([generator.integers(60, 120, (512, 512)).astype(np.uint8) for _ in range(2)])
    known = [Film(None, "drawn", "p", "train", "abdominal", "ABDOMEN", ("ABDOMEN",))] * 2
    recipe, told = Recipe(side=96, steps=6, batch=2, seed=2), []

    def training() -> Training:
        return Training(recipe, SceneSource(known, images, recipe))

    whole = training().run(progress=lambda *said: told.append(said))
    stopped = training()
    for step in range(4):
        stopped.take_step(stopped.source.batch(step), learning_rate(step / recipe.steps, recipe.peak_rate))
    stopped.save(tmp_path / "stopped")
    continued = training()
    assert continued.resume(tmp_path / "stopped")
    assert continued.run(progress=lambda *said: told.append(said)) == pytest.approx(whole[4:], abs=1e-4)
    assert [step for step, _ in told] == [6, 6], "told of the last step"
    other = Training(replace(recipe, seed=3), continued.source)
    assert not other.resume(tmp_path / "stopped"), "another recipe starts anew"

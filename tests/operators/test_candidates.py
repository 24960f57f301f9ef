"""Registered models on films of this site, with the weights that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.candidates import ENOUGH, measure_registered
from operators.site_films import measures
from sluice.annotation.answers import Answer, annotate
from sluice.registry.registry import models
from sluice.settings import Settings
from tests.annotation.conftest import films as films  # films of patients that people look at
from tests.annotation.films import Films
from tests.annotation.test_confirmed import patient_of


@pytest.fixture
def looked_at(films: Films, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Films of patients who measure, with pictures of noise; what the models do on other films is given."""
    found: list[str] = []
    while len(found) < ENOUGH:
        uid = films.film(has_picture=True)
        if measures(patient_of(films, uid)):
            found.append(uid)
    picture = np.random.default_rng(1).integers(0, 255, (512, 512)).astype(np.uint8)
    given: dict[str, Any] = {"set_name": "unseen films", "films": 1, "patients": 1, "metrics": {"x": {}}, "answers": {}}
    monkeypatch.setattr("sluice.canonical.index.picture_of", lambda *_: picture)
    monkeypatch.setattr("models.measures.evaluation_set", lambda task, data: task)
    monkeypatch.setattr("models.measures.measured", lambda task, *_: given | {"evaluation_set": task})
    return found


def said(films: Films, task: str, answers: dict[str, Answer]) -> None:
    for uid, answer in answers.items():
        for reader in ("ada", "ben"):
            annotate(films.database, task, uid, answer, reader)


def test_films_of_this_site_measure_once_there_are_enough(films: Films, looked_at: list[str], tmp_path: Path) -> None:
    site, database = Settings(home=tmp_path), films.database
    hand = Answer("others", "HAND", ("HAND",))
    said(films, "body_part", dict.fromkeys(looked_at[1:], hand))
    said(films, "ivc_filter", {uid: Answer("absent" if at % 2 else "present") for at, uid in enumerate(looked_at)})
    counts = measure_registered(database, site)
    assert counts == {"models": 4, "measured": 2, "measured_before": 0, "measured_here": 1, "unusable": 2}
    network, detector = (_shipped(database, task) for task in ("body_part", "ivc_filter"))
    assert (network["site_films"], network["site_metrics"]) == (ENOUGH - 1, {}), "too few"
    figures = detector["site_metrics"]
    assert {name: one["films"] for name, one in figures.items()} == {
        "sensitivity (real filters)": ENOUGH // 2, "specificity (real films)": ENOUGH // 2,
    }  # fmt: skip
    assert all(0 <= one["ci95"][0] <= one["value"] <= one["ci95"][1] <= 1 for one in figures.values())
    assert figures["sensitivity (real filters)"]["value"] + figures["specificity (real films)"]["value"] == 1, (
        "of one picture only one answer is right"
    )
    said(films, "body_part", {looked_at[0]: hand})
    counts = measure_registered(database, site)
    assert counts == {"models": 4, "measured": 0, "measured_before": 2, "measured_here": 1, "unusable": 2}
    network = _shipped(database, "body_part")
    assert network["site_films"] == network["site_patients"] == ENOUGH
    assert set(network["site_metrics"]) == {"router5 macro F1", "examined right", "visible right"}
    assert network["set_name"] == "unseen films", "figures of the films that ship stand beside"
    assert measure_registered(database, site)["measured_here"] == 0, "measured once on the same films"


def _shipped(database: Any, task: str) -> dict[str, Any]:
    (row,) = (row for row in models(database, task) if row["metrics"] is not None)
    return row

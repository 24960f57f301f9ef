"""What training takes of what people said."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from operators.site_films import site_films
from operators.training import _snapshot
from sluice.anatomy.measures import read_labels
from sluice.annotation.answers import Answer, annotate
from sluice.annotation.confirmed import confirmed, write_csv
from sluice.settings import Settings
from tests.annotation.conftest import settle
from tests.annotation.films import Films

BOTH = Answer("abdominal", "ABDOMEN", ("ABDOMEN", "PELVIS", "SPINE"))
PART = Answer("abdominal", "ABDOMEN", ("PELVIS", "HIP"))


def two(films: Films, uid: str, *answers: Answer) -> None:
    for reader, answer in zip(("ada", "ben"), answers, strict=False):
        annotate(films.database, "body_part", uid, answer, reader)


def test_agreed_films_and_single_ones_by_setting_and_nothing_opted_out(
    films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed, single, unclear, opted = (films.film() for _ in range(4))
    two(films, agreed, BOTH, PART)
    two(films, single, BOTH)
    two(films, unclear, Answer("unclear"), Answer("unclear"))
    two(films, opted, BOTH, BOTH)
    films.opt_out(opted)
    (row,) = confirmed(films.database, "body_part")
    assert (row["sop_instance_uid"], row["origin"], row["reader_names"]) == (agreed, "agreed", ["ada", "ben"])
    assert row["visible"] == ["ABDOMEN", "PELVIS"], "what more than half of them name, and what is examined"
    settle(monkeypatch, single=True)
    assert {(row["sop_instance_uid"], row["origin"]) for row in confirmed(films.database, "body_part")} == {
        (agreed, "agreed"), (single, "single"),
    }  # fmt: skip


def test_the_csv_is_one_that_labels_are_read_from(films: Films, tmp_path: Path) -> None:
    agreed, nothing = films.film(), films.film()
    two(films, agreed, BOTH, PART)
    two(films, nothing, Answer("others"), Answer("others"))
    out = io.StringIO(newline="")
    assert write_csv(films.database, "body_part", out) == 2
    (tmp_path / "labels.csv").write_text(out.getvalue())
    assert read_labels(tmp_path / "labels.csv").regions == {
        agreed: frozenset({"ABDOMEN", "PELVIS"}), nothing: frozenset(),
    }  # fmt: skip
    assert f"{agreed},PELVIS,abdominal,ABDOMEN,agreed,ada | ben," in out.getvalue()


def test_the_snapshot_takes_them_from_the_database_with_their_origin(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed, filed = films.film(), films.film()
    two(films, mixed, *2 * [Answer("abdominal", "ABDOMEN", ("CHEST",))])
    two(films, filed, BOTH, BOTH)
    labels = tmp_path / "labels.csv"
    labels.write_text(f"sop_instance_uid,region\n{filed},HAND\n")
    picture = np.zeros((512, 512), dtype=np.uint8)
    monkeypatch.setattr("sluice.canonical.index.picture_of", lambda *_: picture)
    taken, pictures = site_films(films.database, tmp_path, 0, labels)
    assert len(pictures) == 2
    assert {(film.source, film.router5, film.examined, film.visible) for film in taken} == {
        ("annotated-agreed", "abdominal", "ABDOMEN", ("CHEST", "ABDOMEN")),  # as said, though regions name two classes
        ("site", "others", "HAND", ("HAND",)),  # the file that a run names goes first
    }
    assert {film.split for film in taken} == {"train"}
    assert all(len(film.group) == 16 and "PAT" not in film.group for film in taken)


def test_a_snapshot_says_where_its_films_come_from(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.zeros((512, 512), dtype=np.uint8)
    monkeypatch.setattr("sluice.canonical.index.picture_of", lambda *_: picture)
    monkeypatch.setattr("models.pack.training_films", lambda *_: ([], np.zeros((0, 512, 512), dtype=np.uint8)))
    monkeypatch.setattr("operators.connections.database", lambda: films.database)
    monkeypatch.setattr("sluice.settings.settings", lambda: Settings(home=tmp_path))
    params = {"architectures": ["mobilenet_v3_small"], "seed": 1, "site_films": 0, "labels": None}
    uid = films.film()
    two(films, uid, BOTH, PART)
    first = _snapshot(params)
    assert (first["site_films"], first["origins"]) == (1, {"annotated-agreed": 1})
    annotate(films.database, "body_part", uid, Answer("spine", "SPINE"), "ada")
    annotate(films.database, "body_part", uid, Answer("spine", "SPINE"), "ben")
    assert _snapshot(params)["digest"] != first["digest"], "another label is another snapshot"

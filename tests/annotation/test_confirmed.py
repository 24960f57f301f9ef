"""What training takes of what people said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.site_films import measures, measuring, site_films, snapshot_digest
from operators.training import _snapshot
from sluice.anatomy.measures import read_labels
from sluice.annotation.answers import Answer, annotate
from sluice.annotation.confirmed import confirmed, write_csv
from sluice.settings import Settings
from tests.annotation.conftest import settle
from tests.annotation.films import MODEL, Films

BOTH = Answer("abdominal", "ABDOMEN", ("ABDOMEN", "PELVIS", "SPINE"))
PART = Answer("abdominal", "ABDOMEN", ("PELVIS", "HIP"))


PICTURE = np.zeros((512, 512), dtype=np.uint8)


def of_a_patient_who(films: Films, does_measure: bool, **more: Any) -> str:
    """A film of the next patient who measures, or who trains."""
    while True:
        uid = films.film(**more)
        if measures(patient_of(films, uid)) == does_measure:
            return uid


def patient_of(films: Films, uid: str) -> str:
    asked = "select patient_key::text from study join instance using (study_instance_uid) where sop_instance_uid = "
    return str(films.execute(f"{asked}'{uid}'"))


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
    mixed, filed = (of_a_patient_who(films, False) for _ in range(2))
    two(films, mixed, *2 * [Answer("abdominal", "ABDOMEN", ("CHEST",))])
    two(films, filed, BOTH, BOTH)
    labels = tmp_path / "labels.csv"
    labels.write_text(f"sop_instance_uid,region\n{filed},HAND\n")
    monkeypatch.setattr("sluice.canonical.index.picture_of", lambda *_: PICTURE)
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
    monkeypatch.setattr("sluice.canonical.index.picture_of", lambda *_: PICTURE)
    monkeypatch.setattr("models.pack.training_films", lambda *_: ([], np.zeros((0, 512, 512), dtype=np.uint8)))
    monkeypatch.setattr("operators.connections.database", lambda: films.database)
    monkeypatch.setattr("sluice.settings.settings", lambda: Settings(home=tmp_path))
    params = {"architectures": ["mobilenet_v3_small"], "seed": 1, "site_films": 0, "labels": None}
    uid = of_a_patient_who(films, False)
    two(films, uid, BOTH, PART)
    first = _snapshot(params)
    assert (first["site_films"], first["origins"]) == (1, {"annotated-agreed": 1})
    annotate(films.database, "body_part", uid, Answer("spine", "SPINE"), "ada")
    annotate(films.database, "body_part", uid, Answer("spine", "SPINE"), "ben")
    assert _snapshot(params)["digest"] != first["digest"], "another label is another snapshot"


def test_no_patient_both_trains_and_measures(films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever way a film is known: confirmed, in a file, or by its header."""
    monkeypatch.setattr("sluice.canonical.index.picture_of", lambda *_: PICTURE)
    uids = [films.film("abdominal", "ABDOMEN") for _ in range(40)]
    confirmed_ones, filed, by_header = uids[:20], uids[20:30], uids[30:]
    for uid in confirmed_ones:
        two(films, uid, BOTH, BOTH)
    labels = tmp_path / "labels.csv"
    labels.write_text("sop_instance_uid,region\n" + "".join(f"{uid},HAND\n" for uid in filed))
    films.rows.put("fusion", {"model_id": MODEL, "films": 40, "parameters": {}})
    learned = films.execute("select max(fusion_id) from fusion")
    for uid in by_header:
        said = {"sop_instance_uid": uid, "model_id": MODEL, "fusion_id": learned}
        films.rows.put("fused_anatomy", said | {"region_key": "ABDOMEN", "probability": 0.99})
    trained, _ = site_films(films.database, tmp_path, 100, labels)
    here = measuring(films.database, tmp_path, "body_part")
    groups = {film.group for film in trained}
    assert groups.isdisjoint(film.group for film in here.films)
    whose = {uid: measures(patient_of(films, uid)) for uid in uids}
    assert len(here.films) == sum(whose[uid] for uid in confirmed_ones) > 0
    assert len(trained) == sum(not one for one in whose.values())
    assert {film.source for film in trained} == {"annotated-agreed", "site"}
    assert any(whose[uid] for uid in filed), "of patients who measure, labels of a file and of headers are left out"
    assert any(whose[uid] for uid in by_header)
    assert {film.split for film in here.films} == {"test"}
    shares = [measures(str(number)) for number in range(2_000)]
    assert 0.17 < np.mean(shares) < 0.23


def test_a_film_without_a_patient_neither_trains_nor_measures(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.canonical.index.picture_of", lambda *_: PICTURE)
    for uid, nobody in ((films.film(), "null"), (films.film(), "''")):
        two(films, uid, BOTH, BOTH)
        films.database.execute(
            f"update study set patient_id = {nobody} where study_instance_uid = "
            "(select study_instance_uid from instance where sop_instance_uid = %s)",
            (uid,),
        )
    assert len(confirmed(films.database, "body_part")) == 2
    assert not site_films(films.database, tmp_path, 0)[0]
    assert not measuring(films.database, tmp_path, "body_part").films


def test_the_set_that_measures_is_another_with_another_label_and_leaves_out_who_opted_out(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.canonical.index.picture_of", lambda *_: PICTURE)
    one, other = (of_a_patient_who(films, True) for _ in range(2))
    for uid in (one, other):
        for reader in ("ada", "ben"):
            annotate(films.database, "ivc_filter", uid, Answer("absent"), reader)
    first = measuring(films.database, tmp_path, "ivc_filter")
    assert (len(first.films), first.labels) == (2, ["absent", "absent"])
    assert first.digest == measuring(films.database, tmp_path, "ivc_filter").digest
    assert first.digest != snapshot_digest(first.films, first.pictures)
    for reader in ("ada", "ben"):
        annotate(films.database, "ivc_filter", one, Answer("present"), reader)
    second = measuring(films.database, tmp_path, "ivc_filter")
    assert sorted(second.labels) == ["absent", "present"]
    assert second.digest != first.digest
    films.opt_out(other)
    assert measuring(films.database, tmp_path, "ivc_filter").labels == ["present"]

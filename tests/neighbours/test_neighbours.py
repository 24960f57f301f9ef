"""Features on the disk, who lies nearest, labels that cannot be right, films that are there twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.annotation.answers import Answer, annotate, queue
from sluice.canonical.index import Geometry, MadePicture
from sluice.canonical.index import keep as keep_pictures
from sluice.canonical.shards import ShardWriter
from sluice.database import Database, select
from sluice.neighbours import embeddings, search
from sluice.neighbours.doubts import doubted, doubts, note_doubts
from sluice.neighbours.duplicates import correlation, near_duplicates, note_duplicates
from sluice.neighbours.embeddings import EmbeddingError, keep, matrix_of, matrix_path, remove, remove_withdrawn
from sluice.neighbours.search import look, nearest, neighbours_of
from tests.annotation.conftest import films as films
from tests.annotation.conftest import settle
from tests.annotation.films import MODEL, SHADOW, Films

HANDS, KNEES = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def near(centre: tuple[float, ...], number: int) -> np.ndarray:
    return np.asarray(centre, np.float32) * 5 + np.random.default_rng(number).normal(0, 0.3, 3).astype(np.float32)


def kept(films: Films, root: Path, uids: list[str], centre: tuple[float, ...]) -> None:
    keep(
        films.database, root, MODEL, uids, np.stack([near(centre, int(uid.split(".")[-1]) + len(uid)) for uid in uids])
    )


@pytest.mark.parametrize(("rows", "most"), [(1, 3), (40, 3), (100, 7)])
def test_the_nearest_are_those_of_a_plain_search(rows: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK", 16)
    matrix = np.random.default_rng(rows).normal(size=(rows, 8)).astype(np.float32)
    matrix = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float16)
    own = list(range(0, rows, 3))
    places, cosines = nearest(matrix, matrix[own].astype(np.float32), most, own=own)
    plain = matrix[own].astype(np.float32) @ matrix.astype(np.float32).T
    plain[np.arange(len(own)), own] = -np.inf
    expected = np.sort(plain, axis=1)[:, ::-1][:, :most]
    there = min(most, rows - 1)
    np.testing.assert_allclose(cosines[:, :there], expected[:, :there], atol=1e-6)
    for row, place in enumerate(places[:, :there]):
        np.testing.assert_allclose(plain[row, place], cosines[row, :there], atol=1e-6)
    assert (places[:, there:] == -1).all() or there == most


def test_the_first_features_stay_and_a_killed_writer_leaves_nothing(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, uids = films.database, [films.film() for _ in range(4)]
    assert keep(store, tmp_path, MODEL, uids[:2], np.eye(3, dtype=np.float32)[:2] * 7) == 2

    def killed(*_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embeddings, "copy_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            keep(store, tmp_path, MODEL, uids[2:3], np.ones((1, 3), np.float32))
    assert matrix_path(tmp_path, MODEL).stat().st_size == 3 * 3 * 2, "it wrote"
    remove_withdrawn(store, tmp_path)
    assert matrix_path(tmp_path, MODEL).stat().st_size == 2 * 3 * 2, "and is cut off"
    assert keep(store, tmp_path, MODEL, [uids[0], uids[3]], np.full((2, 3), 2, np.float32)) == 1
    matrix = matrix_of(store, tmp_path, MODEL)
    np.testing.assert_allclose(matrix, [[1, 0, 0], [0, 1, 0], [3**-0.5] * 3], atol=1e-3)
    with pytest.raises(EmbeddingError, match="another width"):
        keep(store, tmp_path, MODEL, uids[2:3], np.ones((1, 4), np.float32))
    matrix_path(tmp_path, MODEL).unlink()
    with pytest.raises(EmbeddingError, match="not whole"):
        matrix_of(store, tmp_path, MODEL)


def test_whom_nobody_may_use_is_no_neighbour_and_is_erased(films: Films, tmp_path: Path) -> None:
    store, uids = films.database, [films.film() for _ in range(5)]
    kept(films, tmp_path, uids, HANDS)
    found = neighbours_of(store, tmp_path, uids[0])
    assert {one["sop_instance_uid"] for one in found} == set(uids[1:])
    assert found == sorted(found, key=lambda one: -one["similarity"])
    look(store, tmp_path, MODEL)
    again = [one["sop_instance_uid"] for one in neighbours_of(store, tmp_path, uids[0])]
    assert again == [one["sop_instance_uid"] for one in found], "what is kept is what a search finds"
    films.opt_out(uids[1])
    assert uids[1] not in {one["sop_instance_uid"] for one in neighbours_of(store, tmp_path, uids[0])}
    assert remove_withdrawn(store, tmp_path) == 1
    matrix = matrix_of(store, tmp_path, MODEL)
    assert (matrix[1] == 0).all()
    assert (np.abs(matrix[[0, 2, 3, 4]]).sum(axis=1) > 0).all()
    with pytest.raises(EmbeddingError, match="has not read it"):
        neighbours_of(store, tmp_path, uids[1])
    assert remove(store, tmp_path, uids) == 4
    assert not matrix_of(store, tmp_path, MODEL).any()


def test_a_wrong_label_among_right_ones_is_doubted_first() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    matrix = np.eye(3)[labels] * 6 + generator.normal(0, 1, (120, 3))
    matrix = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float16)
    true, wrong = labels.copy(), np.array([3, 17, 55, 100])
    labels[wrong] = [1, 1, 0, 1]
    places, cosines = nearest(matrix, matrix.astype(np.float32), 20, own=range(120))
    found = doubted(places, cosines, labels, np.arange(120))
    assert {doubt.row for doubt in found} == set(wrong)
    assert all(doubt.suggested == true[doubt.row] and doubt.margin > 0.5 for doubt in found)
    one_study = doubted(places, cosines, labels, np.zeros(120, int))
    assert one_study == [], "films of one study say nothing of each other"
    labels[np.arange(120) % 2 == 0] = -1
    assert {doubt.row for doubt in doubted(places, cosines, labels, np.arange(120))} == {3, 17, 55}, "nor those without"


def test_a_doubt_comes_into_the_queue_until_somebody_looked(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch, double=0.0)
    store = films.database
    hands = [films.film(header="HAND") for _ in range(12)]
    knees = [films.film(examined="KNEE", header="KNEE") for _ in range(12)]
    kept(films, tmp_path, hands, HANDS)
    kept(films, tmp_path, knees, KNEES)
    wrong = films.film(header="KNEE", examined="KNEE")
    kept(films, tmp_path, [wrong], HANDS)
    annotate(store, "body_part", hands[0], Answer("others", "KNEE"), "ada")
    look(store, tmp_path, MODEL)
    assert note_doubts(store, MODEL) == 2
    assert {(one["sop_instance_uid"], one["said"], one["suggested"], one["origin"]) for one in doubts(store)} == {
        (wrong, "KNEE", "HAND", "header"), (hands[0], "KNEE", "HAND", "single"),
    }  # fmt: skip
    first = queue(store, "body_part", "ben")
    assert {row["sop_instance_uid"] for row in first[:2]} == {wrong, hands[0]}, "also what one has read"
    row = next(row for row in first if row["sop_instance_uid"] == wrong)
    assert (row["neighbours_say"], row["neighbours_differ"]) == ("HAND", pytest.approx(0.8, abs=0.15)), (
        "one errs as it does"
    )
    assert row["worth"] == pytest.approx(2 * row["neighbours_differ"] + row["uncertainty"] + row["rarity"], abs=1e-5)
    annotate(store, "body_part", wrong, Answer("others", "HAND"), "ben")
    assert [one["sop_instance_uid"] for one in doubts(store)] == [hands[0]]
    assert note_doubts(store, MODEL) == 1, "by what ben says it is a hand like its neighbours"


def test_one_film_twice_is_found_and_an_identity_that_was_mixed_up_comes_first(films: Films, tmp_path: Path) -> None:
    store, uids = films.database, [films.film(has_picture=False) for _ in range(4)]
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, (64, 64))
    picture = np.kron(noise, np.ones((8, 8))).astype(np.uint8)
    brighter = np.clip(picture * 0.8 + 30, 0, 255).astype(np.uint8)
    other = np.kron(generator.integers(0, 256, (64, 64)), np.ones((8, 8))).astype(np.uint8)
    shown = Geometry(512, 512, 0, 0, 512, 512)
    made = [
        MadePicture(uid, one, shown, "window")
        for uid, one in zip(uids, (picture, brighter, other, picture), strict=True)
    ]
    with ShardWriter(store, tmp_path) as writer:
        keep_pictures(store, writer, 1, made)
    keep(store, tmp_path, MODEL, uids, np.stack([near(HANDS, 1)] * 4))
    store.execute(
        "update study set patient_id = 'X', patient_id_issuer = '' where study_instance_uid in "
        "(select study_instance_uid from instance where sop_instance_uid = any(%s))",
        ([uids[0], uids[1]],),
    )
    assert note_duplicates(store, tmp_path, MODEL, look(store, tmp_path, MODEL)) == 3
    assert note_duplicates(store, tmp_path, MODEL, look(store, tmp_path, MODEL, again=True)) == 0
    pairs = [(one["first_uid"], one["second_uid"], one["belongs"]) for one in near_duplicates(store)]
    assert {pair[:2] for pair in pairs[:2]} == {tuple(sorted((uids[3], uid))) for uid in uids[:2]}
    assert [pair[2] for pair in pairs] == ["two patients", "two patients", "two studies"]
    assert correlation(picture, np.zeros_like(picture)) == 0
    films.opt_out(uids[3])
    assert len(near_duplicates(store)) == 1
    remove_withdrawn(store, tmp_path)
    with store.transaction() as connection:
        assert len(select(connection, "select from near_duplicate")) == 1


def test_nobody_is_shown_what_there_is_not(films: Films, tmp_path: Path, database: Database) -> None:
    with pytest.raises(EmbeddingError, match="No film has features yet"):
        neighbours_of(database, tmp_path, "1.2")
    assert note_doubts(database, MODEL) == 0
    keep(database, tmp_path, SHADOW, [films.film()], np.ones((1, 3), np.float32))
    with pytest.raises(EmbeddingError, match="No film has features yet"):
        neighbours_of(database, tmp_path, "1.2")
    with pytest.raises(EmbeddingError, match="cannot name a file"):
        matrix_path(tmp_path, "../x")

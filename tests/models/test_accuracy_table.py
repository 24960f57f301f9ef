"""What the accuracy table counts, and the headers that it is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from benchmarks._hospital_headers import _class_of, write
from benchmarks.models import _constant, _gain, _scored
from models.data import Film

PATIENTS = ["a", "a", "b", "c"]
TRUTH = ["spine", "spine", "others", "others"]


def film(examined: str, router5: str) -> Film:
    return Film(Path("x.png"), "unifesp", "p", "test", router5, examined, (examined,))


def test_a_reader_who_says_nothing_is_wrong() -> None:
    assert _scored(["spine", None, "others", "others"], TRUTH, PATIENTS, "accuracy")[0] == 0.75
    f1, (low, high) = _scored([None, None, "others", "others"], TRUTH, PATIENTS, "macro_f1")
    assert f1 == 0.5, "classes are those that films have"
    assert low <= f1 <= high


def test_one_answer_for_all_has_the_share_of_its_films() -> None:
    films = [film("HAND", "others"), film("HAND", "others"), film("LSPINE", "spine"), film("CHEST", "adult_chest")]
    assert _constant("examined36", films, "HAND") == 0.5
    assert _constant("visible36", films, ("HAND",)) == 0.5
    assert _constant("router5", films, "others") == pytest.approx(2 / 3 / 3, abs=1e-4)


def test_a_gain_is_counted_film_by_film() -> None:
    better, worse = ["spine", "spine", "others", "others"], ["spine", "others", "others", None]
    for figure in ("accuracy", "macro_f1"):
        gain, (low, high) = _gain(better, worse, TRUTH, PATIENTS, figure)
        assert gain == pytest.approx(1 - _scored(worse, TRUTH, PATIENTS, figure)[0], abs=1e-4)
        assert 0 <= low <= gain <= high
        assert _gain(worse, worse, TRUTH, PATIENTS, figure) == (0, (0, 0)), "the same errors cancel out"


def test_classes_follow_from_regions_and_the_headers_age() -> None:
    assert _class_of(frozenset({"CHEST"}), 10) == "pediatric_chest"
    assert _class_of(frozenset({"CHEST"}), None) == "adult_chest"
    assert _class_of(frozenset({"LSPINE", "CSPINE"}), 40) == "spine"
    assert _class_of(frozenset({"CHEST", "ABDOMEN"}), 40) is None
    assert _class_of(frozenset(), 40) is None


def test_the_hospital_writes_headers_for_films_whose_region_it_has_words_for(tmp_path: Path) -> None:
    films = [film("CLAVICLE", "others"), *(film("KNEE", "others") for _ in range(80)), film("CHEST", "pediatric_chest")]
    places = write(tmp_path / "films", films)
    assert sorted(places.values()) == list(range(1, 82)), "there is no word for a clavicle"
    said, children = [], 0
    for path in sorted((tmp_path / "films").iterdir()):
        header = dcmread(path)
        place = places[str(header.SOPInstanceUID)]
        born, taken = str(header.PatientBirthDate), str(header.StudyDate)
        is_child = int(taken) - int(born) < 15_00_00
        assert is_child == (films[place].router5 == "pediatric_chest")
        children += is_child
        if films[place].examined == "KNEE":
            said.append(str(header.get("BodyPartExamined", "")))
    assert children == 1
    empty, right = sum(not one for one in said), sum(one == "KNEE" for one in said)
    assert 4 <= empty <= 24, "15 % in the mean"
    assert right < 60
    assert len(set(said)) > 6, "other languages, vendors' spellings, other parts"

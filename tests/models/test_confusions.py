"""Confusion matrices, and their pictures."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from models.confusions import matrix, of_filter, svg
from models.evaluate import at_specificity

NAMES = ("hand", "wrist", "<knee>", "foot")
SVG = "{http://www.w3.org/2000/svg}"


def test_rows_are_of_films_and_columns_also_of_answers_that_no_film_asks_for() -> None:
    one = matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1]), NAMES)
    assert one == {
        "truth": ["hand", "wrist"],
        "said": ["hand", "wrist", "<knee>"],
        "counts": [[2, 0, 1], [0, 1, 0]],
    }


def test_the_picture_has_a_cell_for_each_count_and_frames_what_is_right() -> None:
    one = matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1]), NAMES)
    drawn = ElementTree.fromstring(svg("Region of <model>", {"internal": one, "external": one}))
    cells = [each for each in drawn.iter(f"{SVG}rect") if each.get("class") == "cell"]
    assert len(cells) == 2 * 6
    assert [each.get("fill-opacity") for each in cells[:6]] == ["0.667", "0.000", "0.333", "0.000", "1.000", "0.000"]
    assert sum(each.get("class") == "right" for each in drawn.iter(f"{SVG}rect")) == 2 * 2
    words = [each.text for each in drawn.iter(f"{SVG}text")]
    assert {"Region of <model>", "<knee>", "2", "3"} <= set(words)
    assert "prefers-color-scheme: dark" in str(drawn[0].text)
    for each in drawn.iter(f"{SVG}rect"):
        assert float(each.get("x", 0)) + float(each.get("width", 0)) <= float(drawn.get("width", 0))
        assert float(each.get("y", 0)) + float(each.get("height", 0)) <= float(drawn.get("height", 0))


def test_the_detectors_matrix_sums_rendered_filters_and_real_films() -> None:
    figures = {
        "sensitivity_synthetic": {"a": {"films": 10, "sensitivity": 0.7}, "b": {"films": 0, "sensitivity": 0.0}},
        "false_positives_real_films": {"all": {"films": 40, "false_positives": 3}},
    }
    (one,) = of_filter(figures).values()
    assert one["counts"] == [[7, 3], [3, 37]]


def test_the_threshold_is_read_off_films_without_a_filter() -> None:
    without = [0.01 * place for place in range(100)] + [0.995] * 100  # 200 films: two may lie above
    found = at_specificity(without, {"all": [0.995, 0.996, 0.5], "none": []})
    assert found["above_score"] == 0.995
    assert found["specificity"] == 1.0, "films with the same score are called alike"
    assert found["sensitivity"]["all"]["sensitivity"] == 1 / 3
    assert found["sensitivity"]["none"]["films"] == 0
    assert at_specificity([0.1 * place for place in range(10)], {})["specificity"] == 1.0
    assert at_specificity([0.001 * place for place in range(1000)], {})["specificity"] == 0.99

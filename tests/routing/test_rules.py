from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.routing.rules import RoutingError, load_rules, read_rules
from sluice.settings import CHECKOUT

GOOD = """\
rules:
  - name: chests-to-cad
    about: Agreed with Thoracic Imaging.
    when:
      prediction: {task: body_part, label: adult_chest, score: {min: 0.9}}
      age: {min: 18}
      modality: [CR, DX]
      station: {is: BUCKY1}
    to: {node: pacs_cad}
  - name: filters
    about: The registry wants them all.
    when: {body_part: {is: ABDOMEN, by: examined}}
    to: {model: ivc_filter}
"""


def test_rules_are_read_with_their_lines() -> None:
    rules = read_rules(GOOD, "routing.yaml")
    assert [(rule.name, rule.destination, rule.line) for rule in rules.rules] == [
        ("chests-to-cad", "node pacs_cad", 2), ("filters", "model ivc_filter", 10),
    ]  # fmt: skip
    assert read_rules(GOOD + "# reviewed\n", "routing.yaml").sha256 != rules.sha256


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("age: {min: 18}", "agee: {min: 18}", "line 6: when.agee: there is no such field. Did you mean age?"),
        ("min: 0.9", "min: high", "routing.yaml, line 5: when.prediction.score.min"),
        ("about: Agreed with Thoracic Imaging.", "about: ''", "routing.yaml, line 3: about: say why"),
        ("to: {node: pacs_cad}", "to: {nod: pacs_cad}", "routing.yaml, line 9: to: one of node, dag, model"),
        ("model: ivc_filter", "model: ivc", "routing.yaml, line 13: to.model: one of body_part, ivc_filter"),
        ("name: filters", "name: chests-to-cad", "routing.yaml, line 10: the name chests-to-cad is taken by line 2"),
        ("modality: [CR, DX]", "patient_id: X", "routing.yaml, line 4: when: patient_id identifies patients"),
        ("    about: The registry wants them all.\n", "", "routing.yaml, line 10: the rule lacks about"),
        ("rules:", "rule:", "routing.yaml, line 1: the file is a mapping with one key, rules"),
        ("station: {is: BUCKY1}", "station: {is: [BUCKY1}", "routing.yaml, line 8: no YAML"),
        ("  - name: filters", "  - name: filters\n    name: others", "routing.yaml, line 11: no YAML: the same key"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_file_and_line(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(RoutingError) as caught:
        read_rules(GOOD.replace(old, new, 1), "routing.yaml")
    assert said in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    wrong = GOOD.replace("age:", "aeg:").replace("model: ivc_filter", "model: x").replace("name: filters", "name: F F")
    with pytest.raises(RoutingError) as caught:
        read_rules(wrong, "routing.yaml")
    assert [fault.place for fault in caught.value.faults] == [f"routing.yaml, line {n}" for n in (6, 10, 13)]


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RoutingError, match=r"gone\.yaml: the rules cannot be read: No such file"):
        load_rules(tmp_path / "gone.yaml")


def test_the_example_that_ships_is_right() -> None:
    assert load_rules(CHECKOUT / "docs" / "routing-example.yaml").rules


@given(st.text(max_size=200) | st.just(GOOD).flatmap(lambda text: st.integers(0, len(text)).map(lambda at: text[:at])))
def test_any_text_is_read_or_refused_with_words(text: str) -> None:
    try:
        read_rules(text, "routing.yaml")
        said = "routing.yaml"
    except RoutingError as error:
        said = str(error)
    assert said.startswith("routing.yaml")

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.database import Database, select
from sluice.predictions import Prediction, register_model, store
from sluice.routing.deciding import decide, decisions, note_actions, open_of, would_go
from sluice.routing.rules import Rules, read_rules
from tests.headers.archive import DAY
from tests.reports.scene import ReadStudy

KEY = DAY.isoformat()
TEXT = """\
rules:
  - name: sure-abdomens
    about: x
    when: {prediction: {task: body_part, label: abdominal, score: {min: 0.9}}, age: {min: 18}}
    to: {node: pacs_cad}
  - name: filters
    about: x
    when: {prediction: {task: ivc_filter, label: present}, modality: DX}
    to: {dag: read_filters}
  - name: children
    about: x
    when: {age: {max: 17}}
    to: {dag: children}
"""


@pytest.fixture
def rules() -> Rules:
    return read_rules(TEXT, "routing.yaml")


@pytest.fixture
def read(database: Database, tmp_path: Path) -> ReadStudy:
    return ReadStudy(database, tmp_path / "archive")


def test_a_dry_run_says_where_and_why_and_changes_nothing(read: ReadStudy, rules: Rules) -> None:
    taken = would_go(read.database, rules, read.study)
    assert sorted((one.rule, one.sop_instance_uid) for one in taken) == [
        ("filters", read.films[1]), ("sure-abdomens", read.films[0]), ("sure-abdomens", read.films[1]),
    ]  # fmt: skip
    (filters,) = [one for one in taken if one.rule == "filters"]
    assert filters.destination == "dag read_filters"
    assert filters.rests_on["ivc_filter"]["label"] == "present"
    assert filters.rests_on["body_part"] == {
        "model": "body_part-mobilenet_v3_large-81ddf3b1cca2", "label": "abdominal", "score": 0.95,
    }  # fmt: skip
    assert decisions(read.database) == []


def test_every_rule_that_matches_decides_once(read: ReadStudy, rules: Rules) -> None:
    assert decide(read.database, rules, KEY).as_dict() == {"rules": 3, "instances": 2, "decisions": 3}
    reworded = read_rules(TEXT.replace("about: x", "about: agreed", 1).replace("min: 0.9", "min: 0.8"), "routing.yaml")
    assert decide(read.database, reworded, KEY).decisions == 0, "another wording sends nothing again"
    new = "body_part-new-222222222222"
    register_model(read.database, new, "body_part", "new", "2" * 64, {})
    store(read.database, new, "body_part", [Prediction(read.films[0], "abdominal", 0.99, {"examined": "ABDOMEN"})])
    assert decide(read.database, rules, KEY).decisions == 0, "nor does another model that says the same"
    first = decisions(read.database, read.study)[-1]
    assert (first["window_key"], first["rules_sha256"], first["outcome"]) == (KEY, rules.sha256, None)
    with read.database.transaction() as connection:
        assert select(connection, "select content from routing_rules")[0]["content"] == TEXT


def test_a_shadow_and_an_opted_out_film_decide_nothing(read: ReadStudy, rules: Rules) -> None:
    shadow = "ivc_filter-x-111111111111"
    register_model(read.database, shadow, "ivc_filter", "x", "1" * 64, {}, stage="shadow")
    store(read.database, shadow, "ivc_filter", [Prediction(read.films[0], "present", 0.99, {"boxes": []})])
    assert [one.sop_instance_uid for one in would_go(read.database, rules, read.study) if one.rule == "filters"] == [
        read.films[1]
    ]
    read.database.execute(
        "insert into opt_out (kind, sop_instance_uid, reason, why, said_by) "
        "values ('instance', %s, 'withdrawn', 'asked for it', 'ada')",
        (read.films[1],),
    )
    assert {one.sop_instance_uid for one in would_go(read.database, rules, read.study)} == {read.films[0]}


def test_what_came_of_a_decision_is_kept_and_only_a_failure_is_open(read: ReadStudy, rules: Rules) -> None:
    decide(read.database, rules, KEY)
    rule = rules.rules[0]
    first, second = open_of(read.database, rule, KEY)
    assert read.archive.joinpath(first["path"]).is_file()
    note_actions(read.database, [(first["decision_id"], "sent", None), (second["decision_id"], "failed", "A700")])
    assert [row["decision_id"] for row in open_of(read.database, rule, KEY)] == [second["decision_id"]]
    told = {row["decision_id"]: row["outcome"] for row in decisions(read.database, read.study)}
    assert told[first["decision_id"]] == "sent"
    assert told[second["decision_id"]] == "failed"

"""`sluice cohort` at a terminal, and that the documents say what the registry holds."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.__main__ import main
from sluice.cohorts.criteria import OPERATORS
from sluice.cohorts.fields import FIELDS
from sluice.cohorts.language import parse
from sluice.commands.cohorts import size, write_fields
from sluice.database import Database
from sluice.headers.promotion import promote
from sluice.settings import CHECKOUT, settings
from tests.cohorts.small import SmallHospital, chosen


@pytest.fixture
def small(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHospital]:
    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    settings.cache_clear()
    yield SmallHospital(database)
    settings.cache_clear()


def test_documents_have_the_fields_of_the_registry() -> None:
    written = io.StringIO()
    write_fields(written, markdown=True)
    text = (CHECKOUT / "docs" / "cohorts.md").read_text(encoding="utf-8")
    assert written.getvalue() == text.split("a test compares them -->\n")[1].split("<!-- end of fields -->")[0]
    named = {name for operators in OPERATORS.values() for name in operators}
    assert not [name for name in named if f"`{name}" not in text]


def test_every_field_is_told_apart_and_said_in_words() -> None:
    assert len({field.name for field in FIELDS}) == len(FIELDS)
    assert all(field.words and field.name.islower() for field in FIELDS)
    for field in FIELDS:
        parse({field.name: {"missing": True}})


def test_preview_and_freeze(small: SmallHospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"modality": "DX", "not": {"quality": {"held": True}}}
    count = len(chosen(asked, small.instances))
    path = tmp_path / "filter.json"
    path.write_text(json.dumps(asked))
    assert main(["cohort", "preview", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "Instances where modality is DX, and not (held by a quality rule)." in shown
    assert f"{count:,}" in shown
    assert main(["cohort", "preview", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["here"]["instances"] == count
    freeze = ["cohort", "freeze", str(path), "--name", "films", "--why", "a test"]
    assert main(freeze) == 0
    assert "films, version 1: frozen. " in capsys.readouterr().out
    assert main(freeze) == 0
    assert "version 1: was frozen before with the same members" in capsys.readouterr().out


def test_wrong_filters_are_wrong_usage(
    small: SmallHospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "filter.yaml"
    path.write_text("all: [{modalty: CT}, {age: old}]")
    assert main(["cohort", "preview", str(path)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "sluice: all[0].modalty: there is no such field. Did you mean modality?",
        "sluice: all[1].age: a number, not a text",
    ]
    path.write_text("patient_id: PAT-1")
    assert main(["cohort", "preview", str(path)]) == 0
    assert main(["cohort", "preview", str(path), "--project", "radiographs"]) == 2
    assert "identifies patients" in capsys.readouterr().err
    assert main(["cohort", "preview", str(tmp_path / "none.yaml")]) == 1


def test_a_promoted_element_is_a_field(
    database: Database, owner: Database, small: SmallHospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(owner, "EchoTime", "echo_time", "real")
    database.execute("update instance set echo_time = instance_number")
    database.execute("select note_promoted(array['echo_time'], array(select block_id from cohort_block))")
    path = tmp_path / "filter.yaml"
    path.write_text("echo_time: {min: 2}")
    assert main(["cohort", "preview", str(path), "--json"]) == 0
    expected = chosen({"instance_number": {"min": 2}}, small.instances)
    assert json.loads(capsys.readouterr().out)["here"]["instances"] == len(expected) > 0


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2_500_000_000_000, "2.5 TB")]
)
def test_sizes(count: int, said: str) -> None:
    assert size(count) == said

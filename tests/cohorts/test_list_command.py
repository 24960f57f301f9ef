"""Lists at a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.__main__ import main
from sluice.database import Database


@pytest.fixture(autouse=True)
def _named(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.commands.installation.database_of", lambda home: database)


def test_a_list_is_added_shown_answered_and_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "list.csv"
    file.write_text("accession\nA1\n*\n")
    named = ["--project", "radiographs", "--name", "t1"]
    assert main(["cohort", "list", "add", str(file), *named]) == 0
    assert "2 rows of list.csv: 1 not-yet, 1 refused." in capsys.readouterr().out
    assert main(["cohort", "list", "show"]) == 0
    assert capsys.readouterr().out.startswith("radiographs/t1: 2 rows")
    file.write_text("accession\nA2\n")
    assert main(["cohort", "list", "add", str(file), *named]) == 1
    assert "Replace it" in capsys.readouterr().err
    assert main(["cohort", "list", "add", str(file), *named, "--replace"]) == 0
    capsys.readouterr()
    assert main(["cohort", "list", "answers", *named]) == 0
    assert "2,A2," in capsys.readouterr().out
    assert main(["cohort", "list", "delete", *named]) == 0
    assert main(["cohort", "list", "delete", *named]) == 1


@pytest.mark.parametrize(
    ("project", "content", "words"),
    [("nobody", "accession\nA1\n", "no project"), ("radiographs", "colour\n", "names no column")],
)
def test_what_cannot_be_added_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], project: str, content: str, words: str
) -> None:
    file = tmp_path / "list.csv"
    file.write_text(content)
    assert main(["cohort", "list", "add", str(file), "--project", project, "--name", "x"]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1

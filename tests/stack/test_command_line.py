"""The command line: one clear line and an exit code for what can go wrong."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.__main__ import main
from sluice.database import Database
from sluice.windows import Window, remember_window

DAY = "2026-10-26"


def sluice(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "sluice", *arguments],
        capture_output=True, text=True, timeout=60, env=os.environ | environment, check=False,
    )  # fmt: skip


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["missing"]) == 2
    for wrong in ([], ["no-such-command"], ["import"]):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == 2
    assert "usage: sluice" in capsys.readouterr().err


def test_without_a_stack_the_advice_is_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SLUICE_DATABASE_URL", raising=False)
    assert main(["missing", DAY, "--home", str(tmp_path)]) == 1
    assert "make up" in capsys.readouterr().err
    assert main(["down", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "No stack runs here.\n"


def test_missing_names_reasons_and_advice(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from datetime import date

    from sluice.settings import settings

    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    settings.cache_clear()
    try:
        assert main(["missing", DAY]) == 1
        assert "was swept" in capsys.readouterr().err
        remember_window(database, Window.of_day(date.fromisoformat(DAY)))
        assert main(["missing", DAY]) == 0
        assert "Nothing is missing.\n" in capsys.readouterr().out
        database.execute(
            "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
            "values (%s, '1.2.3', '1.2', '1', 'p'), (%s, '1.2.4', '1.2', '1', 'p')",
            (DAY, DAY),
        )
        assert main(["missing", DAY]) == 3
        said = capsys.readouterr().out
        assert "not-asked: 2 instances of 1 study" in said
        assert "Run retrieve" in said
        assert "1.2.3" not in said
        assert max(map(len, said.splitlines())) <= 100
        for asked in (["--study", "1"], ["--series", "1.2"], ["--instance", "1.2.3"]):
            assert main(["missing", *asked]) == 3
            assert "not-asked" in capsys.readouterr().out
        assert main(["missing", DAY, "--csv"]) == 3
        assert len(capsys.readouterr().out.splitlines()) == 3
        assert main(["missing", DAY, "--json"]) == 3
        answer = json.loads(capsys.readouterr().out)
        assert (answer["totals"]["missing"], len(answer["instances"])) == (2, 2)
        assert main(["missing", "--patient", "nobody"]) == 1
        assert "nobody" not in capsys.readouterr().err
    finally:
        settings.cache_clear()


def test_an_unreachable_database_is_one_line_without_a_traceback() -> None:
    done = sluice("migrate", SLUICE_DATABASE_URL="postgresql://u:hunter2@127.0.0.1:1/none")
    assert done.returncode == 1
    assert done.stderr.startswith("sluice: The Sluice database cannot be reached")
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_a_hospital_that_was_not_built_is_one_line(tmp_path: Path) -> None:
    done = sluice("hospital", str(tmp_path), "--port", "29999")
    assert done.returncode == 1
    assert "no built hospital" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = sluice("receive", SLUICE_HOME=str(tmp_path), SLUICE_RECEIVER_PORT=port)
    assert done.returncode == 1
    assert port in done.stderr
    assert "Traceback" not in done.stderr


def test_a_size_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    done = sluice("demo", "--once", "--scale", "huge", "--home", str(tmp_path))
    assert done.returncode == 1
    assert "No hospital of size 'huge'" in done.stderr
    assert "Traceback" not in done.stderr

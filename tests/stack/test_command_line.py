"""The command line: one clear line and an exit code for what can go wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.__main__ import main
from sluice.database import Database
from sluice.stack.postgres import EmbeddedPostgres
from sluice.windows import Window, remember_window

DAY = "2026-10-26"


def sluice(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
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


def test_the_stack_of_the_home_that_is_set_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluice.commands.installation import DEMO_HOME, UP_HOME, _homes

    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    assert _homes(None) == [tmp_path, UP_HOME, DEMO_HOME]
    assert _homes(Path("/named")) == [Path("/named")]
    monkeypatch.setenv("SLUICE_HOME", "")
    assert _homes(None) == [UP_HOME, DEMO_HOME]


def test_a_database_of_a_mounted_secret_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sluice.commands.installation as installation

    monkeypatch.delenv("SLUICE_DATABASE_URL", raising=False)
    monkeypatch.setattr(installation, "SECRETS", tmp_path)
    assert not installation._names_database()
    (tmp_path / "sluice_database_url").write_text("postgresql://sluice@db/sluice")
    assert installation._names_database()


def test_missing_names_reasons_and_advice(
    database: Database, owner: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from datetime import date

    from sluice.settings import settings

    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    settings.cache_clear()
    try:
        assert main(["missing", DAY]) == 1
        assert "was swept" in capsys.readouterr().err
        for unknown, said in (
            ("26.10.2026", "is no window"),
            ("import/cd", "Nothing was imported under the name 'cd'"),
            ("cohort/p/c", "There is no cohort 'p/c'"),
        ):
            assert main(["missing", unknown]) == 1
            assert said in capsys.readouterr().err
        owner.execute("alter table sweep_window rename to sweep_window_away")
        try:
            assert main(["missing", DAY]) == 1
        finally:
            owner.execute("alter table sweep_window_away rename to sweep_window")
        assert "sluice migrate" in capsys.readouterr().err
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
        for order, advice in (("pause", False), ("resume", False), ("cancel", False), ("resume", True)):
            assert main(["pacs", order, DAY]) == 0
            assert ("Trigger the DAG retrieve" in capsys.readouterr().out) == advice
        assert main(["missing", DAY, "--csv"]) == 3
        assert len(capsys.readouterr().out.splitlines()) == 3
        assert main(["missing", DAY, "--json"]) == 3
        answer = json.loads(capsys.readouterr().out)
        assert (answer["totals"]["missing"], len(answer["instances"])) == (2, 2)
        for nowhere in (["--pacs", "typo"], ["--study", "9"]):
            assert main(["missing", DAY, *nowhere]) == 1
            assert "thing" in capsys.readouterr().err
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--port", "99999"], "from 1 to 65535"),
        (["up", "--home", ""], "empty"),
        (["import", ""], "empty"),
        (["missing", "--study", ""], "empty"),
        (["hospital", "", "--port", "11104", "--build"], "empty"),
        (["demo", "--scale", "huge"], "no hospital of size 'huge'"),
        (["demo", "--scale", "-1"], "above 0"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_a_priority_without_a_window_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pacs", "--priority", "urgent"]) == 2
    assert main(["pacs", "pause"]) == 2


def test_a_url_that_is_none_is_not_repeated() -> None:
    done = sluice("migrate", SLUICE_DATABASE_URL="mysql://u:hunter2@127.0.0.1/none")
    assert done.returncode == 1
    assert "does not name a Postgres database" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_path_that_cannot_be_used_is_no_fault_of_ours(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    done = sluice("up", "--home", str(taken))
    assert (done.returncode, "fault of Sluice" in done.stderr) == (1, False)
    assert str(taken) in done.stderr


def test_the_receiver_says_at_once_what_is_wrong_with_the_ledger(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    wrong = sluice("receive", SLUICE_HOME=str(tmp_path), SLUICE_RECEIVER_PORT="0", SLUICE_DATABASE_URL="mysql://x/y")
    assert (wrong.returncode, "does not name a Postgres database" in wrong.stderr) == (1, True)
    for url, said in (
        ("postgresql://u:hunter2@127.0.0.1:1/none", "cannot be reached"),
        (postgres.url("postgres"), "sluice migrate"),
    ):
        environment = os.environ | {
            "SLUICE_HOME": str(tmp_path), "SLUICE_RECEIVER_PORT": "0", "SLUICE_DATABASE_URL": url,
            "SLUICE_RECEIVER_PROCESSES": "1",
        }  # fmt: skip
        with subprocess.Popen(
            [sys.executable, "-m", "sluice", "receive"], stderr=subprocess.PIPE, text=True, env=environment
        ) as receiver:
            assert receiver.stderr is not None
            lines = [receiver.stderr.readline(), receiver.stderr.readline()]
            receiver.send_signal(signal.SIGINT)
            lines += receiver.stderr.readlines()
        assert receiver.returncode in (0, 130), lines  # the signal may come before it is waited for
        assert said in lines[0]
        assert "hunter2" not in "".join(lines)
        assert "Receiving as SLUICE" in lines[1]

"""docker-compose.yaml: accepted by Compose, and consistent with itself and with the command line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((CHECKOUT / "docker-compose.yaml").read_text()))


def test_compose_accepts_the_file() -> None:
    command = compose_command()
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` is installed")
    done = subprocess.run(
        [*command, "--profile", "rehearsal", "config", "-q"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def compose_command() -> list[str] | None:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    return None


def test_every_secret_that_a_service_reads_is_declared_and_written(compose: dict[str, Any]) -> None:
    script = (CHECKOUT / "scripts" / "compose-secrets").read_text()
    used = {name for service in compose["services"].values() for name in service.get("secrets", [])}
    assert used
    for name in used:
        assert compose["secrets"][name]["file"] == f"./var/compose/{name}"
        assert f"keep {name} " in script


def test_no_password_stands_in_the_file(compose: dict[str, Any]) -> None:
    secret_words = ("PASSWORD", "SECRET", "FERNET", "ACCESS_KEY", "DATABASE_URL", "SQL_ALCHEMY_CONN")
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in secret_words):
                assert name.endswith(("_CMD", "_FILE")) or str(value).startswith("/run/secrets/"), name


def test_every_sluice_command_is_one_that_the_command_line_accepts(compose: dict[str, Any]) -> None:
    from sluice.__main__ import command_line

    commands = [str(service.get("command", "")) for service in compose["services"].values()]
    ours = [command.split("python -m sluice", 1)[1].split() for command in commands if "python -m sluice" in command]
    assert {words[0] for words in ours} == {"receive", "hospital"}
    for words in ours:
        command_line().parse_args(words)


def test_secrets_are_written_once_and_closed_to_others(tmp_path: Path) -> None:
    copy = tmp_path / "scripts"
    copy.mkdir()
    shutil.copy(CHECKOUT / "scripts" / "compose-secrets", copy)
    subprocess.run([copy / "compose-secrets"], check=True, capture_output=True)
    folder = tmp_path / "var" / "compose"
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert len(first) >= 9
    assert all(path.stat().st_mode & 0o007 == 0 for path in folder.iterdir())
    subprocess.run([copy / "compose-secrets"], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == first

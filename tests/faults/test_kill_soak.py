"""kill -9 of receiver, worker and Postgres at random points of a retrieval, for a fixed list of seeds.

`make soak` runs the full one: 20 seeds of 5,000 instances.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import free_port
from tests.faults.forking import Nursery
from tests.faults.soak import Soak, pacs_with

SEEDS = range(1, 21)
INSTANCES = 400

pytestmark = [pytest.mark.slow, pytest.mark.peer]


@pytest.fixture(scope="module")
def postgres_to_kill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def receiver_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory, receiver_port: int) -> Iterator[tuple[int, set[str]]]:
    with pacs_with(tmp_path_factory.mktemp("orthanc"), receiver_port, INSTANCES) as held:
        yield held


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


@pytest.mark.parametrize("seed", SEEDS)
def test_every_instance_is_here_once_after_kills(
    seed: int,
    nursery: Nursery,
    postgres_to_kill: EmbeddedPostgres,
    pacs: tuple[int, set[str]],
    receiver_port: int,
    tmp_path: Path,
) -> None:
    port, truth = pacs
    outcome = Soak(nursery, postgres_to_kill, port, receiver_port, truth, tmp_path / "home", seed, kills=1).run()
    assert outcome.problems == []
    # a retrieval that is quicker than its kills ends before the last of them
    assert outcome.killed
    assert set(outcome.killed) <= {"postgres", "receiver", "worker"}

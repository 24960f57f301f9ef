"""What Airflow costs: 100,000 instances' headers read in mapped batches, beside the same batches in a bare pool.

Both sides run as many batches at once as the machine has cores, over the same files with the same parser, in
turn. The time counted for Airflow is from the trigger to the end of the run as its API reports it. Ratio 0.9 means that
Airflow's share of the wall time is a tenth.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

from benchmarks.headers import write_corpus
from benchmarks.run import Row
from sluice.headers.reading import read_header
from sluice.stack.airflow import EmbeddedAirflow
from sluice.stack.airflow_api import AirflowApi
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import free_port

INSTANCES = 100_000
BATCHES = 20
FILES = 500  # read again and again: the page cache holds them, so what is measured is work, not the disk
ROUNDS = 3
FOLDER = "SLUICE_BENCHMARK_FILES"
DEADLINE_S = 900.0
GOAL = 0.8


def read_batch(number: int) -> int:
    """Read the headers of one batch's instances; return how many."""
    files = sorted(Path(os.environ[FOLDER]).glob("*.dcm"))
    count = INSTANCES // BATCHES
    for index in range(count):
        read_header(files[(number * count + index) % len(files)])
    return count


def run(work: Path) -> list[Row]:
    """Alternate the two sides `ROUNDS` times; medians."""
    files = work / "files"
    files.mkdir(parents=True, exist_ok=True)
    write_corpus(files, FILES)
    os.environ[FOLDER] = str(files)
    with EmbeddedPostgres(work / "postgres", durable=False) as postgres, _airflow(work, postgres, files) as airflow:
        api = airflow.api()
        _run_dag(api)  # the first task of a fresh server is slow once; not what a working day sees
        ours, bare = [], []
        for _ in range(ROUNDS):
            bare.append(_bare_seconds())
            ours.append(_run_dag(api))
    mine, peer = statistics.median(ours), statistics.median(bare)
    ratio = peer / mine
    return [
        Row(
            name=f"{INSTANCES:,} instances in {BATCHES} batches",
            ours=mine,
            peer=peer,
            peer_name="bare process pool",
            unit="s",
            ratio=ratio,
            goal=GOAL,
            holds=ratio >= GOAL,
        )
    ]


def _bare_seconds() -> float:
    begin = time.perf_counter()
    with ProcessPoolExecutor(_cores(), mp_context=get_context("fork")) as pool:
        if sum(pool.map(read_batch, range(BATCHES))) != INSTANCES:
            raise RuntimeError("The bare side did not read every instance.")
    return time.perf_counter() - begin


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def _airflow(work: Path, postgres: EmbeddedPostgres, files: Path) -> Iterator[EmbeddedAirflow]:
    environment = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "orchestration_dags"),
        "AIRFLOW__CORE__PARALLELISM": str(_cores()),
        "SLUICE_DATABASE_URL": postgres.url("sluice"),
        FOLDER: str(files),
    }
    airflow = EmbeddedAirflow(
        work / "airflow",
        postgres.url("airflow"),
        free_port(),
        (free_port(), free_port()),
        environment,
        dags_paused=False,
    )
    airflow.prepare()
    airflow.start()
    try:
        airflow.wait()
        yield airflow
    finally:
        airflow.stop()


def _run_dag(api: AirflowApi) -> float:
    end = time.monotonic() + DEADLINE_S
    while "batches" not in {entry["dag_id"] for entry in api.get("dags")["dags"]}:
        if time.monotonic() > end:
            raise RuntimeError("Airflow did not find the benchmark's DAG.")
        time.sleep(0.5)
    triggered = time.time()
    run_id = api.post("dags/batches/dagRuns", {"logical_date": None})["dag_run_id"]
    while True:
        state = api.get(f"dags/batches/dagRuns/{run_id}")
        if state["state"] == "success":
            return datetime.fromisoformat(state["end_date"]).timestamp() - triggered
        if state["state"] == "failed" or time.monotonic() > end:
            raise RuntimeError(f"The benchmark's run is {state['state']}; see {run_id} in the logs of its Airflow.")
        time.sleep(0.5)

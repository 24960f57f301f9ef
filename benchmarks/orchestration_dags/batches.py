"""# batches

Reads the headers of 100,000 instances in mapped batches, as `extract_headers` is shaped; for
`benchmarks/orchestration.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2020, 1, 1), doc_md=__doc__, tags=["benchmark"])
def batches() -> None:
    """Plan, then read batch by batch."""

    @task
    def plan() -> list[int]:
        """Numbers of the batches."""
        from benchmarks.orchestration import BATCHES

        return list(range(BATCHES))

    @task(map_index_template="batch {{ task.op_kwargs['number'] }}")
    def read(number: int) -> dict[str, Any]:
        """Read one batch's headers."""
        from benchmarks.orchestration import read_batch

        return {"read": read_batch(number)}

    read.expand(number=plan())


batches()

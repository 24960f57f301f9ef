"""# sweep_recent

Brings today's studies today: asks the PACS every quarter of an hour for the studies of the last two hours, expects what
is new of them in *today's* window, and has it sent. The nightly `sweep` asks for the whole day again and proves it.

**When.** Every 15 minutes, for the minutes that the field *Minutes* says (`SLUICE_RECENT_MINUTES`). Leave it switched
off where the night is soon enough.

**Not in it.** Studies without a Study Time come with the night. So do headers, quality, models and releases: run
`extract_headers` for today's window where they are wanted earlier.

**Normal.** Seconds. `unchanged` counts studies that are listed as a quarter of an hour ago and were not looked into.

**Worry when** it is red again and again: see `sweep` and `retrieve`, whose tasks these are.
"""

from __future__ import annotations

from airflow.sdk import CronTriggerTimetable, dag

from operators import steps, sweeps
from operators.policies import HOSPITAL_TIME_ZONE, run_policy


@dag(
    schedule=CronTriggerTimetable("*/15 * * * *", timezone=HOSPITAL_TIME_ZONE),
    **(run_policy(sweeps.recent_form(), governed=True) | {"max_active_runs": 1}),
    tags=["sluice", "pacs", "minutes"],
    doc_md=__doc__,
)
def sweep_recent() -> None:
    """Ask for the last minutes, then move what is missing of today."""
    found = sweeps.sweep_recent()
    steps.retrieve(sweeps.TODAY, after=found)


sweep_recent()

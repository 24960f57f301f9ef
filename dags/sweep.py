"""# sweep

Asks the PACS which studies, series and instances it holds of one hospital day (C-FIND, split where an answer is
capped) and writes them down as *expected*. Everything else follows from it: this DAG's asset `inventory` starts
`retrieve`, and so on to `export_release`, each once for the same window.

**When.** Every night at 02:00 in the hospital's time zone, for the day that ended. The partition key is the window
key, `2026-10-26`. The run is made at midnight, when the day is over, and waits in the triggerer until 02:00, when
the PACS is quiet. Switched on, it asks for the last day at once, unless `SLUICE_FIRST_NIGHT` names a later night.

**An older day, or many.** *Trigger → Backfill*, from the first to the last day, both inclusive: one run for each day,
and each cascades to the end. Days that ran before are left alone unless you choose *reprocess*.

**Some minutes of a day.** *Trigger* with the window `2026-10-26T1015-1030`; what is found is expected in the day.

**Another PACS.** Name its connection in the form; `sweep_again` then asks it again for that day by itself. Retrieval
goes by the field *sources* of `pacs_main`, so name the connection there, too.

**Normal.** A few minutes; `queries` grows with the day's size. A day without studies is a success with zero counts.

**Worry when** it is red: the PACS was not reachable or refused us. The last line of the log says why and what to do;
the *Test* button of the connection `pacs_main` shows it in a second. Then clear the task. Nothing is lost: what it
had found is kept and asked again.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import CronPartitionTimetable, dag

from operators import steps, sweeps
from operators.assets import INVENTORY
from operators.policies import FIRST_NIGHT, HOSPITAL_TIME_ZONE, WINDOW, run_policy

QUIET = "{{ (dag_run.run_after + macros.timedelta(hours=2 if dag_run.run_type == 'scheduled' else 0)).isoformat() }}"


@dag(
    # Midnight, not 02:00: a backfill from the 26th to the 26th then means the 26th.
    schedule=CronPartitionTimetable("0 0 * * *", timezone=HOSPITAL_TIME_ZONE, run_offset=-1, key_format="%Y-%m-%d"),
    # The first night is the first of the nightly runs; a backfill may begin earlier.
    **run_policy(sweeps.day_form(), start_date=FIRST_NIGHT, governed=True),
    tags=["sluice", "pacs", "day"],
    doc_md=__doc__,
)
def sweep() -> None:
    """Wait for the quiet hours, then ask the PACS for the day."""
    quiet = DateTimeSensorAsync(task_id="wait_for_quiet_hours", target_time=QUIET, timeout=timedelta(hours=4))
    quiet >> steps.sweep(WINDOW, outlets=[INVENTORY], pacs="{{ params.pacs }}")


sweep()

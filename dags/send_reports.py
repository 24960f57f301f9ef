"""# send_reports

Writes what the models in production saw of a study as a DICOM structured report (TID 1500) and sends it to a PACS.

**Started by** the clock, every quarter of an hour, for the studies that people asked for (page *Routing*, or
`sluice report STUDY --send`); by *Trigger* with a window for all studies of it.

**Normal.** The same answers are the same report, with its UID and bytes: sending again changes nothing in the PACS.
Where a model or a person says otherwise by now, a new report names the one before as its predecessor.

**Worry when** it is red: the PACS did not take a report, and the log says how many. The
reports are marked as preliminary and unverified: no person has read them (docs/structured-reports.md).
"""

from __future__ import annotations

from airflow.sdk import CronTriggerTimetable, dag

from operators import reports
from operators.policies import HOSPITAL_TIME_ZONE, run_policy


@dag(
    schedule=CronTriggerTimetable("*/15 * * * *", timezone=HOSPITAL_TIME_ZONE),
    **(run_policy(reports.form(), governed=True) | {"max_active_runs": 1}),
    tags=["sluice", "models"],
    doc_md=__doc__,
)
def send_reports() -> None:
    """Make and send."""
    reports.send()


send_reports()

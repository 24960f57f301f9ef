"""# recall

Takes back what was released of whom an opt-out names: the objects out of the bucket (all their versions), a tombstone
`recalled.json` and a manifest that does not name them any more, proof that they are gone, and a list of who has to
delete copies. Then looks whether anything came back. Canonical images of whom no project may use are erased as well.

**Started by** the clock, every hour; at once by *Trigger*, by whoever recalls a release: its form takes a release like
`radiographs/v3`, or a project with all its releases. Patients, studies and instances are opted out at a terminal,
`sluice opt-out add`, because Airflow keeps what is typed into a form.

**Normal.** `releases: 0`: nothing was due. `overdue_recalls` counts recalls of which a recipient did not say in time
that everything is deleted: the page *Recalls* names them.

**Worry when** it is red: the bucket refused or was away; the log says which permission, lock or hold it is. What was
decided stands, and the next run goes on with it. See docs/recall.md.
"""

from __future__ import annotations

from airflow.sdk import CronTriggerTimetable, dag

from operators import recalls
from operators.policies import HOSPITAL_TIME_ZONE, run_policy


@dag(
    schedule=CronTriggerTimetable("25 * * * *", timezone=HOSPITAL_TIME_ZONE),
    **(run_policy(recalls.form()) | {"max_active_runs": 1}),
    tags=["sluice", "release"],
    doc_md=__doc__,
)
def recall() -> None:
    """Take back what is due, then check what was."""
    recalls.take_back() >> recalls.check_again()
    recalls.take_out_pictures()


recall()

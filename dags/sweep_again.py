"""# sweep_again

Asks each PACS once more for the days that were swept there before, 1, 7, 30 and 180 days after their end
(`SLUICE_AUDIT_AFTER_DAYS`), and notes what is otherwise: studies that came late, that were changed, that are gone, that
were moved to another date, that are back. Nothing is forgotten: what the PACS no longer has keeps its rows, with the
reason *no-longer-held*, and is not asked for again.

**When.** Every night at 04:00 in the hospital's time zone, at most `SLUICE_AUDIT_MOST` days of each PACS a night, the
longest overdue first, after everybody else there. A PACS that cannot be asked, or whose connection is gone, turns the
run red when the others are through. A day to which a study was moved is swept again the next night.

**Leaves** the asset `inventory` for each day that holds something new, so that `retrieve` and the rest run for it.

**Normal.** `late` of a few a night: images are sent after midnight, and old ones are brought from CDs. `start_chain` is
skipped when there is nothing new.

**Worry when** `gone` is more than a handful: ask the PACS administrator what was deleted. When `uncertain` is not 0,
the days in question prove nothing, and nothing of them is called gone.
"""

from __future__ import annotations

from airflow.sdk import CronTriggerTimetable, dag

from operators import sweeps
from operators.policies import HOSPITAL_TIME_ZONE, run_policy


@dag(
    schedule=CronTriggerTimetable("0 4 * * *", timezone=HOSPITAL_TIME_ZONE),
    **(run_policy({}, governed=True) | {"max_active_runs": 1}),
    tags=["sluice", "pacs", "day"],
    doc_md=__doc__,
)
def sweep_again() -> None:
    """Sweep what is due, then start the chain where something is new."""
    sweeps.sweep_again()


sweep_again()

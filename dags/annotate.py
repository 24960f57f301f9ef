"""# annotate

Prepares what people annotate (page *Annotate*, docs/annotation.md): looks whose features are near whose, which films
are there twice, and whose label its neighbours contradict. Doubted films come up in the readers' queue.

**Started by** the clock, every night; by *Trigger* at once.

**Normal.** `embedded`: films that the model in production had read before features were kept, or as a shadow. `looked`:
films that are new since the last night. Seconds for a day's films, a minute or two at a million (docs/annotation.md).

**Worry when** it is red: the log says whether a matrix of features is gone or damaged, and what makes it again.

**Rights.** Who may answer *Required Actions* of this DAG may annotate films; who may look at this DAG sees the page.

**Again.** Trigger it: what is done is not done again.
"""

from __future__ import annotations

from airflow.sdk import CronTriggerTimetable, dag

from operators import neighbours
from operators.policies import HOSPITAL_TIME_ZONE, run_policy


@dag(
    schedule=CronTriggerTimetable("40 4 * * *", timezone=HOSPITAL_TIME_ZONE),
    **(run_policy({}) | {"max_active_runs": 1}),
    tags=["sluice", "models"],
    doc_md=__doc__,
)
def annotate() -> None:
    """Features that are missing, then who is near whom."""
    neighbours.embed() >> neighbours.look()


annotate()

"""# check_quality

Checks the headers of a window with Great Expectations: identifiers, dates, consistency within study and series, what
the models and reports rely on. Each finding is a row with a severity (`warn`, `quarantine`, `stop`); a `stop` keeps
the instance out of releases.

**Started by** the asset `headers`, once for each window. Leaves `quality` for `export_release`.

**Normal.** Some warnings every day: hospitals are like that. The link *Data Docs* of the task shows what was checked.

**Worry when** findings of severity `stop` rise above a handful: look at the rule in the Data Docs, then at the scanner
it comes from. Repair at the source; raw headers are never changed here.

**Again.** Clear the task, or trigger this DAG with the window. A later check replaces the window's findings.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag

from operators import steps
from operators.assets import HEADERS, QUALITY
from operators.policies import WINDOW, run_policy


@dag(
    schedule=PartitionedAssetTimetable(assets=HEADERS),
    **run_policy(),
    tags=["sluice", "quality", "day"],
    doc_md=__doc__,
)
def check_quality() -> None:
    """Check the window's headers."""
    steps.check_quality(WINDOW, outlets=[QUALITY])


check_quality()

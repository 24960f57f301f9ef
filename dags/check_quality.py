"""# check_quality

Checks the headers of a window with Great Expectations: identifiers, dates, volumes, pixels, duplicates, words, and what
changed on a scanner. Each finding is a row with a severity: `warn` is recorded, `quarantine` and `stop` keep the object
out of cohorts and releases until it is repaired or a person accepts it on the page *Quality trend*.

**Started by** the asset `headers`, once for each window. Leaves `quality` for `export_release`.

**Normal.** Some warnings every day: hospitals are like that. The link *Data Docs* of the task shows what was checked.

**Worry when** `stops` rise above a handful: look at the rule on the page *Quality trend*, then at the scanner it comes
from. Repair at the source; raw headers are never changed here. **Red** means that the whole window is held, because
most of it is missing or unreadable: the message says by which rule. Findings and Data Docs stand all the same.

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

"""# scanner_utilization

Reports for each scanner how long it was in use within the opening hours of the day: first image to last image of each
exam, gaps between patients, turnover.

**Started by** the asset `headers`, once for each window. Leaves `scanner_utilization`; the figures are on the Sluice
page.

**Normal.** One row for each scanner that took an image that day; `scanners` counts them.

**Worry when** a scanner is missing that worked: its images lack station name and serial number (see quality findings),
or it has not sent (see the funnel's gaps).

**Again.** Clear the task, or trigger this DAG with the window. The later report replaces the earlier.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag

from operators import steps
from operators.assets import HEADERS, SCANNER_UTILIZATION
from operators.policies import WINDOW, run_policy


@dag(
    schedule=PartitionedAssetTimetable(assets=HEADERS),
    **run_policy(),
    tags=["sluice", "scanners", "day"],
    doc_md=__doc__,
)
def scanner_utilization() -> None:
    """Report how long each scanner was in use."""
    steps.scanner_utilization(WINDOW, outlets=[SCANNER_UTILIZATION])


scanner_utilization()

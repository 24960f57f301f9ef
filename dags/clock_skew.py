"""# clock_skew

Estimates for each scanner how far its clock was off that day, from the times in the headers beside the PACS's and the
receiver's own, and whether it missed the change of summer time.

**Started by** the asset `headers`, once for each window. Leaves `clock_offsets`; the figures are on the Sluice page.

**Normal.** Offsets of seconds to a few minutes. Scanners with too few samples have no offset, and say so.

**Worry when** one is off by about an hour (`dst`) or by whole hours (`timezone`): tell the scanner's administrator, and
do not trust times across devices of that day.

**Again.** Clear the task, or trigger this DAG with the window. The later report replaces the earlier.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag

from operators import steps
from operators.assets import CLOCK_OFFSETS, HEADERS
from operators.policies import WINDOW, run_policy


@dag(
    schedule=PartitionedAssetTimetable(assets=HEADERS),
    **run_policy(),
    tags=["sluice", "scanners", "day"],
    doc_md=__doc__,
)
def clock_skew() -> None:
    """Report how far each scanner's clock is off."""
    steps.clock_skew(WINDOW, outlets=[CLOCK_OFFSETS])


clock_skew()

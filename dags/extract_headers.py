"""# extract_headers

Reads the header of each received instance once and keeps it: typed columns for what people filter by, all elements in
blocks of instances that have most of them alike, and what the words say about the body part. Moved and pushed alike.

**Started by** the asset `archive`, once for each window. Leaves `headers`, which starts quality, models and scanner
reports.

**Normal.** Some thousand instances a second. `unreadable` files go to the quarantine with a reason and count as
gaps, not as failures.

**Worry when** `failed_batches` is above zero (database or disk: see the red tile's log), or when `unreadable` is more
than a few in ten thousand: one sender is probably broken; the quarantine on the Sluice page shows which.

**Again.** Clear the red tile, or trigger this DAG with the window. Only what is not indexed yet is read.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag

from operators import steps
from operators.assets import ARCHIVE, HEADERS
from operators.policies import WINDOW, run_policy


@dag(
    schedule=PartitionedAssetTimetable(assets=ARCHIVE),
    **run_policy(),
    tags=["sluice", "headers", "day"],
    doc_md=__doc__,
)
def extract_headers() -> None:
    """Read the headers of everything that arrived."""
    steps.extract_headers(WINDOW, outlets=[HEADERS])


extract_headers()

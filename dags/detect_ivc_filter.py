"""# detect_ivc_filter

Looks for an inferior vena cava filter in the radiographs whose predicted body part can show one.

**Started by** the asset `predictions_body_part`, once for each window. Leaves `predictions_ivc_filter` for
`export_release`. Runs in the pool `gpu`.

**Normal.** `gated_out` counts the images whose body part cannot show a filter. Filters are rare: a day without one is
nothing special. A detector that reads 1,024 pixels reads the detail images that `keep_pictures` kept; `details` counts
those that had to be made now, `coarse` the films that have no more than their canonical image (docs/inference.md).

**Worry when** `failed_batches` is above zero, when `details` stays high from day to day, or when the share of filters
jumps: see the model's card for the rates to expect, and the thumbnails on the Sluice page.

**Again.** Clear the red tile, or trigger this DAG with the window. It is a research detector and no medical device.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag

from operators import steps
from operators.assets import PREDICTIONS_BODY_PART, PREDICTIONS_IVC_FILTER
from operators.policies import WINDOW, run_policy


@dag(
    schedule=PartitionedAssetTimetable(assets=PREDICTIONS_BODY_PART),
    **run_policy(),
    tags=["sluice", "models", "day"],
    doc_md=__doc__,
)
def detect_ivc_filter() -> None:
    """Look for IVC filters where the body part allows one."""
    steps.detect_ivc_filter(WINDOW, outlets=[PREDICTIONS_IVC_FILTER])


detect_ivc_filter()

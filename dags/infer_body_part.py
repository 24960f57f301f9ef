"""# infer_body_part

Shows each radiograph (CR, DX) of a window to the body part network. On the way each is decoded once to a 512-pixel
canonical image, which later models and pages read. Then `fuse_body_part` puts together what header and model say, for
searches by body part (docs/strategies.md); nothing downstream waits for it.

**Started by** the asset `headers`, once for each window. Leaves `predictions_body_part` for `detect_ivc_filter` and
`export_release`. Runs in the pool `gpu`: one model at a time, on the CPU where there is no GPU.

**Normal.** A few dozen images a second on a CPU. `unreadable` images are noted with a reason.

**Worry when** `failed_batches` is above zero: see the red tile's log. The header's own words stay untouched either way.

**Again.** Clear the red tile, or trigger this DAG with the window. New weights are a new model: its
answers stand beside the old ones.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag

from operators import steps
from operators.assets import HEADERS, PREDICTIONS_BODY_PART
from operators.policies import WINDOW, run_policy


@dag(
    schedule=PartitionedAssetTimetable(assets=HEADERS),
    **run_policy(),
    tags=["sluice", "models", "day"],
    doc_md=__doc__,
)
def infer_body_part() -> None:
    """Read the body part of each radiograph, then put it together with what the headers say."""
    read = steps.infer_body_part(WINDOW, outlets=[PREDICTIONS_BODY_PART])
    steps.fuse_body_part(WINDOW, after=read)


infer_body_part()

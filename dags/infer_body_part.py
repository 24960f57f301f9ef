"""# infer_body_part

Decodes each radiograph (CR, DX) of a window once to a 512-pixel canonical image, into shards that every model and page
reads, with a detail image of 1,024 where a filter detector reads such (`keep_pictures`), and shows it to the body part
network (`infer_body_part`). Then `fuse_body_part` puts together what header and model say, for searches by body part
(docs/strategies.md); nothing downstream waits for it.

**Started by** the asset `headers`, once for each window. Leaves `predictions_body_part` for `detect_ivc_filter` and
`export_release`. The network runs in the pool `gpu`, one task of up to 20,000 films at a time, on the CPU where there
is no GPU (`SLUICE_DEVICE`, `SLUICE_GPU_QUEUE`: docs/inference.md).

**Normal.** About a hundred films a second on two cores of a CPU. `unreadable` films, and `skipped` ones (localizers,
presentation states), are noted with a reason.

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
    """Decode, read the body part of each radiograph, put it together with what the headers say."""
    kept = steps.keep_pictures(WINDOW)
    read = steps.infer_body_part(WINDOW, outlets=[PREDICTIONS_BODY_PART], after=kept)
    steps.fuse_body_part(WINDOW, after=read)


infer_body_part()

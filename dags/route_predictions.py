"""# route_predictions

Sends radiographs on by what was predicted of them: to another node (C-STORE), to a DAG, or to a model. The rules are a
reviewed YAML file, `SLUICE_ROUTING`; without one nothing happens here (docs/routing.md).

**Started by** the asset `predictions_ivc_filter`, once for each window.

**Normal.** `decide` lists what is open of each rule; a destination is one tile of `send` or `start`. Every decision is
a row with the answers that it rests on, on the page *Routing*; a rule decides about an instance once for a destination.

**Worry when** `send` is red: the node did not take everything, and its log says how much. `decide` red: a mistake in
the rules, named by line. Look before you switch a rule on: `sluice route dry-run`.

**Again.** Clear the red tile: it sends what is missing. Nothing that was taken is sent twice.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag

from operators import routing
from operators.assets import PREDICTIONS_IVC_FILTER
from operators.policies import WINDOW, run_policy


@dag(
    schedule=PartitionedAssetTimetable(assets=PREDICTIONS_IVC_FILTER),
    **run_policy(governed=True),
    tags=["sluice", "models", "day"],
    doc_md=__doc__,
)
def route_predictions() -> None:
    """Decide, then send and start."""
    routing.route(WINDOW)


route_predictions()

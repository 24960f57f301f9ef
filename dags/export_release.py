"""# export_release

Releases a window to the projects of the folder `projects/`: freezes who is in it, de-identifies, re-reads each file
independently for what identifies a person, uploads, makes the other formats that the project asks for, compares the
bucket with the ledger, and writes the signed manifest last. A release without a manifest does not exist. A version
holds all days so far, and writes only what is new (docs/releases.md).

**Started by** the assets `quality`, `predictions_body_part` and `predictions_ivc_filter` together, once for each
window. Leaves `releases`.

**Normal.** One release for each project that the window has members for; the link *Bucket* of `publish` shows it. What
is held stays here with a reason: `held-class`, `held-residual` and so on, on the Sluice page.

**Waits.** `review` is *awaiting input* until the persons that a project asks for approved its release on the page
Review; that takes no worker, and other days go on beside it. Who rejects says why, and `publish` is skipped.

**Worry when** `held-residual` appears: the independent check found an identifier in a de-identified file. Nothing left
the house; tell the data protection officer which device it came from. Red `export` or `verify`: the bucket could not be
used or does not hold what was sent; the log says which key or policy. Never repair by hand in the bucket. Red `publish`
that speaks of persons: the tables tell too much for the project's policy of k-anonymity.

**Again.** Clear the red tile; for `verify`, clear `export` and `derive` too, they send what is missing. Expired
credentials: renew the connection `sluice_s3`, clear the red tile, and it goes on where it stopped. Trigger this DAG
with the window for a later release: same members and profile are the same version, anything else is the next.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag

from operators.assets import PREDICTIONS_BODY_PART, PREDICTIONS_IVC_FILTER, QUALITY, RELEASES
from operators.policies import WINDOW, run_policy
from operators.releases import export_release as release_to_projects
from operators.review import RUN_WAITS


@dag(
    schedule=PartitionedAssetTimetable(assets=QUALITY & PREDICTIONS_BODY_PART & PREDICTIONS_IVC_FILTER),
    **(run_policy() | RUN_WAITS),
    tags=["sluice", "release", "day"],
    doc_md=__doc__,
)
def export_release() -> None:
    """Release the window to every project."""
    release_to_projects(WINDOW, outlets=[RELEASES])


export_release()

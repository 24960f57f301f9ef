"""# read_archive

Shows every radiograph of the archive that a model in use has not read yet to it: after new weights, or after an import
of old files. What was read is not read again, so it can be stopped and triggered as often as one likes. A film is only
decoded where no canonical image of it is kept.

**Started by** a person, *Trigger*. It has no window: it cuts the radiographs of the whole archive into batches of
20,000, each one a task in the pool `gpu`.

**Normal.** On two cores of a CPU about a hundred films a second from the shards. Day runs go on beside it and share the
pool.

**Worry when** a batch is red: its log says why. The others are not harmed.

**Again.** Clear the red tile, or trigger once more: what is left is asked anew.
"""

from __future__ import annotations

from airflow.sdk import dag

from operators import steps
from operators.policies import run_policy
from sluice.batches import EVERYTHING


@dag(schedule=None, **run_policy({}), tags=["sluice", "models"], doc_md=__doc__)
def read_archive() -> None:
    """Decode, read body parts, put them together with headers, look for filters."""
    kept = steps.keep_pictures(EVERYTHING)
    read = steps.infer_body_part(EVERYTHING, after=kept)
    steps.fuse_body_part(EVERYTHING, after=read)
    steps.detect_ivc_filter(EVERYTHING, after=read)


read_archive()

"""# retrieve

Fetches what is expected of a window and has not arrived, and writes a reason for each instance that never came: by
C-MOVE to our receiver, or by C-GET or DICOMweb through the task where the PACS does not know our receiver. The sources
that the connection names are asked in order.

**Started by** the asset `inventory` (a day's sweep), once for each window. Leaves `archive` for `extract_headers`.

**How.** The studies are cut into parts; each part is one tile of `move`. It asks and waits in the triggerer, without a
worker slot, when the PACS's governor lets it (page PACS: hours, slots, pause, cancel). Then it looks at what has
arrived (receipts, not the PACS's counters) and asks again for just the rest, up to three passes, with a growing pause.

**Normal.** `incomplete_studies` is 0. A handful on a busy day is possible: the gaps are listed with reasons on the
Sluice page, and the next run for the window asks for them again.

**Worry when** `incomplete_studies` stays above zero in a second run (the PACS lists what it cannot send: ask its
administrator), or when a tile is red: the PACS could not be asked, or refuses us for good (its log line says which).
`A801` means that the PACS does not know our receiver; `A7xx` that it is out of resources: Sluice slows down by itself,
see the page PACS.

**Again.** Clear the red tile, or trigger this DAG with the window. It asks for nothing that has arrived.
"""

from __future__ import annotations

from airflow.sdk import PartitionedAssetTimetable, dag

from operators import steps
from operators.assets import ARCHIVE, INVENTORY
from operators.policies import WINDOW, run_policy


@dag(
    schedule=PartitionedAssetTimetable(assets=INVENTORY),
    **run_policy(governed=True),
    tags=["sluice", "pacs", "day"],
    doc_md=__doc__,
)
def retrieve() -> None:
    """Move what is expected and has not arrived."""
    steps.retrieve(WINDOW, outlets=[ARCHIVE])


retrieve()

"""# train_models

Trains body-part networks and the IVC-filter detector, one task an architecture, on the films that ship with the
project's data and on films of this site, and measures them on films that no training sees, some of this site among
them. What comes out are candidates: a person lets one read beside production and promotes it (page *Models*,
docs/models/registry.md).

**Started by** a person: *Trigger*. Without architectures it only measures the models that are registered, which the
gate needs before it compares them.

**Normal.** Hours on a CPU, minutes on a GPU; the page *Models* shows steps and loss. A checkpoint is written every
minute: a task that is cleared or retried goes on from there. The same form again does nothing that is done.

**Worry when** `train` is red: the data folder (`SLUICE_TRAINING_DATA`) or memory, says its log. `unusable` in
`measure_registered`: weights of a registered model are gone or belong to other code.

**Again.** Clear the red tile.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag

from operators import training
from operators.policies import run_policy


@dag(
    schedule=None,
    **(run_policy(training.form()) | {"max_active_runs": 1, "dagrun_timeout": timedelta(hours=72)}),
    tags=["sluice", "models"],
    doc_md=__doc__,
)
def train_models() -> None:
    """Snapshot, train, measure."""
    training.train()


train_models()

"""How far a training is, as a row that pages show while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.database import Database


@dataclass(frozen=True)
class Progress:
    """The row of one architecture of a run; called with step and loss, as `models.train_body_part` does."""

    database: Database
    run_id: str
    architecture: str
    snapshot: str
    steps: int

    def begin(self) -> None:
        """It trains, anew or from a checkpoint."""
        self.database.execute(
            "insert into training_run (run_id, architecture, snapshot, state, steps) "
            "values (%s, %s, %s, 'training', %s) "
            "on conflict (run_id, architecture) do update set state = 'training', updated_at = now()",
            (self.run_id, self.architecture, self.snapshot, self.steps),
        )

    def __call__(self, step: int, loss: float) -> None:
        """So many steps are taken; a loss that is no number stays out."""
        self.database.execute(
            "update training_run set step = %s, loss = nullif(%s, 'NaN'::real), updated_at = now() "
            "where run_id = %s and architecture = %s",
            (step, loss, self.run_id, self.architecture),
        )

    def state(self, state: str, model_id: str | None = None) -> None:
        """What it does now; `model_id` of what came out."""
        self.database.execute(
            "insert into training_run (run_id, architecture, snapshot, state, steps, model_id) "
            "values (%(run)s, %(architecture)s, %(snapshot)s, %(state)s, %(steps)s, %(model)s) "
            "on conflict (run_id, architecture) do update set state = %(state)s, updated_at = now(), "
            "model_id = coalesce(%(model)s, training_run.model_id)",
            {
                "run": self.run_id,
                "architecture": self.architecture,
                "snapshot": self.snapshot,
                "state": state,
                "steps": self.steps,
                "model": model_id,
            },
        )

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Whatever ends the work early shows as failed."""
        try:
            yield
        except BaseException:
            self.state("failed")
            raise

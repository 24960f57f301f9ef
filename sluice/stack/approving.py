"""The person who approves releases in the demo: looks at the page Review, and answers through Airflow's own API.

A real approver reads what the page shows. This one stands in for them, so that the demo ends by itself, and says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from sluice.stack.airflow_api import AirflowApi
from sluice.stack.processes import StackError

EVERY_S = 3.0


class Approver:
    """Approves every release that waits.

    Args:
        api: Airflow as the approver sees it.
        say: told of each approval.
    """

    def __init__(self, api: AirflowApi, say: Callable[[str], None]) -> None:
        self.api = api
        self.say = say
        self.looked_at = 0.0

    def look(self) -> None:
        """Answer what waits now; an answer that comes too early or twice is given again with the next look."""
        if time.monotonic() - self.looked_at < EVERY_S:
            return
        self.looked_at = time.monotonic()
        try:
            waiting = [row for row in self._asked("")["releases"] if row["waiting_since"]]
            for row in waiting:
                self._answer(self._asked(f"/{row['release_id']}"))
        except StackError:
            return

    def _asked(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.api.text(f"sluice/api/review{path}"))
        return answer

    def _answer(self, review: dict[str, Any]) -> None:
        task, standing = review["task"], review["standing"]
        if task is None or standing["state"] != "waiting" or not review["may_decide"]:
            return
        run = f"dags/{task['dag_id']}/dagRuns/{quote(task['run_id'], safe='')}"
        self.api.patch(
            f"{run}/taskInstances/{task['task_id']}/{task['map_index']}/hitlDetails",
            {
                "chosen_options": ["Approve"],
                "params_input": {"digest": standing["digest"], "reason": "The demo's stand-in for a person"},
            },
        )
        release = review["release"]
        strings = review["tallies"]["all"]
        self.say(
            f"The approver approves {release['project']} v{release['version']}: {strings} distinct strings are kept."
        )

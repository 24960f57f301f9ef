"""Tell a task of Airflow that waits for an answer to look again, as the person who changed what it waits for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)
LOOK = "Look again"  # an option of operators.review


def wake(user: Any, task: Mapping[str, Any]) -> bool:
    """Answer the request of a waiting task with `Look again`; False where it does not wait any more.

    It is Airflow's own function behind its REST API, so its locks and its record of who answered hold here too.
    """
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
    from airflow.utils.session import create_session
    from fastapi import HTTPException

    answer = UpdateHITLDetailPayload(chosen_options=[LOOK], params_input={"digest": "", "reason": ""})
    try:
        with create_session(scoped=False) as session:
            update_hitl_detail(
                task["dag_id"], task["run_id"], task["task_id"], answer, user, session, map_index=task["map_index"]
            )
    except HTTPException as refused:  # it ended, was cleared, or was told a moment ago
        log.info("The task that waits for a review was not told: %s", refused.status_code)
        return False
    return True

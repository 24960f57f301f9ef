"""Structured reports as an Airflow task: make them for studies that a person names, and send them to a PACS."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, task

from operators.counts import Counts
from operators.policies import PACS
from operators.steps import PacsOperator


class NotReported(RuntimeError):  # noqa: N818
    """A node did not take all reports; the message says how many."""


def form() -> dict[str, Param]:
    """The fields of the trigger form. Studies are asked for on a page or at a terminal: a form is kept in Airflow."""
    return {
        "window_key": Param(
            None,
            type=["null", "string"],
            maxLength=200,
            title="Window",
            description="Like 2026-10-26: of all studies of it that a model read. Empty: what people asked for.",
        ),
        "pacs": Param(
            PACS, type="string", maxLength=200, title="Where to", description="Id of a connection of type pacs."
        ),
    }


def send() -> Any:
    """Make and send what is asked for, each node as a task of its own."""
    asked = task(task_id="asked")(_asked)()
    return PacsOperator.partial(
        task_id="send",
        python_callable=_send,
        map_index_template="{{ task.op_kwargs.node }}",
    ).expand(op_kwargs=asked)


def _asked(params: dict[str, Any], dag_run: Any) -> list[dict[str, Any]]:
    """Keeps what the form asks for; nodes that reports are open for."""
    from operators.connections import database
    from sluice.reports.making import ask_for_window, open_nodes

    store, by = database(), getattr(dag_run, "triggering_user_name", None) or "the DAG send_reports"
    if params.get("window_key"):
        ask_for_window(store, params["window_key"], params["pacs"], by)
    return [{"node": node} for node in open_nodes(store)]


def _send(node: str, ti: Any, dag_run: Any) -> Counts:
    """Makes the report of each study (the same answers are the same report) and sends them by C-STORE."""
    from operators.connections import database, pacs_node
    from operators.governed import governor_of, use_of
    from sluice.reports.making import send_asked

    store, to = database(), pacs_node(node)
    governor = governor_of(store, to, use_of(ti, dag_run, "send", "reports", "reports"))
    done = send_asked(store, to, governor)
    if done.failed:
        ti.xcom_push(key="return_value", value=done.as_dict())
        raise NotReported(
            f"{node} did not take {done.failed} of {done.objects} reports; sent_object says why of each. They stay "
            "asked for, and the next run tries again."
        )
    return done.as_dict()

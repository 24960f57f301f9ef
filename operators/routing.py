"""Routing as Airflow tasks: decide by the rules, send to nodes, start DAGs, and keep what came of each decision."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import task

from operators.counts import Counts
from operators.steps import PacsOperator, require_window

MODEL_DAGS = {"body_part": "infer_body_part", "ivc_filter": "detect_ivc_filter"}
SENT_AT_ONCE = 200  # objects between two notes of what came of them


class NotSent(RuntimeError):  # noqa: N818
    """A node did not take everything; the message says how much and where the reasons stand."""


def route(window: Any) -> None:
    """Decide, then send and start what is open, each destination as a task of its own."""
    to_do = task(task_id="decide")(_decide)(window)
    PacsOperator.partial(
        task_id="send",
        python_callable=_send,
        map_index_template="{{ task.op_kwargs.rule }} to {{ task.op_kwargs.node }}",
    ).expand(op_kwargs=task(task_id="nodes")(_nodes)(to_do))
    started = TriggerDagRunOperator.partial(
        task_id="start",
        map_index_template="{{ task.trigger_run_id }}",
        skip_when_already_exists=True,
    ).expand_kwargs(task(task_id="dags")(_dags)(to_do))
    started >> task(task_id="note_started", trigger_rule="all_done")(_note_started)(to_do)


def _decide(window: str) -> list[dict[str, Any]]:
    """Decides about the window by every rule; what is open of each rule, those of earlier runs included."""
    from operators.connections import database
    from sluice.routing.deciding import decide, open_of, rules_here
    from sluice.settings import settings

    store, key = database(), require_window(window)
    rules = rules_here(store, settings().routing)
    if rules is None:
        return []
    decide(store, rules, key)
    to_do = []
    for rule in rules.rules:
        waiting = open_of(store, rule, key)
        if waiting:
            newest = max(row["decision_id"] for row in waiting)
            to_do.append({"rule": rule.name, "kind": rule.kind, "target": rule.target, "window": key, "newest": newest})
    return to_do


def _nodes(to_do: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What goes to nodes."""
    return [
        {"rule": one["rule"], "node": one["target"], "window": one["window"]} for one in to_do if one["kind"] == "node"
    ]


def _dags(to_do: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs to start: of a DAG that a rule names, or of the DAG of a model."""
    return [_run_of(one) for one in to_do if one["kind"] != "node"]


def _run_of(one: dict[str, Any]) -> dict[str, Any]:
    """A run of its own for each rule, window and newest decision, so that the same is not started twice."""
    return {
        "trigger_dag_id": MODEL_DAGS[one["target"]] if one["kind"] == "model" else one["target"],
        "trigger_run_id": f"route__{one['rule']}__{one['window']}__{one['newest']}",
        "conf": {"window_key": one["window"], "rule": one["rule"]},
    }


def _send(rule: str, node: str, window: str, ti: Any, dag_run: Any) -> Counts:
    """Sends the open decisions of a rule to a node by C-STORE, through its governor."""
    from operators.connections import archive, database, pacs_node
    from operators.governed import governor_of, use_of
    from sluice.routing.sending import send_open

    store, to = database(), pacs_node(node)
    governor = governor_of(store, to, use_of(ti, dag_run, "send", window, f"by the rule {rule}"))
    done = send_open(store, to, archive(), rule, window, governor, SENT_AT_ONCE)
    if done.failed:
        raise NotSent(
            f"{node} did not take {done.failed} of {done.objects} objects; sent_object and the page Routing say why of "
            "each. Clear this task when that is repaired: it sends what is missing."
        )
    return done.as_dict()


def _note_started(to_do: list[dict[str, Any]], ti: Any) -> Counts:
    """Keeps which runs were started for which decisions."""
    from operators.connections import database
    from sluice.routing.sending import note_started

    wanted = [one for one in to_do if one["kind"] != "node"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=["start"], run_ids=[ti.run_id]).get(ti.run_id, {})
    started = failed = 0
    for number, one in enumerate(wanted):
        good = states.get(f"start_{number}", states.get("start")) in ("success", "skipped")
        run = _run_of(one)["trigger_run_id"]
        destination = f"{one['kind']} {one['target']}"
        note_started(database(), one["rule"], destination, one["window"], one["newest"], run if good else None)
        started, failed = started + good, failed + (not good)
    return {"started": started, "failed": failed}

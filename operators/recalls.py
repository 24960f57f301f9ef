"""Recalls as Airflow tasks: opt a release out where the form says so, take back what is due, look who is overdue."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param

from operators.counts import Counts
from operators.steps import SummaryOperator


class RecallIncomplete(RuntimeError):  # noqa: N818
    """A bucket refused; the message says which release waits and why. Tried again, it goes on."""


def form() -> dict[str, Param]:
    """The fields of the trigger form. Patients are opted out at a terminal: a form is kept in Airflow's database."""
    return {
        "release": Param(
            None,
            type=["null", "string"],
            pattern=r"^[a-z0-9][a-z0-9-]{1,39}(/v[1-9][0-9]*)?$",
            title="Release, or project",
            description="Like radiographs/v3, or a project with all its releases. Empty: what opt-outs ask for.",
        ),
        "reason": Param(
            "error", type="string", enum=["error", "withdrawn"], title="Reason", description="What recipients are told."
        ),
        "why": Param(
            None,
            type=["null", "string"],
            maxLength=1000,
            title="Why",
            description="In your words; no names or numbers of patients.",
        ),
    }


def take_back() -> Any:
    """Everything that is due, then what came back, then who is overdue."""
    return SummaryOperator(
        task_id="take_back",
        python_callable=_take_back,
        doc_md="Takes released objects of opted-out instances out of the buckets, writes tombstones and successor "
        "manifests, and proves that nothing is left. Red where a bucket refused: its log says what to change.",
    ).output


def check_again() -> Any:
    """Whether anything that was taken back is in a bucket again."""
    return SummaryOperator(
        task_id="check_again",
        python_callable=_check_again,
        doc_md="Lists the buckets once more: a restored backup or a copy job may bring back what was recalled.",
    ).output


def take_out_pictures() -> Any:
    """Canonical images of whom no project may use, and room that nothing needs."""
    return SummaryOperator(
        task_id="take_out_pictures",
        python_callable=_take_out_pictures,
        doc_md="Erases canonical images and features of instances that are opted out for every project or that the "
        "archive does not hold any more, and gives back the room of bytes in shards that nothing points to.",
    ).output


def _take_out_pictures() -> Counts:
    from operators.connections import database
    from sluice.canonical.upkeep import compact
    from sluice.neighbours.embeddings import remove_withdrawn
    from sluice.settings import settings

    store, root = database(), settings().canonical
    features = remove_withdrawn(store, root)
    return compact(store, root).as_dict() | {"features_removed": features}


def _take_back(params: dict[str, Any], dag_run: Any) -> Counts:
    from operators.connections import bucket, database
    from sluice.release.recall.notices import recalls
    from sluice.release.recall.opt_outs import OptOutError, Terms, add, target_of_release
    from sluice.release.recall.recalls import carry_out

    store, by = database(), getattr(dag_run, "triggering_user_name", None) or "the DAG recall"
    if params.get("release"):
        if not params.get("why"):
            raise OptOutError("Fill in why the release is recalled.")
        add(store, [target_of_release(params["release"])], Terms(params["reason"], params["why"]), by)
    done = carry_out(store, bucket, by)
    overdue = recalls(store, overdue=True)
    _raise_if_waiting(done.waiting)
    return done.as_dict() | {"overdue_recalls": len(overdue)}


def _check_again() -> Counts:
    from operators.connections import bucket, database
    from sluice.release.recall.recalls import check_again

    done = check_again(database(), bucket)
    _raise_if_waiting(done.waiting)
    return done.as_dict()


def _raise_if_waiting(waiting: dict[str, str]) -> None:
    if waiting:
        raise RecallIncomplete(". ".join(f"{release} waits: {words}" for release, words in waiting.items()))

"""The pipeline's steps as Airflow tasks: one way for the daily chain and for a researcher's cohort.

Each step takes a window key (a template or another task's output), returns its last task, and tells Airflow by
`outlets` that the window's facts stand. Where work is cut into batches, one failed batch turns the run red
through `all_batches` but does not hold the others up: `summary` runs anyway, counts what failed, and the chain
goes on with what there is. Gaps are facts in the ledger, not reasons to stop.

Functions below that Airflow runs import what is heavy inside themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import Asset, TaskGroup, TriggerRule, task

from operators.counts import Counts, summarise
from operators.governed import StandsBy
from operators.links import BucketLink, DataDocsLink, SluicePageLink
from operators.policies import GPU_POOL, GPU_QUEUE, PACS
from operators.retrieve import RetrieveOperator

Outlets = Sequence[Asset]


class NoWindow(RuntimeError):  # noqa: N818
    """A run was started without saying for which window; the message says how."""

    permanent = True


class SummaryOperator(PythonOperator):
    """A task whose small dict of counts a person wants to see, with a link to the window's Sluice page."""

    operator_extra_links = (SluicePageLink(),)
    ui_color = "#e8f3e8"


class QualityOperator(SummaryOperator):
    """A summary with a link to the Data Docs."""

    operator_extra_links = (SluicePageLink(), DataDocsLink())


class ReleaseOperator(SummaryOperator):
    """A summary with a link to the bucket."""

    operator_extra_links = (SluicePageLink(), BucketLink())


class PacsOperator(StandsBy, SummaryOperator):
    """A summary of what a PACS was asked; waits without a worker while its governor says so."""


def require_window(window: str) -> str:
    """The window key, where the run has one.

    Raises:
        NoWindow: it has none.
    """
    if not window or window == "None":
        raise NoWindow(
            "This run names no window. Fill in the field Window of the trigger form (2026-10-26, or "
            "cohort/<project>/<name>), or run a backfill of sweep for the day."
        )
    return window


def sweep(window: Any, outlets: Outlets = (), pacs: str = PACS) -> Any:
    """C-FIND a hospital day; `pacs` is the connection of the PACS, or a template of it."""
    return PacsOperator(
        task_id="sweep",
        python_callable=_sweep,
        op_kwargs={"window": window, "pacs": pacs},
        pool=PACS,
        outlets=list(outlets),
        doc_md="Asks the PACS what it holds of the day, splits where answers are capped, writes what is expected.",
    ).output


def retrieve(window: Any, outlets: Outlets = (), after: Any = None) -> Any:
    """C-MOVE what is expected and has not arrived."""
    return _over_batches(
        "retrieve",
        plan=_plan_pieces,
        work=_move_task,
        argument="piece",
        window=window,
        outlets=outlets,
        after=after,
    )


def extract_headers(window: Any, outlets: Outlets = (), after: Any = None) -> Any:
    """Headers of every instance into the database."""
    return _over_batches(
        "extract_headers",
        plan=_plan_batches,
        work=lambda: _batch_task("extract", _extract),
        argument="batch",
        window=window,
        outlets=outlets,
        after=after,
    )


def check_quality(window: Any, outlets: Outlets = (), after: Any = None) -> Any:
    """Great Expectations over the window's headers."""
    return one_task(
        QualityOperator,
        "check_quality",
        _check_quality,
        window,
        outlets,
        after,
        "Runs the quality suites over the window; the findings are rows, the pages are the link Data Docs.",
    )


def keep_pictures(window: Any, outlets: Outlets = (), after: Any = None) -> Any:
    """Each radiograph decoded once, into the shards that models and pages read."""
    return _over_batches(
        "keep_pictures",
        plan=_plan_radiographs,
        work=lambda: _batch_task("decode", _decode, execution_timeout=timedelta(hours=6)),
        argument="batch",
        window=window,
        outlets=outlets,
        after=after,
    )


def infer_body_part(window: Any, outlets: Outlets = (), after: Any = None) -> Any:
    """Which part of the body each radiograph shows."""
    return _inference("infer_body_part", "body_part", window, outlets, after)


def fuse_body_part(window: Any, outlets: Outlets = (), after: Any = None) -> Any:
    """The likeliest region of each radiograph by header and model together."""
    return one_task(SummaryOperator, "fuse_body_part", _fuse_body_part, window, outlets, after)


def detect_ivc_filter(window: Any, outlets: Outlets = (), after: Any = None) -> Any:
    """Whether an IVC filter is in the picture, where the body part allows one."""
    return _inference("detect_ivc_filter", "ivc_filter", window, outlets, after)


def scanner_utilization(window: Any, outlets: Outlets = (), after: Any = None) -> Any:
    """How long each scanner was in use."""
    return one_task(SummaryOperator, "report_utilization", _report_utilization, window, outlets, after)


def clock_skew(window: Any, outlets: Outlets = (), after: Any = None) -> Any:
    """How far each scanner's clock is off."""
    return one_task(SummaryOperator, "report_clocks", _report_clocks, window, outlets, after)


def one_task(
    operator: type[SummaryOperator],
    task_id: str,
    step: Callable[..., Counts],
    window: Any,
    outlets: Outlets = (),
    after: Any = None,
    doc_md: str | None = None,
) -> Any:
    """A step that is one task, described by `doc_md`, else by the docstring of what it runs."""
    made = operator(
        task_id=task_id,
        python_callable=step,
        op_kwargs={"window": window},
        outlets=list(outlets),
        doc_md=doc_md or step.__doc__,
    )
    if after is not None:
        after >> made
    return made.output


def _inference(group: str, model_task: str, window: Any, outlets: Outlets, after: Any) -> Any:
    options = {"pool": GPU_POOL, "execution_timeout": timedelta(hours=6)} | ({"queue": GPU_QUEUE} if GPU_QUEUE else {})
    return _over_batches(
        group,
        plan=_plan_radiographs,
        work=lambda: _batch_task("read", _read, **options).partial(model_task=model_task),
        argument="batch",
        window=window,
        outlets=outlets,
        after=after,
    )


def _move_task() -> Any:
    return RetrieveOperator.partial(
        task_id="move",
        pool=PACS,
        map_index_template="studies, part {{ task.piece.piece + 1 }} of {{ task.piece.pieces }}",
    )


def _batch_task(task_id: str, step: Callable[..., Counts], **options: Any) -> Any:
    return task(
        task_id=task_id,
        map_index_template="receipts {{ task.op_kwargs.batch.first }} to {{ task.op_kwargs.batch.last }}",
        **options,
    )(step)


def _over_batches(
    group: str,
    plan: Callable[[str], list[dict[str, Any]]],
    work: Callable[[], Any],
    argument: str,
    window: Any,
    outlets: Outlets,
    after: Any,
) -> Any:
    """plan → work, mapped → summary; and `all_batches`, which turns the run red when a batch failed."""
    with TaskGroup(group):
        planned = task(task_id="plan")(plan)(window)
        mapped = work().expand(**{argument: planned})
        done = getattr(mapped, "output", mapped)
        summary = SummaryOperator(
            task_id="summary",
            python_callable=summarise,
            op_kwargs={"window": window, "planned": planned, "done": done},
            trigger_rule=TriggerRule.ALL_DONE,
            outlets=list(outlets),
            doc_md="Adds up what the batches did. Runs even when one failed, so that the chain goes on.",
        )
        verdict = EmptyOperator(
            task_id="all_batches",
            trigger_rule=TriggerRule.NONE_FAILED,
            doc_md="Red when a batch failed after all its retries. Clear the red batch to repair it.",
        )
        [done, summary] >> verdict
    if after is not None:
        after >> planned
    return summary.output


def _plan_pieces(window: str) -> list[dict[str, Any]]:
    """Studies of the window that lack instances, cut into pieces."""
    from operators.connections import database
    from operators.retrieve import plan_pieces

    return [piece.as_dict() for piece in plan_pieces(database(), require_window(window))]


def _plan_batches(window: str) -> list[dict[str, Any]]:
    """Received instances of the window, cut into batches."""
    from operators.connections import database
    from sluice.batches import plan_batches

    return [batch.as_dict() for batch in plan_batches(database(), require_window(window))]


def _plan_radiographs(window: str) -> list[dict[str, Any]]:
    """Radiographs of the window, cut into few large batches; `*` is the whole archive."""
    from operators.connections import database
    from sluice.batches import plan_radiographs

    return [batch.as_dict() for batch in plan_radiographs(database(), require_window(window))]


def _sweep(window: str, pacs: str, ti: Any, dag_run: Any) -> Counts:
    from operators.connections import database, pacs_node
    from operators.governed import governor_of, use_of
    from sluice.pacs.find.sweep import sweep
    from sluice.pacs.governor import Priority
    from sluice.pacs.governor.orders import prefer
    from sluice.windows import Window, remember_window

    day = Window.of_label(require_window(window))
    store, node = database(), pacs_node(pacs)
    use = use_of(ti, dag_run, "sweep", day.key, f"of {day.label}")
    if use.priority is Priority.BACKFILL:
        remember_window(store, day)
        prefer(store, day.key, "backfill of sweep", use.priority)  # its retrieve is another run, which cannot know
    return sweep(store, node, day, governor=governor_of(store, node, use)).as_dict()


def _extract(batch: dict[str, Any]) -> Counts:
    """Headers of one batch: study, series, instance and the words about anatomy."""
    from operators.connections import archive, database
    from sluice.batches import Batch
    from sluice.headers.extract import extract

    return extract(database(), archive(), Batch.of(batch)).as_dict()


def _decode(batch: dict[str, Any]) -> Counts:
    """Canonical images of one batch, where they are not there yet."""
    from operators.connections import archive, database
    from operators.inference import reads_details
    from operators.pictures import keep_batch
    from sluice.batches import Batch
    from sluice.settings import settings

    site, detail = settings(), reads_details(database())
    return keep_batch(database(), archive(), Batch.of(batch), site.canonical, site.decode_processes, detail)


def _read(batch: dict[str, Any], model_task: str) -> Counts:
    """One model over one batch; the network is loaded once."""
    from operators.connections import archive, database
    from operators.inference import read_batch
    from sluice.anatomy.fast_path import Certainty
    from sluice.batches import Batch
    from sluice.settings import settings

    site = settings()
    certainty = Certainty(site.header_reliability, audited=site.header_audited) if site.header_decides else None
    runs = (site.device, site.decode_processes, certainty, site.precision)
    return read_batch(database(), archive(), Batch.of(batch), model_task, site.canonical, *runs).as_dict()


def _check_quality(window: str, ti: Any) -> Counts:
    from operators.connections import database
    from sluice.quality.check import check
    from sluice.settings import settings

    summary = check(database(), require_window(window), settings().reports / "quality")
    counts = summary.as_dict()
    if summary.halted_by:  # findings and Data Docs stand and are linked; what comes after must not begin
        ti.xcom_push(key="return_value", value=counts)
    summary.raise_if_halted()
    return counts


def _fuse_body_part(window: str) -> Counts:
    """Puts together what header and model say of each radiograph, for searches by body part."""
    from operators.connections import database
    from sluice.anatomy.fusion import fuse
    from sluice.batches import EVERYTHING

    key = require_window(window)
    return {"window_key": key, **fuse(database(), None if key == EVERYTHING else key).as_dict()}


def _report_utilization(window: str) -> Counts:
    """How long each scanner was in use, one row each."""
    from operators.connections import database
    from sluice.scanners.utilization import report

    return {"window_key": require_window(window), "scanners": len(report(database(), window))}


def _report_clocks(window: str) -> Counts:
    """How far each scanner's clock was off, one row each."""
    from operators.connections import database
    from sluice.scanners.clocks import report

    return {"window_key": require_window(window), "scanners": len(report(database(), window))}

"""A researcher's request: the trigger form, and what of it is asked of the PACS.

A request is a list (CSV text, or one that was uploaded before; `sluice.cohorts.lists`) or a filter (modality, dates,
description). A list's rows name patients, so they never go into an XCom or a log; answers name rows by their line.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from operators.counts import Counts
from operators.policies import PACS
from operators.steps import PacsOperator, SummaryOperator
from sluice.settings import settings

if TYPE_CHECKING:
    from sluice.cohorts.lists import CohortList
    from sluice.database import Database
    from sluice.pacs.find.cohort import CohortFilter
    from sluice.windows import Window

WINDOW = "cohort/{{ params.project }}/{{ params.name }}"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
MODALITIES = ("CR", "DX", "CT", "MR", "US", "MG", "XA", "RF", "PT", "NM")
PRIORITIES = ("urgent", "routine", "backfill")
ANSWERS_SHOWN = 1_000  # rows whose answers are shown one by one; XCom is no place for more


class CohortRequestError(RuntimeError):
    """The form cannot be understood; the message says which field, and what to write there."""

    permanent = True


def form() -> dict[str, Param]:
    """The fields of the trigger form."""
    projects = sorted(path.stem for path in settings().projects.glob("*.yaml"))
    return {
        "project": Param(
            projects[0] if projects else None,
            type="string",
            enum=projects or ["none"],
            title="Project",
            description="Decides who gets the images, and how they are de-identified.",
        ),
        "name": Param(
            type="string",
            pattern=NAME,
            title="Name of the cohort",
            description="Letters, digits, dot, dash, underscore. The same name again asks for what is still missing.",
        ),
        "priority": Param(
            "routine",
            type="string",
            enum=list(PRIORITIES),
            title="Priority",
            description="Who goes first at the PACS. Urgent is for patients who wait; a large old cohort is backfill.",
        ),
        "csv": Param(
            None,
            type=["null", "string"],
            format="multiline",
            title="List of studies (CSV)",
            description="With a heading: accession_number, or patient_id and study_date (2026-10-26), or "
            "study_instance_uid, as it comes out of a spreadsheet. Leave it empty to use the filter below.",
            section="Either a list",
        ),
        "modality": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "maxLength": 16},
            examples=list(MODALITIES),
            title="Modalities",
            description="Studies that hold at least one of these.",
            section="Or a filter",
        ),
        "from_date": Param(None, type=["null", "string"], format="date", title="From", section="Or a filter"),
        "to_date": Param(None, type=["null", "string"], format="date", title="To", section="Or a filter"),
        "description": Param(
            None,
            type=["null", "string"],
            maxLength=64,
            title="Study description",
            description="Words, any of which the study description holds.",
            section="Or a filter",
        ),
    }


def find_cohort() -> Any:
    """Ask the PACS for the request of the form."""
    return PacsOperator(
        task_id="find",
        python_callable=_find,
        op_kwargs={"window": WINDOW},
        pool=PACS,
        doc_md="Asks the PACS for each row of the list of which nothing is known yet, or for what the filter matches.",
    ).output


def answer_rows(after: Any) -> Any:
    """Answer each row of the list once more, by what has arrived."""
    made = SummaryOperator(
        task_id="answers",
        python_callable=_answers,
        op_kwargs={"window": WINDOW},
        doc_md="`answers` has a line for each row of the list, the first thousand of them: found, several, not yet, "
        "not found, or refused and why. All of them stand on the page Cohorts.",
    )
    after >> made
    return made.output


def _find(window: str, params: dict[str, Any], ti: Any, dag_run: Any) -> Counts:
    from operators.connections import database, pacs_node
    from operators.governed import governor_of, use_of
    from sluice.cohorts.list_sweep import sweep_list, window_of_list
    from sluice.cohorts.lists import CohortList
    from sluice.pacs.find.cohort import sweep_cohort

    store, node = database(), pacs_node()
    asked = read_form(params, store, _who(dag_run))
    is_list = isinstance(asked, CohortList)
    request = window_of_list(store, asked, date.today()) if isinstance(asked, CohortList) else asked[0]
    _order(store, request, params.get("priority"), dag_run)
    governor = governor_of(store, node, use_of(ti, dag_run, "cohort", window, "list" if is_list else "filter"))
    if isinstance(asked, CohortList):
        return sweep_list(store, node, asked, dag_run.run_after, governor).as_dict()
    return sweep_cohort(store, node, *asked, governor=governor).as_dict()


def _answers(window: str, params: dict[str, Any]) -> Counts:
    """A list's answers as XCom may carry them: by line, without the rows themselves."""
    from operators.connections import database
    from sluice.cohorts.lists import answer_list, find_list, rows_of

    store = database()
    kept = find_list(store, params["project"], params["name"])
    if kept is None:
        return {"window_key": window, "rows": 0}
    counts = answer_list(store, kept.list_id)
    rows, more = rows_of(store, kept.list_id, size=ANSWERS_SHOWN)
    return {
        "window_key": window,
        "rows": kept.rows,
        "rows_by_answer": counts,
        "answers": [f"line {row['line']}: {row['answer']}. {row['words']}" for row in rows],
        "more_answers": kept.rows - len(rows) if more else 0,
    }


def _who(dag_run: Any) -> str:
    return getattr(dag_run, "triggering_user_name", None) or "the form"


def _order(database: Database, window: Window, priority: str | None, dag_run: Any) -> None:
    """What the form says about priority, as an order of who filled it in; a new form also resumes a cancelled cohort.

    The task may run several times for one form, so an order that is newer than the run stays.
    """
    from sluice.pacs.governor import Priority
    from sluice.pacs.governor.orders import order_retrieval, retrieval_state
    from sluice.windows import remember_window

    remember_window(database, window)
    wanted = Priority[(priority or "routine").upper()]
    before = retrieval_state(database, window.key)
    if before.ordered_at is not None and before.ordered_at >= dag_run.run_after:
        return
    if before.state == "cancelled" or before.priority != wanted:
        state = "active" if before.state == "cancelled" else None
        order_retrieval(database, window.key, _who(dag_run), state, wanted)


def read_form(params: dict[str, Any], store: Database, by: str) -> CohortList | tuple[Window, CohortFilter]:
    """What a form asks for: a list, kept from now on, or a window and a filter.

    Raises:
        CohortRequestError: neither a list nor a filter, both, a list that cannot be used, or dates in the wrong order.
    """
    from io import BytesIO

    from sluice.cohorts.lists import add_list, find_list
    from sluice.cohorts.sheets import ListError
    from sluice.pacs.find.cohort import CohortFilter
    from sluice.windows import Window

    project, name, content = params["project"], params["name"], (params.get("csv") or "").strip()
    has_filter = any(params.get(field) for field in ("modality", "description", "from_date", "to_date"))
    if content:
        if has_filter:
            raise CohortRequestError("The form holds a list and a filter. Empty one of them.")
        try:
            return add_list(store, project, name, BytesIO(content.encode()), "trigger form", by, replace=True)
        except ListError as error:
            raise CohortRequestError(str(error)) from None
    if not has_filter and (kept := find_list(store, project, name)):
        return kept
    starts_on, ends_on = _day(params, "from_date", "From"), _day(params, "to_date", "To")
    if starts_on is None or ends_on is None:
        raise CohortRequestError("Fill in either the list of studies, or the filter with From and To.")
    if ends_on < starts_on:
        raise CohortRequestError(f"To ({ends_on}) is before From ({starts_on}). Exchange them.")
    words = tuple((params.get("description") or "").split())
    asked = CohortFilter(tuple(params.get("modality") or ()), words)
    return Window.of_cohort(project, name, starts_on, ends_on), asked


def _day(params: dict[str, Any], field: str, title: str) -> date | None:
    value = params.get(field)
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise CohortRequestError(f"{title} is no date. Write it like 2026-10-26.") from None

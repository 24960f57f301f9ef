"""A researcher's request: the trigger form, and what of it is asked of the PACS.

A request is a list (CSV text, `sluice.pacs.find.cohort_csv`) or a filter (modality, dates, description). Its rows name
patients, so they go from the form straight to the PACS within one task and never into an XCom or a log; answers name
rows by their line.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from operators.counts import Counts
from operators.policies import PACS
from operators.steps import PacsOperator
from sluice.settings import settings

if TYPE_CHECKING:
    from sluice.database import Database
    from sluice.pacs.find.cohort import CohortFilter, CohortRow, RowAnswer
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
        doc_md="Asks the PACS for each row of the list, or for what the filter matches. `answers` has a line for each "
        "row: found, several, not-found, or refused and why.",
    ).output


def _find(window: str, params: dict[str, Any], ti: Any, dag_run: Any) -> Counts:
    from operators.connections import database, pacs_node
    from operators.governed import governor_of, use_of
    from sluice.pacs.find.cohort import sweep_cohort

    request, wanted, unusable = read_form(params)
    store, node = database(), pacs_node()
    _order(store, request, params.get("priority"), dag_run)
    use = use_of(ti, dag_run, "cohort", window, "list" if isinstance(wanted, list) else "filter")
    summary = sweep_cohort(store, node, request, wanted, governor=governor_of(store, node, use))
    answers = sorted([*unusable, *summary.answers], key=lambda answer: answer.row_number)
    return {
        **summary.as_dict(),
        "rows": len(answers),
        "unusable_rows": len(unusable),
        "answers": [f"line {one.row_number}: {one.outcome}. {one.reason}" for one in answers[:ANSWERS_SHOWN]],
        "more_answers": max(0, len(answers) - ANSWERS_SHOWN),
    }


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
        by = getattr(dag_run, "triggering_user_name", None) or "the form"
        order_retrieval(database, window.key, by, state, wanted)


def read_form(params: dict[str, Any]) -> tuple[Window, list[CohortRow] | CohortFilter, list[RowAnswer]]:
    """What a form asks for: its window, the rows or the filter, and answers for rows that cannot be asked.

    Raises:
        CohortRequestError: neither a list nor a filter, both, or dates in the wrong order.
    """
    from sluice.pacs.find.cohort import CohortFilter, window_of_rows
    from sluice.pacs.find.cohort_csv import read_cohort_csv
    from sluice.windows import Window

    project, name, content = params["project"], params["name"], (params.get("csv") or "").strip()
    if content:
        if any(params.get(field) for field in ("modality", "description", "from_date", "to_date")):
            raise CohortRequestError("The form holds a list and a filter. Empty one of them.")
        try:
            rows, unusable = read_cohort_csv(content)
        except ValueError as error:
            raise CohortRequestError(str(error)) from None
        return window_of_rows(project, name, rows, date.today()), rows, unusable
    starts_on, ends_on = _day(params, "from_date", "From"), _day(params, "to_date", "To")
    if starts_on is None or ends_on is None:
        raise CohortRequestError("Fill in either the list of studies, or the filter with From and To.")
    if ends_on < starts_on:
        raise CohortRequestError(f"To ({ends_on}) is before From ({starts_on}). Exchange them.")
    words = tuple((params.get("description") or "").split())
    asked = CohortFilter(tuple(params.get("modality") or ()), words)
    return Window.of_cohort(project, name, starts_on, ends_on), asked, []


def _day(params: dict[str, Any], field: str, title: str) -> date | None:
    value = params.get(field)
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise CohortRequestError(f"{title} is no date. Write it like 2026-10-26.") from None

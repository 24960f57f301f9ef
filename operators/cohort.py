"""A researcher's request as Airflow tasks: the trigger form, the estimate, and what of it is asked of the PACS.

What is asked for (`sluice.release.requests`) is kept in Sluice's database, and a run names it by number: the API
server takes lists and filters out of a form before Airflow keeps it. A list's rows name patients, so they never go into
an XCom or a log; answers name rows by their line.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from operators.counts import Counts
from operators.policies import PACS
from operators.steps import PacsOperator, SummaryOperator, one_task
from sluice.settings import settings

if TYPE_CHECKING:
    from sluice.database import Database
    from sluice.release.requests.form import Wanted
    from sluice.release.requests.registry import KeptRequest
    from sluice.windows import Window

# A frozen version that is released as it is has a window of its own, in which nothing is expected or fetched.
WINDOW = "cohort/{{ params.project }}/{{ params.name }}{{ '/v%d' % params.version if params.version else '' }}"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
PRIORITIES = ("urgent", "routine", "backfill")
FORMATS = ("dicom", "png", "nifti", "tables", "labels")
OWN = "own"  # the project's own profile, as `sluice.release.requests.registry` reads it
PROFILES = {OWN: "the project's own", "basic": "basic", "longitudinal": "longitudinal", "public": "public"}
ANSWERS_SHOWN = 1_000  # rows whose answers are shown one by one; XCom is no place for more


def form() -> dict[str, Param]:
    """The fields of the trigger form."""
    projects = sorted(path.stem for path in settings().projects.glob("*.yaml"))
    return {
        "project": Param(
            projects[0] if projects else None,
            type="string",
            enum=projects or ["none"],
            title="Project",
            description="Decides who gets the images, and how they may be de-identified.",
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
        "formats": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "enum": list(FORMATS)},
            examples=list(FORMATS),
            title="Products",
            description="Of what the project's file allows; nothing chosen is all of it. DICOM is always there.",
        ),
        "profile": Param(
            OWN,
            type="string",
            enum=list(PROFILES),
            values_display=PROFILES,
            title="Profile",
            description="How it is de-identified, of what the project's file allows. Another than the project's own "
            "gets versions of its own.",
        ),
        "csv": Param(
            None,
            type=["null", "string"],
            format="multiline",
            title="List of studies (CSV)",
            description="With a heading: accession_number, or patient_id and study_date (2026-10-26), or "
            "study_instance_uid, as it comes out of a spreadsheet. Long lists are uploaded on the page Cohorts.",
            section="Either a short list",
        ),
        "filter": Param(
            None,
            type=["null", "string"],
            format="multiline",
            title="Filter (YAML)",
            description="Like `{modality: [CR, DX], study_date: {from: 2026-10-01, to: 2026-10-31}}`; the page Cohorts "
            "writes it, and says beforehand what it takes.",
            section="Or a filter",
        ),
        "version": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Version",
            description="Release this version of the frozen cohort of this name, exactly as it is. Leave list, filter "
            "and version empty for the list or the newest filter that stands under the name.",
            section="Or what is frozen",
        ),
        "request": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Request",
            description="The number under which Sluice keeps what is asked for; filled in by itself.",
            section="Filled in by itself",
        ),
    }


def estimate_cohort() -> Any:
    """What the request is taken to be, and how long it takes."""
    return SummaryOperator(
        task_id="estimate",
        python_callable=_estimate,
        op_kwargs={"window": WINDOW},
        doc_md="How many instances and bytes the request is, the hours of transfer within the PACS's weekly hours, and "
        "the time for the release by past ones. Refuses what is above the project's quota.",
    ).output


def find_cohort(after: Any) -> Any:
    """Ask the PACS for the request of the form."""
    found = PacsOperator(
        task_id="find",
        python_callable=_find,
        op_kwargs={"window": WINDOW},
        pool=PACS,
        doc_md="Asks the PACS for each row of the list of which nothing is known yet, or for the studies that the "
        "filter may take by date, modality and description.",
    ).output
    after >> found
    return found


def answer_rows(after: Any) -> Any:
    """Answer each row of the list once more, by what has arrived."""
    words = (
        "`answers` has a line for each row of the list, the first thousand of them: found, several, not yet, "
        "not found, or refused and why. All of them stand on the page Cohorts."
    )
    return one_task(SummaryOperator, "answers", _answers, WINDOW, after=after, doc_md=words)


def cohort_members(after: Any) -> Any:
    """Who is released: the members of a frozen version, which is frozen now where a filter is asked for."""
    words = (
        "Freezes what the filter takes now as a version of the cohort; the same members are the same version. "
        "Of a list: the studies that its rows stand for."
    )
    return one_task(SummaryOperator, "members", _members, WINDOW, after=after, doc_md=words)


def _estimate(window: str, params: dict[str, Any], dag_run: Any) -> Counts:
    from operators.connections import database

    kept = _request(database(), params, dag_run)
    said = {"request_id": kept.request_id, "kind": kept.wanted.kind, "formats": kept.formats, "profile": kept.profile}
    return {"window_key": window, **said, **kept.estimate}


def _find(window: str, params: dict[str, Any], ti: Any, dag_run: Any) -> Counts:
    from operators.connections import database, pacs_node
    from operators.governed import governor_of, use_of
    from sluice.cohorts.filter_sweep import sweep_filter
    from sluice.cohorts.list_sweep import sweep_list, window_of_list
    from sluice.windows import Window, remember_window

    store, today = database(), date.today()
    asked = _request(store, params, dag_run).wanted
    if asked.kind == "version":
        remember_window(store, Window(window, "cohort", today, today))
        return {"window_key": window, "version": params["version"]}
    request = window_of_list(store, asked.kept, today) if asked.kept else _window_of_filter(asked, today)
    _order(store, request, params.get("priority"), dag_run)
    node = pacs_node()
    governor = governor_of(store, node, use_of(ti, dag_run, "cohort", window, asked.kind))
    if asked.kept:
        return sweep_list(store, node, asked.kept, dag_run.run_after, governor).as_dict()
    return sweep_filter(store, node, request, asked.expression, today, governor).as_dict()


def _window_of_filter(asked: Wanted, today: date) -> Window:
    from sluice.cohorts.errors import CohortError
    from sluice.cohorts.filter_sweep import window_of_filter
    from sluice.release.cohorts import project_for
    from sluice.release.requests.form import CohortRequestError

    assert asked.expression is not None
    try:
        project_for(asked.project, asked.expression)  # before anything is fetched for it
        return window_of_filter(asked.project, asked.name, asked.expression, today)
    except CohortError as error:
        raise CohortRequestError(str(error)) from None


def _members(window: str, params: dict[str, Any], dag_run: Any) -> Counts:
    from operators.connections import database
    from sluice.release.cohorts import freeze_for

    store = database()
    kept = _request(store, params, dag_run)
    asked, comes = kept.wanted, {"formats": kept.formats, "profile": kept.profile}
    if asked.kept:
        return {"window_key": window, "list_id": asked.kept.list_id, **comes}
    if asked.kind == "version":
        return {"window_key": window, "version_id": asked.version_id, **comes}
    assert asked.expression is not None
    why = f"to be released by run {dag_run.run_id}"
    frozen = freeze_for(store, asked.project, asked.name, asked.expression, kept.asked_by, why)
    return {"window_key": window, **frozen.as_dict(), **comes}


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


def _request(store: Database, params: dict[str, Any], dag_run: Any) -> KeptRequest:
    """What this run is asked for. A run from a terminal comes without a number; its form is read once, by the first
    task. Whoever started it has a name, and is no engineer as far as a task can know.

    Raises:
        CohortRequestError: it cannot be understood, is not allowed, or is above the quota.
    """
    from sluice.release.requests.form import CohortRequestError
    from sluice.release.requests.registry import ask, note_run, request_of, request_of_run

    number = params.get("request") or request_of_run(store, dag_run.run_id)
    if number is None:
        by = getattr(dag_run, "triggering_user_name", None)
        kept = ask(store, params, by or _who(dag_run), is_engineer=by is None)
    else:
        kept = request_of(store, number)
    if (kept.wanted.project, kept.wanted.name) != (params["project"], params["name"]):
        raise CohortRequestError(f"Request {kept.request_id} is one of another cohort. Leave its number empty.")
    note_run(store, kept.request_id, dag_run.run_id)
    return kept

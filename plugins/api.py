"""The page's JSON API: one route a question, each answered by one query of `sql/queries/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel

from plugins.connections import database
from sluice.database import Database
from sluice.ledger import under_way
from sluice.settings import settings

router = APIRouter()
Store = Annotated[Database, Depends(database)]
Window = Annotated[str, Query(max_length=200, description="2026-10-26, or cohort/<project>/<name>")]
Step = Literal["received", "indexed", "checked", "predicted", "released"]
STEPS: tuple[Step, ...] = ("received", "indexed", "checked", "predicted", "released")
NOTHING_TO_DO = "Nothing to do."


class Gap(BaseModel):
    """Instances that did not pass a step, for one reason."""

    reason_code: str
    instances: int
    studies: int
    meaning: str
    advice: str
    nothing_to_do: bool


class FunnelStep(BaseModel):
    """One step: `reached` of `of` instances, and the named gaps; `unexplained` is what no gap names, so 0."""

    step: str
    reached: int
    of: int
    gaps: list[Gap]
    unexplained: int


@router.get("/windows")
def windows(store: Store) -> list[dict[str, Any]]:
    """Which windows there are, newest first."""
    return store.rows("page_windows")


@router.get("/funnel")
def funnel(store: Store, window: Window) -> dict[str, Any]:
    """How far the window's instances came, and a name for each gap."""
    rows = store.rows("page_funnel", {"window_key": window})
    if not rows:
        return {"window_key": window, "members": 0, "steps": []}
    counts = rows[0]
    gaps: dict[str, list[Gap]] = {step: [] for step in STEPS}
    for row in store.rows("gaps_by_reason", {"window_key": window}):
        gaps[row.pop("step")].append(Gap(**row, nothing_to_do=row["advice"] == NOTHING_TO_DO))
    return counts | {
        "steps": [_step(step, counts, gaps[step]) for step in STEPS],
        "under_way": under_way(store, window),
    }


def _step(step: Step, counts: Mapping[str, Any], gaps: list[Gap]) -> FunnelStep:
    before = {"received": "members", "indexed": "received"}.get(step, "indexed")
    missing = sum(gap.instances for gap in gaps)
    return FunnelStep(
        step=step,
        reached=counts[step],
        of=counts[before],
        gaps=gaps,
        unexplained=counts[before] - counts[step] - missing,
    )


@router.get("/gap")
def gap(
    store: Store,
    window: Window,
    step: Step,
    reason: str,
    after: str = "",
    page_size: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, Any]:
    """Which series a gap is in, a page at a time."""
    asked = {"window_key": window, "step": step, "reason_code": reason, "after": after, "page_size": page_size + 1}
    rows = store.rows("page_gap_objects", asked)
    return {"series": rows[:page_size], "next": rows[page_size - 1]["position"] if len(rows) > page_size else None}


@router.get("/scanners")
def scanners(store: Store, window: Window) -> dict[str, Any]:
    """Utilization of each scanner, its exams over the day, and the opening hours they are measured against."""
    key = {"window_key": window}
    return {
        "opens_at": settings().opens_at.isoformat("minutes"),
        "closes_at": settings().closes_at.isoformat("minutes"),
        "utilization": store.rows("page_utilization", key),
        "exams": store.rows("page_exams", key),
    }


@router.get("/clocks")
def clocks(store: Store, window: Window) -> list[dict[str, Any]]:
    """How far each scanner's clock is off."""
    return store.rows("page_clocks", {"window_key": window})


@router.get("/predictions")
def predictions(
    store: Store,
    window: Window,
    label: str | None = None,
    show: Literal["all", "disagree", "ivc"] = "all",
    after: str = "",
    page_size: Annotated[int, Query(ge=1, le=200)] = 24,
) -> dict[str, Any]:
    """What the models saw beside what the header says, a page at a time, and how often each answer was given."""
    rows = store.rows(
        "page_predictions",
        {"window_key": window, "label": label, "show": show, "after": after, "page_size": page_size + 1},
    )
    more = len(rows) > page_size
    return {
        "counts": store.rows("page_prediction_counts", {"window_key": window}),
        "images": [_seen(row) for row in rows[:page_size]],
        "next": rows[page_size - 1]["sop_instance_uid"] if more else None,
    }


def _seen(row: dict[str, Any]) -> dict[str, Any]:
    """A prediction as the page shows it; of the details only what it draws."""
    detail = row.pop("detail") or {}
    ivc_detail = row.pop("ivc_detail") or {}
    return row | {
        "examined": detail.get("examined"),
        "visible": detail.get("visible") or [],
        "confident": detail.get("confident", True),
        "boxes": ivc_detail.get("boxes") or [],
    }


@router.get("/quality")
def quality(store: Store, window: Window) -> dict[str, Any]:
    """Which rules are broken, why they matter and what to do."""
    run = store.rows("page_quality_run", {"window_key": window})
    docs = settings().reports / "quality" / window / "index.html"
    return {
        "rules": store.rows("page_quality", {"window_key": window}),
        "known_rules": run[0]["rules"] if run else 0,
        "checked": run[0]["checked"] if run else 0,
        "halted": bool(run and run[0]["halted"]),
        "has_data_docs": ".." not in window and docs.is_file(),
    }


@router.get("/quality/findings")
def quality_findings(store: Store, window: Window, rule: str) -> list[dict[str, Any]]:
    """Which objects break a rule, at most 200."""
    return store.rows("page_quality_findings", {"window_key": window, "rule": rule})


@router.get("/releases")
def releases(store: Store, window: Window) -> list[dict[str, Any]]:
    """What was released of the window."""
    return store.rows("page_releases", {"window_key": window})


@router.get("/releases/{release_id}/objects")
def release_objects(
    store: Store, release_id: int, after: str = "", page_size: Annotated[int, Query(ge=1, le=500)] = 100
) -> dict[str, Any]:
    """What stands in the bucket of a release, as the database knows it."""
    rows = store.rows("page_release_objects", {"release_id": release_id, "after": after, "page_size": page_size + 1})
    return {
        "objects": rows[:page_size],
        "next": rows[page_size - 1]["object_key"] if len(rows) > page_size else None,
    }


@router.get("/run")
def run(dag_id: str, run_id: str) -> dict[str, str | None]:
    """The window that a DAG run works on: its partition, or the one typed into its form."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    # A '+' of a time zone in the run id arrives as a space where it was put into a query unescaped.
    wanted = {run_id, run_id.replace(" ", "+")}
    with create_session() as session:
        found = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id.in_(wanted))).first()
        if found is None:
            raise HTTPException(404, "There is no such run.")
        asked = found.conf or {}
        window = found.partition_key or asked.get("window_key")
        if window is None and {"project", "name"} <= asked.keys():
            as_frozen = f"/v{asked['version']}" if asked.get("version") else ""
            window = f"cohort/{asked['project']}/{asked['name']}{as_frozen}"
    return {"window": window}

"""The page Quality trend: rules by day and scanner, the objects behind each number, and decisions about them.

Everything it counts is read from day aggregates (`quality_trend`, `quality_objects`); findings are read a page at a
time, by their own key.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import database, writable
from plugins.pacs import Person, from_our_page
from sluice.csv_cells import inert
from sluice.database import Database
from sluice.quality.decisions import DecisionError, decide

log = logging.getLogger(__name__)

Days = Annotated[int, Query(ge=1, le=120)]
Rule = Annotated[str, Query(max_length=100)]
Scanner = Annotated[str | None, Query(max_length=200)]
PageSize = Annotated[int, Query(ge=1, le=500)]
EXPORTED = (
    "window_key", "rule", "severity", "level", "study_instance_uid", "series_instance_uid", "sop_instance_uid",
    "scanner", "observed", "found_at", "decision", "reason", "decided_by", "decided_at",
)  # fmt: skip
EXPORT_PAGE = 5000


class Asked(BaseModel):
    """A decision about a finding."""

    model_config = ConfigDict(extra="forbid")
    rule: str = Field(max_length=100)
    level: Literal["window", "study", "series", "instance", "scanner"]
    object: str = Field(min_length=1, max_length=200)
    decision: Literal["accept", "keep-out"]
    reason: str = Field(max_length=500)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter()
    who = Depends(person)
    store = Depends(database)
    writing = Depends(writable)

    @router.get("/trend")
    def trend(
        until: date | None = None,
        days: Days = 30,
        scanner: Scanner = None,
        who: Person = who,
        store: Database = store,
    ) -> dict[str, Any]:
        """Findings by rule and day, worst severity first; days that were checked; scanners."""
        between = _between(store, until, days)
        counted = store.rows("page_trend", between | {"scanner": scanner})
        checked = store.rows("page_trend_days", between)
        explained = {row["rule"]: row for row in store.rows("page_trend_rules")}
        instances: dict[str, int] = {}
        for row in checked:
            if scanner is None or row["scanner"] == scanner:
                instances[row["day"].isoformat()] = instances.get(row["day"].isoformat(), 0) + row["instances"]
        rules: dict[str, dict[str, Any]] = {}
        for row in counted:
            known = explained.get(row["rule"], {})
            rule = rules.setdefault(
                row["rule"],
                {
                    "rule": row["rule"],
                    "severity": row["severity"],
                    "level": known.get("level", ""),
                    "why": known.get("why", ""),
                    "advice": known.get("advice", ""),
                    "days": {},
                },
            )
            rule["severity"] = row["severity"]  # of the newest day
            rule["days"][row["day"].isoformat()] = row["findings"]
        order = {"stop": 0, "quarantine": 1, "warn": 2}
        return {
            "since": between["since"].isoformat(),
            "until": between["until"].isoformat(),
            "instances": instances,
            "scanners": sorted({row["scanner"] for row in checked if row["scanner"]}),
            "rules": sorted(
                rules.values(),
                key=lambda rule: (order[rule["severity"]], -sum(rule["days"].values()), rule["rule"]),
            ),
            "may_decide": who.may_decide,
        }

    @router.get("/trend/scanners")
    def by_scanner(
        rule: Rule, until: date | None = None, days: Days = 30, store: Database = store
    ) -> list[dict[str, Any]]:
        """Findings of a rule by scanner and day, and of how many objects."""
        return store.rows("page_trend_scanners", _between(store, until, days) | {"rule": rule})

    @router.get("/trend/findings")
    def findings(
        rule: Rule,
        since: date,
        until: date,
        scanner: Scanner = None,
        after: Annotated[int, Query(ge=0)] = 0,
        page_size: PageSize = 50,
        store: Database = store,
    ) -> dict[str, Any]:
        """The objects that break a rule, a page at a time, with what was decided about each."""
        asked = {"rule": rule, "since": since, "until": until, "scanner": scanner}
        rows = store.rows("page_trend_findings", asked | {"after": after, "page_size": page_size + 1})
        more = len(rows) > page_size
        return {"findings": rows[:page_size], "next": rows[page_size - 1]["finding_id"] if more else None}

    @router.get("/trend/findings.csv")
    def export(
        rule: Rule, since: date, until: date, scanner: Scanner = None, store: Database = store
    ) -> StreamingResponse:
        """The same as CSV, all of it."""
        asked = {"rule": rule, "since": since, "until": until, "scanner": scanner}
        name = f"{''.join(letter for letter in rule if letter.isalnum() or letter == '-')}-{since}-{until}.csv"
        return StreamingResponse(
            _lines(store, asked),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    @router.post("/quality/decisions", dependencies=[Depends(from_our_page)])
    def decision(asked: Asked, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Accept a finding, or keep its object out; appended to what was decided before."""
        if not who.may_decide:
            raise HTTPException(403, "You may not start runs of check_quality in Airflow, and so may not decide this.")
        try:
            taken = decide(store, asked.rule, asked.level, asked.object, asked.decision, asked.reason, who.name)
        except DecisionError as error:
            raise HTTPException(422, str(error)) from None
        log.info("Finding of %s at level %s: %s, by %s", asked.rule, asked.level, asked.decision, who.name)
        return {
            "decision": taken.decision,
            "reason": taken.reason,
            "decided_by": taken.decided_by,
            "decided_at": taken.decided_at,
        }

    return router


def _between(store: Database, until: date | None, days: int) -> dict[str, Any]:
    """The days that are asked for; without an end, up to the newest day that was checked."""
    if until is None:
        newest = store.rows("page_trend_newest")
        until = newest[0]["day"] or date.today()
    return {"since": until - timedelta(days - 1), "until": until}


def _lines(store: Database, asked: dict[str, Any]) -> Iterator[str]:
    yield _line(EXPORTED)
    after = 0
    while True:
        rows = store.rows("page_trend_findings", asked | {"after": after, "page_size": EXPORT_PAGE})
        for row in rows:
            yield _line([row[name] for name in EXPORTED])
        if len(rows) < EXPORT_PAGE:
            return
        after = rows[-1]["finding_id"]


def _line(values: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(["" if value is None else inert(str(value)) for value in values])
    return buffer.getvalue()

"""The page Routing: the rules, where a study would go, what was decided, and reports that people ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import database, writable
from plugins.pacs import Person, from_our_page
from sluice.database import Database
from sluice.reports.making import ReportError, ask
from sluice.routing.deciding import decisions, rules_here, would_go
from sluice.routing.rules import RoutingError, Rules
from sluice.settings import settings

NO_RULES = "No rules are named on this installation: set SLUICE_ROUTING (docs/routing.md)."
UID = r"[0-9.]+"


class Study(BaseModel):
    """Which study."""

    model_config = ConfigDict(extra="forbid")
    study: str = Field(min_length=1, max_length=64, pattern=rf"^{UID}$")


class Decisions(BaseModel):
    """Which decisions."""

    model_config = ConfigDict(extra="forbid")
    study: str | None = Field(default=None, max_length=64, pattern=rf"^{UID}$")
    before: int | None = None
    page_size: int = Field(default=50, ge=1, le=200)


class Wanted(Study):
    """A report, and where it is to go."""

    node: str = Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.-]+$")


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter(dependencies=[Depends(from_our_page)])
    who = Depends(person)
    store = Depends(database)
    writing = Depends(writable)

    @router.post("/routing/rules")
    def rules(who: Person = who, store: Database = store) -> dict[str, Any]:
        """The rules as they stand, or what is wrong with them."""
        try:
            here = rules_here(store, settings().routing)
        except RoutingError as error:
            return {"may_order": who.may_order, "rules": [], "faults": [str(fault) for fault in error.faults]}
        faults = [NO_RULES] if here is None else []
        return {"may_order": who.may_order, "rules": _shown(here), "faults": faults}

    @router.post("/routing/dry-run")
    def dry_run(asked: Study, store: Database = store) -> dict[str, Any]:
        """Where a study would go by the answers that count now; changes nothing."""
        try:
            here = rules_here(store, settings().routing)
        except RoutingError as error:
            raise HTTPException(422, str(error)) from None
        if here is None:
            raise HTTPException(422, NO_RULES)
        return {"study": asked.study, "taken": [taken.as_dict() for taken in would_go(store, here, asked.study)]}

    @router.post("/routing/decisions")
    def decided(asked: Decisions, store: Database = store) -> dict[str, Any]:
        """Decisions with what came of them, newest first."""
        rows = decisions(store, asked.study, asked.before, asked.page_size + 1)
        return {"decisions": rows[: asked.page_size], "more": len(rows) > asked.page_size}

    @router.post("/routing/reports")
    def report(asked: Wanted, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Ask for the structured report of a study at a node."""
        if not who.may_order:
            raise HTTPException(403, "You may not start runs of retrieve in Airflow, and so may not send anything.")
        try:
            ask(store, asked.study, asked.node, who.name)
        except ReportError as error:
            raise HTTPException(422, str(error)) from None
        return {"study": asked.study, "node": asked.node}

    return router


def _shown(rules: Rules | None) -> list[dict[str, Any]]:
    if rules is None:
        return []
    from sluice.cohorts.wording import describe

    return [
        {
            "name": rule.name,
            "about": rule.about,
            "when": describe(rule.when),
            "destination": rule.destination,
            "line": rule.line,
        }
        for rule in rules.rules
    ]

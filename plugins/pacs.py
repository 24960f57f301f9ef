"""The page PACS: who uses it now, what it bears, its weekly hours, and orders about retrievals.

The only routes of the page that write. A write needs a person with the Airflow permission for it, and it has to come
from our own page: a form or script of another site can send our cookie along, but neither JSON as a content type nor
our origin.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import database, writable
from sluice.database import Database
from sluice.pacs.governor.leases import Priority
from sluice.pacs.governor.orders import OrderError, order_retrieval
from sluice.pacs.governor.policy import Policy, PolicyError, change_policy
from sluice.pacs.governor.report import pacs_now
from sluice.release.projects import ProjectError, load_project, project_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Person:
    """Who looks at the page.

    Attributes:
        name: as Airflow knows them; kept with every change.
        may_order: whether they may start runs of `retrieve`, and so pause, resume and cancel what it does.
        may_change: whether they may edit the connection of a PACS, and so its policy.
        may_decide: whether they may start runs of `check_quality`, and so decide about its findings.
        may_ask: whether they may start runs of `backfill_cohort`, and so freeze cohorts, upload lists, and see whom
            these name. Who may not order may so for the projects that name them only.
        may_recall: whether they may start runs of `recall`, and so see and acknowledge recalls.
        may_look: whether they may read `sweep`, and so see what the hospital has: windows, images, scanners.
        may_approve: whether they may answer requests of `export_release`, and so approve releases.
        may_promote: whether they may start runs of `train_models`, and so move models between stages.
        may_correct: whether they may start runs of `detect_ivc_filter`, and so correct the registry of IVC filters.
        may_see_films: whether they may read `annotate`, and so see the page Annotate.
        may_annotate: whether they may answer requests of `annotate`, and so annotate films.
        may_adjudicate: whether they may answer requests of `train_models`, and so decide between readers.
        wake: tells an Airflow task that waits for an answer to look again.
    """

    name: str
    may_order: bool
    may_change: Callable[[str], bool]
    may_decide: bool = False
    may_ask: bool = False
    may_approve: bool = False
    wake: Callable[[Mapping[str, Any]], bool] = lambda task: False
    may_recall: bool = False
    may_look: bool = True
    may_promote: bool = False
    may_correct: bool = False
    may_see_films: bool = False
    may_annotate: bool = False
    may_adjudicate: bool = False

    def projects(self) -> list[str] | None:
        """The projects whose cohorts they see; None for all."""
        if self.may_order or not self.may_ask:
            return None if self.may_look else []
        return [name for name in project_names() if self._admitted(name)]

    @property
    def may_identify(self) -> bool:
        """Whether they may filter by what identifies patients: a researcher where one of their projects may."""
        if self.may_order or not self.may_ask:
            return self.may_ask
        return any(load_project(name).may_use_identifiers for name in self.projects() or ())

    def _admitted(self, project: str) -> bool:
        try:
            return load_project(project).admits(self.name)
        except ProjectError:  # a file that is wrong admits nobody
            return False


class Order(BaseModel):
    """What is ordered about a window's retrieval; what is left out stays."""

    model_config = ConfigDict(extra="forbid")
    window: str = Field(max_length=200)
    state: Literal["active", "paused", "cancelled"] | None = None
    priority: Literal["urgent", "routine", "backfill"] | None = None


class Change(BaseModel):
    """A new policy of a PACS."""

    model_config = ConfigDict(extra="forbid")
    pacs: str = Field(max_length=200)
    policy: dict[str, Any]


def nobody() -> Person:
    """A page without a login has nobody who may change anything."""
    return Person("nobody", False, lambda pacs: False)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter()
    who = Depends(person)
    store = Depends(database)
    writing = Depends(writable)

    @router.get("/pacs")
    def now(who: Person = who, store: Database = store) -> dict[str, Any]:
        """Everything that the page shows."""
        shown = pacs_now(store)
        for one in shown["pacs"]:
            one["may_change"] = who.may_change(one["pacs"])
        return shown | {"may_order": who.may_order}

    @router.post("/pacs/orders", dependencies=[Depends(from_our_page)])
    def order(asked: Order, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Pause, resume, cancel, or change the priority of a window's retrieval."""
        if not who.may_order:
            raise HTTPException(403, "You may not start runs of retrieve in Airflow, and so may not order this.")
        priority = Priority[asked.priority.upper()] if asked.priority else None
        try:
            state = order_retrieval(store, asked.window, who.name, asked.state, priority)
        except OrderError as error:
            raise HTTPException(404, str(error)) from None
        log.info("Retrieval of a window: %s, priority %s, by %s", asked.state, asked.priority, who.name)
        return {"state": state.state, "priority": None if state.priority is None else state.priority.name.lower()}

    @router.put("/pacs/policy", dependencies=[Depends(from_our_page)])
    def change(asked: Change, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Set the weekly hours and limits of a PACS."""
        if not who.may_change(asked.pacs):
            raise HTTPException(403, "You may not edit this connection in Airflow, and so may not change its policy.")
        known = {one["pacs"] for one in pacs_now(store)["pacs"]}
        if asked.pacs not in known:
            raise HTTPException(404, "There is no such PACS.")
        try:
            policy = Policy.of(asked.policy)
        except PolicyError as error:
            raise HTTPException(422, str(error)) from None
        change_policy(store, asked.pacs, policy, who.name)
        log.info("Policy of %s changed by %s", asked.pacs, who.name)
        return {"policy": policy.as_dict()}

    return router


def from_our_page(request: Request) -> None:
    """Let a write through only if no other site can have caused it.

    Browsers add Sec-Fetch-Site and Origin themselves and no script can change them. A client without either is no
    browser; it has to bring its token itself instead of a cookie.
    """
    _from_our_page(request, "application/json")


def file_from_our_page(request: Request) -> None:
    """The same for a route that takes a file as the body."""
    _from_our_page(request, "application/octet-stream")


def _from_our_page(request: Request, kind: str) -> None:
    # Neither type is one that a form of another site can send, so a browser asks us before it sends one.
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != kind:
        raise HTTPException(415, f"Send Content-Type: {kind}.")
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        allowed = site == "same-origin"
    elif origin is not None:
        allowed = urlsplit(origin).netloc.lower() in _own_hosts(request)
    else:
        allowed = request.headers.get("authorization", "").lower().startswith("bearer ")
    if not allowed:
        raise HTTPException(403, "This change did not come from the Sluice page itself. Open the page and try again.")


def _own_hosts(request: Request) -> set[str]:
    """Hosts under which people reach this Airflow: the one they asked, and the one of its base URL."""
    from airflow.configuration import conf

    own = {request.headers.get("host", ""), urlsplit(conf.get("api", "base_url", fallback="")).netloc}
    return {host.lower() for host in own if host}

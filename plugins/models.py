"""The page Models: which models there are, how they were measured, trainings under way, and moves between stages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import database, writable
from plugins.pacs import Person, from_our_page
from sluice.database import Database
from sluice.registry import registry, stages
from sluice.registry.weights import RegistryError
from sluice.settings import settings

log = logging.getLogger(__name__)


class Move(BaseModel):
    """Which model is moved where, and why."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(min_length=1, max_length=300)
    to: Literal["shadow", "production", "candidate"]
    reason: str = Field(min_length=1, max_length=1000)


class Back(BaseModel):
    """Which task goes back to the model before, and why."""

    model_config = ConfigDict(extra="forbid")
    task: Literal["body_part", "ivc_filter"]
    reason: str = Field(min_length=1, max_length=1000)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter()
    who = Depends(person)
    store = Depends(database)
    writing = Depends(writable)

    def may_promote(who: Person = who) -> Person:
        if not who.may_promote:
            raise HTTPException(403, "You may not start runs of train_models in Airflow, and so may not move models.")
        return who

    mover = Depends(may_promote)

    @router.get("/models")
    def all_models(who: Person = who, store: Database = store) -> dict[str, Any]:
        """Models, the ones that read first, and the newest trainings."""
        site = settings()
        return {
            "may_promote": who.may_promote,
            "margin": site.gate_margin,
            "shadow_films": site.shadow_films,
            "models": registry.models(store),
            "trainings": store.rows("training_runs"),
        }

    @router.get("/models/{model_id}")
    def one_model(model_id: str, store: Database = store) -> dict[str, Any]:
        """What happened to a model, its card, where it and production differ, what the gate would say."""
        try:
            return {
                "history": registry.history(store, model_id),
                "card": registry.card_of(store, model_id),
                "pairs": registry.disagreement(store, model_id),
                "gate": stages.assess(store, model_id).as_dict(),
            }
        except RegistryError as error:
            raise HTTPException(404, str(error)) from None

    @router.post("/models/moves", dependencies=[Depends(from_our_page)])
    def move(asked: Move, who: Person = mover, store: Database = writing) -> dict[str, Any]:
        """Move a model to another stage; the gate may refuse production."""
        moves: dict[str, Callable[..., Any]] = {
            "shadow": stages.to_shadow,
            "production": stages.promote,
            "candidate": stages.withdraw,
        }
        _answered(lambda: moves[asked.to](store, asked.model, who.name, asked.reason))
        log.info("Model %s to %s, by %s", asked.model, asked.to, who.name)
        return {"model": asked.model, "stage": asked.to}

    @router.post("/models/rollbacks", dependencies=[Depends(from_our_page)])
    def roll_back(asked: Back, who: Person = mover, store: Database = writing) -> dict[str, Any]:
        """Take the newest model of a task out of production."""
        taken, before = _answered(lambda: stages.roll_back(store, asked.task, who.name, asked.reason))
        log.info("Model %s taken back, %s serves, by %s", taken, before, who.name)
        return {"taken": taken, "serves": before}

    return router


def _answered(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except RegistryError as error:
        raise HTTPException(422, str(error)) from None

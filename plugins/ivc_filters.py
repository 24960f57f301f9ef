"""The page IVC filters: who has one by the pictures, whose retrieval is due, and what people correct.

Patient IDs are shown to readers of the hospital's pages, are not logged, and travel in bodies of requests, never in a
URL.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from datetime import date
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from plugins.connections import database, writable
from plugins.pacs import Person, from_our_page
from sluice.database import Database
from sluice.ivc_filters import registry
from sluice.settings import settings

log = logging.getLogger(__name__)
State = Literal["seen after retrieval", "due", "dwelling", "retrieved", "rejected"]


class Asked(BaseModel):
    """Which patients."""

    model_config = ConfigDict(extra="forbid")
    state: State | None = None


class Patient(BaseModel):
    """Which patient, as the registry names one."""

    model_config = ConfigDict(extra="forbid")
    patient: str = Field(min_length=1, max_length=200)


class Said(Patient):
    """What a person says of a patient's filter."""

    kind: Literal["confirmed", "not_a_filter", "retrieved", "withdrawn"]
    sop_instance_uid: str | None = Field(default=None, max_length=64)
    retrieved_on: date | None = None
    note: str = Field(default="", max_length=1000)


def routes(person: Callable[..., Person]) -> APIRouter:
    """The routes; `person` is the dependency that says who asks."""
    router = APIRouter(dependencies=[Depends(from_our_page)])
    who = Depends(person)
    store = Depends(database)
    writing = Depends(writable)

    @router.post("/filters/patients")
    def patients(asked: Asked, who: Person = who, store: Database = store) -> dict[str, Any]:
        """Patients with a filter, the most pressing first, and how many are in each state."""
        rows = registry.patients(store)
        counts = {state: sum(row["state"] == state for row in rows) for state in registry.STATES}
        chosen = [row for row in rows if asked.state in (None, row["state"])]
        return {
            "may_correct": who.may_correct,
            "due_days": settings().ivc_filter_due_days,
            "counts": counts,
            "patients": chosen[:500],
            "more": len(chosen) > 500,
        }

    @router.post("/filters/images")
    def images(asked: Patient, store: Database = store) -> dict[str, Any]:
        """A patient's images with boxes, and what people said."""
        return {
            "images": registry.images(store, asked.patient),
            "history": registry.history(store, asked.patient),
        }

    @router.post("/filters/report")
    def report(asked: Asked, store: Database = store) -> PlainTextResponse:
        """The registry as CSV."""
        out = io.StringIO()
        registry.write_csv(registry.patients(store, asked.state), out)
        headers = {"Content-Disposition": 'attachment; filename="ivc-filters.csv"'}
        return PlainTextResponse(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)

    @router.post("/filters/corrections")
    def correct(said: Said, who: Person = who, store: Database = writing) -> dict[str, Any]:
        """Keep what a person says; the patient as they stand now."""
        if not who.may_correct:
            raise HTTPException(
                403, "You may not start runs of detect_ivc_filter in Airflow, and so may not correct the registry."
            )
        try:
            registry.correct(
                store,
                registry.Correction(said.patient, said.kind, said.sop_instance_uid, said.retrieved_on, said.note),
                who.name,
            )
        except registry.CorrectionError as error:
            raise HTTPException(422, str(error)) from None
        log.info("IVC filter registry: %s, by %s", said.kind, who.name)
        (row,) = registry.patients(store, patient=said.patient)
        return row

    return router

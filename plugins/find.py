"""Find one study, series, instance, accession number or patient, and tell its whole story.

What a person types may identify a patient, so it comes in a POST's body and never stands in a URL, where access logs
would keep it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from plugins.connections import database
from plugins.pacs import from_our_page
from sluice import ledger
from sluice.database import Database
from sluice.ledger import Asked

router = APIRouter(dependencies=[Depends(from_our_page)])
Store = Annotated[Database, Depends(database)]
Kind = Literal["study", "series", "instance", "accession", "patient"]
UID = r"[0-9]+(\.[0-9]+)+"
SHOWN_OF_QUERY = ("StudyDate", "StudyTime", "ModalitiesInStudy", "Modality")  # what else narrows it may name a patient


class Wanted(BaseModel):
    """What a person typed; `kind` where they said what it is."""

    text: str = Field(min_length=1, max_length=200)
    kind: Kind | None = None


class Page(BaseModel):
    """Which rows of a level come next."""

    kind: Kind
    text: str = Field(min_length=1, max_length=200)
    level: Literal["studies", "series", "instances"]
    missing_only: bool = False
    after: str = Field(default="", max_length=400)
    page_size: int = Field(default=50, ge=1, le=500)


@router.post("/find")
def find(store: Store, wanted: Wanted) -> dict[str, Any]:
    """What it is, what of it is missing and why, its studies; of a single study the timeline and the series."""
    text = wanted.text.strip()
    for kind in [wanted.kind] if wanted.kind else _kinds(text):
        asked = Asked(**{kind: text})
        totals = ledger.totals(store, asked)
        if totals["studies"]:
            return _story(store, kind, asked, totals)
    return {"kind": None}


@router.post("/find/rows")
def find_rows(store: Store, wanted: Page) -> dict[str, Any]:
    """A page of studies, series or instances, with their gaps."""
    asked = Asked(**{wanted.kind: wanted.text.strip()})
    rows, following = ledger.page(store, wanted.level, asked, wanted.missing_only, wanted.after, wanted.page_size)
    return {"rows": [_shown(row) for row in rows], "next": following}


def _kinds(text: str) -> tuple[Kind, ...]:
    import re

    return ("study", "series", "instance") if re.fullmatch(UID, text) else ("accession", "patient")


def _story(store: Database, kind: Kind, asked: Asked, totals: dict[str, int]) -> dict[str, Any]:
    studies, more = ledger.page(store, "studies", asked, missing_only=False, size=50)
    story: dict[str, Any] = {
        "kind": kind,
        "totals": totals,
        "reasons": ledger.reasons(store, asked),
        "studies": studies,
        "next": more,
    }
    if len(studies) == 1:
        study = studies[0]["study_instance_uid"]
        story["timeline"] = [_shown(event) for event in ledger.timeline(store, study)]
        story["series"], story["next_series"] = ledger.page(store, "series", asked, missing_only=False, size=100)
    return story


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the page shows it: of the queries only what cannot name a patient."""
    for one in [row, *(row.get("expected_by") or ())]:
        if one.get("query"):
            one["query"] = {name: one["query"][name] for name in SHOWN_OF_QUERY if one["query"].get(name)}
    return row

"""What the page serves from disk: its own HTML, script and style, thumbnails, and rendered reports."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from plugins.connections import CONNECTION, database
from plugins.pacs import Person
from sluice.database import Database
from sluice.settings import settings

PAGES = Path(__file__).with_name("pages")
ASSETS = {path.name: path for path in PAGES.iterdir() if path.suffix in {".css", ".js", ".svg"}}
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
}
REPORTS = frozenset({".html", ".png", ".svg", ".csv", ".json"})
UID = re.compile(r"[0-9.]{1,64}")
# Reports carry their style inside and never run a script, whatever was written into them.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'self'"

router = APIRouter()
researchers = APIRouter()
readers = APIRouter()


def routes(person: Callable[..., Person]) -> APIRouter:
    """Where everybody comes in, and what all pages are made of."""
    open_to_all = APIRouter()
    who = Depends(person)

    @open_to_all.get("/", response_model=None)
    def page(request: Request, who: Person = who) -> FileResponse | RedirectResponse:
        """The page Windows; for who may not look into the hospital, that of their requests or of their films."""
        if who.may_look:
            return _file(PAGES / "index.html")
        page = "annotate" if who.may_see_films and not who.may_ask else "requests"
        return RedirectResponse(f"{request.scope.get('root_path', '').rstrip('/')}/{page}")

    @open_to_all.get("/api/me")
    def me(who: Person = who) -> dict[str, Any]:
        """Which pages whoever asks may see."""
        hospital = ["./", "find", "anatomy", "models", "filters", "routing", "trend", "pacs"] if who.may_look else []
        recalls = ["recalls"] if who.may_recall and who.may_look else []
        reviews = ["review"] if who.may_look and (who.may_approve or who.may_change(CONNECTION)) else []
        films = ["annotate"] if who.may_see_films else []
        cohorts = ["cohorts", "requests"] if who.may_look or who.may_ask else []
        return {"name": who.name, "pages": [*hospital, *films, *cohorts, *reviews, *recalls]}

    @open_to_all.get("/static/{name}")
    def asset(name: str) -> FileResponse:
        """Script, style and icons; only names that stand in the folder."""
        if name not in ASSETS:
            raise HTTPException(404, "There is no such file.")
        return _file(ASSETS[name])

    return open_to_all


@researchers.get("/cohorts")
def cohorts_page() -> FileResponse:
    """The page Cohorts."""
    return _file(PAGES / "cohorts.html")


@researchers.get("/requests")
def requests_page() -> FileResponse:
    """The page Requests."""
    return _file(PAGES / "requests.html")


@readers.get("/annotate")
def annotate_page() -> FileResponse:
    """The page where films are annotated."""
    return _file(PAGES / "annotate.html")


@router.get("/recalls")
def recalls_page() -> FileResponse:
    """The page Recalls."""
    return _file(PAGES / "recalls.html")


@router.get("/pacs")
def pacs_page() -> FileResponse:
    """The page PACS."""
    return _file(PAGES / "pacs.html")


@router.get("/find")
def find_page() -> FileResponse:
    """The page that tells the story of one study."""
    return _file(PAGES / "find.html")


@router.get("/trend")
def trend_page() -> FileResponse:
    """The page Quality trend."""
    return _file(PAGES / "trend.html")


@router.get("/anatomy")
def anatomy_page() -> FileResponse:
    """The page where people teach words for body parts, sequences and phases."""
    return _file(PAGES / "anatomy.html")


@router.get("/models")
def models_page() -> FileResponse:
    """The page of the registry of models."""
    return _file(PAGES / "models.html")


@router.get("/filters")
def filters_page() -> FileResponse:
    """The page of the registry of IVC filters."""
    return _file(PAGES / "filters.html")


@router.get("/routing")
def routing_page() -> FileResponse:
    """The page of rules and decisions."""
    return _file(PAGES / "routing.html")


@router.get("/review")
def review_page() -> FileResponse:
    """The page on which releases are reviewed and approved."""
    return _file(PAGES / "review.html")


@router.get("/images/{sop_instance_uid}.png")
def image(sop_instance_uid: str, store: Annotated[Database, Depends(database)]) -> Response:
    """Canonical image of an instance, found by UID in the database: no part of a path comes from the URL."""
    return picture(store, sop_instance_uid)


def picture(store: Database, sop_instance_uid: str) -> Response:
    """An instance's canonical image as an answer.

    Raises:
        HTTPException: it has none.
    """
    from sluice.canonical.index import picture_of
    from sluice.canonical.png import as_png

    if not UID.fullmatch(sop_instance_uid):
        raise HTTPException(404, "There is no such image.")
    pixels = picture_of(store, settings().canonical, sop_instance_uid)
    if pixels is None:
        raise HTTPException(404, "This instance has no canonical image.")
    return Response(as_png(pixels), media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.get("/quality")
def data_docs(request: Request, window: str = "") -> RedirectResponse:
    """The Data Docs of a window; without one, the page that lists all windows."""
    base = request.scope.get("root_path", "").rstrip("/")
    return RedirectResponse(f"{base}/reports/quality/{f'{quote(window)}/' if window else ''}index.html")


@router.get("/reports/{path:path}")
def report(path: str) -> FileResponse:
    """A rendered report or a page of the Data Docs."""
    return _inside(settings().reports, path, REPORTS, {"Content-Security-Policy": REPORT_POLICY})


def _inside(root: Path, path: str, suffixes: frozenset[str], headers: dict[str, str]) -> FileResponse:
    """A file below `root`, links and dots resolved; anything else is not found, whether it exists or not."""
    try:
        base = root.resolve()
        found = (base / path).resolve()
        allowed = found.is_relative_to(base) and found.suffix in suffixes and found.is_file()
    except (OSError, ValueError):  # a name too long, a NUL
        allowed = False
    if not allowed:
        raise HTTPException(404, "There is no such file. It may not have been made yet: see the DAG of this report.")
    return _file(found, headers)


def _file(path: Path, headers: dict[str, str] | None = None) -> FileResponse:
    return FileResponse(path, media_type=MEDIA_TYPES[path.suffix], headers=headers)

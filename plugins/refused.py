"""What a person sees who opened a page and is refused it, or asked for one that is not there: words, not JSON."""

from __future__ import annotations

from html import escape
from http import HTTPStatus

from fastapi import Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

PAGE = """<!doctype html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sluice</title>
{dress}
</head>
<body>
<header class="top"><div class="brand"><h1>Sluice</h1></div></header>
<main id="content">
  <section class="panel"><p>{words}</p><p><a href="">Try again</a> · <a href="{root}/">Sluice page</a></p></section>
</main>
</body>
</html>
"""
# Not for who may see nothing of Sluice: they would be refused, too.
DRESS = """<link rel="stylesheet" href="{root}/static/page.css">
<script type="module" src="{root}/static/refused.js"></script>"""
WORDS = {
    401: "You are not logged in to Airflow, or your login has ended. Log in to Airflow in another tab, then try again.",
    403: "Your role in Airflow may not see this page. It is for those who may read the DAG {dag}: ask who gives out "
    "roles there.",
    405: "There is no such page.",
}
# Whose pages are tied to another DAG than the hospital's.
DAGS = {"annotate": "annotate", "cohorts": "backfill_cohort", "requests": "backfill_cohort"}


async def refused(request: Request, error: Exception) -> Response:
    """The error as a page where a browser opens one; as JSON, which pages read, everywhere else."""
    assert isinstance(error, HTTPException)
    if "text/html" not in request.headers.get("accept", ""):
        return await http_exception_handler(request, error)
    detail = str(error.detail)
    if detail == HTTPStatus(error.status_code).phrase:
        detail = "There is no such page."
    root = escape(request.scope.get("root_path", "").rstrip("/"), quote=True)
    dag = DAGS.get(request.url.path.rsplit("/", 1)[-1], "sweep")
    words = escape(WORDS.get(error.status_code, detail).replace("{dag}", dag))
    dress = "" if error.status_code in {401, 403} else DRESS.format(root=root)
    return HTMLResponse(PAGE.format(root=root, words=words, dress=dress), error.status_code, error.headers)
